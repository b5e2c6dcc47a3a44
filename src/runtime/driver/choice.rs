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
    /// What the operator wants; epoll where a ring is wanted and does not work.
    pub fn make(wanted: EventLoop) -> Self {
        Self::decide(wanted, try_uring, Uring::costs_more())
    }

    fn decide(wanted: EventLoop, try_uring: impl FnOnce() -> Result<(), Error>, costs_more: bool) -> Self {
        let (event_loop, reason) = match wanted {
            EventLoop::Epoll => (EventLoop::Epoll, AS_CONFIGURED.to_owned()),
            EventLoop::Uring | EventLoop::Auto => match try_uring() {
                Err(error) => (EventLoop::Epoll, format!("io_uring does not work here: {error}")),
                Ok(()) if wanted == EventLoop::Uring => (EventLoop::Uring, AS_CONFIGURED.to_owned()),
                Ok(()) if costs_more => (EventLoop::Epoll, COSTS_MORE.to_owned()),
                Ok(()) => (EventLoop::Uring, "io_uring works here".to_owned()),
            },
        };
        Self { event_loop, reason }
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

const AS_CONFIGURED: &str = "the configuration says so";
const COSTS_MORE: &str = "io_uring works here, but costs more than epoll on this kernel";
const TRIAL_BYTES: usize = 1 << 20;
const TRIAL_TURNS_MAX: usize = 10;
const TRIAL_WAIT: Duration = Duration::from_millis(100);
/// `EOPNOTSUPP` on Linux.
const NOT_SUPPORTED: i32 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_taken_where_it_is_wanted_and_works_and_by_auto_where_it_costs_no_more() {
        let (works, fails) = (Ok(()), Err(Error::Other(NOT_SUPPORTED)));
        let why = format!("io_uring does not work here: {}", Error::Other(NOT_SUPPORTED));
        for (wanted, tried, costs_more, event_loop, reason) in [
            (EventLoop::Epoll, works, false, EventLoop::Epoll, AS_CONFIGURED),
            (EventLoop::Uring, works, true, EventLoop::Uring, AS_CONFIGURED),
            (EventLoop::Uring, fails, false, EventLoop::Epoll, &why),
            (EventLoop::Auto, works, false, EventLoop::Uring, "io_uring works here"),
            (EventLoop::Auto, works, true, EventLoop::Epoll, COSTS_MORE),
            (EventLoop::Auto, fails, true, EventLoop::Epoll, &why),
        ] {
            let try_uring = || {
                assert_ne!(wanted, EventLoop::Epoll, "nobody wants a ring");
                tried
            };
            let choice = Choice::decide(wanted, try_uring, costs_more);
            assert_eq!((choice.event_loop, &*choice.reason), (event_loop, reason), "{wanted:?}, {costs_more}");
        }
    }

    #[test]
    fn what_is_chosen_is_what_there_is() {
        for wanted in [EventLoop::Epoll, EventLoop::Uring, EventLoop::Auto] {
            let choice = Choice::make(wanted);
            let driver = choice.open().expect("it was tried");
            let is_ring = matches!(driver, Driver::Uring(_));
            assert_eq!((is_ring, choice.name() == "io_uring"), (choice.event_loop == EventLoop::Uring, is_ring));
        }
    }
}
