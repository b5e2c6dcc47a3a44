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

/// Why there is no io_uring here, if there is none; what was found is said once.
pub fn refused() -> Option<&'static str> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let choice = Choice::make(EventLoop::Uring);
        // Past the harness, which shows nothing of a test that passes.
        let said = writeln!(std::io::stderr(), "on this machine a wanted ring is {}: {}", choice.name(), choice.reason);
        said.expect("it is open");
        (choice.event_loop == EventLoop::Epoll).then_some(choice.reason)
    });
    refused.as_deref()
}
