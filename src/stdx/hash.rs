//! Hashing without chance: the same map in every process, on every run, under simulation.

#![expect(clippy::disallowed_types, reason = "the one place that gives the map a hasher without chance")]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

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

/// SipHash-2-4 (Aumasson and Bernstein, 2012): the same number on every machine and in every version, which the maps'
/// hashes are not. For what is decided alike by all nodes.
pub fn stable(seed: u64, bytes: &[u8]) -> u64 {
    sip([seed, !seed], bytes)
}

fn sip(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut hasher = StableHasher::keyed(key);
    hasher.write(bytes);
    hasher.finish()
}

/// The same a piece at a time. What is hashed as numbers is the same on machines of one byte order.
#[derive(Clone, Debug)]
pub struct StableHasher {
    state: [u64; 4],
    /// Bytes that make no word yet, the first lowest, and how many there were in all.
    rest: u64,
    length: usize,
}

impl StableHasher {
    pub fn new(seed: u64) -> Self {
        Self::keyed([seed, !seed])
    }

    fn keyed(key: [u64; 2]) -> Self {
        let state = [
            key[0] ^ 0x736f_6d65_7073_6575,
            key[1] ^ 0x646f_7261_6e64_6f6d,
            key[0] ^ 0x6c79_6765_6e65_7261,
            key[1] ^ 0x7465_6462_7974_6573,
        ];
        Self { state, rest: 0, length: 0 }
    }

    fn absorb(&mut self, word: u64) {
        self.state[3] ^= word;
        (0..2).for_each(|_| sip_round(&mut self.state));
        self.state[0] ^= word;
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (head, bytes) = bytes.split_at(bytes.len().min(self.length.wrapping_neg() % 8));
        let push = |hasher: &mut Self, byte: u8| {
            hasher.rest |= u64::from(byte) << (8 * (hasher.length % 8));
            hasher.length += 1;
            if hasher.length.is_multiple_of(8) {
                let word = std::mem::take(&mut hasher.rest);
                hasher.absorb(word);
            }
        };
        head.iter().for_each(|byte| push(self, *byte));
        let (words, tail) = bytes.as_chunks();
        for word in words {
            self.absorb(u64::from_le_bytes(*word));
            self.length += 8;
        }
        tail.iter().for_each(|byte| push(self, *byte));
    }

    fn finish(&self) -> u64 {
        let mut last = self.clone();
        last.absorb(self.rest | (self.length as u64) << 56);
        last.state[2] ^= 0xff;
        (0..4).for_each(|_| sip_round(&mut last.state));
        last.state.iter().fold(0, |all, word| all ^ word)
    }
}

fn sip_round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

/// The first digits of pi's fraction: nothing up the sleeve.
const SEEDS: [u64; 4] = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_gives_the_numbers_of_its_authors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(sip(key, &message), 0xa129_ca61_49be_45e5);
        assert_eq!(sip(key, b""), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip(key, &message[..8]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let message: Vec<u8> = (0..40).collect();
        for (first, second) in (0..=40).flat_map(|first| (first..=40).map(move |second| (first, second))) {
            let mut hasher = StableHasher::new(9);
            for piece in [&message[..first], &message[first..second], &message[second..]] {
                hasher.write(piece);
            }
            assert_eq!(hasher.finish(), stable(9, &message), "{first}, {second}");
        }
    }

    #[test]
    fn two_builders_hash_alike() {
        assert_eq!(FixedHash.hash_one("shard"), FixedHash.hash_one("shard"));
        assert_ne!(FixedHash.hash_one("shard"), FixedHash.hash_one("gate"));
    }
}
