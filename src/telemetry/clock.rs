//! RFC 3339 time stamps. The calendar is worked out once a second, not once a line.

use crate::stdx::date::{Date, SECONDS_A_DAY, put};
use crate::stdx::time::Wall;

/// A time stamp's text, kept for the second that it was made for.
#[derive(Debug)]
pub struct Clock {
    second: u64,
    text: [u8; STAMP_BYTES],
}

impl Clock {
    pub const fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }

    /// `2026-01-31T23:59:59.999Z`
    pub fn stamp(&mut self, time: Wall) -> &[u8; STAMP_BYTES] {
        if time.as_secs() != self.second {
            self.second = time.as_secs();
            self.write_second();
        }
        let millis = (time.as_nanos() / 1_000_000 % 1_000) as u32;
        put(&mut self.text[20..23], millis);
        &self.text
    }

    fn write_second(&mut self) {
        let Date { year, month, day } = Date::of(self.second / SECONDS_A_DAY);
        let rest = (self.second % SECONDS_A_DAY) as u32;
        put(&mut self.text[0..4], year);
        put(&mut self.text[5..7], month);
        put(&mut self.text[8..10], day);
        put(&mut self.text[11..13], rest / 3_600);
        put(&mut self.text[14..16], rest / 60 % 60);
        put(&mut self.text[17..19], rest % 60);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

pub const STAMP_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(clock: &mut Clock, millis: u64, stamp: &str) {
        let time = Wall::from_nanos(millis * 1_000_000);
        assert_eq!(std::str::from_utf8(clock.stamp(time)).unwrap(), stamp);
    }

    #[test]
    fn stamps_follow_the_calendar() {
        let clock = &mut Clock::new();
        check(clock, 0, "1970-01-01T00:00:00.000Z");
        check(clock, 999, "1970-01-01T00:00:00.999Z");
        check(clock, 951_782_399_000, "2000-02-28T23:59:59.000Z");
        check(clock, 951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(clock, 951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(clock, 1_709_251_199_999, "2024-02-29T23:59:59.999Z");
        check(clock, 1_735_689_599_001, "2024-12-31T23:59:59.001Z");
        check(clock, 1_735_689_600_000, "2025-01-01T00:00:00.000Z");
        check(clock, 4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_kept_second_serves_its_milliseconds_and_no_other_second() {
        let clock = &mut Clock::new();
        check(clock, 1_735_689_600_007, "2025-01-01T00:00:00.007Z");
        check(clock, 1_735_689_600_050, "2025-01-01T00:00:00.050Z");
        check(clock, 1_735_689_601_050, "2025-01-01T00:00:01.050Z");
        check(clock, 1_735_689_600_120, "2025-01-01T00:00:00.120Z");
    }
}
