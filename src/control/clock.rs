//! The control thread's clocks.

use crate::stdx::time::Mono;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Instant, SystemTime};

/// Now, by every clock that somebody is told something of.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub now: Instant,
    pub wall: SystemTime,
    /// As shards have it.
    pub mono: Mono,
}

#[expect(clippy::disallowed_methods, reason = "here time enters the control thread")]
pub fn clocks() -> Clocks {
    let time = clock_gettime(ClockId::Monotonic);
    let mono = Mono::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
    Clocks { now: Instant::now(), wall: SystemTime::now(), mono }
}
