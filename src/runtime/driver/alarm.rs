//! What ends a shard's sleep at a time: one timer of the kernel's, which stays set over many sleeps.
//!
//! A wait with a limit of its own sets a timer and takes it back, every time, and nearly every wait ends because
//! something happened. Deadlines mostly move away, so this one is set a few times a second.

use crate::stdx::time::Mono;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// A descriptor that becomes readable at a time.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
    /// When it goes off; `NEVER` while it is not set.
    at: Mono,
}

impl Alarm {
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer, at: Mono::NEVER })
    }

    /// Sees to it that it goes off at `deadline` at the latest. If it does so earlier anyway, that costs one waking;
    /// setting it again would cost a system call each sleep.
    pub fn set(&mut self, deadline: Mono) -> Result<(), Errno> {
        if deadline >= self.at {
            return Ok(());
        }
        // A time of zero would not be a time, but take the timer back.
        let nanos = deadline.as_nanos().max(1);
        let it_value = Timespec { tv_sec: (nanos / NANOS) as i64, tv_nsec: (nanos % NANOS) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.at = deadline;
        Ok(())
    }

    /// After it went off: it is set no more, and not readable.
    pub fn clear(&mut self) {
        self.at = Mono::NEVER;
        let mut count = [0; 8];
        // Empty means that it was set anew after it went off.
        let _empty = rustix::io::read(&self.timer, &mut count);
    }

    pub fn descriptor(&self) -> &OwnedFd {
        &self.timer
    }
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::clock::Clock;
    use std::time::Duration;

    fn left(alarm: &Alarm) -> Duration {
        let left = rustix::time::timerfd_gettime(&alarm.timer).expect("it is a timer").it_value;
        Duration::new(left.tv_sec as u64, left.tv_nsec as u32)
    }

    #[test]
    fn only_an_earlier_deadline_sets_it_again() {
        let (mut alarm, now) = (Alarm::new().expect("there are timers"), Clock::new().now().mono);
        let hours = |count: u64| Duration::from_secs(3600 * count);
        for (deadline, range) in [(4, 3..4), (9, 3..4), (2, 1..2), (3, 1..2)] {
            alarm.set(now + hours(deadline)).expect("it can be set");
            assert!(left(&alarm) > hours(range.start) && left(&alarm) <= hours(range.end));
        }
        alarm.clear();
        alarm.set(Mono::NEVER).expect("it stays as it is");
        assert!(left(&alarm) <= hours(2));
        alarm.set(now + hours(9)).expect("it can be set");
        assert!(left(&alarm) > hours(8));
    }

    #[test]
    fn one_for_a_time_that_has_passed_goes_off_and_is_quiet_once_cleared() {
        let mut alarm = Alarm::new().expect("there are timers");
        let mut count = [0; 8];
        for _ in 0..2 {
            assert!(rustix::io::read(&alarm.timer, &mut count).is_err());
            alarm.set(Mono::ZERO).expect("it can be set");
            let mut fds = [rustix::event::PollFd::new(&alarm.timer, rustix::event::PollFlags::IN)];
            assert_eq!(rustix::event::poll(&mut fds, None), Ok(1));
            alarm.clear();
        }
    }
}
