//! Tokens that a shard has verified, so that the next request with one costs a look-up and no signature.

use super::claims::Verified;
use crate::stdx::hash::{KeyedMap, keyed_map};
use std::collections::VecDeque;
use std::rc::Rc;

/// Nothing but the same bytes finds what they meant. Bounded in bytes; what has not been used for long goes first.
#[derive(Debug)]
pub struct Cache {
    /// By what a token ends in.
    entries: KeyedMap<End, Entry>,
    /// As they came in; one that was used since it was last at the front goes to the back once more.
    order: VecDeque<End>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry {
    token: Box<[u8]>,
    verified: Rc<Verified>,
    bytes: usize,
    used: bool,
}

/// The last bytes of a token, which are a signature's: 192 bits of it that no other has.
type End = [u8; 32];

impl Cache {
    /// `seed`: a peer chooses the tokens, and must not be able to make them collide.
    pub fn new(seed: u64, bytes_max: usize) -> Self {
        Self { entries: keyed_map(seed), order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// What the token means, if it is known and has not expired.
    pub fn get(&mut self, token: &[u8], now_s: u64) -> Option<Rc<Verified>> {
        let entry = self.entries.get_mut(token.last_chunk()?)?;
        if now_s >= entry.verified.expires_at_s || *entry.token != *token {
            return None;
        }
        entry.used = true;
        Some(entry.verified.clone())
    }

    pub fn insert(&mut self, token: &[u8], verified: Rc<Verified>, now_s: u64) {
        let bytes = ENTRY_BYTES + token.len() + verified.bytes();
        let Some(end) = token.last_chunk().copied() else { return };
        if now_s >= verified.expires_at_s || bytes > self.bytes_max || self.entries.contains_key(&end) {
            return;
        }
        while self.bytes + bytes > self.bytes_max && self.evict() {}
        self.bytes += bytes;
        self.order.push_back(end);
        self.entries.insert(end, Entry { token: token.into(), verified, bytes, used: false });
    }

    /// What was verified with other keys is not verified.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets one; false when there is none.
    fn evict(&mut self) -> bool {
        for look in 1.. {
            let Some(end) = self.order.pop_front() else { break };
            let entry = self.entries.get_mut(&end).expect("every token in the order has an entry");
            if entry.used && look < EVICTION_LOOKS_MAX {
                entry.used = false;
                self.order.push_back(end);
                continue;
            }
            self.bytes -= entry.bytes;
            self.entries.remove(&end);
            return true;
        }
        false
    }
}

/// What an entry takes beside its token and its claims: its end twice, the record, the map's slack.
const ENTRY_BYTES: usize = 160;
/// Entries in use that are passed over in search of one that is not.
const EVICTION_LOOKS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(expires_at_s: u64) -> Rc<Verified> {
        Rc::new(Verified { expires_at_s, ..Verified::default() })
    }

    fn cache(entries: usize) -> Cache {
        Cache::new(7, entries * (ENTRY_BYTES + token(0).len() + verified(0).bytes()))
    }

    fn token(number: u32) -> Vec<u8> {
        format!("{number:40}").into_bytes()
    }

    #[test]
    fn only_the_same_bytes_are_found_and_never_after_expiry() {
        let mut cache = cache(10);
        let one = token(1);
        cache.insert(&one, verified(100), 50);
        assert!(cache.get(&one, 99).is_some());
        let with_another_beginning = [b"2", &one[1..]].concat();
        for (token, now_s) in [(&one, 100), (&one, 1000), (&token(2), 50), (&with_another_beginning, 50)] {
            assert!(cache.get(token, now_s).is_none(), "{token:?} at {now_s}");
        }
        for part in [&one[1..], &one[8..], &one[9..], b""] {
            assert!(cache.get(part, 50).is_none(), "{part:?}");
        }
        cache.insert(&token(3), verified(100), 100);
        assert!(cache.get(&token(3), 99).is_none());
    }

    #[test]
    fn bytes_are_bounded_and_what_is_used_stays() {
        let mut cache = cache(100);
        for number in 0..100_000 {
            cache.insert(&token(number), verified(u64::MAX), 0);
            assert!(cache.bytes() <= cache.bytes_max);
            assert!(cache.get(&token(0), 0).is_some(), "after {number}");
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (100, 100));
        assert!(cache.get(&token(50_000), 0).is_none());
        cache.insert(&vec![0; cache.bytes_max], verified(u64::MAX), 0);
        assert_eq!(cache.entries.len(), 100);
    }

    #[test]
    fn one_that_is_full_of_what_is_used_takes_the_next_one_all_the_same() {
        let mut cache = cache(1000);
        for number in 0..2000 {
            cache.insert(&token(number), verified(u64::MAX), 0);
            assert!(cache.get(&token(number), 0).is_some());
        }
        assert_eq!(cache.entries.len(), 1000);
    }

    #[test]
    fn nothing_is_left_after_keys_have_changed() {
        let mut cache = cache(10);
        cache.insert(&token(1), verified(100), 0);
        cache.clear();
        assert!(cache.get(&token(1), 0).is_none());
        assert_eq!((cache.bytes(), cache.order.len()), (0, 0));
    }
}
