//! What a shard keeps for its tokens: keys that it has parsed, and what they have verified.

use super::cache::Cache;
use super::claims::Verified;
use super::jwks::KeyBook;
use super::keys::KeySet;
use super::verify::Verifiers;
use super::{Issuer, Jwt, Keys, Refusal};
use crate::policy::Consumers;
use crate::stdx::hash::FixedMap;
use std::rc::Rc;
use std::sync::Arc;

/// All of a shard. Policies that say the same share one.
#[derive(Debug, Default)]
pub struct States {
    /// By the fingerprint of the policy, and of the consumers that its tokens may name.
    states: FixedMap<(u64, u64), State>,
    book: KeyBook,
    /// Sources of which a token has a key that they do not have.
    wanted: Vec<u64>,
    seed: u64,
}

#[derive(Debug)]
struct State {
    /// The generation of the book that the rest is for.
    book: u64,
    issuers: Vec<Adopted>,
    cache: Cache,
    /// Since the configuration last changed.
    used: bool,
}

/// An issuer's keys, parsed.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub verifiers: Verifiers,
    /// What they were parsed from, of keys that are published; none before the first were fetched.
    pub published: Option<Arc<KeySet>>,
}

impl States {
    /// `seed`: clients must not know how tokens are hashed.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// From now on these keys are in force.
    pub fn publish(&mut self, book: KeyBook) {
        self.book = book;
    }

    /// The configuration has changed: what no policy has used since the last time belongs to none.
    pub fn swapped(&mut self) {
        self.states.retain(|_, state| std::mem::take(&mut state.used));
    }

    /// The sources whose keys should be fetched soon.
    pub fn take_wanted(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.wanted)
    }

    /// Who sends this token, as one of these consumers if it names one.
    pub fn decide(
        &mut self,
        jwt: &Jwt,
        consumers: &Consumers,
        token: &[u8],
        now_s: u64,
    ) -> Result<Rc<Verified>, Refusal> {
        let (seed, book) = (self.seed, &self.book);
        let among = jwt.config.consumer_claim.as_ref().map_or(0, |_| consumers.fingerprint());
        let state = self.states.entry((jwt.fingerprint, among)).or_insert_with(|| State::new(seed, jwt, book));
        state.used = true;
        if state.book != book.generation {
            state.adopt(jwt, book);
        }
        if let Some(verified) = state.cache.get(token, now_s) {
            return Ok(verified);
        }
        let verified = Rc::new(jwt.verify(&state.issuers, consumers, token, now_s, &mut self.wanted)?);
        state.cache.insert(token, verified.clone(), now_s);
        Ok(verified)
    }
}

impl State {
    fn new(seed: u64, jwt: &Jwt, book: &KeyBook) -> Self {
        let issuers = jwt.issuers.iter().map(Adopted::fixed).collect();
        let cache = Cache::new(seed, jwt.config.cache_bytes_max);
        let mut state = Self { book: book.generation, issuers, cache, used: true };
        state.adopt(jwt, book);
        state
    }

    /// Parses what keys have changed. Nothing that was verified before is known any more.
    fn adopt(&mut self, jwt: &Jwt, book: &KeyBook) {
        for (issuer, adopted) in jwt.issuers.iter().zip(&mut self.issuers) {
            let Keys::Published(source) = &issuer.keys else { continue };
            let published = book.get(source.id);
            if published.map(Arc::as_ptr) != adopted.published.as_ref().map(Arc::as_ptr) {
                let parse = |keys: &Arc<KeySet>| Verifiers::new(keys, &issuer.algorithms);
                *adopted =
                    Adopted { verifiers: published.map(parse).unwrap_or_default(), published: published.cloned() };
                self.cache.clear();
            }
        }
        self.book = book.generation;
    }
}

impl Adopted {
    fn fixed(issuer: &Issuer) -> Self {
        match &issuer.keys {
            Keys::Fixed(keys) => Self { verifiers: Verifiers::new(keys, &issuer.algorithms), published: None },
            Keys::Published(_) => Self::default(),
        }
    }
}
