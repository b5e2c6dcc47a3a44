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
        let (event_loop, reason) = match wanted {
            EventLoop::Epoll => (EventLoop::Epoll, AS_CONFIGURED.to_owned()),
            EventLoop::Uring | EventLoop::Auto => match try_uring() {
                Err(error) => (EventLoop::Epoll, format!("io_uring does not work here: {error}")),
                Ok(()) if wanted == EventLoop::Uring => (EventLoop::Uring, AS_CONFIGURED.to_owned()),
                Ok(()) if Uring::costs_more() => (EventLoop::Epoll, COSTS_MORE.to_owned()),
                Ok(()) => (EventLoop::Uring, "it works here".to_owned()),
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
const COSTS_MORE: &str = "io_uring works here, and costs more on such a kernel";
const TRIAL_BYTES: usize = 1 << 20;
const TRIAL_TURNS_MAX: usize = 10;
const TRIAL_WAIT: Duration = Duration::from_millis(100);
/// `EOPNOTSUPP` on Linux.
const NOT_SUPPORTED: i32 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_what_there_is_unless_it_does_not_work_or_costs_more() {
        let tried = try_uring();
        let fails = tried.map_err(|error| format!("io_uring does not work here: {error}")).err();
        for (wanted, ring, reason) in [
            (EventLoop::Epoll, false, AS_CONFIGURED),
            (EventLoop::Uring, fails.is_none(), fails.as_deref().unwrap_or(AS_CONFIGURED)),
            (EventLoop::Auto, fails.is_none() && !Uring::costs_more(), fails.as_deref().unwrap_or(COSTS_MORE)),
        ] {
            let choice = Choice::make(wanted);
            let driver = choice.open().expect("it was tried");
            let is_ring = matches!(driver, Driver::Uring(_));
            assert_eq!((is_ring, choice.name() == "io_uring"), (ring, ring), "{choice:?}");
            if wanted != EventLoop::Auto || !ring {
                assert_eq!(choice.reason, reason, "{wanted:?}");
            }
        }
    }
}
