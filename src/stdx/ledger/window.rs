//! A sliding window as one word: what was spent in this window and in the one before, and how much shards hold.
//!
//! ```text
//!   63   60 59          40 39       23 22        6 5         0
//!   +-------+-------------+-----------+-----------+-----------+
//!   | owner | the window's| spent in  | spent in  | out       |
//!   |       | number      | the last  | this one  | on lease  |
//!   +-------+-------------+-----------+-----------+-----------+
//! ```
//!
//! The last window counts for the part of it that a window ending now would still cover. As at most `size / period` of
//! it falls out in a second, no window of any width has more than `size + rate x width`, as for a bucket of that size.

/// Parts of a window.
pub const UNITS_A_WINDOW: u64 = 1 << UNIT_BITS;

/// Requests that a window may have.
pub const SIZE_MAX: u32 = (1 << COUNT_BITS) - 1;

/// On lease; one less than fits, so that no word is all ones.
pub const OUT_MAX: u32 = (1 << OUT_BITS) - 2;

/// Requests that may still come now; less than none where the limit was lowered.
pub fn free(size: u32, word: u64, now: u64) -> i64 {
    let counts = Counts::of(word).rolled(now);
    i64::from(size) - counts.spent(now) as i64 - i64::from(out(word))
}

pub fn out(word: u64) -> u32 {
    (word & OUT_MASK) as u32
}

/// The word after `spent` were spent, and with `out` on lease.
pub fn charge(word: u64, now: u64, spent: u32, out: u32) -> u64 {
    let mut counts = Counts::of(word);
    if spent > 0 {
        counts = counts.rolled(now);
        counts.this = (counts.this + u64::from(spent)).min(SIZE_MAX.into());
    }
    counts.word(out)
}

/// The word after what was spent turned out not to be; only what was spent just now can be in another window.
pub fn refund(word: u64, count: u32) -> u64 {
    let mut counts = Counts::of(word);
    let from_this = counts.this.min(count.into());
    counts.this -= from_this;
    counts.last = counts.last.saturating_sub(u64::from(count) - from_this);
    counts.word(out(word))
}

/// Nothing that was spent counts any more.
pub fn is_past(word: u64, now: u64) -> bool {
    let counts = Counts::of(word).rolled(now);
    counts.last == 0 && counts.this == 0
}

/// Parts of a window until `cost` can be had, if nobody else takes any.
pub fn units_until(size: u32, word: u64, now: u64, cost: u32) -> u64 {
    let counts = Counts::of(word).rolled(now);
    let part = counts.part(now);
    let room = u64::from(size).saturating_sub(u64::from(cost) + u64::from(out(word)));
    // When so much of a window has passed, no more than `left` of what was spent in the one before it counts.
    let passed = |spent: u64, left: u64| UNITS_A_WINDOW - (left * UNITS_A_WINDOW).checked_div(spent).unwrap_or(0);
    if counts.last + counts.this <= room {
        0
    } else if counts.this <= room {
        passed(counts.last, room - counts.this).saturating_sub(part)
    } else {
        UNITS_A_WINDOW - part + passed(counts.this, room)
    }
}

/// Parts of a window until nothing counts any more.
pub fn units_until_full(word: u64, now: u64) -> u64 {
    let counts = Counts::of(word).rolled(now);
    match (counts.last, counts.this) {
        (0, 0) => 0,
        (_, 0) => UNITS_A_WINDOW - counts.part(now),
        _ => 2 * UNITS_A_WINDOW - counts.part(now),
    }
}

struct Counts {
    number: u64,
    last: u64,
    this: u64,
}

impl Counts {
    fn of(word: u64) -> Self {
        let count = |shift: u32| word >> shift & u64::from(SIZE_MAX);
        Self { number: word >> NUMBER_SHIFT & NUMBER_MASK, last: count(LAST_SHIFT), this: count(OUT_BITS) }
    }

    fn word(&self, out: u32) -> u64 {
        self.number << NUMBER_SHIFT | self.last << LAST_SHIFT | self.this << OUT_BITS | u64::from(out)
    }

    /// As they are at a time: windows that have passed since move on. A shard whose turn began before another opened
    /// this window is judged as at the window's begin.
    fn rolled(self, now: u64) -> Self {
        let number = now >> UNIT_BITS & NUMBER_MASK;
        match number.wrapping_sub(self.number) & NUMBER_MASK {
            0 => self,
            1 => Self { number, last: self.this, this: 0 },
            behind if behind > NUMBER_MASK - AHEAD_MAX => self,
            _ => Self { number, last: 0, this: 0 },
        }
    }

    /// How much of this window has passed.
    fn part(&self, now: u64) -> u64 {
        if now >> UNIT_BITS & NUMBER_MASK == self.number { now % UNITS_A_WINDOW } else { 0 }
    }

    /// What counts: rounded against the client.
    fn spent(&self, now: u64) -> u64 {
        (self.last * (UNITS_A_WINDOW - self.part(now))).div_ceil(UNITS_A_WINDOW) + self.this
    }
}

const UNIT_BITS: u32 = 16;
const COUNT_BITS: u32 = 17;
const OUT_BITS: u32 = 6;
const OUT_MASK: u64 = (1 << OUT_BITS) - 1;
const LAST_SHIFT: u32 = OUT_BITS + COUNT_BITS;
const NUMBER_SHIFT: u32 = LAST_SHIFT + COUNT_BITS;
/// Numbers go round: with windows of a second once in 12 days, and who comes back to that very window may be refused
/// until it is over.
const NUMBER_MASK: u64 = (1 << 20) - 1;
/// Windows that another shard's clock can be ahead.
const AHEAD_MAX: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hundredths: u64) -> u64 {
        (hundredths * UNITS_A_WINDOW).div_ceil(100)
    }

    #[test]
    fn the_last_window_counts_as_far_as_it_is_still_covered() {
        let word = charge(charge(0, at(950), 60, 0), at(1010), 20, 5);
        let check = |now: u64, want: i64| assert_eq!(free(100, word, at(now)), want, "at {now}");
        check(1010, 100 - 54 - 20 - 5);
        check(1050, 100 - 30 - 20 - 5);
        check(1100, 100 - 20 - 5);
        check(1150, 100 - 10 - 5);
        check(1200, 95);
        check(1150 + (100 << 20), 100 - 10 - 5);
        assert!(is_past(word, at(1200)) && !is_past(word, at(1199)));
    }

    #[test]
    fn a_refund_undoes_a_charge() {
        let word = charge(0, at(950), 60, 5);
        assert_eq!(refund(charge(word, at(960), 7, 5), 7), word);
        assert_eq!(free(100, refund(charge(word, at(1000), 0, 5), 60), at(1000)), 95);
    }

    #[test]
    fn a_late_shard_opens_no_window_again() {
        let word = charge(0, at(1000), 10, 0);
        assert_eq!(free(10, charge(word, at(990), 0, 0), at(990)), 0);
        assert_eq!(free(30, charge(word, at(990), 10, 0), at(1001)), 10);
    }

    #[test]
    fn a_wait_ends_when_there_is_room() {
        #[track_caller]
        fn check(last: u32, this: u32, now: u64, cost: u32) {
            let word = charge(charge(0, at(1050), last, 0), at(1100), this, 0);
            let units = units_until(100, word, at(now), cost);
            assert!(free(100, word, at(now) + units) >= i64::from(cost), "{units}");
            assert!(units == 0 || free(100, word, at(now) + units - 1) < i64::from(cost), "{units}");
        }
        check(100, 10, 1105, 1);
        check(100, 10, 1150, 50);
        check(100, 100, 1199, 1);
        check(0, 100, 1110, 100);
        check(30, 30, 1110, 10);
        check(0, 100, 1110, 30);
    }
}
