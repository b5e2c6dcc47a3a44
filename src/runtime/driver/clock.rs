//! The machine's clocks, read once a turn.

use crate::stdx::time::{Mono, Now, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What the clocks said when they were last read.
#[derive(Debug)]
pub struct Clock {
    now: Now,
    /// When the calendar was last asked. In between it goes with the monotonic clock, which halves the reading.
    asked_calendar: Mono,
}

impl Clock {
    pub fn new() -> Self {
        let mono = Mono::from_nanos(nanos(ClockId::Monotonic));
        Self { now: Now { mono, wall: Wall::from_nanos(nanos(ClockId::Realtime)) }, asked_calendar: mono }
    }

    pub fn now(&self) -> Now {
        self.now
    }

    pub fn read(&mut self) -> Now {
        let mono = Mono::from_nanos(nanos(ClockId::Monotonic));
        if mono.since(self.asked_calendar) < CALENDAR_AGE_MAX {
            self.now = later(self.now, mono);
        } else {
            self.asked_calendar = mono;
            self.now = Now { mono, wall: Wall::from_nanos(nanos(ClockId::Realtime)) };
        }
        self.now
    }
}

/// Both clocks at `mono`, if nobody has set either since.
fn later(now: Now, mono: Mono) -> Now {
    let passed_nanos = mono.as_nanos() - now.mono.as_nanos();
    Now { mono, wall: Wall::from_nanos(now.wall.as_nanos() + passed_nanos) }
}

#[expect(clippy::disallowed_methods, reason = "the runtime is where time enters")]
fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How far the calendar may be from the system's, which steps and slews it: less than a log line shows.
const CALENDAR_AGE_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward_together() {
        let now = Now { mono: Mono::from_nanos(5), wall: Wall::from_nanos(1_000) };
        let want = Now { mono: Mono::from_nanos(12), wall: Wall::from_nanos(1_007) };
        assert_eq!(later(now, Mono::from_nanos(12)), want);
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut clock = Clock::new();
        let first = clock.now();
        assert!(clock.read().mono >= first.mono);
    }
}
