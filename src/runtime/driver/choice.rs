//! Which of the kernel's interfaces carries the event loops, and why.

use super::Driver;
use super::epoll::Epoll;
use super::uring::Uring;
use crate::runtime::buffer::{Class, Pool};
use crate::runtime::op::{Done, Error, Op, Owner, Received, Target};
use crate::runtime::options::EventLoop;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::time::Duration;

/// What was chosen, for the log, the metrics and the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Never `Auto`.
    pub event_loop: EventLoop,
    pub reason: String,
}

impl Choice {
    /// Tries what the operator wants. Fails only if nothing works, or not the one thing that was asked for.
    pub fn make(wanted: EventLoop) -> Result<Self, Error> {
        let choice = |event_loop, reason: String| Ok(Self { event_loop, reason });
        match wanted {
            EventLoop::Epoll => choice(EventLoop::Epoll, "the configuration says so".to_owned()),
            EventLoop::Uring => {
                try_uring()?;
                choice(EventLoop::Uring, "the configuration says so".to_owned())
            }
            EventLoop::Auto => match try_uring() {
                Ok(()) => choice(EventLoop::Uring, "the kernel has it and lets us use it".to_owned()),
                Err(error) => choice(EventLoop::Epoll, format!("io_uring does not work here: {error}")),
            },
        }
    }

    /// An event loop of this kind, to be made on the thread that turns it.
    pub fn open(&self) -> Result<Driver, Error> {
        match self.event_loop {
            EventLoop::Epoll => Ok(Driver::Epoll(Box::new(Epoll::new()?))),
            EventLoop::Uring | EventLoop::Auto => Ok(Driver::Uring(Box::new(Uring::new()?))),
        }
    }

    pub fn name(&self) -> &'static str {
        match self.event_loop {
            EventLoop::Epoll => "epoll",
            EventLoop::Uring | EventLoop::Auto => "io_uring",
        }
    }
}

/// Sets a ring up and receives a byte through it: a profile that allows the one may forbid the other.
fn try_uring() -> Result<(), Error> {
    let (mut uring, pool) = (Uring::new()?, Pool::new(TRIAL_BYTES));
    let (far, near) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let socket = uring.adopt(near);
    let op = uring.submit(Op::Receive(socket, Target::Fresh(Class::Head)), Owner::Token(0), &pool);
    let Err(op) = op else { return Err(Error::Other(NOT_SUPPORTED)) };
    rustix::io::write(&far, b"x")?;
    for _ in 0..TRIAL_TURNS_MAX {
        let by = uring.read_clocks().mono + TRIAL_WAIT;
        uring.turn(by, &pool, &mut Vec::new())?;
        if let Some(done) = uring.take(op, &pool) {
            return match done {
                Done::Received(Ok(Received::Data(buf))) if buf.bytes() == b"x" => Ok(()),
                _ => Err(Error::Other(NOT_SUPPORTED)),
            };
        }
    }
    Err(Error::Deadline)
}

const TRIAL_BYTES: usize = 1 << 20;
const TRIAL_TURNS_MAX: usize = 10;
const TRIAL_WAIT: Duration = Duration::from_millis(100);
/// `EOPNOTSUPP` on Linux.
const NOT_SUPPORTED: i32 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_there_is() {
        let tried = try_uring();
        for wanted in [EventLoop::Epoll, EventLoop::Uring, EventLoop::Auto] {
            let choice = match (Choice::make(wanted), tried) {
                (Ok(choice), _) => choice,
                (Err(error), Err(why)) if wanted == EventLoop::Uring && error == why => continue,
                (Err(error), _) => panic!("{wanted:?}: {error}"),
            };
            let driver = choice.open().expect("it was tried");
            let (is_ring, want) = (matches!(driver, Driver::Uring(_)), wanted != EventLoop::Epoll && tried.is_ok());
            assert_eq!((is_ring, choice.name() == "io_uring"), (want, want), "{choice:?}");
            if let (EventLoop::Auto, Err(why)) = (wanted, tried) {
                assert_eq!(choice.reason, format!("io_uring does not work here: {why}"));
            }
        }
    }
}
