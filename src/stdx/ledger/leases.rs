//! One shard's side of the ledger: the tokens that it holds of the keys it saw last, in a table that never grows.
//!
//! A key that is new takes token by token from the ledger. One that was spent from before gets a lease of a quarter of
//! what was spent in this period or the last, so that a shard never holds much more than it needs soon. A key that
//! makes room for another has its lease returned first.

use super::limit::Meter;
use super::table::{Place, Tag};
use super::{Ledger, Order, Outcome, Spot};
use crate::stdx::time::Mono;
use std::time::Duration;

/// What one request costs of one key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Charge {
    pub tag: Tag,
    pub cost: u32,
}

/// Which of the charges was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    pub charge: usize,
}

/// What a key has left.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Left {
    pub burst: u32,
    pub tokens: u32,
    /// Until what was asked for can be had.
    pub wait: Duration,
    /// Until all of its burst can be had again.
    pub full_in: Duration,
}

impl Left {
    /// Whether a smaller part of its burst is left.
    pub fn is_nearer_than(self, other: Self) -> bool {
        u64::from(self.tokens) * u64::from(other.burst) < u64::from(other.tokens) * u64::from(self.burst)
    }
}

/// Owned by a shard; nobody else spends from it.
#[derive(Debug)]
pub struct Leases {
    shard: usize,
    sets: Box<[Set]>,
    /// Entries that may hold a lease, by their numbers, each once.
    listed: Vec<u32>,
    /// What an entry's counts belong to. It ends with a reconcile, or when it is that old and a new key comes.
    period: u32,
    period_ends: Mono,
    /// The ledger's recall that was heeded last; no lease is taken while it is odd.
    recall: u32,
    due: Mono,
}

/// The entries that a key may have, in a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set {
    entries: [Entry; WAYS],
}

/// Half a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Its key's; `Tag::default()` if it has none.
    tag: Tag,
    place: Option<Place>,
    period: u32,
    /// Tokens that were spent in the entry's period, and in the one before.
    count: u32,
    count_before: u32,
    /// Of the lease: not spent, and spent but not told.
    held: u16,
    spent: u16,
    is_listed: bool,
}

/// What was taken for one charge, so that it can be given back.
#[derive(Clone, Copy, Debug)]
enum Taken {
    FromLease,
    FromLedger(Spot),
}

impl Leases {
    /// Of about `keys` keys.
    pub fn new(shard: usize, keys: usize) -> Self {
        let sets = (keys / WAYS).next_power_of_two();
        Self {
            shard,
            sets: vec![Set::default(); sets].into(),
            listed: Vec::with_capacity(sets * WAYS),
            period: 0,
            period_ends: Mono::ZERO,
            recall: 0,
            due: Mono::NEVER,
        }
    }

    /// What its table takes, whatever it holds.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sets) + self.listed.capacity() * size_of::<u32>()
    }

    /// Charges all of them, or none.
    pub fn admit(&mut self, ledger: &Ledger, charges: &[Charge], now: Mono) -> Result<(), Refused> {
        match charges {
            [charge] => self.take(ledger, *charge, now).map(|_| ()).ok_or(Refused { charge: 0 }),
            _ => self.take_all(ledger, charges, now),
        }
    }

    /// What a key has left as far as this shard can tell: what others hold is not counted.
    pub fn left(&self, ledger: &Ledger, charge: Charge, now: Mono) -> Left {
        let Charge { tag, cost } = charge;
        let Some(meter) = ledger.meter(tag, now) else { return Left::default() };
        let set = self.set(tag);
        let entry = self.sets[set].find(tag).map(|way| self.sets[set].entries[way]).unwrap_or_default();
        let word = ledger.word(tag, entry.place, now);
        let told = meter.charge(word, entry.spent.into(), meter.out(word).saturating_sub(entry.outstanding()));
        let tokens = meter.free(told).clamp(0, meter.burst().into()) as u32;
        let wait = if tokens < cost { meter.wait(told, cost) } else { Duration::ZERO };
        Left { burst: meter.burst(), tokens, wait, full_in: meter.wait_full(told) }
    }

    /// When `reconcile` has something to do.
    pub fn due(&self) -> Option<Mono> {
        (self.due < Mono::NEVER).then_some(self.due)
    }

    /// Tells the ledger what was spent and gives back the rest, of a bounded number of keys; those that are left are
    /// due at once.
    pub fn reconcile(&mut self, ledger: &Ledger, now: Mono) {
        if now < self.due && !self.is_recalled(ledger) {
            return;
        }
        for _ in 0..RECONCILED_MAX {
            let Some(number) = self.listed.pop() else { break };
            let entry = &mut self.sets[number as usize / WAYS].entries[number as usize % WAYS];
            entry.is_listed = false;
            entry.settle(ledger, now);
        }
        if !self.listed.is_empty() {
            self.due = now;
            return;
        }
        self.due = Mono::NEVER;
        self.begin_period(1, now);
        self.recall = ledger.heed(self.shard);
    }

    /// Gives back everything: the shard drains, or ends.
    pub fn settle(&mut self, ledger: &Ledger, now: Mono) {
        while !self.listed.is_empty() {
            self.due = now;
            self.reconcile(ledger, now);
        }
    }

    /// Whether leases are to be given back that nobody knows of here yet.
    fn is_recalled(&self, ledger: &Ledger) -> bool {
        self.recall != ledger.recalls()
    }

    fn take_all(&mut self, ledger: &Ledger, charges: &[Charge], now: Mono) -> Result<(), Refused> {
        // Who is refused anyway should cost the ledger's other keys nothing, not even for a moment.
        for (index, charge) in charges.iter().enumerate() {
            if !self.look(ledger, *charge, now) {
                return Err(Refused { charge: index });
            }
        }
        let mut taken = [None; CHARGES_MAX];
        debug_assert!(charges.len() <= CHARGES_MAX, "a request has a bounded number of charges");
        for (index, charge) in charges.iter().enumerate() {
            match self.take(ledger, *charge, now) {
                Some(one) => taken[index] = Some(one),
                None => {
                    let taken = charges.iter().zip(taken).filter_map(|(charge, one)| Some((*charge, one?)));
                    taken.for_each(|(charge, one)| self.give_back(ledger, charge, one, now));
                    return Err(Refused { charge: index });
                }
            }
        }
        Ok(())
    }

    /// Whether there is enough, without taking it.
    fn look(&mut self, ledger: &Ledger, charge: Charge, now: Mono) -> bool {
        let (set, way) = self.entry(ledger, charge.tag, now);
        let entry = self.sets[set].entries[way];
        let Some(meter) = ledger.meter(charge.tag, now) else { return true };
        let word = ledger.word(charge.tag, entry.place, now);
        entry.has(charge.cost) || meter.has(word, charge.cost.saturating_sub(entry.held.into()))
    }

    /// None if there is not enough.
    fn take(&mut self, ledger: &Ledger, charge: Charge, now: Mono) -> Option<Taken> {
        let Charge { tag, cost } = charge;
        let (set, way) = self.entry(ledger, tag, now);
        let is_lending = self.recall.is_multiple_of(2);
        let entry = &mut self.sets[set].entries[way];
        if entry.has(cost) {
            entry.held -= cost as u16;
            entry.spent += cost as u16;
            entry.count = entry.count.saturating_add(cost);
            return Some(Taken::FromLease);
        }
        let Some(meter) = ledger.meter(tag, now) else { return Some(Taken::FromLease) };
        let lease = if is_lending { entry.count.max(entry.count_before) / LEASE_SHARE } else { 0 };
        let (spent, returned) = (entry.spent.into(), entry.held.into());
        match ledger.exchange(tag, entry.place, Order { spent, returned, cost, lease }, &meter, now) {
            Outcome::Taken { lease, spot } => {
                entry.place = spot.place();
                (entry.held, entry.spent) = (lease as u16, 0);
                entry.count = entry.count.saturating_add(cost);
                if lease > 0 {
                    self.hold(set, way, now);
                }
                Some(Taken::FromLedger(spot))
            }
            Outcome::Refused => {
                // What it owes begins to be worked off when the ledger knows of it.
                entry.tell(ledger, &meter, now);
                None
            }
        }
    }

    fn give_back(&mut self, ledger: &Ledger, charge: Charge, taken: Taken, now: Mono) {
        let Some(meter) = ledger.meter(charge.tag, now) else { return };
        let set = self.set(charge.tag);
        let entry = self.sets[set].find(charge.tag).map(|way| &mut self.sets[set].entries[way]);
        match (taken, entry) {
            (Taken::FromLedger(spot), _) => ledger.refund(charge.tag, spot, charge.cost, &meter),
            (Taken::FromLease, Some(entry)) if u32::from(entry.spent) >= charge.cost => {
                entry.spent -= charge.cost as u16;
                entry.held += charge.cost as u16;
            }
            // It was told since, when its entry made room for another of the same request: it stays spent.
            (Taken::FromLease, _) => {}
        }
    }

    fn hold(&mut self, set: usize, way: usize, now: Mono) {
        if !std::mem::replace(&mut self.sets[set].entries[way].is_listed, true) {
            self.listed.push((set * WAYS + way) as u32);
        }
        self.due = self.due.min(now + RECONCILE_EVERY);
    }

    fn entry(&mut self, ledger: &Ledger, tag: Tag, now: Mono) -> (usize, usize) {
        let index = self.set(tag);
        let way = self.sets[index].find(tag).unwrap_or_else(|| self.make_room(ledger, tag, index, now));
        self.sets[index].entries[way].enter(self.period);
        (index, way)
    }

    /// Gives a key the entry of another, the one that was used longest ago.
    fn make_room(&mut self, ledger: &Ledger, tag: Tag, index: usize, now: Mono) -> usize {
        if now >= self.period_ends {
            let is_late = now >= self.period_ends + RECONCILE_EVERY;
            self.begin_period(if is_late { 2 } else { 1 }, now);
        }
        let (period, set) = (self.period, &mut self.sets[index]);
        let way = set.least(period);
        let entry = &mut set.entries[way];
        entry.settle(ledger, now);
        *entry = Entry { tag, period, is_listed: entry.is_listed, ..Entry::default() };
        way
    }

    fn begin_period(&mut self, passed: u32, now: Mono) {
        self.period = self.period.wrapping_add(passed);
        self.period_ends = now + RECONCILE_EVERY;
    }

    fn set(&self, tag: Tag) -> usize {
        (tag.hash() >> 20) as usize & (self.sets.len() - 1)
    }
}

impl Set {
    /// All of its entries are looked at, whichever it is: which one cannot be foretold, and a wrong guess costs more.
    fn find(&self, tag: Tag) -> Option<usize> {
        let found = (0..WAYS).fold(WAYS, |found, way| if self.entries[way].tag == tag { way } else { found });
        (found != WAYS).then_some(found)
    }

    /// The entry that is worth least in this period: those that hold nothing first; of them the one that was used
    /// longest ago; of several that were used in one period the one that was asked for least.
    fn least(&self, period: u32) -> usize {
        let worth = |way: usize| {
            let entry = &self.entries[way];
            let age = period.wrapping_sub(entry.period);
            let used = if entry.tag == Tag::default() { 0 } else { u64::from(u32::MAX - age) << COUNT_BITS };
            let asked = u64::from(entry.count).min((1 << COUNT_BITS) / WAYS as u64 - 1) * WAYS as u64;
            u64::from(entry.outstanding() > 0) << 63 | used | asked | way as u64
        };
        (0..WAYS).map(worth).fold(u64::MAX, u64::min) as usize % WAYS
    }
}

impl Entry {
    fn has(&self, cost: u32) -> bool {
        u32::from(self.held) >= cost
    }

    /// What the ledger takes for out on lease here.
    fn outstanding(&self) -> u32 {
        u32::from(self.held) + u32::from(self.spent)
    }

    /// Begins to count anew in another period.
    fn enter(&mut self, period: u32) {
        match period.wrapping_sub(self.period) {
            0 => {}
            1 => (self.count_before, self.count) = (self.count, 0),
            _ => (self.count_before, self.count) = (0, 0),
        }
        self.period = period;
    }

    /// Tells what was spent and gives back the rest.
    fn settle(&mut self, ledger: &Ledger, now: Mono) {
        if self.outstanding() > 0
            && let Some(meter) = ledger.meter(self.tag, now)
        {
            self.tell(ledger, &meter, now);
        }
    }

    fn tell(&mut self, ledger: &Ledger, meter: &Meter, now: Mono) {
        if self.outstanding() == 0 {
            return;
        }
        let order = Order { spent: self.spent.into(), returned: self.held.into(), cost: 0, lease: 0 };
        // Untold it stays out, and is told another time.
        if let Outcome::Taken { .. } = ledger.exchange(self.tag, self.place, order, meter, now) {
            (self.held, self.spent) = (0, 0);
        }
    }
}

impl Spot {
    fn place(self) -> Option<Place> {
        match self {
            Self::Slot(place, _) => Some(place),
            Self::Overflow => None,
        }
    }
}

/// How long a shard keeps what it does not need.
pub const RECONCILE_EVERY: Duration = Duration::from_millis(50);
/// Charges of one request.
pub const CHARGES_MAX: usize = 16;
/// A lease is this part of what was spent of the key lately: when it runs dry, others lack no more than that.
const LEASE_SHARE: u32 = 4;
/// Entries that a key may have.
const WAYS: usize = 2;
/// Where entries are compared, a period before all counts, which have so many bits with the way; a greater count is as
/// much as the greatest.
const COUNT_BITS: u32 = 31;
/// Reconciled in one turn.
const RECONCILED_MAX: usize = 256;
