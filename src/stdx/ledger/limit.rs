//! One limit: its terms, what its words mean, and where keys are counted that found no slot of their own.

use super::bucket::{self, Bucket};
use super::clock::{Clock, Line, STEP_BITS};
use super::table::Tag;
use super::window::{self, UNITS_A_WINDOW};
use crate::stdx::atomic::AtomicU64;
use crate::stdx::time::Mono;
use std::time::Duration;

/// What a limit allows: never more than `burst + count x width / period` in a window of any width.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    pub algorithm: Algorithm,
    pub count: u32,
    pub period: Duration,
    /// What may come at once; of a sliding window always `count`.
    pub burst: u32,
}

impl Terms {
    /// Whether the ledger can count by them: not more than a request every 50 units of its clock, nor more than a
    /// window's counts hold.
    pub fn is_exact(self) -> bool {
        let scale = Scale::new(self);
        scale.fits(self) && (self.algorithm == Algorithm::SlidingWindow || scale.token >= TOKEN_UNITS_MIN)
    }

    /// Whether a limit that had the others at first can have these, and go on counting.
    pub fn can_follow(self, first: Self) -> bool {
        self.algorithm == first.algorithm && Scale::new(first).fits(self)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    TokenBucket,
    SlidingWindow,
}

/// What this node has of a limit that it shares with others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Share {
    /// Tokens of each key that it may hold.
    pub size: u32,
    /// How much of the rate its keys earn by themselves, in 2^-16; none while grants are what fills them.
    pub pace: u32,
}

#[derive(Debug)]
pub struct Limit {
    pub algorithm: Algorithm,
    pub is_shared: bool,
    scale: Scale,
    clock: Clock,
    /// One word for each part of the keys, which share it when the table is crowded. Nothing of it is ever out on
    /// lease. None of a limit that nodes share: the store could not tell whose it fills.
    overflow: Box<[AtomicU64]>,
}

/// What the words of a limit are measured in, for as long as it lives: chosen by its first terms.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Clock units of a token.
    token: u64,
    /// The pace of the clock, in 2^-48 units a nanosecond, is this times `count / period`.
    pace: u128,
}

/// A limit as of one time: what its words mean.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    algorithm: Algorithm,
    pub is_shared: bool,
    token: u64,
    line: Line,
    now: u64,
}

impl Scale {
    fn new(terms: Terms) -> Self {
        if terms.algorithm == Algorithm::SlidingWindow {
            return Self { token: 1, pace: u128::from(UNITS_A_WINDOW) << STEP_BITS };
        }
        // A unit is a nanosecond, unless that is so little of the burst that the clock would go round too often.
        let (count, nanos) = (u128::from(terms.count.max(1)), terms.period.as_nanos());
        let burst_nanos = nanos * u128::from(terms.burst) / count;
        let bits = (u128::BITS - burst_nanos.leading_zeros()).saturating_sub(BURST_BITS).min(STEP_BITS);
        let token = u64::try_from(nanos.div_ceil(count << bits)).unwrap_or(u64::MAX).max(1);
        Self { token, pace: (nanos << (STEP_BITS - bits)).div_ceil(count) }
    }

    fn step(self, terms: Terms) -> u64 {
        let times = match terms.algorithm {
            Algorithm::TokenBucket => u128::from(terms.count),
            Algorithm::SlidingWindow => 1,
        };
        u64::try_from(self.pace.saturating_mul(times) / terms.period.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    fn size(self, terms: Terms) -> u32 {
        match terms.algorithm {
            Algorithm::TokenBucket => terms.burst,
            Algorithm::SlidingWindow => terms.count,
        }
    }

    /// Whether words have room for what such terms let somebody owe.
    fn fits(self, terms: Terms) -> bool {
        match terms.algorithm {
            Algorithm::TokenBucket => u64::from(terms.burst).saturating_mul(self.token) <= SIZE_UNITS_MAX,
            Algorithm::SlidingWindow => terms.count <= window::SIZE_MAX,
        }
    }
}

impl Limit {
    /// Its keys share so many words where they find no slot.
    pub fn new(terms: Terms, overflows: usize) -> Self {
        Self { is_shared: false, overflow: (0..overflows).map(|_| AtomicU64::new(0)).collect(), ..Self::shared(terms) }
    }

    /// One that nodes share.
    pub fn shared(terms: Terms) -> Self {
        let (scale, clock) = (Scale::new(terms), Clock::default());
        Self { algorithm: terms.algorithm, is_shared: true, scale, clock, overflow: Box::default() }
    }

    /// Puts terms in force as of `now`, or says that they do not fit this limit's words. Only one thread may call this.
    pub fn set(&self, terms: Terms, now: Mono) -> bool {
        let fits = terms.algorithm == self.algorithm && self.scale.fits(terms);
        if fits {
            self.clock.set(self.scale.step(terms), self.scale.size(terms), now);
        }
        fits
    }

    /// How much longer it takes to work off a debt under these terms than under those in force, as a fraction.
    pub fn slows_down(&self, terms: Terms) -> Option<(u64, u64)> {
        let (before, after) = (self.clock.line().step(), self.scale.step(terms).max(1));
        (after < before).then_some((before, after))
    }

    /// Where a key is counted that finds no slot.
    pub fn overflow(&self, tag: Tag) -> Option<&AtomicU64> {
        // By other bits than those that choose the group: crowded groups spread over all of them.
        self.overflow.get((tag.hash() >> OVERFLOW_SHIFT) as usize % self.overflow.len().max(1))
    }

    /// The same of a limit that nodes share: what its keys hold here, and earn here.
    pub fn set_share(&self, terms: Terms, share: Share, now: Mono) -> bool {
        let fits = self.is_shared && terms.algorithm == self.algorithm && self.scale.fits(terms);
        if fits {
            let whole = self.scale.step(terms);
            let part = u64::try_from((u128::from(whole) * u128::from(share.pace)) >> PACE_BITS).unwrap_or(u64::MAX);
            self.clock.set_part(part, whole, share.size.min(terms.burst), now);
        }
        fits
    }

    pub fn meter(&self, now: Mono) -> Meter {
        let line = self.clock.line();
        let (algorithm, is_shared) = (self.algorithm, self.is_shared);
        Meter { algorithm, is_shared, token: self.scale.token, now: line.at(now), line }
    }
}

impl Meter {
    pub fn burst(&self) -> u32 {
        self.line.size()
    }

    fn bucket(&self) -> Bucket {
        Bucket { size: self.burst(), token: self.token }
    }

    /// Tokens to be had; less than none where the limit was lowered.
    pub fn free(&self, word: u64) -> i64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.bucket().free(word, self.now),
            Algorithm::SlidingWindow => window::free(self.burst(), word, self.now),
        }
    }

    /// Whether so many can be had.
    pub fn has(&self, word: u64, cost: u32) -> bool {
        match self.algorithm {
            Algorithm::TokenBucket => self.bucket().has(word, self.now, cost),
            Algorithm::SlidingWindow => window::free(self.burst(), word, self.now) >= i64::from(cost),
        }
    }

    /// Tokens that shards hold.
    pub fn out(&self, word: u64) -> u32 {
        match self.algorithm {
            Algorithm::TokenBucket => bucket::out(word),
            Algorithm::SlidingWindow => window::out(word),
        }
    }

    pub fn out_max(&self) -> u32 {
        match self.algorithm {
            Algorithm::TokenBucket => bucket::OUT_MAX,
            Algorithm::SlidingWindow => window::OUT_MAX,
        }
    }

    /// The word after `spent` tokens were spent, and with `out` of them on lease.
    pub fn charge(&self, word: u64, spent: u32, out: u32) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.bucket().charge(word, self.now, spent, out),
            Algorithm::SlidingWindow => window::charge(word, self.now, spent, out),
        }
    }

    /// The word of a key that owes what another word of the limit says, and nothing is on lease of.
    pub fn fresh(&self, word: u64) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.bucket().fresh(word, self.now),
            Algorithm::SlidingWindow => window::charge(word, self.now, 0, 0),
        }
    }

    /// The word after tokens that were spent turned out not to be.
    pub fn refund(&self, word: u64, count: u32) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.bucket().refund(word, count),
            Algorithm::SlidingWindow => window::refund(word, count),
        }
    }

    /// Tokens that were spent and not earned back.
    pub fn spent(&self, word: u64) -> u32 {
        let missing = i64::from(self.burst()) - i64::from(self.out(word)) - self.free(word);
        u32::try_from(missing.max(0)).unwrap_or(u32::MAX)
    }

    /// Whether the slot says nothing that a fresh one would not.
    pub fn is_past(&self, word: u64) -> bool {
        self.out(word) == 0
            && match self.algorithm {
                Algorithm::TokenBucket => bucket::is_past(word, self.now),
                Algorithm::SlidingWindow => window::is_past(word, self.now),
            }
    }

    /// How long until `cost` tokens can be had, if nobody else takes any; `Duration::MAX` if it never holds as many,
    /// which of a shared limit nobody knows here.
    pub fn wait(&self, word: u64, cost: u32) -> Duration {
        if cost > self.burst() && !self.is_shared {
            return Duration::MAX;
        }
        self.line.duration(match self.algorithm {
            Algorithm::TokenBucket => self.bucket().units_until(word, self.now, cost),
            Algorithm::SlidingWindow => window::units_until(self.burst(), word, self.now, cost),
        })
    }

    /// Whether its words mean what they do by the other.
    pub fn is_as(&self, other: &Self) -> bool {
        self.line == other.line
    }

    /// How long until all of it can be had.
    pub fn wait_full(&self, word: u64) -> Duration {
        self.line.duration(match self.algorithm {
            Algorithm::TokenBucket => self.bucket().units_until_full(word, self.now),
            Algorithm::SlidingWindow => window::units_until_full(word, self.now),
        })
    }
}

const OVERFLOW_SHIFT: u32 = 40;
/// Of [`Share::pace`].
const PACE_BITS: u32 = 16;
/// What a burst may take to be earned, in bits of clock units: 8 s of nanoseconds. The clock goes round in 2^17 times
/// that: who comes back after 13 days or more may meet an old debt, with a chance of 2^-14.
const BURST_BITS: u32 = 33;
/// A token is at least so many units of the clock, so that the rate is true to 2 %.
const TOKEN_UNITS_MIN: u64 = 50;
/// As much as that may grow when terms change, with what is out on lease beside it.
const SIZE_UNITS_MAX: u64 = bucket::DEBT_MAX / 2;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(count: u32, period: Duration, burst: u32) -> Terms {
        Terms { algorithm: Algorithm::TokenBucket, count, period, burst }
    }

    /// Spends all, and looks how many there are a while later, under other terms: never early, hardly late.
    #[track_caller]
    fn check(first: Terms, then: Terms, after: Duration, want: i64) {
        let limit = Limit::new(first, 0);
        let start = Mono::from_nanos(12_345_678_901);
        assert!(limit.set(first, start));
        let word = limit.meter(start).charge(0, first.burst, 0);
        assert_eq!(limit.meter(start).free(word), 0, "{first:?}");
        assert!(limit.set(then, start));
        let late = after / 1_000_000 + Duration::from_nanos(2);
        assert_eq!(limit.meter(start + after + late).free(word), want, "{first:?}, {then:?}");
        let early = after.saturating_sub(Duration::from_nanos(1));
        let free = limit.meter(start + early).free(word);
        assert!(free < want || after.is_zero() && free == want, "{free} of {first:?}, {then:?}");
    }

    #[test]
    fn tokens_are_earned_at_the_rate_whatever_it_is() {
        let year = SECOND * 86_400 * 365;
        let steady = |terms: Terms, after: Duration, want: i64| check(terms, terms, after, want);
        steady(bucket(1, SECOND, 1), SECOND, 1);
        steady(bucket(100_000, SECOND, 100_000), SECOND / 2, 50_000);
        steady(bucket(1_000_000, SECOND, 1_000_000), SECOND / 2, 500_000);
        steady(bucket(60, SECOND * 60, 60), SECOND * 30, 30);
        steady(bucket(1_000, year, 1_000), year / 2, 500);
        steady(bucket(1, year, 1), year, 1);
        steady(bucket(3, SECOND, 3), SECOND, 3);
    }

    #[test]
    fn other_terms_change_the_pace_and_forgive_nothing() {
        let at_first = bucket(100, SECOND, 100);
        check(at_first, bucket(200, SECOND, 200), Duration::ZERO, 100);
        check(at_first, bucket(200, SECOND, 100), SECOND / 4, 50);
        check(at_first, bucket(50, SECOND, 100), SECOND, 50);
        check(at_first, bucket(50, SECOND, 50), Duration::ZERO, -50);
        check(at_first, bucket(600, SECOND * 60, 100), SECOND, 10);
        check(at_first, bucket(1, SECOND * 3_600, 100), SECOND * 7_200, 2);
        assert!(!Limit::new(at_first, 0).set(bucket(1_000_000, SECOND, 1_000_000), Mono::ZERO), "that fits no word");
    }

    #[test]
    fn a_shared_limit_earns_only_its_part_and_tells_waits_by_the_whole() {
        let (terms, start) = (bucket(100, SECOND, 100), Mono::from_nanos(5_000_000_000));
        let limit = Limit::shared(terms);
        let share = |size, pace, at| assert!(limit.set_share(terms, Share { size, pace }, at));
        share(20, 0, start);
        let word = limit.meter(start).charge(0, 20, 0);
        let free = |after: Duration| limit.meter(start + after).free(word);
        assert_eq!((free(SECOND), limit.meter(start).spent(word)), (0, 20));
        assert_eq!(limit.meter(start).wait(word, 1), SECOND / 100);
        share(20, 1 << 14, start + SECOND);
        assert_eq!((free(SECOND), free(SECOND * 5 / 4)), (0, 6));
        share(10, 0, start + SECOND * 5 / 4);
        assert_eq!(free(SECOND * 2), -4);
        assert!(!Limit::new(terms, 0).set_share(terms, Share::default(), start), "that is a node's own");
    }
}
