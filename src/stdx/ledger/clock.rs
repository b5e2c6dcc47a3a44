//! The clock that a limit goes by: it counts what the limit gives, not seconds.
//!
//! A change of the rate bends this clock and never sets it, so that whoever owes tokens owes as many afterwards, and
//! all shards read the same clock at the same time, whichever configuration they go by. Control writes, shards read;
//! nobody waits: there are two lines, and the one not in force is written.

use crate::stdx::atomic::{AtomicU64, Ordering, fence};
use crate::stdx::time::Mono;
use std::time::Duration;

/// A limit's clock, and how much may come at once.
#[derive(Debug, Default)]
pub struct Clock {
    /// Odd or even says which line is in force.
    version: AtomicU64,
    lines: [Shared; 2],
}

/// A line as shards share it.
#[derive(Debug, Default)]
struct Shared {
    fields: [AtomicU64; 6],
}

/// The clock since its last change.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Line {
    /// In nanoseconds.
    since: u64,
    /// What the clock showed then.
    base: u64,
    /// Its units a nanosecond, in 2^-48.
    step: u64,
    /// Before that.
    step_before: u64,
    size: u64,
    /// By which waits are told: that of the whole rate, also where others earn the tokens and this clock stands still.
    whole_step: u64,
}

impl Clock {
    /// Changes pace and size as of `now`. Only one thread may call this.
    pub fn set(&self, step: u64, size: u32, now: Mono) {
        self.set_part(step, step, size, now);
    }

    /// The same where only a part of the rate is earned here.
    pub fn set_part(&self, step: u64, whole_step: u64, size: u32, now: Mono) {
        let version = self.version.load(Ordering::Relaxed);
        let old = self.lines[version as usize % 2].read();
        let since = now.as_nanos();
        let line = Line { since, base: old.at(now), step, step_before: old.step, size: size.into(), whole_step };
        if (line.step, line.size, line.whole_step) == (old.step, old.size, old.whole_step) {
            return;
        }
        // Who still reads this line from before the last change must see that there was one.
        fence(Ordering::Release);
        self.lines[(version as usize + 1) % 2].write(line);
        self.version.store(version + 1, Ordering::Release);
    }

    /// The line in force.
    pub fn line(&self) -> Line {
        // Once more only when terms were changed meanwhile.
        loop {
            let version = self.version.load(Ordering::Acquire);
            let line = self.lines[version as usize % 2].read();
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return line;
            }
        }
    }
}

impl Shared {
    fn read(&self) -> Line {
        let fields = self.fields.each_ref().map(|field| field.load(Ordering::Relaxed));
        let [since, base, step, step_before, size, whole_step] = fields;
        Line { since, base, step, step_before, size, whole_step }
    }

    fn write(&self, line: Line) {
        let values = [line.since, line.base, line.step, line.step_before, line.size, line.whole_step];
        for (field, value) in self.fields.iter().zip(values) {
            field.store(value, Ordering::Relaxed);
        }
    }
}

impl Line {
    pub fn at(&self, now: Mono) -> u64 {
        let now = now.as_nanos();
        let units = |nanos: u64, step: u64| ((u128::from(nanos) * u128::from(step)) >> STEP_BITS) as u64;
        if now >= self.since {
            self.base.wrapping_add(units(now - self.since, self.step))
        } else {
            // A turn that began before the change is judged by what held then.
            self.base.wrapping_sub(units(self.since - now, self.step_before))
        }
    }

    pub fn size(&self) -> u32 {
        self.size as u32
    }

    pub fn step(&self) -> u64 {
        self.step
    }

    /// How long so many units of the clock take.
    pub fn duration(&self, units: u64) -> Duration {
        let nanos = (u128::from(units) << STEP_BITS).div_ceil(u128::from(self.whole_step.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

pub const STEP_BITS: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn a_change_of_pace_bends_the_clock_where_it_is() {
        let clock = Clock::default();
        let at = |millis: u64| clock.line().at(Mono::from_nanos(millis * MILLI)) / MILLI;
        clock.set(1 << STEP_BITS, 1, Mono::ZERO);
        assert_eq!(at(4000), 4000);
        clock.set(1 << (STEP_BITS - 2), 1, Mono::from_nanos(5000 * MILLI));
        assert_eq!((at(4000), at(4999), at(5000), at(6000)), (4000, 4999, 5000, 5250));
        clock.set(1 << (STEP_BITS - 2), 1, Mono::from_nanos(7000 * MILLI));
        assert_eq!((at(7000), clock.line().since), (5500, 5000 * MILLI), "nothing has changed");
        clock.set(1 << (STEP_BITS - 2), 2, Mono::from_nanos(7000 * MILLI));
        assert_eq!((at(8000), clock.line().size()), (5750, 2));
    }

    #[test]
    fn a_duration_is_long_enough() {
        let clock = Clock::default();
        clock.set((1 << STEP_BITS) / 7, 1, Mono::ZERO);
        let line = clock.line();
        for units in [1, 255, 256, 10_000] {
            let wait = line.duration(units);
            assert!(line.at(Mono::ZERO + wait) >= units, "{units} units, {wait:?}");
        }
    }
}
