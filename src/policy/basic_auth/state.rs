//! What a shard remembers of passwords: which were right, which were wrong, and who brought those.

use super::credentials::Credentials;
use crate::policy::Identity;
use crate::stdx::hash::{KeyedMap, keyed_map};
use crate::stdx::time::Mono;
use aws_lc_rs::hmac;
use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

/// Of all policies: what is known of a password holds for its hash, whoever asks.
pub struct State {
    /// Nobody else has it, so that what is kept of a password is worth nothing elsewhere.
    key: hmac::Key,
    right: Memory<Known, Right>,
    wrong: Memory<Known, ()>,
    /// Passwords of each client that were tried and have not been found to be right, in the time that began with the
    /// first. Who tries many at once, or does not wait for what comes of it, has tried them all the same.
    tries: Memory<u128, u32>,
}

/// What is kept of a user name, a password and the hash that it was held against.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Known([u8; KNOWN_BYTES]);

#[derive(Clone, Debug)]
struct Right {
    identity: Rc<Identity>,
    /// The consumers that it was made of.
    consumers: u64,
}

impl State {
    /// `seed`: nobody must know how passwords are hashed.
    pub fn new(seed: u64) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed.to_le_bytes()),
            right: Memory::new(seed, RIGHT_MAX),
            wrong: Memory::new(seed, WRONG_MAX),
            tries: Memory::new(seed, CLIENTS_MAX),
        }
    }

    pub fn known(&self, credentials: &Credentials, hash: &str) -> Known {
        self.digest(credentials.username(), credentials.password(), hash)
    }

    fn digest(&self, username: &str, password: &[u8], hash: &str) -> Known {
        let mut context = hmac::Context::with_key(&self.key);
        // Neither a user name nor a hash has a line end in it.
        [username.as_bytes(), b"\n", hash.as_bytes(), b"\n", password].iter().for_each(|part| context.update(part));
        let mut known = [0; KNOWN_BYTES];
        known.copy_from_slice(&context.sign().as_ref()[..KNOWN_BYTES]);
        Known(known)
    }

    /// Who it is, if the password was right lately; `identity` says who that is by now.
    pub fn right(
        &mut self,
        known: Known,
        consumers: u64,
        now: Mono,
        identity: impl Fn() -> Identity,
    ) -> Option<Rc<Identity>> {
        let right = self.right.get(&known, now)?;
        if right.consumers != consumers {
            *right = Right { identity: Rc::new(identity()), consumers };
        }
        Some(right.identity.clone())
    }

    pub fn was_wrong(&mut self, known: Known, now: Mono) -> bool {
        self.wrong.get(&known, now).is_some()
    }

    /// Whether this client has tried so many passwords that no more are verified for now.
    pub fn is_throttled(&mut self, client: u128, now: Mono) -> bool {
        self.tries.get(&client, now).is_some_and(|tries| *tries >= FAILURES_MAX)
    }

    /// One more password of this client is about to be verified.
    pub fn count(&mut self, client: u128, now: Mono) {
        match self.tries.get(&client, now) {
            Some(tries) => *tries += 1,
            None => self.tries.insert(client, 1, now + WRONG_FOR, now),
        }
    }

    /// One that was counted was right, or nobody has verified it.
    pub fn take_back(&mut self, client: u128, now: Mono) {
        if let Some(tries) = self.tries.get(&client, now) {
            *tries = tries.saturating_sub(1);
        }
    }

    pub fn remember_right(&mut self, known: Known, identity: Rc<Identity>, consumers: u64, until: Mono, now: Mono) {
        self.right.insert(known, Right { identity, consumers }, until, now);
    }

    pub fn remember_wrong(&mut self, known: Known, now: Mono) {
        self.wrong.insert(known, (), now + WRONG_FOR, now);
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} right, {} wrong)", self.right.entries.len(), self.wrong.entries.len())
    }
}

/// What is known for a time. At its bound it forgets what it has known longest.
struct Memory<K, V> {
    entries: KeyedMap<K, (V, Mono)>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Copy + Eq + Hash, V> Memory<K, V> {
    fn new(seed: u64, max: usize) -> Self {
        Self { entries: keyed_map(seed), order: VecDeque::new(), max }
    }

    fn get(&mut self, key: &K, now: Mono) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(_, until)| now < *until).map(|(value, _)| value)
    }

    fn insert(&mut self, key: K, value: V, until: Mono, now: Mono) {
        if self.entries.insert(key, (value, until)).is_some() {
            return;
        }
        self.order.push_back(key);
        let is_over = |oldest: &K| self.entries.get(oldest).is_none_or(|(_, until)| now >= *until);
        let over = self.order.iter().take(FORGOTTEN_AT_ONCE_MAX).take_while(|oldest| is_over(oldest)).count();
        for _ in 0..over.max(usize::from(self.entries.len() > self.max)) {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}

/// How long a wrong password is known, and how long wrong ones are counted.
pub const WRONG_FOR: Duration = Duration::from_secs(10);
/// Passwords of one client in that time that are not found to be right.
pub const FAILURES_MAX: u32 = 10;
/// Half of a digest leaves nobody a chance.
const KNOWN_BYTES: usize = 16;
const RIGHT_MAX: usize = 8192;
const WRONG_MAX: usize = 2048;
const CLIENTS_MAX: usize = 2048;
const FORGOTTEN_AT_ONCE_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded_in_time_and_number() {
        let at = |s: u64| Mono::from_nanos(s * 1_000_000_000);
        let mut memory = Memory::new(1, 3);
        (0..4).for_each(|key| memory.insert(key, key, at(10), at(0)));
        assert_eq!(memory.get(&0, at(0)), None, "three are known");
        assert_eq!(memory.get(&3, at(9)), Some(&mut 3));
        assert_eq!(memory.get(&3, at(10)), None);
        memory.insert(9, 9, at(30), at(20));
        assert_eq!((memory.entries.len(), memory.order.len()), (2, 2), "what is over makes room");
        memory.insert(9, 8, at(30), at(20));
        assert_eq!((memory.order.len(), memory.get(&9, at(20))), (2, Some(&mut 8)));
    }

    #[test]
    fn what_is_kept_differs_with_the_user_the_password_and_the_hash() {
        let state = State::new(1);
        let known = state.digest("ann", b"secret", "$h");
        assert_eq!(state.digest("ann", b"secret", "$h"), known);
        for (username, password, hash) in
            [("ann", "secre", "$h"), ("an", "nsecret", "$h"), ("ann", "secret", "$i"), ("bob", "secret", "$h")]
        {
            assert_ne!(state.digest(username, password.as_bytes(), hash), known);
        }
        assert_ne!(State::new(2).digest("ann", b"secret", "$h"), known);
    }
}
