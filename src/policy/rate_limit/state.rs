//! What a shard keeps for its limits: its leases, and whom it refused.

use super::super::Identity;
use crate::stdx::board::{Board, client_key};
use crate::stdx::hash::{KeyedMap, keyed_map};
use crate::stdx::ledger::{Charge, Leases, Ledger, Tag};
use crate::stdx::time::Mono;
use std::cell::RefCell;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// Of one shard. Without a board nothing is limited.
#[derive(Debug)]
pub struct State {
    board: Option<Arc<Board>>,
    shard: usize,
    /// Made when the first request is limited.
    leases: Option<Leases>,
    /// The limits that count clients by nothing but their addresses and were charged last.
    by_address: [Option<u16>; EXPECTED_MAX],
    refused: KeyedMap<u64, Refused>,
}

/// What a request was charged, for its response: by then its head may have been edited, and more may be known of it.
#[derive(Debug, Default)]
pub struct Charged {
    charges: RefCell<Vec<Charge>>,
}

/// What a request is likely to be charged for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected([Tag; EXPECTED_MAX]);

/// Requests that were refused since the last report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// By its id; none where a request had no route.
    pub route: Option<u32>,
    pub consumer: Option<Box<str>>,
    /// The period of the limit.
    pub limit: &'static str,
    pub count: u64,
}

impl Charged {
    /// Another request begins.
    pub fn forget(&self) {
        self.charges.borrow_mut().clear();
    }

    pub(super) fn note(&self, charges: &[Charge]) {
        self.charges.borrow_mut().extend_from_slice(charges);
    }

    /// Of the last limits, for the next request of the same connection: it will nearly always be charged for them. In a
    /// chain the narrower ones mostly come last, which have the more keys.
    pub fn expected(&self) -> Expected {
        let charges = self.charges.borrow();
        let mut tags = charges.iter().rev().map(|charge| charge.tag);
        Expected([(); EXPECTED_MAX].map(|()| tags.next().unwrap_or_default()))
    }

    /// Of the limit of that number.
    pub(super) fn of(&self, limit: u16) -> Option<Charge> {
        self.charges.borrow().iter().find(|charge| charge.tag.limit() == limit).copied()
    }
}

impl Default for State {
    fn default() -> Self {
        Self { board: None, shard: 0, leases: None, by_address: [None; EXPECTED_MAX], refused: keyed_map(0) }
    }
}

impl State {
    pub fn new(board: Arc<Board>, shard: usize, seed: u64) -> Self {
        let by_address = [None; EXPECTED_MAX];
        Self { board: Some(board), shard, leases: None, by_address, refused: keyed_map(seed) }
    }

    /// The node's ledger and the shard's leases, once there is any limit.
    pub fn parts(&mut self) -> Option<(&Ledger, &mut Leases)> {
        let ledger = self.board.as_ref()?.ledger()?;
        Some((ledger, self.leases.get_or_insert_with(|| Leases::new(self.shard, LEASE_KEYS))))
    }

    /// Calls `fetch` for what such a request will need, while its head is still to come.
    pub fn expect(&self, Expected(tags): Expected, mut fetch: impl FnMut(&Ledger, Tag)) {
        if tags == [Tag::default(); EXPECTED_MAX] {
            return;
        }
        if let Some(ledger) = self.board.as_ref().and_then(|board| board.ledger()) {
            tags.into_iter().filter(|tag| *tag != Tag::default()).for_each(|tag| fetch(ledger, tag));
        }
    }

    /// The same for a client of whom nothing is remembered, by what others are charged for.
    pub fn expect_of(&self, client: IpAddr, mut fetch: impl FnMut(&Ledger, Tag)) {
        if self.by_address == [None; EXPECTED_MAX] {
            return;
        }
        if let Some(ledger) = self.board.as_ref().and_then(|board| board.ledger()) {
            let key = by_address(client);
            let limits = self.by_address.iter().flatten();
            limits.for_each(|limit| fetch(ledger, ledger.tag(*limit, &key)));
        }
    }

    /// The configuration has changed: what was charged before may limit nobody any more.
    pub fn swapped(&mut self) {
        self.by_address = [None; EXPECTED_MAX];
    }

    pub(super) fn note_by_address(&mut self, limits: [Option<u16>; EXPECTED_MAX]) {
        self.by_address = limits;
    }

    /// When `reconcile` has something to do.
    pub fn due(&self) -> Option<Mono> {
        self.leases.as_ref()?.due()
    }

    pub fn reconcile(&mut self, now: Mono) {
        if let (Some(ledger), Some(leases)) = (self.board.as_ref().and_then(|board| board.ledger()), &mut self.leases) {
            leases.reconcile(ledger, now);
        }
    }

    /// Now and then, also where nothing is limited just now: leases may have been recalled.
    pub fn heed_recall(&mut self, now: Mono) {
        if self.board.as_ref().and_then(|board| board.ledger()).is_some_and(|ledger| ledger.is_recalling()) {
            let parts = self.parts();
            parts.into_iter().for_each(|(ledger, leases)| leases.reconcile(ledger, now));
        }
    }

    /// Gives back every lease: the shard ends.
    pub fn settle(&mut self, now: Mono) {
        if let (Some(ledger), Some(leases)) = (self.board.as_ref().and_then(|board| board.ledger()), &mut self.leases) {
            leases.settle(ledger, now);
        }
    }

    /// Counts a refusal. Beyond a bound consumers are not told apart.
    pub fn refuse(&mut self, route: Option<u32>, identity: Option<&Identity>, limit: &'static str) {
        let mut consumer = identity.and_then(|identity| identity.consumer.as_deref());
        if self.refused.len() >= REFUSED_MAX && consumer.is_some() {
            consumer = Some(OTHERS);
        }
        let key = self.refused.hasher().hash_one((route, consumer, limit));
        let fresh = || Refused { route, consumer: consumer.map(Into::into), limit, count: 0 };
        self.refused.entry(key).or_insert_with(fresh).count += 1;
    }

    /// Whom it refused since this was asked last.
    pub fn take_refused(&mut self) -> impl Iterator<Item = Refused> {
        self.refused.drain().map(|(_, refused)| refused)
    }
}

/// What a client is counted under of whom nothing else is known.
pub(super) fn by_address(client: IpAddr) -> impl Hash {
    (0u8, client_key(client))
}

/// Keys that a shard keeps count of: some times those of which it can hold leases, as where keys make room for others
/// it has none of those that are asked for less than 80 tokens a second. They take 144 KiB, which stay near.
pub const LEASE_KEYS: usize = 1 << 12;
/// Limits that a connection is remembered to be charged for: a client's own, and that of what it proves itself with; or
/// a client's for two periods.
pub(super) const EXPECTED_MAX: usize = 2;
/// Routes and consumers that are told apart in one report.
const REFUSED_MAX: usize = 256;
/// All other consumers.
pub const OTHERS: &str = "__other__";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::ledger::{Algorithm, Terms};
    use std::time::Duration;

    #[test]
    fn what_a_connection_was_charged_for_is_fetched_for_its_next_request() {
        let board = Arc::new(Board::new(1, 1, 8));
        let terms = Terms { algorithm: Algorithm::TokenBucket, count: 1, period: Duration::from_secs(1), burst: 1 };
        board.limit(&[(1, terms)], Mono::ZERO);
        let state = State::new(board.clone(), 0, 1);
        let tags: Vec<_> = (0..3).map(|key| board.ledger_made().tag(1, key)).collect();
        let charged = Charged::default();
        let fetched = |charged: &Charged| {
            let mut fetched = Vec::new();
            state.expect(charged.expected(), |_, tag| fetched.push(tag));
            fetched
        };
        assert_eq!(fetched(&charged), []);
        charged.note(&tags.iter().map(|tag| Charge { tag: *tag, cost: 1 }).collect::<Vec<_>>());
        assert_eq!(fetched(&charged), [tags[2], tags[1]]);
        charged.forget();
        assert_eq!(fetched(&charged), []);
    }
}
