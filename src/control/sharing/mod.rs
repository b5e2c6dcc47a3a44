//! Rate limits that several nodes share: grants are fetched from Redis ahead of need, and no request waits for one.
//!
//! ```text
//!            time is over              connected            all answered
//!   Apart ---------------> Connecting ----------> Greeting --------------> Idle <--> Asking
//!     ^                        |                     |                       |         |
//!     +------ backoff ---------+---------------------+-----------------------+---------+  late, lost or garbage
//! ```
//!
//! [`Sharing`] is told of bytes and of time, and says what to do next; `link` does it, and so does the simulation. As
//! long as the store answers, what shards have spent is asked for every few milliseconds and deposited in the ledger.
//! When it does not, keys earn this node's last share of the rate by themselves, or nothing, as configured: but only
//! once the store takes this node for silent, so that nobody else is granted the same tokens. That is why a call has a
//! latest time, in the store's clock, after which it has no effect.

pub mod link;
pub mod resp;
pub mod shares;
mod talk;

use self::resp::Value;
use self::shares::{Holding, SHARES};
use self::talk::{Answer, Met, Round};
use crate::config::store::{OnFailure, Server, Store};
use crate::proxy::Plan;
use crate::stdx::hash::FixedMap;
use crate::stdx::ledger::{Ledger, Terms, Want};
use crate::stdx::rng::Rng;
use crate::stdx::time::Mono;
use crate::telemetry::level::Level;
use std::collections::VecDeque;
use std::time::Duration;

/// A limit that nodes share, as all of them know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shared {
    /// In this node's ledger.
    pub number: u16,
    /// Of its name: the same on every node that has the same configuration.
    pub name: u64,
    pub terms: Terms,
}

/// This node's part in it.
#[derive(Debug)]
pub struct Sharing {
    store: Option<Store>,
    limits: FixedMap<u16, Shared>,
    node: String,
    holding: Holding,
    /// Until it has had a whole share once.
    grows: bool,
    phase: Phase,
    /// From when on the store takes this node for silent.
    silent_from: Mono,
    failures_in_a_row: u32,
    /// What the store's clock showed, and when that was heard.
    server: (u64, Mono),
    met: Met,
    /// Whether it has answered a whole round since it was told the script.
    has_answered: bool,
    cursor: usize,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    news: Vec<(Level, String)>,
    stats: Stats,
    rng: Rng,
}

#[derive(Debug)]
enum Phase {
    Apart {
        until: Mono,
    },
    Connecting {
        until: Mono,
    },
    Greeting {
        until: Mono,
        /// Replies to come, and before them those of a round that is not waited for any more.
        left: usize,
        stale: usize,
    },
    Idle {
        next: Mono,
        /// When it asks though it wants nothing, so as not to be silent.
        beat: Mono,
    },
    Asking {
        until: Mono,
        since: Mono,
        /// Of each call that is not answered yet.
        calls: VecDeque<Vec<Want>>,
    },
}

/// What to do next.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing is shared.
    Rest,
    /// End the connection if there is one, and wait.
    Part(Mono),
    Connect(Server),
    Send(Vec<u8>),
    /// Wait for bytes until then.
    Listen(Mono),
}

/// As an operator wants to know it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    pub breaker: Breaker,
    pub holding: Holding,
    /// Tokens.
    pub granted: u64,
    /// Tokens that were asked for and that the store did not have.
    pub lacking: u64,
    /// Keys that were asked for.
    pub keys: u64,
    pub failures: u64,
    pub answered_at: Option<Mono>,
}

/// Between this node and the store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Breaker {
    Closed,
    Open,
    #[default]
    HalfOpen,
}

impl Shared {
    pub fn all(plan: &Plan) -> Vec<Self> {
        plan.shared.iter().map(|(number, name, terms)| Self { number: *number, name: *name, terms: *terms }).collect()
    }
}

impl Sharing {
    /// `seed` tells this node from others; nobody else may know it.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            store: None,
            limits: FixedMap::default(),
            node: format!("{:016x}", rng.next_u64()),
            holding: Holding::default(),
            grows: true,
            phase: Phase::Apart { until: Mono::ZERO },
            silent_from: Mono::ZERO,
            failures_in_a_row: 0,
            server: (0, Mono::ZERO),
            met: Met::default(),
            has_answered: false,
            cursor: 0,
            inbox: Vec::new(),
            outbox: Vec::new(),
            news: Vec::new(),
            stats: Stats::default(),
            rng,
        }
    }

    /// Goes by another configuration. Limits begin with what this node has of all others.
    pub fn configure(&mut self, store: Option<&Store>, limits: Vec<Shared>, ledger: &Ledger, now: Mono) {
        let before = std::mem::take(&mut self.limits);
        self.limits = limits.into_iter().map(|limit| (limit.number, limit)).collect();
        // A number that is not in force is never given again, and nobody fills its keys: their debts run off, so that
        // the slots are free for others.
        for old in before.values().filter(|old| !self.limits.contains_key(&old.number)) {
            ledger.share(old.number, old.terms, Holding::OF_NOBODY.of(old.terms), now);
        }
        if self.store.as_ref() != store {
            self.store = store.cloned();
            self.part(ledger, now, Duration::ZERO);
            (self.grows, self.failures_in_a_row) = (true, 0);
        }
        self.apply(ledger, now);
    }

    /// To be asked again after each thing that was done or has happened.
    pub fn next(&mut self, ledger: &Ledger, now: Mono) -> Step {
        if self.store.is_none() {
            return Step::Rest;
        }
        let until = match &self.phase {
            Phase::Connecting { until } | Phase::Greeting { until, .. } | Phase::Asking { until, .. } => *until,
            Phase::Apart { .. } | Phase::Idle { .. } => Mono::NEVER,
        };
        if now >= until {
            self.lost("it does not answer in time", ledger, now);
        }
        self.earn_apart(ledger, now);
        if !self.outbox.is_empty() {
            return Step::Send(std::mem::take(&mut self.outbox));
        }
        match self.phase {
            Phase::Apart { until } if now >= until => {
                self.stats.breaker = Breaker::HalfOpen;
                let Some(Store { server, .. }) = &self.store else { return Step::Rest };
                self.phase = Phase::Connecting { until: now + CONNECT_TIMEOUT };
                Step::Connect(server.clone())
            }
            Phase::Apart { until } => Step::Part(self.or_alone(until)),
            Phase::Idle { next, beat } if now >= next => self.ask(beat, ledger, now),
            Phase::Idle { next, .. } => Step::Listen(next),
            Phase::Connecting { until } | Phase::Greeting { until, .. } => Step::Listen(self.or_alone(until)),
            Phase::Asking { until, .. } => Step::Listen(until),
        }
    }

    /// With the store that was to be connected to; another configuration may have come between.
    pub fn connected(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Connecting { .. }) {
            self.greet(0, now);
        }
    }

    fn greet(&mut self, stale: usize, now: Mono) {
        let Some(store) = &self.store else { return };
        (self.met, self.has_answered) = (Met::default(), false);
        let left = talk::greet(store, &mut self.outbox);
        self.phase = Phase::Greeting { until: now + ANSWER_TIMEOUT, left, stale };
    }

    /// Bytes have arrived, one or many.
    pub fn received(&mut self, bytes: &[u8], ledger: &Ledger, now: Mono) {
        self.inbox.extend_from_slice(bytes);
        loop {
            let value = match resp::read(&self.inbox) {
                Ok(None) => return,
                Ok(Some((value, length))) => {
                    self.inbox.drain(..length);
                    value
                }
                Err(garbage) => return self.lost(&garbage.to_string(), ledger, now),
            };
            if let Err(why) = self.hear(value, ledger, now) {
                return self.lost(&why, ledger, now);
            }
        }
    }

    /// The connection has ended, or there was none to be had.
    pub fn lost(&mut self, why: &str, ledger: &Ledger, now: Mono) {
        let Some(store) = &self.store else { return };
        if self.stats.breaker == Breaker::Closed || self.failures_in_a_row == 0 {
            let rest = match (store.on_failure, self.holding.share) {
                (_, 0) => "nothing was granted yet, and their requests are refused",
                (OnFailure::KeepShare, _) => "this node keeps its last share of them",
                (OnFailure::Refuse, _) => "this node admits what it holds of them, and then nothing",
            };
            let line = format!("limits are not shared, Redis at {}: {why}; {rest}", store.server.address);
            self.news.push((Level::Warn, line));
        }
        self.stats.failures += 1;
        self.failures_in_a_row += 1;
        let doubled = BACKOFF * (1 << (self.failures_in_a_row - 1).min(BACKOFF_DOUBLINGS_MAX));
        // Nodes that lost it together do not all come back together.
        let backoff = doubled.mul_f64(self.rng.between(75, 125) as f64 / 100.0);
        self.part(ledger, now, backoff);
    }

    /// The node ends: what to say to the store on a new connection, unless it is away.
    pub fn farewell(&mut self) -> Option<(Server, Vec<u8>)> {
        let store = self.store.take().filter(|_| matches!(self.phase, Phase::Idle { .. } | Phase::Asking { .. }))?;
        let mut out = Vec::new();
        talk::farewell(&store, &self.node, &mut out);
        Some((store.server, out))
    }

    /// What is worth a line.
    pub fn take_news(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.news)
    }

    /// None when nothing is shared.
    pub fn stats(&self) -> Option<Stats> {
        self.store.as_ref().map(|_| Stats { holding: self.holding, ..self.stats })
    }

    fn part(&mut self, ledger: &Ledger, now: Mono, backoff: Duration) {
        if let Phase::Asking { calls, .. } = &self.phase {
            calls.iter().flatten().for_each(|want| ledger.want_again(want));
        }
        self.stats.breaker = Breaker::Open;
        self.phase = Phase::Apart { until: now + backoff };
        self.inbox.clear();
        self.outbox.clear();
    }

    /// That time, or before it the one at which the keys begin to earn by themselves.
    fn or_alone(&self, until: Mono) -> Mono {
        let is_to_be = !self.holding.is_apart && self.may_earn();
        if is_to_be { until.min(self.silent_from) } else { until }
    }

    fn may_earn(&self) -> bool {
        let keeps = self.store.as_ref().is_some_and(|store| store.on_failure == OnFailure::KeepShare);
        keeps && self.holding.share > 0
    }

    /// Without the store keys earn this node's share, once nobody else is granted that.
    fn earn_apart(&mut self, ledger: &Ledger, now: Mono) {
        let is_in_contact = matches!(self.phase, Phase::Idle { .. } | Phase::Asking { .. });
        if !is_in_contact && !self.holding.is_apart && now >= self.silent_from && self.may_earn() {
            self.holding.is_apart = true;
            self.apply(ledger, now);
        }
    }

    /// Puts what this node has in force.
    fn apply(&self, ledger: &Ledger, now: Mono) {
        for limit in self.limits.values() {
            ledger.share(limit.number, limit.terms, self.holding.of(limit.terms), now);
        }
    }

    /// Asks for what was spent, or only says that this node lives.
    fn ask(&mut self, beat: Mono, ledger: &Ledger, now: Mono) -> Step {
        let mut wants = Vec::new();
        ledger.wants(&mut self.cursor, ROUND_KEYS_MAX, now, &mut wants);
        // Of limits that are not in force any more nothing is needed.
        wants.retain(|want| self.limits.contains_key(&want.limit));
        if wants.is_empty() && now < beat {
            let next = now + ROUND_EVERY;
            self.phase = Phase::Idle { next, beat };
            return Step::Listen(next);
        }
        if self.holding.is_apart {
            // From when on it is heard, the store earns for this node too.
            self.holding.is_apart = false;
            self.apply(ledger, now);
        }
        let Some(store) = &self.store else { return Step::Rest };
        let (server_us, heard_at) = self.server;
        let deadline = now.since(heard_at) + ANSWER_TIMEOUT;
        let round = Round {
            prefix: &store.prefix,
            script: &self.met.script,
            node: &self.node,
            run: &self.met.run,
            deadline_us: server_us + deadline.as_micros() as u64,
            holding: self.holding,
            grows: self.grows,
            seed: ledger.shared_seed(),
        };
        let mut out = Vec::new();
        let mut calls: VecDeque<Vec<Want>> = wants.chunks(CALL_KEYS_MAX).map(<[Want]>::to_vec).collect();
        if calls.is_empty() {
            calls.push_back(Vec::new());
        }
        for wants in &calls {
            let named = wants.iter().map(|want| {
                let Shared { name, terms, .. } = self.limits[&want.limit];
                (want, name, terms)
            });
            round.call(named, &mut out);
        }
        self.stats.keys += wants.len() as u64;
        self.silent_from = now + ANSWER_TIMEOUT + SILENT_AFTER;
        self.phase = Phase::Asking { until: now + ANSWER_TIMEOUT, since: now, calls };
        Step::Send(out)
    }

    fn hear(&mut self, value: Value, ledger: &Ledger, now: Mono) -> Result<(), String> {
        match &mut self.phase {
            Phase::Greeting { stale, .. } if *stale > 0 => {
                *stale -= 1;
                Ok(())
            }
            Phase::Greeting { left, .. } => {
                *left -= 1;
                let left = *left;
                self.met.hear(left, value)?;
                if left == 0 {
                    self.server = (self.met.now_us, now);
                    self.phase = Phase::Idle { next: now, beat: now };
                }
                Ok(())
            }
            // The server forgot its scripts: it is told again, and what this call was for is asked for then. One that
            // keeps none would be told for ever.
            Phase::Asking { calls, .. } if matches!(&value, Value::Error(error) if error.starts_with("NOSCRIPT")) => {
                if !self.has_answered {
                    return Err("it was told the script and does not know it (NOSCRIPT)".to_owned());
                }
                calls.iter().flatten().for_each(|want| ledger.want_again(want));
                let stale = calls.len().saturating_sub(1);
                self.outbox.clear();
                self.greet(stale, now);
                Ok(())
            }
            Phase::Asking { calls, since, .. } => {
                let Some(wants) = calls.pop_front() else { return Err("it answers twice".to_owned()) };
                let (is_last, since) = (calls.is_empty(), *since);
                let answer = Answer::read(value, wants.len());
                if !matches!(answer, Ok(Answer::Granted { .. })) {
                    wants.iter().for_each(|want| ledger.want_again(want));
                }
                self.granted(&answer?, &wants, ledger, now)?;
                if is_last {
                    self.has_answered = true;
                    // Others make room for a newcomer as soon as they hear of it.
                    let beat = since + if self.grows { ROUND_EVERY } else { BEAT_EVERY };
                    self.phase = Phase::Idle { next: now.max(since + ROUND_EVERY), beat };
                }
                Ok(())
            }
            Phase::Apart { .. } | Phase::Connecting { .. } | Phase::Idle { .. } => {
                Err("it says what nobody asked for".to_owned())
            }
        }
    }

    fn granted(&mut self, answer: &Answer, wants: &[Want], ledger: &Ledger, now: Mono) -> Result<(), String> {
        let Answer::Granted { now_us, share, nodes, seed, grants } = answer else {
            return Err("it is too slow".to_owned());
        };
        if *share > SHARES || *nodes == 0 || grants.iter().zip(wants).any(|(grant, want)| *grant > want.tokens) {
            return Err("it grants what nobody asked for".to_owned());
        }
        self.server = (*now_us, now);
        ledger.seed_shared(*seed);
        let holding = Holding { share: *share, nodes: *nodes, is_apart: false };
        self.grows &= *share < SHARES / *nodes;
        if holding != self.holding {
            self.holding = holding;
            self.apply(ledger, now);
        }
        for (want, grant) in wants.iter().zip(grants) {
            ledger.deposit(want, *grant, now);
            self.stats.granted += u64::from(*grant);
            if *grant < want.tokens {
                self.stats.lacking += u64::from(want.tokens - *grant);
                ledger.want_again(want);
            }
        }
        self.stats.answered_at = Some(now);
        self.failures_in_a_row = 0;
        if self.stats.breaker != Breaker::Closed {
            self.stats.breaker = Breaker::Closed;
            let address = self.store.as_ref().map_or("", |store| &*store.server.address);
            self.news.push((Level::Info, format!("limits are shared through Redis at {address}, nodes: {nodes}")));
        }
        Ok(())
    }
}

/// A name may have to be looked up first.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For everything that the store is asked: what comes later comes too late.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// When the store takes a node for silent; `grants.lua` has the same number.
pub const SILENT_AFTER: Duration = Duration::from_millis(500);
/// How often what was spent is asked for.
const ROUND_EVERY: Duration = Duration::from_millis(20);
/// How often a node that wants nothing says that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(100);
/// Keys of one round, whose memory is bounded by it: those that are left are asked for in the next one.
const ROUND_KEYS_MAX: usize = 1024;
/// Keys of one call, which the server carries out in one go.
const CALL_KEYS_MAX: usize = 64;
const BACKOFF: Duration = Duration::from_millis(100);
/// 3.2 s at most, and a quarter more; less than the store waits for nodes after it began anew.
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
