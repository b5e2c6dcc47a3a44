//! What a shard notes of its keys: which were used, and when.

use crate::stdx::hash::{KeyedMap, keyed_map};

/// Of one shard.
#[derive(Debug)]
pub struct Uses {
    /// Seconds since 1970 that were told last, by the id of the key.
    told: KeyedMap<u32, u64>,
    /// Those that are yet to be told.
    uses: Vec<(u32, u64)>,
}

impl Uses {
    /// `seed`: clients choose in which order keys come.
    pub fn new(seed: u64) -> Self {
        Self { told: keyed_map(seed), uses: Vec::new() }
    }

    /// The key is good and was used. What one report has no room for, the next use tells.
    pub fn used(&mut self, key: u32, now_s: u64) {
        if self.uses.len() >= USES_MAX || self.told.get(&key) == Some(&now_s) {
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(key, now_s);
        self.uses.push((key, now_s));
    }

    /// Which keys were used since this was asked last, and when: each at most once a second.
    pub fn take_uses(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.uses.drain(..)
    }
}

impl Default for Uses {
    fn default() -> Self {
        Self::new(0)
    }
}

/// Keys that are told once a second however often they are used.
const TOLD_MAX: usize = 1 << 14;
/// Uses that are told at once.
const USES_MAX: usize = 1 << 12;
