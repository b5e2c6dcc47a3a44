//! How many of the last minute's attempts to prove who one is have failed.

use crate::stdx::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// Counts as they were, one about every second, the oldest first.
#[derive(Debug, Default)]
pub struct FailureRate {
    samples: VecDeque<(Mono, Counts)>,
}

/// Since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub attempts: u64,
    pub failures: u64,
}

impl FailureRate {
    pub fn sample(&mut self, now: Mono, counts: Counts) {
        if self.samples.back().is_some_and(|(at, _)| now.since(*at) < INTERVAL) {
            return;
        }
        // The one that was last when the minute began stays: the minute's counts begin with it.
        while self.samples.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, counts));
    }

    /// Between 0, also when nobody has tried, and 1.
    pub fn rate(&self, counts: Counts) -> f64 {
        let then = self.samples.front().map(|(_, then)| *then).unwrap_or_default();
        let attempts = counts.attempts.saturating_sub(then.attempts);
        let failures = counts.failures.saturating_sub(then.failures);
        if attempts == 0 { 0.0 } else { failures as f64 / attempts as f64 }
    }
}

const WINDOW: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let mut rate = FailureRate::default();
        let at = |millis| Mono::ZERO + Duration::from_millis(millis);
        let counts = |attempts, failures| Counts { attempts, failures };
        assert_eq!(rate.rate(counts(0, 0)), 0.0);
        rate.sample(at(0), counts(0, 0));
        assert_eq!(rate.rate(counts(4, 1)), 0.25);
        // Ten a second fail for a minute, then none does.
        for second in 1..=60 {
            rate.sample(at(second * 1000), counts(second * 10, second * 10));
            rate.sample(at(second * 1000 + 250), counts(second * 10 + 5, second * 10 + 5));
        }
        assert_eq!(rate.rate(counts(600, 600)), 1.0);
        for second in 61..=90 {
            rate.sample(at(second * 1000), counts(second * 10, 600));
        }
        assert_eq!(rate.rate(counts(900, 600)), 0.5);
        for second in 91..=120 {
            rate.sample(at(second * 1000), counts(second * 10, 600));
        }
        assert_eq!(rate.rate(counts(1200, 600)), 0.0);
        assert_eq!(rate.samples.len(), 61);
    }
}
