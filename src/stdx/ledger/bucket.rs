//! A token bucket as one word: when it will be full again, and how many of its tokens shards hold.
//!
//! ```text
//!   63   60 59                               10 9            0
//!   +-------+----------------------------------+-------------+
//!   | owner | full at, by the limit's clock    | tokens out  |
//!   | (of   | (theoretical arrival time)       | on lease    |
//!   | table)|                                  |             |
//!   +-------+----------------------------------+-------------+
//! ```
//!
//! With `debt = max(0, full at - now)` there are `size - out - debt / token` tokens to be had. A token that is taken on
//! lease moves to `out`, one that is reported as spent moves on to `debt`, and only `debt` is worked off by time. So
//! what is in the bucket and on lease together is never more than `size`, whatever shards do, however late they tell.

/// A bucket's measures.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens that it holds.
    pub size: u32,
    /// Units of the clock in which a token is earned.
    pub token: u64,
}

impl Bucket {
    /// Tokens to be had; less than none where the limit was lowered.
    pub fn free(self, word: u64, now: u64) -> i64 {
        let whole = debt(word, now).div_ceil(self.token);
        i64::from(self.size) - i64::from(out(word)) - whole as i64
    }

    /// Whether so many can be had: `free` without its division.
    pub fn has(self, word: u64, now: u64, cost: u32) -> bool {
        self.units_until(word, now, cost) == 0
    }

    /// The word after `spent` tokens were spent, and with `out` of them on lease.
    pub fn charge(self, word: u64, now: u64, spent: u32, out: u32) -> u64 {
        let full = if spent == 0 { full_at(word) } else { self.owing(word, now, spent) };
        (full & CLOCK_MASK) << OUT_BITS | u64::from(out)
    }

    /// The word of a key that owes what another word says, and nothing is on lease of.
    pub fn fresh(self, word: u64, now: u64) -> u64 {
        (self.owing(word, now, 0) & CLOCK_MASK) << OUT_BITS
    }

    /// When it is full again after so many more are spent. The clock of a limit whose pace was raised a lot goes round.
    fn owing(self, word: u64, now: u64, spent: u32) -> u64 {
        now.wrapping_add(debt(word, now)).wrapping_add(u64::from(spent) * self.token)
    }

    /// The word after tokens that were spent turned out not to be.
    pub fn refund(self, word: u64, count: u32) -> u64 {
        let full = full_at(word).wrapping_sub(u64::from(count) * self.token);
        (full & CLOCK_MASK) << OUT_BITS | u64::from(out(word))
    }

    /// Clock units until `cost` tokens can be had, if nobody else takes any.
    pub fn units_until(self, word: u64, now: u64, cost: u32) -> u64 {
        let room = u64::from(self.size) * self.token;
        let wanted = (u64::from(cost) + u64::from(out(word))) * self.token;
        (debt(word, now) + wanted).saturating_sub(room)
    }

    /// Clock units until it is full.
    pub fn units_until_full(self, word: u64, now: u64) -> u64 {
        debt(word, now) + u64::from(out(word)) * self.token
    }
}

pub fn out(word: u64) -> u32 {
    (word & OUT_MASK) as u32
}

/// Full, as far as nothing is on lease.
pub fn is_past(word: u64, now: u64) -> bool {
    debt(word, now) == 0
}

/// Clock units that are to be worked off. The clock goes round; what is further ahead than any debt can be lies behind.
fn debt(word: u64, now: u64) -> u64 {
    let ahead = full_at(word).wrapping_sub(now) & CLOCK_MASK;
    if ahead > DEBT_MAX { 0 } else { ahead }
}

fn full_at(word: u64) -> u64 {
    word >> OUT_BITS & CLOCK_MASK
}

/// Tokens that may be out on lease; one less than fits, so that no word is all ones.
pub const OUT_MAX: u32 = (1 << OUT_BITS) - 2;
/// The most that a bucket owes, in clock units; the clock goes round in 2^14 times that.
pub const DEBT_MAX: u64 = 1 << 36;

const OUT_BITS: u32 = 10;
const OUT_MASK: u64 = (1 << OUT_BITS) - 1;
const CLOCK_BITS: u32 = 50;
const CLOCK_MASK: u64 = (1 << CLOCK_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: u64 = 1000;

    fn bucket(size: u32) -> Bucket {
        Bucket { size, token: TOKEN }
    }

    #[test]
    fn what_is_spent_is_earned_back_by_time_and_what_is_out_is_not() {
        let word = bucket(10).charge(0, 100_000, 4, 3);
        let check = |now: u64, want: i64| assert_eq!(bucket(10).free(word, now), want, "at {now}");
        check(100_000, 3);
        check(100_999, 3);
        check(101_000, 4);
        check(104_000, 7);
        check(1_000_000_000, 7);
        assert!(is_past(word, 104_000) && !is_past(word, 103_999));
    }

    #[test]
    fn a_wait_ends_when_the_tokens_are_there() {
        #[track_caller]
        fn check(size: u32, (spent, out): (u32, u32), cost: u32, want: u64) {
            let (bucket, now) = (bucket(size), 50_123);
            let word = bucket.charge(0, now, spent, out);
            let wait = bucket.units_until(word, now, cost);
            assert_eq!(wait, want);
            assert!(bucket.free(word, now + wait) >= i64::from(cost), "size {size}, cost {cost}");
            assert!(wait == 0 || bucket.free(word, now + wait - 1) < i64::from(cost), "size {size}, cost {cost}");
        }
        check(1, (1, 0), 1, 1000);
        check(10, (4, 0), 1, 0);
        check(10, (10, 0), 3, 3000);
        check(10, (6, 2), 3, 1000);
    }

    #[test]
    fn a_clock_that_goes_round_forgives_nothing() {
        let now = u64::MAX - 500;
        let full = (now & CLOCK_MASK) << OUT_BITS;
        let word = bucket(10).charge(full, now, 4, 3);
        assert_eq!(bucket(10).free(word, now), 3);
        assert_eq!(bucket(10).free(word, now.wrapping_add(1_000)), 4);
        assert_eq!(bucket(10).free(bucket(10).fresh(word, now), now), 6);
    }

    #[test]
    fn a_refund_undoes_a_charge() {
        let word = bucket(10).charge(0, 777, 4, 3);
        assert_eq!(bucket(10).refund(bucket(10).charge(word, 777, 2, 3), 2), word);
        assert_eq!(bucket(10).free(bucket(10).refund(bucket(10).charge(0, 5, 2, 0), 2), 9), 10);
    }

    #[test]
    fn a_clock_that_has_gone_round_owes_nothing() {
        let round = CLOCK_MASK + 1;
        let word = bucket(7).charge((round - 2) << OUT_BITS, round - 2, 3, 0);
        assert_eq!((bucket(7).free(word, round + 1), bucket(7).free(word, round + 2_998)), (4, 7));
        assert!(is_past(word, round + 3_000) && is_past(word, round + DEBT_MAX));
        let late = round - 10_000;
        assert!(is_past(bucket(7).fresh(late << OUT_BITS, late), late), "and nothing does who is new");
        assert_eq!(bucket(7).free(bucket(7).fresh(bucket(7).charge(late << OUT_BITS, late, 3, 0), late), late), 4);
    }
}
