//! Limits that several nodes share: what their keys hold here is filled by grants from a store that all nodes know.
//!
//! The clock of such a limit stands still, so that nobody earns anything by himself: whoever spends leaves a mark, and
//! control asks the store for what was spent. While the store is away the clock may go at this node's share of the
//! rate. What errs, errs towards refusing here too: a grant that finds its slot in other hands is lost, and a key that
//! finds no slot is refused, as other nodes may know it by one.

use super::limit::{Limit, Meter, Share, Terms};
use super::table::{Place, Tag};
use super::{Ledger, TRIES_MAX};
use crate::stdx::atomic::{AtomicU64, Ordering, fence};
use crate::stdx::time::Mono;

/// A key that lacks tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Want {
    pub limit: u16,
    /// What all nodes know it by.
    pub hash: u64,
    pub tokens: u32,
    place: Place,
    tag: Tag,
}

/// A bit for each slot.
#[derive(Debug)]
pub(super) struct Marks {
    words: Box<[AtomicU64]>,
}

impl Ledger {
    /// Puts in force what this node has of a shared limit. Only one thread may call this. False as for `set`.
    pub fn share(&self, limit: u16, terms: Terms, share: Share, now: Mono) -> bool {
        let Some(cell) = self.limits.get(usize::from(limit)).filter(|_| limit > 0) else { return false };
        cell.get_or_init(|| Box::new(Limit::shared(terms))).set_share(terms, share, now)
    }

    /// Whether it is filled by grants.
    pub(super) fn is_shared(&self, limit: u16) -> bool {
        self.limits.get(usize::from(limit)).and_then(|cell| cell.get()).is_some_and(|limit| limit.is_shared)
    }

    /// From now on keys are known by hashes of this seed, as on the other nodes.
    pub fn seed_shared(&self, seed: u64) {
        self.shared_seed.store(seed, Ordering::Relaxed);
    }

    pub fn shared_seed(&self) -> u64 {
        self.shared_seed.load(Ordering::Relaxed)
    }

    /// Adds keys that lack tokens until there are `max`, from where the last call stopped; each is named once.
    pub fn wants(&self, cursor: &mut usize, max: usize, now: Mono, wants: &mut Vec<Want>) {
        for _ in 0..self.marks.words.len() {
            if wants.len() >= max {
                return;
            }
            let word = *cursor % self.marks.words.len();
            let mut bits = self.marks.take(word);
            while bits != 0 && wants.len() < max {
                let slot = word * u64::BITS as usize + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                wants.extend(self.want(slot, now));
            }
            if bits != 0 {
                self.marks.words[word].fetch_or(bits, Ordering::Relaxed);
                return;
            }
            *cursor = word + 1;
        }
    }

    /// Fills a key with what was granted; what it does not lack any more is lost.
    pub fn deposit(&self, want: &Want, tokens: u32, now: Mono) {
        let Want { place, tag, .. } = *want;
        let Some(meter) = self.meter(tag, now) else { return };
        for _ in 0..TRIES_MAX {
            let Some(seen) = self.table.load(place, tag) else { return };
            let word = meter.refund(seen.word(), tokens.min(meter.spent(seen.word())));
            if self.table.exchange(place, seen, word).is_some() {
                return;
            }
        }
    }

    /// It is to be named again: not all that it lacks was granted.
    pub fn want_again(&self, want: &Want) {
        self.marks.set(want.place.index());
    }

    /// An exchange with the key's slot has come to its end: the store is to be asked for what lacks.
    pub(super) fn mark(&self, place: Place, meter: &Meter) {
        if meter.is_shared {
            // Whoever takes the mark away sees the exchange, or it is set here.
            fence(Ordering::SeqCst);
            self.marks.set(place.index());
        }
    }

    fn want(&self, slot: usize, now: Mono) -> Option<Want> {
        let (place, tag) = self.table.place(slot)?;
        let meter = self.meter(tag, now).filter(|meter| meter.is_shared)?;
        let tokens = meter.spent(self.table.load(place, tag)?.word());
        (tokens > 0).then_some(Want { limit: tag.limit(), hash: tag.hash(), tokens, place, tag })
    }
}

impl Marks {
    pub fn new(slots: usize) -> Self {
        Self { words: (0..slots.div_ceil(u64::BITS as usize)).map(|_| AtomicU64::new(0)).collect() }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    fn set(&self, slot: usize) {
        let (word, bit) = (&self.words[slot / u64::BITS as usize], 1 << (slot % u64::BITS as usize));
        // Most of the time it is set, and then nobody else's copy of it is disturbed.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn take(&self, word: usize) -> u64 {
        if self.words[word].load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let bits = self.words[word].swap(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Charge, Leases};
    use super::*;
    use std::time::Duration;

    const TERMS: Terms =
        Terms { algorithm: Algorithm::TokenBucket, count: 100, period: Duration::from_secs(1), burst: 100 };
    const NOW: Mono = Mono::from_nanos(7_000_000_000);

    fn ledger(size: u32) -> (Ledger, Leases) {
        let ledger = Ledger::new(1, 1, 64, 2);
        assert!(ledger.share(1, TERMS, Share { size, pace: 0 }, NOW));
        (ledger, Leases::new(0, 16))
    }

    fn admit(ledger: &Ledger, leases: &mut Leases, key: u32, times: u32) -> u32 {
        let charge = Charge { tag: ledger.tag(1, key), cost: 1 };
        (0..times).map(|_| u32::from(leases.admit(ledger, &[charge], NOW).is_ok())).sum()
    }

    fn wants(ledger: &Ledger, max: usize) -> Vec<Want> {
        let (mut cursor, mut wants) = (0, Vec::new());
        ledger.wants(&mut cursor, max, NOW, &mut wants);
        wants
    }

    #[test]
    fn what_was_spent_is_wanted_and_a_grant_fills_it() {
        let (ledger, mut leases) = ledger(10);
        assert_eq!(admit(&ledger, &mut leases, 7, 12), 10);
        let [want] = wants(&ledger, 9)[..] else { panic!("one key was spent from") };
        assert_eq!((want.limit, want.tokens, want.hash), (1, 10, ledger.tag(1, 7u32).hash()));
        assert!(wants(&ledger, 9).is_empty(), "it was named");
        ledger.deposit(&want, 4, NOW);
        ledger.want_again(&want);
        assert_eq!(wants(&ledger, 9)[0].tokens, 6);
        assert_eq!(admit(&ledger, &mut leases, 7, 9), 4);
        ledger.deposit(&want, 1_000, NOW);
        leases.settle(&ledger, NOW);
        assert_eq!(admit(&ledger, &mut leases, 7, 99), 10, "more than it may hold is lost");
    }

    #[test]
    fn wants_are_named_a_few_at_a_time_and_none_is_forgotten() {
        let (ledger, mut leases) = ledger(5);
        (0..20).for_each(|key| assert_eq!(admit(&ledger, &mut leases, key, 1), 1));
        let (mut cursor, mut named) = (0, Vec::new());
        for _ in 0..10 {
            let mut some = Vec::new();
            ledger.wants(&mut cursor, 3, NOW, &mut some);
            assert!(some.len() <= 3);
            named.extend(some);
        }
        let hashes: std::collections::BTreeSet<u64> = named.iter().map(|want| want.hash).collect();
        assert_eq!((named.len(), hashes.len()), (20, 20));
    }

    #[test]
    fn a_key_without_a_slot_is_refused_and_counted() {
        let ledger = Ledger::new(1, 1, 8, 1);
        assert!(ledger.share(1, TERMS, Share { size: 2, pace: 0 }, NOW));
        let mut leases = Leases::new(0, 16);
        let admitted: u32 = (0..400).map(|key| admit(&ledger, &mut leases, key, 2)).sum();
        assert_eq!((admitted, ledger.overflows()), (2 * 8, 2 * 392), "each slot, and nobody else");
        let wants = wants(&ledger, 99);
        assert_eq!(wants.len(), 8);
        wants.iter().for_each(|want| ledger.deposit(want, 1, NOW));
        let again: u32 = (0..400).map(|key| admit(&ledger, &mut leases, key, 2)).sum();
        assert_eq!(again, 8, "who has a slot keeps it until it lacks nothing");
    }

    #[test]
    fn nodes_of_one_seed_know_a_key_alike() {
        let ((one, _), (other, _)) = (ledger(1), ledger(1));
        other.seed_shared(99);
        assert_ne!(one.tag(1, "key"), other.tag(1, "key"));
        one.seed_shared(99);
        assert_eq!((one.tag(1, "key"), one.shared_seed()), (other.tag(1, "key"), 99));
    }
}
