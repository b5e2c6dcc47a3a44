//! Which event loops this machine has: one whose kernel refuses rings tests what the gateway does there instead.

use std::io::Write;
use std::sync::OnceLock;

use shardgate::runtime::driver::choice::Choice;
use shardgate::runtime::options::EventLoop;

/// What the suite is run on, as in `SHARDGATE_TEST_EVENT_LOOP`, so that it can be run on each.
pub fn wanted() -> String {
    std::env::var("SHARDGATE_TEST_EVENT_LOOP").unwrap_or_else(|_| "auto".to_owned())
}

/// Those that can be asked for here.
pub fn there() -> &'static [&'static str] {
    if refused().is_some() { &["epoll"] } else { &["uring", "epoll"] }
}

/// What `auto` takes here, and why: a release is all that a kernel is known by.
pub fn of_auto() -> (&'static str, &'static str) {
    match refused() {
        Some(why) => ("epoll", why),
        None if release() <= (6, 18) => ("epoll", "io_uring works here, but costs more than epoll on this kernel"),
        None => ("io_uring", "io_uring works here"),
    }
}

fn release() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().expect("a major"), numbers.next().expect("a minor"))
}

/// Why there is no io_uring here, if there is none; what was found is said once.
pub fn refused() -> Option<&'static str> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let choice = Choice::make(EventLoop::Uring);
        // Past the harness, which shows nothing of a test that passes.
        let said =
            writeln!(std::io::stderr(), "on this machine `event_loop: uring` is {}: {}", choice.name(), choice.reason);
        said.expect("it is open");
        (choice.event_loop == EventLoop::Epoll).then_some(choice.reason)
    });
    refused.as_deref()
}
