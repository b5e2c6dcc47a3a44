//! Rate limits in the way of a run's requests, and whether what they let through may have been let through.
//!
//! Nobody sees when a shard admits a request, only that it is between its client's begin and the origin's first sight
//! of it. What began in a window and was seen in it was admitted in it: that holds every such window to `burst` and
//! what the rate gives. A limit that earns next to nothing tells in the end, when every lease must be back, how often
//! it was charged.

use crate::judge::{Measure, is_busy};
use crate::ledger::{Ledger, Outcome, Reply};
use shardgate::policy::{Policy, rate_limit};
use shardgate::proxy::OwnLimits;
use shardgate::stdx::board::client_key;
use shardgate::stdx::ledger::{Charge, Leases, Ledger as Tokens, Left, Tag, Terms};
use shardgate::stdx::rng::Rng;
use shardgate::stdx::time::Mono;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The limits of a run; each of its plans has terms of its own for them.
pub struct Limits {
    /// Of all shards.
    pub tokens: Arc<Tokens>,
    pub key: Key,
    /// There are many requests, so that shards come to hold leases.
    pub is_crowded: bool,
    /// Of the one that gives a token a year.
    burst: u32,
    /// Requests a second, and at once, of one more.
    quick: Option<(u32, u32)>,
    /// Clients are told of them.
    is_told: bool,
    /// They are the listener's, and requests then meet another policy that has room for all of them.
    is_at_gate: bool,
    /// Since when which were in force, in order.
    schedule: Vec<(Mono, OwnLimits)>,
    /// Asks, and takes nothing.
    probe: Leases,
    pub events: Events,
}

/// What requests are counted by: in a run always one.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Global,
    Client(IpAddr),
    /// The one there is, by its name.
    Consumer(&'static str),
}

/// How often what had to happen with limits in the way has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    pub refusals: u64,
    /// A shard took a lease where none was out.
    pub leases: u64,
    /// Terms changed while tokens were out on lease.
    pub swaps: u64,
    /// A shard ended and gave back what it held.
    pub returns: u64,
    /// Connections came to another shard, whose leases they use.
    pub handoffs: u64,
}

impl Limits {
    pub fn draw(rng: &mut Rng, shards: usize, key: Key) -> Self {
        let is_crowded = rng.chance(300);
        let burst = if is_crowded { 1 << rng.between(3, 6) } else { rng.between(1, 12) } as u32;
        let quick = rng.chance(300).then(|| (1 << rng.below(5), 1 << rng.between(1, 5)));
        let tokens = Arc::new(Tokens::new(shards, rng.next_u64(), SLOTS, NUMBERS_MAX));
        let (is_told, schedule, events) = (rng.chance(500), Vec::new(), Events::default());
        let is_at_gate = !matches!(key, Key::Consumer(_)) && rng.chance(500);
        let probe = Leases::new(0, 1);
        Self { tokens, key, is_crowded, burst, quick, is_told, is_at_gate, schedule, probe, events }
    }

    /// The policy of the plan of this number, and its limits.
    pub fn policy(&self, generation: u64) -> (Arc<Policy>, OwnLimits) {
        let key = self.key_text();
        let of_plan = |normal: u32| [normal, normal.div_ceil(2), 2 * normal][(generation % 3) as usize];
        let quick = self.quick.map_or(String::new(), |(rate, burst)| {
            let rate = of_plan(rate);
            format!(", limits: [{{ requests_per_second: {rate}, burst: {burst}, key: [{key}] }}]")
        });
        let burst = of_plan(self.burst);
        self.read(&format!("requests_per_year: 1, burst: {burst}, key: [{key}]{quick}"), SLOW)
    }

    /// The policy behind the listener's, if they are there.
    pub fn policy_behind(&self) -> Option<(Arc<Policy>, OwnLimits)> {
        let roomy = || self.read(&format!("requests_per_second: {ROOM}, key: [{}]", self.key_text()), BEHIND);
        self.is_at_gate.then(roomy)
    }

    fn key_text(&self) -> &'static str {
        match self.key {
            Key::Global => "global",
            Key::Client(_) => "client_address",
            Key::Consumer(_) => "consumer",
        }
    }

    /// A policy whose limits have the numbers from `first` on.
    fn read(&self, limits: &str, first: u16) -> (Arc<Policy>, OwnLimits) {
        let text = format!("rate_limit: {{ {limits}, hide_client_headers: {} }}", !self.is_told);
        let config = serde_saphyr::from_str(&text).expect("it is a policy");
        let policy = Policy::new(config).expect("it makes sense");
        let Policy::RateLimit(limited) = &policy else { panic!("it is a rate limit") };
        let number = |(number, limit): (u16, &rate_limit::Limit)| {
            limit.give_number(number);
            (number, limit.terms)
        };
        let limits = (first..).zip(limited.limits()).map(number).collect();
        (Arc::new(policy), limits)
    }

    /// They hold from now on, for all shards: as control does before it publishes their plan.
    pub fn put_in_force(&mut self, limits: &OwnLimits, now: Mono) {
        self.events.swaps += u64::from(self.on_lease(now) > 0);
        for (number, terms) in limits {
            assert!(self.tokens.set(*number, *terms, now), "they fit");
        }
        self.schedule.push((now, limits.clone()));
    }

    /// Tokens that shards hold.
    pub fn on_lease(&self, now: Mono) -> u32 {
        let Some((_, limits)) = self.schedule.last() else { return 0 };
        let of_limit = |(number, terms): &(u16, Terms)| {
            // By then everything has been earned back but what is out.
            let late = now + 2 * terms.period * self.burst_max(*number) / terms.count;
            terms.burst - self.left(*number, late).tokens
        };
        limits.iter().map(of_limit).sum()
    }

    fn left(&self, number: u16, now: Mono) -> Left {
        self.probe.left(&self.tokens, Charge { tag: self.tag(number), cost: 1 }, now)
    }

    /// As the policy has it.
    fn tag(&self, number: u16) -> Tag {
        match self.key {
            Key::Global => self.tokens.tag(number, ()),
            Key::Client(address) => self.tokens.tag(number, (0_u8, client_key(address))),
            Key::Consumer(name) => self.tokens.tag(number, (1_u8, name.as_bytes())),
        }
    }

    fn burst_max(&self, number: u16) -> u32 {
        self.terms_of(number).map(|(_, terms)| terms.burst).max().unwrap_or(0)
    }

    fn terms_of(&self, number: u16) -> impl Iterator<Item = (Mono, Terms)> {
        let of_number = move |limits: &OwnLimits| limits.iter().find(|(other, _)| *other == number).map(|it| it.1);
        self.schedule.iter().filter_map(move |(at, limits)| Some((*at, of_number(limits)?)))
    }

    /// What an answer says of limits: the numbers of one of them, or nothing. Policies see no switch of protocols.
    pub fn judge_told(&self, reply: &Reply, found: &mut Vec<String>) {
        if reply.status == 101 {
            return;
        }
        let mut names: Vec<&str> =
            reply.head.fields.iter().map(|(name, _)| &**name).filter(|it| is_told_by(it)).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            found.push(format!("the client was told {} twice", twice[0]));
        }
        let number = |name: &str| reply.head.value(name).and_then(|value| value.parse::<u32>().ok());
        let told = (number("RateLimit-Limit"), number("RateLimit-Remaining"));
        // What is left is by the terms in force, which may not be those of the exchange's plan.
        let bursts: Vec<u32> = self.schedule.iter().flat_map(|(_, all)| all.iter().map(|it| it.1.burst)).collect();
        let is_right = match told {
            (Some(burst), Some(rest)) => self.is_told && bursts.contains(&burst) && bursts.iter().any(|it| rest <= *it),
            (None, None) => !self.is_told,
            _ => false,
        };
        if !is_right {
            found.push(format!("the client was told {told:?} of limits"));
        }
    }

    /// Whoever is refused is told when to come again, by the limit that refused, and nobody has heard of the request.
    pub fn judge_refusal(&self, reply: &Reply, times: usize, found: &mut Vec<String>) {
        let again = reply.head.value("Retry-After").and_then(|value| value.parse::<u64>().ok());
        let may_be = if self.quick.is_some() { 1..=RETRY_AFTER_S_MAX } else { RETRY_AFTER_S_MAX..=RETRY_AFTER_S_MAX };
        if !again.is_some_and(|seconds| may_be.contains(&seconds)) {
            found.push(format!("the client was told to come again {:?}", reply.head.value("Retry-After")));
        }
        self.judge_told(reply, found);
        if reply.head.value("RateLimit-Limit") == Some(&ROOM.to_string()) {
            found.push("the client was told of a limit that did not refuse it".into());
        }
        if times > 0 {
            found.push("the origin saw what was refused".into());
        }
    }

    /// After all shards have ended.
    pub fn judge(&mut self, book: &Ledger, measure: Measure, now: Mono) -> Vec<String> {
        let mut found = Vec::new();
        let on_lease = self.on_lease(now);
        if on_lease > 0 {
            found.push(format!("{on_lease} tokens were never given back"));
        }
        let mut admitted = book.admitted();
        admitted.sort_unstable();
        for (number, _) in &self.schedule[0].1 {
            self.judge_windows(*number, &admitted, &mut found);
        }
        let answered = |is_it: fn(&Reply) -> bool| {
            let outcomes = book.outcomes.borrow();
            outcomes.iter().flatten().filter(|it| matches!(it, Outcome::Answered(reply) if is_it(reply))).count()
        };
        let (refused, busy) = (answered(is_refused), answered(is_busy));
        self.events.refusals = refused as u64;
        // Who comes in by the listener is charged before his password is verified, and behind it after.
        let turned_away = if self.is_at_gate { busy } else { 0 };
        self.judge_charges((admitted.len(), turned_away, refused, book.scripts.len()), measure, now, &mut found);
        found
    }

    /// No window from the begin of a request to the origin's sight of one has more than there was.
    fn judge_windows(&self, number: u16, admitted: &[(Mono, Mono)], found: &mut Vec<String>) {
        for (index, (from, _)) in admitted.iter().enumerate() {
            let mut seen: Vec<Mono> = admitted[index..].iter().map(|(_, seen)| *seen).collect();
            seen.sort_unstable();
            let over = (1..).zip(seen).find(|(count, to)| *count > self.most(number, *from, *to));
            if let Some((count, to)) = over {
                return found.push(format!("limit {number}: {count} admitted from {from:?} to {to:?}"));
            }
        }
    }

    /// What a limit may admit in that time.
    fn most(&self, number: u16, from: Mono, to: Mono) -> usize {
        let all: Vec<_> = self.terms_of(number).collect();
        let (mut burst, mut parts) = (0, 0);
        for (place, (since, terms)) in all.iter().enumerate() {
            let until = all.get(place + 1).map_or(Mono::NEVER, |(at, _)| *at);
            if *since <= to && until >= from {
                burst = burst.max(terms.burst);
                let time = to.min(until).since(from.max(*since)) + CLOCK_STEP;
                parts += time.as_nanos() * u128::from(terms.count) * (YEAR.as_nanos() / terms.period.as_nanos());
            }
        }
        burst as usize + (parts / YEAR.as_nanos()) as usize
    }

    /// What the limit was charged that earns next to nothing.
    fn judge_charges(
        &self,
        (admitted, turned_away, refused, all): (usize, usize, usize, usize),
        measure: Measure,
        now: Mono,
        found: &mut Vec<String>,
    ) {
        let charged = ((self.left(SLOW, now).full_in + YEAR / 2).as_nanos() / YEAR.as_nanos()) as usize;
        let passed = admitted + turned_away;
        let may_be = if measure.all_succeed { passed..=passed } else { admitted..=all - refused };
        if !may_be.contains(&charged) {
            let rest = format!("{turned_away} were turned away after that, {refused} refused");
            found.push(format!("{charged} requests were charged for, of {all}: {admitted} arrived, {rest}"));
        }
        // What shards hold of a bucket together is a quarter of it at most.
        let is_steady = self.schedule.len() == 1 && self.quick.is_none();
        if measure.all_succeed && is_steady && refused > 0 && charged < (self.burst - self.burst / 4) as usize {
            found.push(format!("{refused} were refused, and {charged} of {} admitted", self.burst));
        }
    }
}

fn is_refused(reply: &Reply) -> bool {
    reply.status == 429 && String::from_utf8_lossy(&reply.body.bytes).contains("rate_limited")
}

/// Whether a field is one of those that tell of limits.
pub fn is_told_by(name: &str) -> bool {
    name.starts_with("RateLimit") || name.starts_with("X-RateLimit-")
}

impl Events {
    pub fn add(&mut self, other: Self) {
        let Self { refusals, leases, swaps, returns, handoffs } = other;
        self.refusals += refusals;
        self.leases += leases;
        self.swaps += swaps;
        self.returns += returns;
        self.handoffs += handoffs;
    }

    /// How often the rarest of them has happened.
    pub fn rarest(self) -> u64 {
        let Self { refusals, leases, swaps, returns, handoffs } = self;
        refusals.min(leases).min(swaps).min(returns).min(handoffs)
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refusals, leases, swaps, returns, handoffs } = self;
        write!(f, "{refusals} refused by limits, {leases} leases, {swaps} swaps and {returns} ends with tokens out, ")?;
        write!(f, "{handoffs} hand-offs")
    }
}

/// The number of the limit that gives a token a year.
const SLOW: u16 = 1;
/// The number of that of the policy behind, and what it admits in a second, which is more than a run has requests.
const BEHIND: u16 = 3;
const ROOM: u32 = 1_000;
const NUMBERS_MAX: usize = BEHIND as usize;
/// A group of the ledger: more than a run has keys.
const SLOTS: usize = 64;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// What a limit's clock is rounded to.
const CLOCK_STEP: Duration = Duration::from_micros(1);
const RETRY_AFTER_S_MAX: u64 = 86_400;
