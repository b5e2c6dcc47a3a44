//! What the shards of a node know of one another: a fixed table of atomics, read freely and written rarely.
//!
//! Nothing here is touched once a request. A connection touches it at its accept and at its end; a place among those
//! in flight is taken from a [`Lease`], which asks the board once for many.

use super::ledger::{LIMITS_MAX, Ledger, Prepare, Terms};
use super::time::Mono;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Shared by the shards of one process and its control thread.
#[derive(Debug)]
pub struct Board {
    shards: Box<[ShardCell]>,
    /// Shards that hand no connection over any more.
    closed: AtomicUsize,
    /// So many connections more than the shard that has fewest, at least, make one hand the next over.
    margin_min: u32,
    pub connections: Supply,
    pub requests: Supply,
    pub connections_per_client: Tally,
    /// By the service's id.
    pub connections_per_service: Tally,
    /// Made when there is a limit.
    ledger: OnceLock<Arc<Ledger>>,
    prepare: Prepare,
    seed: u64,
}

/// One shard's own line of the cache.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardCell {
    /// Those it has, and those on their way to it.
    connections: AtomicU32,
    /// It takes no more from others.
    closed: AtomicBool,
    /// Nanoseconds of its clock at its last sign of life.
    alive_at: AtomicU64,
    /// Of the plan that it goes by.
    generation: AtomicU64,
    /// Sockets that it accepts on.
    listeners: AtomicU32,
}

/// Places that all shards together may take. Of how many there are everybody is told by argument, as that may change.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Supply {
    taken: AtomicU64,
}

/// One shard's places, taken from a [`Supply`] some at a time.
#[derive(Debug, Default)]
pub struct Lease {
    held: u64,
    used: u64,
}

/// How many there are of each key, in a table that never grows: a key has two cells, by two hashes, and is taken for
/// the smaller. Strangers that share both are counted as one, so a limit may come early, and never late.
#[derive(Debug)]
pub struct Tally {
    cells: Box<[AtomicU32]>,
    seed: u64,
}

impl Board {
    /// `seed` keys the hash of clients' addresses. A shard keeps a connection unless it has more than `margin_min`, and
    /// an eighth, above the one with fewest.
    pub fn new(shards: usize, seed: u64, margin_min: u32) -> Self {
        Self {
            shards: (0..shards).map(|_| ShardCell::default()).collect(),
            closed: AtomicUsize::new(0),
            margin_min,
            connections: Supply::default(),
            requests: Supply::default(),
            connections_per_client: Tally::new(CLIENT_CELLS, seed),
            connections_per_service: Tally::new(SERVICE_CELLS, seed.rotate_left(32)),
            ledger: OnceLock::new(),
            prepare: |_| (),
            seed,
        }
    }

    /// Whose ledger has its memory prepared.
    pub fn preparing(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
    }

    /// With a ledger that was there before, as that of as many shards which begin anew: what was spent of limits stays
    /// spent. Those before may still have leases, and give them back as they end.
    pub fn with(self, ledger: Arc<Ledger>) -> Self {
        debug_assert_eq!(self.shards(), ledger.shards(), "leases are cut for so many shards");
        Self { ledger: OnceLock::from(ledger), ..self }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What every key of every limit has left; none before there is a limit.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.ledger.get()
    }

    /// The same, for whoever puts a limit there.
    pub fn ledger_made(&self) -> &Arc<Ledger> {
        self.ledger.get_or_init(|| ledger(self.shards(), self.seed.rotate_left(48), self.prepare))
    }

    /// Puts limits in force, by their numbers, for all shards at once. Only control does.
    pub fn limit(&self, limits: &[(u16, Terms)], now: Mono) {
        if limits.is_empty() {
            return;
        }
        let ledger = self.ledger_made();
        for (number, terms) in limits {
            let is_set = ledger.set(*number, *terms, now);
            debug_assert!(is_set, "limits have numbers that their terms fit");
        }
    }

    /// A connection comes to a shard, or is on its way to it.
    pub fn arrive(&self, shard: usize) {
        self.shards[shard].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// One of a shard's connections has ended, or did not come after all.
    pub fn depart(&self, shard: usize) {
        self.shards[shard].connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn connections_of(&self, shard: usize) -> u32 {
        self.shards[shard].connections.load(Ordering::Relaxed)
    }

    /// Who takes the next connection instead of this shard: the one that has fewest, if it has far fewer.
    pub fn less_loaded_than(&self, shard: usize) -> Option<usize> {
        let mine = self.connections_of(shard);
        let open = |other: &usize| !self.shards[*other].closed.load(Ordering::Relaxed);
        let all = (0..self.shards.len()).filter(open).map(|other| (self.connections_of(other), other));
        let (fewest, other) = all.min_by_key(|(connections, _)| *connections)?;
        (mine > fewest.saturating_add(self.margin_min.max(fewest / MARGIN_SHARE))).then_some(other)
    }

    /// Says that a shard hands nothing over any more, and wants nothing from others.
    pub fn close(&self, shard: usize) {
        if !self.shards[shard].closed.swap(true, Ordering::Relaxed) {
            self.closed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// No shard hands anything over any more: what is in the mailboxes is the last.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) >= self.shards.len()
    }

    /// Says that a shard has let go of every plan before this one.
    pub fn adopt_generation(&self, shard: usize, generation: u64) {
        self.shards[shard].generation.store(generation, Ordering::Release);
    }

    /// The oldest plan that any shard goes by.
    pub fn oldest_generation(&self) -> u64 {
        self.shards.iter().map(|shard| shard.generation.load(Ordering::Acquire)).min().unwrap_or_default()
    }

    pub fn set_listeners(&self, shard: usize, listeners: usize) {
        let listeners = u32::try_from(listeners).unwrap_or(u32::MAX);
        self.shards[shard].listeners.store(listeners, Ordering::Release);
    }

    /// Whether any shard accepts.
    pub fn accepts(&self) -> bool {
        self.shards.iter().any(|shard| shard.listeners.load(Ordering::Acquire) > 0)
    }

    pub fn beat(&self, shard: usize, now: Mono) {
        self.shards[shard].alive_at.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// A shard's last sign of life; `Mono::ZERO` before its first.
    pub fn beat_of(&self, shard: usize) -> Mono {
        Mono::from_nanos(self.shards[shard].alive_at.load(Ordering::Relaxed))
    }
}

impl Supply {
    /// Takes up to `wanted` of `of` places.
    fn take(&self, wanted: u64, of: u64) -> u64 {
        let mut got = 0;
        let take = |taken: u64| {
            got = of.saturating_sub(taken).min(wanted);
            (got > 0).then_some(taken + got)
        };
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => got,
            Err(_) => 0,
        }
    }

    fn give_back(&self, count: u64) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }

    /// Places that shards hold, used or not.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Takes one of `of` places that `shards` shards share; false if there is none.
    pub fn enter(&mut self, supply: &Supply, of: usize, shards: usize) -> bool {
        if self.used == self.held {
            self.held += supply.take(step(of, shards).max(1), of as u64);
        }
        let free = self.used < self.held;
        self.used += u64::from(free);
        free
    }

    /// Gives one back. What is more than two steps too many goes back to the others.
    pub fn leave(&mut self, supply: &Supply, of: usize, shards: usize) {
        self.used -= 1;
        let step = step(of, shards);
        let spare = self.held - self.used;
        if spare > 2 * step {
            supply.give_back(spare - step);
            self.held -= spare - step;
        }
    }

    /// Gives back what is not in use. A shard does so now and then: what it keeps, it keeps from the others.
    pub fn settle(&mut self, supply: &Supply) {
        supply.give_back(self.held - self.used);
        self.held = self.used;
    }
}

/// How many places a shard asks for at once: few enough that those it does not use deprive nobody of much, and none
/// where every place counts.
fn step(of: usize, shards: usize) -> u64 {
    if shards == 1 { of as u64 } else { (of / (STEPS_A_SHARD * shards)) as u64 }
}

impl Tally {
    /// `cells` is a power of two.
    pub fn new(cells: usize, seed: u64) -> Self {
        assert!(cells.is_power_of_two(), "cells are found by masking a hash");
        Self { cells: (0..cells).map(|_| AtomicU32::new(0)).collect(), seed }
    }

    /// Counts one more of this key, unless there are `max` of it.
    pub fn enter(&self, key: u128, max: usize) -> bool {
        let [first, second] = self.cells_of(key);
        let before = first.fetch_add(1, Ordering::Relaxed).min(second.fetch_add(1, Ordering::Relaxed));
        if before as usize >= max {
            self.leave(key);
            return false;
        }
        true
    }

    pub fn leave(&self, key: u128) {
        for cell in self.cells_of(key) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many there are of this key, or more.
    pub fn count(&self, key: u128) -> u32 {
        let [first, second] = self.cells_of(key);
        first.load(Ordering::Relaxed).min(second.load(Ordering::Relaxed))
    }

    fn cells_of(&self, key: u128) -> [&AtomicU32; 2] {
        let hash = mix(self.seed ^ mix(self.seed ^ key as u64) ^ (key >> 64) as u64);
        let mask = self.cells.len() as u64 - 1;
        let [first, second] = [hash & mask, hash >> 32 & mask];
        // A key that had one cell twice would count double.
        let second = if second == first { first ^ 1 } else { second };
        [first, second].map(|cell| &self.cells[cell as usize])
    }
}

/// A node's ledger.
pub fn ledger(shards: usize, seed: u64, prepare: Prepare) -> Arc<Ledger> {
    Arc::new(Ledger::prepared(shards, seed, LEDGER_SLOTS, LIMITS_MAX, prepare))
}

/// What a client is counted under: its IPv4 address, or its IPv6 /64, which is what a site hands to one machine.
pub fn client_key(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// The finalizer of MurmurHash3: every bit of the input moves every bit of the output.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// The part of the fewest connections that another shard may have more.
const MARGIN_SHARE: u32 = 8;
/// Into how many leases a shard's even share of a supply is cut.
const STEPS_A_SHARD: usize = 4;
/// 512 KiB. With 20,000 connections of as many clients, two of them share both cells with a chance of one in 40.
const CLIENT_CELLS: usize = 1 << 17;
const SERVICE_CELLS: usize = 1 << 14;
/// 32 MiB: of a million keys that have spent something lately, one in 150 finds no slot. Those share what each
/// limit has for them.
const LEDGER_SLOTS: usize = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::ledger::{Algorithm, Charge, Leases};
    use std::time::Duration;

    fn board(loads: &[usize]) -> Board {
        let board = Board::new(loads.len(), 1, 8);
        for (shard, load) in loads.iter().enumerate() {
            (0..*load).for_each(|_| board.arrive(shard));
        }
        board
    }

    #[test]
    fn shards_that_begin_anew_count_limits_on() {
        let (now, period) = (Mono::from_nanos(1), Duration::from_secs(1));
        let limits = [(1, Terms { algorithm: Algorithm::TokenBucket, count: 1, period, burst: 1 })];
        let admits = |board: &Board| {
            let ledger = board.ledger().expect("there is a limit");
            Leases::new(0, 4).admit(ledger, &[Charge { tag: ledger.tag(1, "key"), cost: 1 }], now).is_ok()
        };
        let first = Board::new(2, 1, 8);
        first.limit(&limits, now);
        assert!(admits(&first) && !admits(&first));
        let next = Board::new(2, 2, 8).with(first.ledger().expect("there is a limit").clone());
        next.limit(&limits, now);
        assert!(!admits(&next));
        assert!(Board::new(2, 3, 8).ledger().is_none());
    }

    #[test]
    fn a_connection_goes_elsewhere_only_above_the_margin() {
        #[track_caller]
        fn check(loads: &[usize], of: usize, want: Option<usize>) {
            assert_eq!(board(loads).less_loaded_than(of), want, "{loads:?}");
        }
        check(&[5], 0, None);
        check(&[8, 0], 0, None);
        check(&[9, 0], 0, Some(1));
        check(&[9, 0], 1, None);
        check(&[112, 100], 0, None);
        check(&[113, 100], 0, Some(1));
        check(&[1000, 300, 200, 900], 0, Some(2));
        check(&[1000, 300, 200, 900], 1, Some(2));
    }

    #[test]
    fn leases_never_exceed_their_supply_and_all_of_it_can_be_used() {
        for (of, shards) in [(1, 1), (1, 4), (7, 3), (100, 2), (10_000, 8)] {
            let supply = Supply::default();
            let mut leases: Vec<_> = (0..shards).map(|_| Lease::default()).collect();
            let mut entered = 0;
            while leases.iter_mut().any(|lease| lease.enter(&supply, of, shards)) {
                entered += 1;
            }
            assert_eq!(entered, of, "{shards} shards");
            for lease in &mut leases {
                (0..lease.used).for_each(|_| lease.leave(&supply, of, shards));
                lease.settle(&supply);
            }
            assert_eq!(supply.taken(), 0, "{of} places, {shards} shards");
        }
    }

    #[test]
    fn of_few_places_none_is_kept_unused() {
        let (supply, mut one, mut other) = (Supply::default(), Lease::default(), Lease::default());
        assert!(one.enter(&supply, 1, 2) && !other.enter(&supply, 1, 2));
        one.leave(&supply, 1, 2);
        assert!(other.enter(&supply, 1, 2) && !one.enter(&supply, 1, 2));
    }

    #[test]
    fn a_shard_that_needs_less_leaves_more_to_the_others() {
        let (supply, mut busy, mut other) = (Supply::default(), Lease::default(), Lease::default());
        (0..80).for_each(|_| assert!(busy.enter(&supply, 80, 2)));
        assert!(!other.enter(&supply, 80, 2));
        (0..79).for_each(|_| busy.leave(&supply, 80, 2));
        let mut entered = 0;
        while other.enter(&supply, 80, 2) {
            entered += 1;
        }
        assert!(entered >= 80 - 1 - 2 * 10, "{entered}");
    }

    #[test]
    fn fewer_places_than_are_taken_admit_nobody() {
        let (supply, mut lease) = (Supply::default(), Lease::default());
        (0..10).for_each(|_| assert!(lease.enter(&supply, 10, 1)));
        assert!(!lease.enter(&supply, 5, 1));
        (0..10).for_each(|_| lease.leave(&supply, 5, 1));
        lease.settle(&supply);
        assert_eq!((0..10).filter(|_| lease.enter(&supply, 5, 1)).count(), 5);
    }

    #[test]
    fn a_tally_admits_exactly_so_many_of_a_key_that_is_alone() {
        let tally = Tally::new(1 << 10, 7);
        let key = client_key([10, 0, 0, 1].into());
        (0..3).for_each(|_| assert!(tally.enter(key, 3)));
        assert!(!tally.enter(key, 3) && tally.count(key) == 3);
        tally.leave(key);
        assert!(tally.enter(key, 3));
    }

    #[test]
    fn no_key_counts_double() {
        for key in 0..1_000 {
            let tally = Tally::new(1 << 4, 7);
            assert_eq!((0..9).filter(|_| tally.enter(key, 5)).count(), 5, "{key}");
        }
    }

    #[test]
    fn a_crowded_tally_refuses_early_and_never_late() {
        let tally = Tally::new(1 << 4, 7);
        for key in 0..200 {
            let admitted = (0..20).filter(|_| tally.enter(key, 10)).count();
            assert!(admitted <= 10);
        }
        assert_eq!(tally.count(1000), 10);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let key = |address: &str| client_key(address.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }

    #[test]
    fn shards_tell_one_another_of_their_end() {
        let board = board(&[0, 0]);
        (0..9).for_each(|_| board.arrive(0));
        assert_eq!(board.less_loaded_than(0), Some(1));
        board.close(1);
        board.close(1);
        assert_eq!((board.is_closed(), board.less_loaded_than(0)), (false, None));
        board.close(0);
        assert!(board.is_closed());
        board.beat(1, Mono::from_nanos(9));
        assert_eq!((board.beat_of(0), board.beat_of(1)), (Mono::ZERO, Mono::from_nanos(9)));
    }
}
