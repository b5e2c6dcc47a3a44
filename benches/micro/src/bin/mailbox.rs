//! Messages between threads, as the reader finds them: posted and taken, published and taken.

use micro::Suite;
use shardgate::runtime::driver::Driver;
use shardgate::runtime::driver::epoll::Epoll;
use shardgate::runtime::mailbox::{Latest, mailbox};
use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A shard that is awake: nobody has to be woken.
    let driver = Driver::Epoll(Box::new(Epoll::new().expect("epoll is there")));
    let bell = driver.bell();
    let (outbox, inbox) = mailbox(256, bell.clone());
    let latest = Latest::new(bell);
    Suite::new()
        .case("post and take", || {
            assert!(outbox.post(black_box(7_u64)).is_ok());
            assert_eq!(black_box(inbox.take()), Some(7));
        })
        .case("take from an empty box", || assert!(black_box(inbox.take()).is_none()))
        .case("publish and take the latest", || {
            assert!(latest.publish(black_box(7_u64)).is_none());
            assert_eq!(black_box(latest.take()), Some(7));
        })
        .case("ask whether the bell was rung", || {
            black_box(driver.take_rung());
        })
        .main()
}
