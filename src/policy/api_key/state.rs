//! What a shard keeps for its keys: whom it knows by them, and which were used.

use super::Refusal;
use crate::policy::{Consumers, Identity};
use crate::stdx::hash::{KeyedMap, keyed_map};
use std::rc::Rc;

/// Of one shard.
#[derive(Debug)]
pub struct State {
    /// By the id of the key.
    known: KeyedMap<u32, Known>,
    /// What `known` was read from.
    fingerprint: u64,
    /// Keys and seconds since 1970 that are yet to be told.
    uses: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct Known {
    identity: Rc<Identity>,
    used_at_s: u64,
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self { known: keyed_map(seed), fingerprint: 0, uses: Vec::new() }
    }

    /// Who sends this key.
    pub fn decide(&mut self, consumers: &Consumers, sent: &[u8], now_s: u64) -> Result<Rc<Identity>, Refusal> {
        let key = consumers.key(sent).ok_or(Refusal::Unknown)?;
        if key.expires_at_s.is_some_and(|at| now_s >= at) {
            return Err(Refusal::Expired);
        }
        if self.fingerprint != consumers.fingerprint() || self.known.len() >= KNOWN_MAX {
            self.known.clear();
            self.fingerprint = consumers.fingerprint();
        }
        let identity = || Rc::new(key.consumer.identity(Some(key.prefix)));
        let known = self.known.entry(key.id).or_insert_with(|| Known { identity: identity(), used_at_s: 0 });
        if known.used_at_s != now_s && self.uses.len() < USES_MAX {
            known.used_at_s = now_s;
            self.uses.push((key.id, now_s));
        }
        Ok(known.identity.clone())
    }

    /// Which keys were used since this was asked last, and when. What one report has no room for, the next use tells.
    pub fn take_uses(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.uses.drain(..)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new(0)
    }
}

/// Keys whose consumers a shard has at hand; with more it begins anew.
const KNOWN_MAX: usize = 1 << 14;
/// Uses that are told at once.
const USES_MAX: usize = 1 << 12;
