//! Whom a shard knows already: consumers that have proved themselves, so that the next request of one allocates
//! nothing.

use super::{Consumers, Identity};
use crate::stdx::hash::{KeyedMap, keyed_map};
use std::rc::Rc;

/// Of one shard, by the ids of consumers and of what they proved themselves with.
#[derive(Debug)]
pub struct Known {
    identities: KeyedMap<(u32, u32), Rc<Identity>>,
    /// Of the consumers that they were read from.
    fingerprint: u64,
}

impl Known {
    /// Stands for having proved nothing.
    pub const NO_CREDENTIAL: u32 = u32::MAX;

    /// `seed`: clients choose in which order they come.
    pub fn new(seed: u64) -> Self {
        Self { identities: keyed_map(seed), fingerprint: 0 }
    }

    /// Who that is, as `make` says if nobody has asked since consumers last changed.
    pub fn identity(
        &mut self,
        consumers: &Consumers,
        (consumer, credential): (u32, u32),
        make: impl FnOnce() -> Identity,
    ) -> Rc<Identity> {
        if self.fingerprint != consumers.fingerprint() || self.identities.len() >= KNOWN_MAX {
            self.identities.clear();
            self.fingerprint = consumers.fingerprint();
        }
        self.identities.entry((consumer, credential)).or_insert_with(|| Rc::new(make())).clone()
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new(0)
    }
}

/// With more it begins anew.
const KNOWN_MAX: usize = 1 << 14;
