//! What the operator writes of rate limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::Invalid;
use crate::http::view::FieldName;
use crate::stdx::ledger::{Algorithm, CHARGES_MAX, Terms};
use crate::stdx::number::Bounded;

/// Requests in a period, and tokens of a bucket.
pub type Requests = Bounded<1, 100_000_000>;
/// What one request may cost.
pub type Tokens = Bounded<1, { COST_MAX as u64 }>;

/// Refuses requests beyond so many in a time: 429 with `Retry-After`. Exact over all shards of a node: in no time of
/// any length are more admitted than `burst` and what the rate gives meanwhile. A refused request costs nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Requests that a client may send in a second. Of this and the following at least one, here or in `limits`; with
    /// several, all must admit a request. Default: none.
    pub requests_per_second: Option<Requests>,
    /// In a minute. Default: none.
    pub requests_per_minute: Option<Requests>,
    /// In an hour. Default: none.
    pub requests_per_hour: Option<Requests>,
    /// In a day. Default: none.
    pub requests_per_day: Option<Requests>,
    /// In 30 days. Default: none.
    pub requests_per_month: Option<Requests>,
    /// In 365 days. Default: none.
    pub requests_per_year: Option<Requests>,
    /// Requests that may come at once after a pause; of a `token_bucket` only. Default: as many as in the period.
    pub burst: Option<Requests>,
    /// `token_bucket` or `sliding_window`, which counts this period and what is left of the last. Default:
    /// `token_bucket`.
    pub algorithm: Option<AlgorithmName>,
    /// `local`: each node counts by itself. `redis`: all nodes with the same `rate_limiting.redis` count together, by a
    /// `token_bucket` only. None of them waits for Redis: each holds some tokens of every key in advance, its part of
    /// half the burst. No more than that comes at once at one node, and `RateLimit-Remaining` is of it. A `burst` that
    /// is less than the number of nodes and one counts as that. A request costs 1: neither `cost_by_method` nor
    /// `cost_header` goes with it. Redis knows keys by fingerprints alone. Default: `local`.
    pub policy: Option<Counting>,
    /// What is counted apart, all of them together: `client_address` (an IPv4 address or an IPv6 /64), `consumer`,
    /// `credential`, `{ header: NAME }`, `route`, `service`, or `global`, which is all in one. Requests without the
    /// consumer, credential or header are counted by client address. A listener's cannot be `route` or `service`, nor
    /// `consumer` or `credential` unless a policy before it there finds that out. Default: `[client_address]`.
    pub key: Option<Vec<KeyPart>>,
    /// More limits, each with its own key; a request is charged to all of them, or refused and charged to none.
    /// Default: none.
    pub limits: Vec<LimitConfig>,
    /// Tokens that a request costs, by its method (`POST: 5`). Default: 1 each.
    pub cost_by_method: BTreeMap<MethodName, Tokens>,
    /// The header in which a request says what it costs; less than its method's cost counts for nothing. Default: none.
    pub cost_header: Option<FieldName>,
    /// Whether responses say nothing of limits: no `RateLimit`, `RateLimit-Policy`, `RateLimit-Limit`, `-Remaining`,
    /// `-Reset`, `X-RateLimit-Limit-Second` and so on. `Retry-After` is sent always. Default: false.
    pub hide_client_headers: Option<bool>,
}

/// One more limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// Requests in a second. Of this and the following at least one. Default: none.
    pub requests_per_second: Option<Requests>,
    /// In a minute. Default: none.
    pub requests_per_minute: Option<Requests>,
    /// In an hour. Default: none.
    pub requests_per_hour: Option<Requests>,
    /// In a day. Default: none.
    pub requests_per_day: Option<Requests>,
    /// In 30 days. Default: none.
    pub requests_per_month: Option<Requests>,
    /// In 365 days. Default: none.
    pub requests_per_year: Option<Requests>,
    /// As above. Default: as many as in the period.
    pub burst: Option<Requests>,
    /// As above. Default: `token_bucket`.
    pub algorithm: Option<AlgorithmName>,
    /// As above. Default: `local`.
    pub policy: Option<Counting>,
    /// As above. Default: `[client_address]`.
    pub key: Option<Vec<KeyPart>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum AlgorithmName {
    TokenBucket,
    SlidingWindow,
}

/// Who counts: the name that Kong has for it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    Local,
    Redis,
}

/// One limit, as it was written.
#[derive(Clone, Debug)]
pub struct Rule {
    pub period: Period,
    pub terms: Terms,
    pub key: Vec<KeyPart>,
    /// With other nodes.
    pub is_shared: bool,
}

/// Something that requests are told apart by.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    ClientAddress,
    Consumer,
    Credential,
    Header(FieldName),
    Route,
    Service,
    Global,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "UPPERCASE")]
pub enum MethodName {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
}

/// A period, as headers and metrics name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Period {
    pub name: &'static str,
    /// As Kong writes it.
    pub title: &'static str,
    pub seconds: u64,
}

impl Config {
    /// Every limit.
    pub fn limits(self) -> Result<Vec<Rule>, Invalid> {
        let Self {
            requests_per_second,
            requests_per_minute,
            requests_per_hour,
            requests_per_day,
            requests_per_month,
            requests_per_year,
            burst,
            algorithm,
            policy,
            key,
            ..
        } = self;
        let own = LimitConfig {
            requests_per_second,
            requests_per_minute,
            requests_per_hour,
            requests_per_day,
            requests_per_month,
            requests_per_year,
            burst,
            algorithm,
            policy,
            key,
        };
        let is_given = own.counts().iter().any(Option::is_some) || self.limits.is_empty();
        let mut limits = Vec::new();
        for limit in is_given.then_some(own).into_iter().chain(self.limits) {
            limit.add_to(&mut limits)?;
        }
        if limits.len() > CHARGES_MAX {
            return Err(Invalid::new(format!("more than {CHARGES_MAX} limits"), "leave some out"));
        }
        Ok(limits)
    }
}

impl LimitConfig {
    fn counts(&self) -> [Option<Requests>; 6] {
        [
            self.requests_per_second,
            self.requests_per_minute,
            self.requests_per_hour,
            self.requests_per_day,
            self.requests_per_month,
            self.requests_per_year,
        ]
    }

    fn add_to(self, limits: &mut Vec<Rule>) -> Result<(), Invalid> {
        let given = self.counts().into_iter().zip(PERIODS).filter_map(|(count, period)| Some((count?, period)));
        let given: Vec<_> = given.collect();
        let is_window = self.algorithm == Some(AlgorithmName::SlidingWindow);
        if given.is_empty() {
            return Err(Invalid::new("a limit without a rate", "say how many, as in `requests_per_second: 100`"));
        }
        if self.burst.is_some() && (is_window || given.len() > 1) {
            let help = "leave it out, or write each rate as an entry of `limits` with its own";
            return Err(Invalid::new("a `burst` that is not one token bucket's", help));
        }
        let key = self.key.unwrap_or_else(|| vec![KeyPart::ClientAddress]);
        if key.is_empty() || key.len() > 1 && key.contains(&KeyPart::Global) {
            return Err(Invalid::new("a `key` that is empty or more than `global`", "write `key: [global]`"));
        }
        let is_shared = self.policy == Some(Counting::Redis);
        if is_shared && is_window {
            return Err(Invalid::new("a `sliding_window` with `policy: redis`", "leave `algorithm` out"));
        }
        if is_shared && key.iter().any(|part| matches!(part, KeyPart::Route | KeyPart::Service)) {
            let help = "write the policy at each route or service: each of them counts apart";
            return Err(Invalid::new("a `key` of `route` or `service` with `policy: redis`", help));
        }
        for (count, period) in given {
            let count = count.get() as u32;
            let algorithm = if is_window { Algorithm::SlidingWindow } else { Algorithm::TokenBucket };
            let burst = self.burst.map_or(count, |burst| burst.get() as u32);
            let terms = Terms { algorithm, count, period: Duration::from_secs(period.seconds), burst };
            if !terms.is_exact() {
                let help = "choose less, or a `token_bucket`";
                return Err(Invalid::new(format!("{count} requests a {}, which cannot be counted", period.name), help));
            }
            limits.push(Rule { period, terms, key: key.clone(), is_shared });
        }
        Ok(())
    }
}

const PERIODS: [Period; 6] = [
    Period { name: "second", title: "Second", seconds: 1 },
    Period { name: "minute", title: "Minute", seconds: 60 },
    Period { name: "hour", title: "Hour", seconds: 3_600 },
    Period { name: "day", title: "Day", seconds: 86_400 },
    Period { name: "month", title: "Month", seconds: 86_400 * 30 },
    Period { name: "year", title: "Year", seconds: 86_400 * 365 },
];
/// What one request may cost.
pub const COST_MAX: u32 = 1_000;
