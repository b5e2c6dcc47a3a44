//! Hashing without chance: the same map in every process, on every run, under simulation.

#![expect(clippy::disallowed_types, reason = "the one place that gives the map a hasher without chance")]

use std::collections::HashMap;
use std::hash::BuildHasher;

/// A map whose keys the operator chose. A peer may look things up but never insert, so it cannot make keys collide.
pub type FixedMap<K, V> = HashMap<K, V, FixedHash>;

/// A map into which peers insert: who does not know the seed cannot make keys collide, and a run of a seed replays.
pub type KeyedMap<K, V> = HashMap<K, V, KeyedHash>;

/// Hashes what peers send.
pub type KeyedHash = ahash::RandomState;

pub fn keyed_map<K, V>(seed: u64) -> KeyedMap<K, V> {
    KeyedMap::with_hasher(keyed_hash(seed))
}

pub fn keyed_hash(seed: u64) -> KeyedHash {
    ahash::RandomState::with_seeds(seed, seed.rotate_left(16), seed.rotate_left(32), !seed)
}

#[derive(Clone, Copy, Debug, Default)]
pub struct FixedHash;

impl BuildHasher for FixedHash {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        let [a, b, c, d] = SEEDS;
        ahash::RandomState::with_seeds(a, b, c, d).build_hasher()
    }
}

/// The first digits of pi's fraction: nothing up the sleeve.
const SEEDS: [u64; 4] = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_builders_hash_alike() {
        assert_eq!(FixedHash.hash_one("shard"), FixedHash.hash_one("shard"));
        assert_ne!(FixedHash.hash_one("shard"), FixedHash.hash_one("gate"));
    }
}
