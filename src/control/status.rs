//! What the control thread knows of the node: what shards told it, and what became of the configuration.

use super::failure_rate::{Counts, FailureRate};
use super::jwks::IssuerStatus;
use super::sharing::Stats;
use crate::config::snapshot::Snapshot;
use crate::policy::consumers::Consumer;
use crate::policy::{self, rate_limit};
use crate::runtime::driver::choice::Choice;
use crate::stdx::board::Board;
use crate::stdx::hash::FixedMap;
use crate::stdx::histogram::Histogram;
use crate::stdx::time::Mono;
use crate::telemetry::counters::Counters;
use crate::telemetry::report::{Gauges, Limited, Report};
use crate::telemetry::route_stats::{Block, NO_ROUTE};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub struct Status {
    pub started: Instant,
    pub event_loop: Choice,
    pub board: Arc<Board>,
    pub shards: Vec<ShardStatus>,
    /// By the route's id; what is no route any more is forgotten.
    pub routes: FixedMap<u32, Block>,
    pub names: FixedMap<u32, Names>,
    pub configuration: Configuration,
    /// It takes no new work.
    pub draining: bool,
    /// Log lines that could not be written, as the writer says.
    pub log_lines_lost: u64,
    /// Connections to the admin listener that were not let go on.
    pub admin_connections_ended: u64,
    /// Rings that failed while they served.
    pub event_loop_failures: u64,
    /// Attempts to take this process's sockets over, or by it to take others', that came to nothing.
    pub handovers_failed: u64,
    /// Those that publish keys for tokens.
    pub issuers: Vec<IssuerStatus>,
    /// Limits that nodes share, if there are any.
    pub sharing: Option<Stats>,
    pub authentication: FailureRate,
    /// Whom limits refused, and how often.
    pub limited: BTreeMap<Limited, u64>,
    /// Keys of consumers, by their ids.
    pub keys: BTreeMap<u32, KeyStatus>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyStatus {
    pub consumer: String,
    pub prefix: String,
    /// In seconds since 1970; none if it was not used since the gateway began.
    pub used_at_s: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct ShardStatus {
    pub counters: Counters,
    /// What was counted by a shard in whose place this one is.
    before: Counters,
    pub gauges: Gauges,
    /// Listeners that it cannot accept on, and why.
    pub listeners_refused: Vec<(String, String)>,
    pub busy: Duration,
    pub lag: Histogram,
    pub changes: Histogram,
}

/// What a route's id stands for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    pub route: String,
    pub service: String,
}

/// What became of the configurations.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Counts those in force since the start; 0 is the first.
    pub generation: u64,
    pub applied: u64,
    pub rejected: u64,
    pub applied_at: SystemTime,
    /// Why the last one was rejected, for everybody to read; `None` once one was applied again.
    pub error: Option<String>,
    /// The gateway began with what it had kept, because its file could not be used.
    pub from_last_good: bool,
    /// Why the last good one could not be kept.
    pub keeping_error: Option<String>,
    pub keeping_failed: u64,
    /// When the look at its files began that takes too long, if one does.
    pub looking_since: Option<Instant>,
}

impl Configuration {
    /// What is in force is what the file says, as far as that is known.
    pub fn is_well(&self) -> bool {
        self.error.is_none() && self.looking_since.is_none()
    }

    /// The file says what is in force. True if it did not before.
    pub fn restore(&mut self) -> bool {
        let was_wrong = self.error.is_some();
        (self.error, self.from_last_good) = (None, false);
        was_wrong
    }
}

impl Status {
    pub fn new(event_loop: Choice, board: Arc<Board>, snapshot: &Snapshot, now: SystemTime, started: Instant) -> Self {
        let mut status = Self {
            started,
            event_loop,
            shards: vec![ShardStatus::default(); board.shards()],
            board,
            routes: FixedMap::default(),
            names: FixedMap::default(),
            configuration: Configuration {
                generation: 0,
                applied: 1,
                rejected: 0,
                applied_at: now,
                error: None,
                from_last_good: false,
                keeping_error: None,
                keeping_failed: 0,
                looking_since: None,
            },
            draining: false,
            log_lines_lost: 0,
            admin_connections_ended: 0,
            event_loop_failures: 0,
            handovers_failed: 0,
            issuers: Vec::new(),
            sharing: None,
            authentication: FailureRate::default(),
            limited: BTreeMap::new(),
            keys: BTreeMap::new(),
        };
        status.name(snapshot);
        status
    }

    /// A configuration is in force.
    pub fn applied(&mut self, generation: u64, snapshot: &Snapshot, now: SystemTime) {
        let configuration = &mut self.configuration;
        (configuration.generation, configuration.applied_at) = (generation, now);
        configuration.applied += 1;
        configuration.restore();
        self.name(snapshot);
    }

    pub fn rejected(&mut self, why: String) {
        self.configuration.rejected += 1;
        self.configuration.error = Some(why);
    }

    /// Every shard has another in its place, on another event loop. What was counted stays counted.
    pub fn begun_anew(&mut self, event_loop: Choice, board: Arc<Board>) {
        (self.event_loop, self.board) = (event_loop, board);
        self.event_loop_failures += 1;
        for shard in &mut self.shards {
            shard.before = Counters { connections_active: 0, requests_in_flight: 0, ..shard.counters.clone() };
            (shard.counters, shard.gauges) = (shard.before.clone(), Gauges::default());
            shard.listeners_refused.clear();
        }
    }

    pub fn told(&mut self, report: &mut Report) {
        let shard = &mut self.shards[report.shard];
        shard.counters = report.counters.clone();
        shard.counters.merge(&shard.before);
        shard.gauges = report.gauges;
        shard.listeners_refused = std::mem::take(&mut report.listeners_refused);
        shard.busy += report.busy;
        shard.lag.merge(&report.lag);
        shard.changes.merge(&report.changes);
        for (limited, count) in report.refused.drain(..) {
            if limited.route.is_none_or(|route| self.names.contains_key(&route)) {
                self.count_limited(limited, count);
            }
        }
        for (id, at_s) in report.keys_used.drain(..) {
            if let Some(key) = self.keys.get_mut(&id) {
                key.used_at_s = key.used_at_s.max(Some(at_s));
            }
        }
        for (route, block) in report.routes.drain(..) {
            // What a route did before it was removed is nobody's any more.
            if route == NO_ROUTE || self.names.contains_key(&route) {
                self.routes.entry(route).or_default().merge(&block);
            }
        }
    }

    /// Beyond a bound consumers are not told apart.
    fn count_limited(&mut self, mut limited: Limited, count: u64) {
        if self.limited.len() >= LIMITED_MAX && limited.consumer.is_some() && !self.limited.contains_key(&limited) {
            limited.consumer = Some(rate_limit::OTHERS.into());
        }
        *self.limited.entry(limited).or_default() += count;
    }

    /// Every counter of all shards.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.shards.iter().for_each(|shard| counters.merge(&shard.counters));
        counters
    }

    /// Of every shard the listeners that it cannot accept on, and why.
    pub fn listeners_refused(&self) -> impl Iterator<Item = (usize, &(String, String))> {
        let of_shards = self.shards.iter().enumerate();
        of_shards.flat_map(|(index, shard)| shard.listeners_refused.iter().map(move |refused| (index, refused)))
    }

    /// Those of them that no shard accepts on: who connects there is refused.
    pub fn listeners_dead(&self) -> impl Iterator<Item = &str> {
        let refuses = |shard: &ShardStatus, name| shard.listeners_refused.iter().any(|(other, _)| other == name);
        let of_first = self.shards.first().into_iter().flat_map(|shard| &shard.listeners_refused);
        let names = of_first.map(|(name, _)| name);
        names.filter(move |name| self.shards.iter().all(|shard| refuses(shard, *name))).map(String::as_str)
    }

    /// Whether some listener is accepted on, as far as there are any to be.
    pub fn accepts(&self) -> bool {
        self.board.accepts() || self.listeners_refused().next().is_none()
    }

    /// Whether new work should be sent here. One dead listener of several does not make it go elsewhere: with it would
    /// go that of the others.
    pub fn is_ready(&self, now: Mono) -> bool {
        self.is_alive(now) && !self.draining && self.accepts()
    }

    /// How long ago the shard that has been silent longest gave a sign of life.
    pub fn silence(&self, now: Mono) -> Duration {
        let beats = (0..self.board.shards()).map(|shard| self.board.beat_of(shard));
        beats.min().map_or(Duration::MAX, |beat| now.since(beat))
    }

    pub fn is_alive(&self, now: Mono) -> bool {
        self.silence(now) <= SILENCE_MAX
    }

    fn name(&mut self, snapshot: &Snapshot) {
        let plan = &snapshot.plan;
        let names = plan.routes.iter().map(|route| {
            let services = route.action.services().map(|service| &*plan.services[service as usize].name);
            (route.id, Names { route: route.name.clone(), service: services.collect::<Vec<_>>().join(",") })
        });
        self.names = names.collect();
        let mut known = std::mem::take(&mut self.keys);
        for (key, _) in plan.settings.consumers.iter().flat_map(Consumer::keys) {
            let used_at_s = known.remove(&key.id).and_then(|key| key.used_at_s);
            let (consumer, prefix) = (key.consumer.name().to_owned(), key.prefix.to_owned());
            self.keys.insert(key.id, KeyStatus { consumer, prefix, used_at_s });
        }
        let known = &self.names;
        self.routes.retain(|route, _| *route == NO_ROUTE || known.contains_key(route));
        self.limited.retain(|limited, _| limited.route.is_none_or(|route| known.contains_key(&route)));
    }
}

/// Of all requests that were asked who sends them. An issuer that is down is no attack.
pub fn authentication(counters: &Counters) -> Counts {
    let refusals = policy::Error::ALL.iter().zip(counters.policy_refusals);
    let failures = refusals.filter(|(error, _)| error.is_of_credentials()).map(|(_, count)| count).sum();
    Counts { attempts: counters.authentication_attempts, failures }
}

/// Keys that were used, and when; if they are more than are told of, those that were used last.
pub fn used_keys(keys: &BTreeMap<u32, KeyStatus>) -> Vec<(u64, &KeyStatus)> {
    let mut used: Vec<_> = keys.values().filter_map(|key| Some((key.used_at_s?, key))).collect();
    if used.len() > USED_KEYS_MAX {
        used.select_nth_unstable_by_key(USED_KEYS_MAX, |(at_s, _)| Reverse(*at_s));
        used.truncate(USED_KEYS_MAX);
    }
    used
}

/// Keys of which a scrape tells when they were used.
const USED_KEYS_MAX: usize = 10_000;
/// Routes, consumers and limits that refusals are told apart by.
const LIMITED_MAX: usize = 10_000;
/// A shard that has not turned for so long does not turn any more.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_fail_that_were_judged_or_missing() {
        for (reason, failures) in [
            ("token_missing", 1),
            ("signature_invalid", 1),
            ("key_expired", 1),
            ("password_throttled", 1),
            ("keys_unavailable", 0),
            ("password_busy", 0),
            ("password_late", 0),
            ("role_missing", 0),
        ] {
            let refusal = policy::Error::ALL.iter().find(|error| error.reason() == reason).expect("it is one");
            let mut counters = Counters::default();
            counters.policy_refusals[refusal.index()] = 1;
            assert_eq!(authentication(&counters).failures, failures, "{reason}");
        }
    }

    #[test]
    fn of_many_keys_those_are_told_that_were_used_last() {
        let key = |id: u32| KeyStatus { used_at_s: (id > 0).then_some(u64::from(id)), ..KeyStatus::default() };
        let mut keys: BTreeMap<u32, KeyStatus> = (0..3).map(|id| (id, key(id))).collect();
        assert_eq!(used_keys(&keys).iter().map(|(at_s, _)| *at_s).collect::<Vec<_>>(), [1, 2]);
        let count = USED_KEYS_MAX as u32 + 2;
        keys.extend((0..=count).map(|id| (id, key(id))));
        let used = used_keys(&keys);
        assert_eq!((used.len(), used.iter().map(|(at_s, _)| *at_s).min()), (USED_KEYS_MAX, Some(3)));
    }
}
