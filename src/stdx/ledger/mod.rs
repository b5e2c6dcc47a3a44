//! The limit ledger: what every key of every limit has left, for all shards of a node, in one fixed table of atomics.
//!
//! A shard spends from leases of its own ([`Leases`]) and comes here for the next, once for many requests. Nobody
//! waits: an exchange is one compare-and-swap. Limits are exact: whatever is in a bucket and on lease together is never
//! more than the bucket holds, so in every window admitted <= burst + rate x width, by the times of the turns that
//! admitted.
//!
//! What errs, errs towards refusing: two keys of one hash share a bucket; a key that finds no slot shares one of its
//! limit's overflow words, or is refused if nodes share the limit, and is counted; what a lost shard held stays out
//! until [`Ledger::write_off`], which takes it for spent.

mod bucket;
mod clock;
mod leases;
mod limit;
mod shared;
mod table;
mod window;

pub use self::leases::{CHARGES_MAX, Charge, Leases, Left, RECONCILE_EVERY, Refused};
pub use self::limit::{Algorithm, Share, Terms};
pub use self::shared::Want;
pub use self::table::{GROUP_SLOTS, Prepare, Tag};
pub use self::window::SIZE_MAX as WINDOW_SIZE_MAX;

use self::limit::{Limit, Meter};
use self::shared::Marks;
use self::table::{Place, Seen, Table};
use crate::stdx::atomic::{AtomicU32, AtomicU64, Ordering, fence, spin_loop};
use crate::stdx::hash::{KeyedHash, StableHasher, keyed_hash};
use crate::stdx::time::Mono;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

/// Shared by the shards of one process and its control thread.
#[derive(Debug)]
pub struct Ledger {
    table: Table,
    hash: KeyedHash,
    /// By number, from 1. Never taken away: a slot's word means nothing without its limit.
    limits: Box<[OnceLock<Box<Limit>>]>,
    /// Keys the hash of what nodes count together, for all of them alike.
    shared_seed: AtomicU64,
    /// Slots of shared limits that were spent from.
    marks: Marks,
    /// Requests that were counted together with others or refused, because no slot was free.
    overflows: AtomicU64,
    /// One while a limit slows down and not all crowded groups are stamped accordingly.
    slowing: AtomicU32,
    /// Odd while no leases are given, so that what is still out is a lost shard's.
    recall: AtomicU32,
    /// The `recall` that each shard has heeded.
    heeded: Box<[AtomicU32]>,
}

/// What a shard tells of a key, and wants of it.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    /// Of its lease: spent since it last told, and not to be spent.
    spent: u32,
    returned: u32,
    /// To be spent now.
    cost: u32,
    /// On lease beyond that, at most.
    lease: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Taken { lease: u32, spot: Spot },
    Refused,
}

/// Where a key was counted, and its word as it was then.
#[derive(Clone, Copy, Debug)]
enum Spot {
    Slot(Place, Seen),
    Overflow,
}

impl Ledger {
    /// `seed` keys the hash of what clients send; `slots` is a power of two, and a slot has 16 bytes.
    pub fn new(shards: usize, seed: u64, slots: usize, limits_max: usize) -> Self {
        Self::prepared(shards, seed, slots, limits_max, |_| ())
    }

    /// The same; before its slots are written, `prepare` has them.
    pub fn prepared(shards: usize, seed: u64, slots: usize, limits_max: usize, prepare: Prepare) -> Self {
        assert!(limits_max <= LIMITS_MAX, "a tag has 16 bits for the limit's number");
        Self {
            table: Table::new(slots, prepare),
            hash: keyed_hash(seed),
            limits: (0..=limits_max).map(|_| OnceLock::new()).collect(),
            shared_seed: AtomicU64::new(seed),
            marks: Marks::new(slots),
            overflows: AtomicU64::new(0),
            slowing: AtomicU32::new(0),
            recall: AtomicU32::new(0),
            heeded: (0..shards).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Puts a limit's terms in force as of `now`: for all shards at once, and without forgiving anybody. Only one
    /// thread may call this. False if there is no such number, or if it was given to terms that these have nothing in
    /// common with: of another algorithm, or of a fraction of the burst.
    pub fn set(&self, limit: u16, terms: Terms, now: Mono) -> bool {
        let Some(cell) = self.limits.get(usize::from(limit)).filter(|_| limit > 0) else { return false };
        let limit = cell.get_or_init(|| Box::new(Limit::new(terms, self.overflow_words())));
        let Some((before, after)) = limit.slows_down(terms) else { return !limit.is_shared && limit.set(terms, now) };
        // Whoever goes by the slower pace sees this, or all that follows.
        self.slowing.store(1, Ordering::Relaxed);
        let is_set = !limit.is_shared && limit.set(terms, now);
        self.table.crowd_longer(now, |until| {
            let left = until.since(now).as_nanos() * u128::from(before);
            now + Duration::from_nanos(u64::try_from(left.div_ceil(u128::from(after))).unwrap_or(u64::MAX))
        });
        self.slowing.store(0, Ordering::Release);
        is_set
    }

    /// For the keys of a limit that find no slot: in a larger table there are more of them.
    fn overflow_words(&self) -> usize {
        (self.table.slots() / SLOTS_AN_OVERFLOW).clamp(OVERFLOWS_MIN, OVERFLOWS_MAX)
    }

    /// What a key of a limit is known by; of one that nodes share, to all of them.
    pub fn tag(&self, limit: u16, key: impl Hash) -> Tag {
        if self.is_shared(limit) {
            let mut hasher = StableHasher::new(self.shared_seed.load(Ordering::Relaxed));
            key.hash(&mut hasher);
            return Tag::new(hasher.finish(), limit);
        }
        Tag::new(self.hash.hash_one((limit, key)), limit)
    }

    /// The lines of the cache in which a key is looked for, for whoever knows early that it will be.
    pub fn lines(&self, tag: Tag) -> [&AtomicU64; 3] {
        self.table.lines(tag)
    }

    pub fn shards(&self) -> usize {
        self.heeded.len()
    }

    /// What its table takes: the same from the first key to the last.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.marks.bytes() + size_of_val(&*self.limits)
    }

    /// Requests that were counted together with others or refused, because no slot was free.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    fn limit(&self, tag: Tag) -> Option<&Limit> {
        self.limits.get(usize::from(tag.limit()))?.get().map(|limit| &**limit)
    }

    fn meter(&self, tag: Tag, now: Mono) -> Option<Meter> {
        Some(self.limit(tag)?.meter(now))
    }

    /// Tells and takes in one step; refused, nothing is told either. `place` is where the key was last.
    fn exchange(&self, tag: Tag, place: Option<Place>, order: Order, meter: &Meter, now: Mono) -> Outcome {
        // Nearly always it has a slot, and nobody is faster. The rest is kept apart: with it this would take so long
        // that the next key's line is not asked for before this one's has come.
        let place = place.or_else(|| self.table.find(tag));
        let outcome = place.and_then(|at| self.attempt(at, tag, order, meter));
        outcome.unwrap_or_else(|| self.insist(tag, order, meter, now))
    }

    /// None if the slot changes hands or is another's, or somebody was faster.
    #[inline]
    fn attempt(&self, at: Place, tag: Tag, order: Order, meter: &Meter) -> Option<Outcome> {
        let seen = self.table.load(at, tag)?;
        let Some((lease, word)) = self.agree(meter, seen.word(), order) else {
            self.mark(at, meter);
            return Some(Outcome::Refused);
        };
        let seen = self.table.exchange(at, seen, word)?;
        self.mark(at, meter);
        Some(Outcome::Taken { lease, spot: Spot::Slot(at, seen) })
    }

    /// For a key that has no slot yet, or finds none, or that others ask for just now.
    #[inline(never)]
    fn insist(&self, tag: Tag, order: Order, meter: &Meter, now: Mono) -> Outcome {
        for _ in 0..TRIES_MAX {
            let outcome = match self.locate(tag, now) {
                Some(at) => self.attempt(at, tag, order, meter),
                None => self.exchange_overflow(tag, order, meter, now),
            };
            match outcome {
                Some(outcome) => return outcome,
                None => spin_loop(),
            }
        }
        Outcome::Refused
    }

    /// Gives back what an exchange spent.
    fn refund(&self, tag: Tag, spot: Spot, count: u32, meter: &Meter) {
        match spot {
            Spot::Slot(place, taken) => {
                for _ in 0..TRIES_MAX {
                    // Once the slot is another's, everything was earned back before.
                    let Some(seen) = self.table.load(place, tag).filter(|seen| seen.is_same_owner(taken)) else {
                        return;
                    };
                    if self.table.exchange(place, seen, meter.refund(seen.word(), count)).is_some() {
                        return;
                    }
                }
            }
            Spot::Overflow => {
                if let Some(word) = self.overflow_of(tag) {
                    let refund = |word| Some(meter.refund(word, count));
                    let _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, refund);
                }
            }
        }
    }

    /// The key's word as it is now; after its meter was read.
    fn word(&self, tag: Tag, place: Option<Place>, now: Mono) -> u64 {
        let load = |place| self.table.load(place, tag).map(Seen::word);
        let overflow = || {
            let owed = self.overflow_of(tag).filter(|_| self.may_owe(tag, now));
            owed.map_or(0, |word| word.load(Ordering::Acquire))
        };
        place.and_then(load).or_else(|| self.table.find(tag).and_then(load)).unwrap_or_else(overflow)
    }

    /// How much goes on lease, and the word after the order; none if there is not enough.
    fn agree(&self, meter: &Meter, word: u64, order: Order) -> Option<(u32, u64)> {
        let out = meter.out(word).saturating_sub(order.spent + order.returned);
        let told = meter.charge(word, order.spent, out);
        if order.cost > 0 && !meter.has(told, order.cost) {
            return None;
        }
        let lease = if order.lease > 0 { self.lease(meter, told, order) } else { 0 };
        Some((lease, meter.charge(told, order.cost, out + lease)))
    }

    /// Of what is left after the order's cost, as much as a shard may have.
    fn lease(&self, meter: &Meter, told: u64, order: Order) -> u32 {
        let (free, shards) = (meter.free(told) - i64::from(order.cost), self.shards() as u32);
        // A quarter of what there is may be on lease; what other shards hold is not to be had where it is needed.
        let share = u32::try_from(free.max(0)).unwrap_or(u32::MAX) / LEASED_SHARE / shards;
        order.lease.min(share).min(meter.out_max().saturating_sub(meter.out(told)) / shards)
    }

    fn locate(&self, tag: Tag, now: Mono) -> Option<Place> {
        // Who was counted in the overflow owes it still, and so may everybody of a group of which somebody was.
        let fresh = || match (self.overflow_of(tag), self.meter(tag, now)) {
            (Some(overflow), Some(meter)) if self.may_owe(tag, now) => meter.fresh(overflow.load(Ordering::Acquire)),
            _ => 0,
        };
        self.table.find(tag).or_else(|| self.table.claim(tag, fresh, |tag| self.meter(tag, now)))
    }

    /// Whether a key may have been charged in the overflow what it has not earned back; after its meter was read.
    fn may_owe(&self, tag: Tag, now: Mono) -> bool {
        self.slowing.load(Ordering::Acquire) != 0 || self.table.crowded_until(tag) > now
    }

    /// Nothing of an overflow is on lease. None if the key has found a slot meanwhile, or others were faster.
    fn exchange_overflow(&self, tag: Tag, order: Order, meter: &Meter, now: Mono) -> Option<Outcome> {
        let Some(overflow) = self.overflow_of(tag) else {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return Some(Outcome::Refused);
        };
        let word = overflow.load(Ordering::Acquire);
        if order.cost > 0 && !meter.has(word, order.cost) {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            return Some(Outcome::Refused);
        }
        let to = meter.charge(word, order.cost, 0);
        overflow.compare_exchange(word, to, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        self.overflows.fetch_add(1, Ordering::Relaxed);
        self.stamp(tag, to, *meter, now);
        self.table.find(tag).is_none().then_some(Outcome::Taken { lease: 0, spot: Spot::Overflow })
    }

    /// The key was charged in the overflow, whose word is this now.
    fn stamp(&self, tag: Tag, word: u64, meter: Meter, now: Mono) {
        let mut meter = meter;
        loop {
            // No key owes more than the word of all of them.
            self.table.crowd(tag, now + meter.wait_full(word));
            // Who brings this key to a slot has seen charge and stamp, or is seen afterwards. Then it is charged once
            // more, there. And who slows the limit down has seen the stamp, or is seen here.
            fence(Ordering::SeqCst);
            match self.meter(tag, now) {
                Some(other) if !other.is_as(&meter) => meter = other,
                _ => return,
            }
        }
    }

    fn overflow_of(&self, tag: Tag) -> Option<&AtomicU64> {
        self.limit(tag)?.overflow(tag)
    }
}

/// A shard that was lost: what it held is taken for spent, so that no slot waits for it for ever.
///
/// 1. Once its thread has ended, control calls `recall`.
/// 2. Every shard that lives gives its leases back at its next reconcile, says so, and spends token by token.
/// 3. When all have said so, what is still out is the lost shard's: `write_off` charges it and lifts the recall.
///
/// Until then a key has at most one lease less of its burst, and its rate in full.
///
/// A ledger outlives a shard's memory where shards begin anew on epoll because a ring has failed: those before give
/// back what they hold as they end, unless one panics at that. One that panics at another time ends the process.
impl Ledger {
    pub fn recall(&self) {
        self.recall.fetch_or(1, Ordering::AcqRel);
    }

    /// Whether shards are to give back what they hold.
    pub fn is_recalling(&self) -> bool {
        !self.recalls().is_multiple_of(2)
    }

    fn recalls(&self) -> u32 {
        self.recall.load(Ordering::Relaxed)
    }

    /// A shard says that it holds nothing any more, and learns whether it may.
    fn heed(&self, shard: usize) -> u32 {
        let recall = self.recall.load(Ordering::Acquire);
        self.heeded[shard].store(recall, Ordering::Release);
        recall
    }

    /// Whether all shards but those for which `is_lost` have given back their leases.
    pub fn is_recalled(&self, is_lost: impl Fn(usize) -> bool) -> bool {
        let recall = self.recall.load(Ordering::Acquire);
        let heeded = |shard: usize| self.heeded[shard].load(Ordering::Acquire) == recall;
        recall % 2 == 1 && (0..self.shards()).all(|shard| is_lost(shard) || heeded(shard))
    }

    /// The last step, if it is time for it and every shard lives, which a lost one's successor does too.
    pub fn write_off_when_recalled(&self, now: Mono) {
        if self.is_recalled(|_| false) {
            self.write_off(now);
        }
    }

    /// Takes for spent all that is out on lease. Only after `is_recalled` has said so.
    pub fn write_off(&self, now: Mono) {
        for (place, tag) in self.table.places() {
            let Some(meter) = self.meter(tag, now) else { continue };
            while let Some(seen) = self.table.load(place, tag).filter(|seen| meter.out(seen.word()) > 0) {
                let word = meter.charge(seen.word(), meter.out(seen.word()), 0);
                if self.table.exchange(place, seen, word).is_some() {
                    self.mark(place, &meter);
                    break;
                }
            }
        }
        self.recall.fetch_add(1, Ordering::AcqRel);
    }
}

/// The part of what a bucket holds that shards may have on lease together.
const LEASED_SHARE: u32 = 4;
/// Slots of the table for each word in which the keys of a limit are counted that find none.
const SLOTS_AN_OVERFLOW: usize = 1 << 13;
const OVERFLOWS_MIN: usize = 16;
const OVERFLOWS_MAX: usize = 256;
/// Times that an exchange is tried again because others were faster, or a slot changes hands.
const TRIES_MAX: usize = 1024;
/// Limits that a ledger can have: the numbers that fit a tag.
pub const LIMITS_MAX: usize = u16::MAX as usize;
