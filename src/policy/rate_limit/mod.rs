//! Rate limit: how often somebody may send a request.
//!
//! Every limit is one of the node's ledger (`stdx::ledger`): this shard spends leases of its own and never waits;
//! nobody divides a rate by shards. Control gives each limit its number, which it keeps over reloads, and puts its
//! terms in force for all shards at once.

mod config;
mod headers;
mod state;

pub use config::{Config, KeyPart, Requests};
pub use state::{Charged, Expected, LEASE_KEYS, OTHERS, Refused, State};

use self::config::{COST_MAX, MethodName, Period, Rule};
use self::headers::{Told, retry_after};
use self::state::{EXPECTED_MAX, by_address};
use super::{Context, Hooks, Invalid, Member, Verdict};
use crate::http::view::{FieldName, Method, RequestView, ResponseView};
use crate::stdx::ledger::{CHARGES_MAX, Charge, Ledger, Left, Terms};
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    Exceeded,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RateLimit {
    limits: Box<[Limit]>,
    costs: Box<[(Method, u32)]>,
    cost_header: Option<FieldName>,
    /// Those of the limits that count clients by nothing but their addresses; more than these are not remembered.
    by_address: [Option<usize>; EXPECTED_MAX],
    /// None where clients are told nothing.
    told: Option<Told>,
}

/// One limit.
#[derive(Debug)]
pub struct Limit {
    period: Period,
    pub terms: Terms,
    key: Box<[KeyPart]>,
    /// With other nodes.
    pub is_shared: bool,
    /// In the ledger. Given before a shard sees the policy.
    number: OnceLock<u16>,
}

/// What a request is counted under: its values of the limit's key.
struct Key<'a, 'b> {
    parts: &'a [KeyPart],
    request: &'a RequestView<'b>,
    context: &'a Context<'b>,
}

impl Error {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Exceeded => "exceeded",
        }
    }
}

impl Limit {
    /// What the limit is, apart from its terms: a changed key counts anew.
    pub fn name(&self) -> String {
        let shared = if self.is_shared { "shared, " } else { "" };
        format!("{shared}{} by {:?}", self.period.name, self.key)
    }

    pub fn key(&self) -> &[KeyPart] {
        &self.key
    }

    pub fn number(&self) -> Option<u16> {
        self.number.get().copied()
    }

    /// Only the first number counts.
    pub fn give_number(&self, number: u16) {
        self.number.get_or_init(|| number);
    }
}

impl PartialEq for Limit {
    /// By what the operator wrote: numbers come with each reading of the file.
    fn eq(&self, other: &Self) -> bool {
        let told = |limit: &Self| (limit.period, limit.terms, limit.is_shared);
        (told(self), &self.key) == (told(other), &other.key)
    }
}

impl Eq for Limit {}

impl RateLimit {
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    fn cost(&self, request: &RequestView<'_>) -> u32 {
        let method = request.method();
        let own = self.costs.iter().find(|(other, _)| *other == method).map_or(1, |(_, cost)| *cost);
        let said = self.cost_header.as_ref().and_then(|name| {
            let text = std::str::from_utf8(request.headers.only(name)?).ok()?;
            text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
        });
        own.max(said.unwrap_or(0)).min(COST_MAX)
    }

    /// Calls `use_them` with what the request is charged; limits without a number are not in force.
    fn with_charges<T>(
        &self,
        ledger: &Ledger,
        request: &RequestView<'_>,
        context: &Context<'_>,
        use_them: impl FnOnce(&[Charge]) -> T,
    ) -> T {
        let cost = self.cost(request);
        let charge = |limit: &Limit| {
            let tag = ledger.tag(limit.number()?, Key { parts: &limit.key, request, context });
            Some(Charge { tag, cost })
        };
        // Nearly always it is one, and room for the most takes longer to clear than that.
        if let [limit] = &*self.limits {
            return use_them(charge(limit).as_slice());
        }
        let (mut charges, mut count) = ([Charge::default(); CHARGES_MAX], 0);
        for charge in self.limits.iter().filter_map(charge) {
            charges[count] = charge;
            count += 1;
        }
        use_them(&charges[..count])
    }
}

impl Member for RateLimit {
    type Config = Config;
    const HOOKS: Hooks = Hooks::BOTH;

    fn new(mut config: Config) -> Result<Self, Invalid> {
        let costs = std::mem::take(&mut config.cost_by_method).into_iter();
        let costs: Box<[_]> = costs.map(|(method, cost)| (method.method(), cost.get() as u32)).collect();
        let (cost_header, is_hidden) = (config.cost_header.take(), config.hide_client_headers == Some(true));
        let limits: Box<[Limit]> = config.limits()?.into_iter().map(Limit::new).collect();
        let dearest = costs.iter().map(|(_, cost)| *cost).max().unwrap_or(1);
        if let Some(limit) = limits.iter().find(|limit| limit.terms.burst < dearest) {
            let what = format!("a cost of {dearest} where the burst is {}", limit.terms.burst);
            return Err(Invalid::new(what, "raise `burst`: such requests would always be refused"));
        }
        if limits.iter().any(|limit| limit.is_shared) && (dearest > 1 || cost_header.is_some()) {
            let help = "leave `cost_by_method` and `cost_header` out: a node may hold less of a key than that";
            return Err(Invalid::new("a request that costs more than 1 with `policy: redis`", help));
        }
        let told = (!is_hidden).then(|| Told::new(limits.iter().map(|limit| (limit.period, limit.terms.burst))));
        let mut places = (0..limits.len()).filter(|place| *limits[*place].key == [KeyPart::ClientAddress]);
        let by_address = [(); EXPECTED_MAX].map(|()| places.next());
        Ok(Self { limits, costs, cost_header, by_address, told })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let state = &mut context.state.borrow_mut().limits;
        let Some((ledger, leases)) = state.parts() else { return Verdict::Continue };
        let now = context.now.mono;
        let admitted = self.with_charges(ledger, request, context, |charges| {
            context.found.charged.note(charges);
            leases.admit(ledger, charges, now)
        });
        if self.by_address[0].is_some() {
            state.note_by_address(self.by_address.map(|place| self.limits[place?].number()));
        }
        match admitted {
            Ok(()) => Verdict::Continue,
            Err(refused) => {
                let limit = self.limits.iter().filter(|limit| limit.number().is_some()).nth(refused.charge);
                let period = limit.map_or("", |limit| limit.period.name);
                state.refuse(context.route, context.found.identity.as_deref(), period);
                Verdict::Reject(super::Error::RateLimit(Error::Exceeded))
            }
        }
    }

    fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
        let is_refused = context.found.refusal == Some(super::Error::RateLimit(Error::Exceeded));
        let charged = |limit: &Limit| context.found.charged.of(limit.number()?);
        // Another one refused it before this one was asked: whoever heeds what this one has to say is refused again.
        let is_anothers = is_refused && self.limits.iter().all(|limit| charged(limit).is_none());
        if is_anothers || self.told.is_none() && !is_refused {
            return;
        }
        let state = &mut context.state.borrow_mut().limits;
        let Some((ledger, leases)) = state.parts() else { return };
        let left = |(place, limit): (usize, &Limit)| {
            let number = limit.number()?;
            // Whoever was refused before it came here was charged nothing.
            let charge = charged(limit).unwrap_or_else(|| {
                let tag = ledger.tag(number, Key { parts: &limit.key, request, context });
                Charge { tag, cost: self.cost(request) }
            });
            let left = leases.left(ledger, charge, context.now.mono);
            // What is told is what was configured, not this node's part of it.
            Some((place, Left { burst: limit.terms.burst, ..left }))
        };
        let left = self.limits.iter().enumerate().filter_map(left);
        if let Some(told) = &self.told {
            told.write(left.clone(), response);
        }
        if is_refused {
            let waits = left.map(|(_, left)| left.wait);
            retry_after(waits.max().unwrap_or_default(), response);
        }
    }
}

impl Limit {
    fn new(Rule { period, terms, key, is_shared }: Rule) -> Self {
        Self { period, terms, key: key.into(), is_shared, number: OnceLock::new() }
    }
}

impl MethodName {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::Get,
            Self::Head => Method::Head,
            Self::Post => Method::Post,
            Self::Put => Method::Put,
            Self::Delete => Method::Delete,
            Self::Options => Method::Options,
            Self::Patch => Method::Patch,
        }
    }
}

impl Hash for Key<'_, '_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { parts, request, context } = self;
        let identity = context.found.identity.as_deref();
        for part in *parts {
            let value = match part {
                KeyPart::Consumer => identity.and_then(|identity| identity.consumer.as_deref()).map(str::as_bytes),
                KeyPart::Credential => identity.and_then(|identity| identity.credential.as_deref()).map(str::as_bytes),
                KeyPart::Header(name) => request.headers.only(name),
                KeyPart::ClientAddress => None,
                KeyPart::Route => {
                    context.route.hash(state);
                    continue;
                }
                KeyPart::Service => {
                    context.service.hash(state);
                    continue;
                }
                KeyPart::Global => continue,
            };
            // Who has none of it is not counted with all who have none, and cannot pass for who has one.
            match value {
                Some(value) => (1u8, value).hash(state),
                None => by_address(context.client).hash(state),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Trial};
    use super::*;
    use crate::stdx::board::Board;
    use crate::stdx::time::Mono;
    use std::rc::Rc;
    use std::sync::Arc;

    /// A policy whose limits are in force.
    fn trial(config: &str) -> Trial<RateLimit> {
        let mut trial = Trial::<RateLimit>::new(config);
        let board = Arc::new(Board::new(1, 1, 8));
        for (number, limit) in (1..).zip(trial.policy().limits()) {
            limit.give_number(number);
            board.limit(&[(number, limit.terms)], Mono::ZERO);
        }
        trial.state.get_mut().limits = State::new(board, 0, 1);
        trial.now_s = 1_000;
        trial
    }

    const GET: &str = "GET / HTTP/1.1\nHost: a";

    /// Sends requests, each at a time (s), from a client, with more of a head, and compares who is refused.
    #[track_caller]
    fn check(config: &str, cases: &[(u64, &str, &str, bool)]) {
        let mut trial = trial(config);
        for &(at, client, head, is_admitted) in cases {
            (trial.now_s, trial.client) = (1_000 + at, client.parse().unwrap());
            let refusal = trial.request(head).refusal();
            let want = (!is_admitted).then_some(super::super::Error::RateLimit(Error::Exceeded));
            assert_eq!(refusal, want, "{config}: {client} at {at} s, {head:?}");
        }
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let client = "192.0.2.1";
        check(
            "requests_per_minute: 60\nburst: 2",
            &[
                (0, client, GET, true),
                (0, client, GET, true),
                (0, client, GET, false),
                (1, client, GET, true),
                (1, client, GET, false),
                (100, client, GET, true),
                (100, client, GET, true),
                (100, client, GET, false),
            ],
        );
    }

    #[test]
    fn a_site_of_ipv6_is_one_client_and_headers_are_told_apart() {
        let one = "requests_per_hour: 1";
        check(one, &[(0, "2001:db8::1", GET, true), (0, "2001:db8::2", GET, false), (0, "2001:db8:0:1::1", GET, true)]);
        let [red, blue] = ["red", "blue"].map(|value| format!("{GET}\nX-Team: {value}"));
        check(
            "requests_per_hour: 1\nkey: [{ header: x-team }]",
            &[
                (0, "::1", &red, true),
                (0, "::2", &red, false),
                (0, "::2", &blue, true),
                (0, "192.0.2.1", GET, true),
                (0, "192.0.2.1", GET, false),
                (0, "192.0.2.2", GET, true),
            ],
        );
        check("requests_per_hour: 1\nkey: [global]", &[(0, "::1", &red, true), (0, "192.0.2.1", GET, false)]);
    }

    #[test]
    fn what_a_stranger_will_be_charged_for_is_known_by_those_before() {
        let mut trial = trial(
            "requests_per_second: 9\nrequests_per_minute: 99\nlimits: [{ requests_per_hour: 999, key: [global] }]",
        );
        let fetched = |trial: &Trial<RateLimit>, client: &str| {
            let mut fetched = Vec::new();
            let limits = &trial.state.borrow().limits;
            limits.expect_of(client.parse().unwrap(), |_, tag| fetched.push(tag));
            fetched
        };
        assert_eq!(fetched(&trial, "192.0.2.7"), []);
        trial.request(GET);
        let expected = fetched(&trial, "192.0.2.7");
        assert_eq!(expected.len(), 2);
        trial.client = "192.0.2.7".parse().unwrap();
        let stranger = trial.request(GET);
        let charged = [1, 2].map(|limit| stranger.found().charged.of(limit).unwrap().tag);
        assert_eq!(expected, charged);
        drop(stranger);
        trial.state.get_mut().limits.swapped();
        assert_eq!(fetched(&trial, "192.0.2.7"), []);
    }

    #[test]
    fn of_several_limits_all_must_admit() {
        check(
            "requests_per_second: 2\nrequests_per_minute: 3\nlimits: [{ requests_per_hour: 4, key: [global] }]",
            &[
                (0, "192.0.2.1", GET, true),
                (0, "192.0.2.1", GET, true),
                (0, "192.0.2.1", GET, false),
                (5, "192.0.2.1", GET, true),
                (5, "192.0.2.1", GET, false),
                (5, "192.0.2.2", GET, true),
                (5, "192.0.2.3", GET, false),
            ],
        );
    }

    #[test]
    fn a_request_costs_what_its_method_does_or_what_it_says_if_that_is_more() {
        let config = "requests_per_hour: 10\ncost_by_method: { POST: 4 }\ncost_header: X-Cost";
        let post = |cost: &str| format!("POST / HTTP/1.1\nHost: a\nContent-Length: 0\nX-Cost: {cost}");
        let client = "192.0.2.1";
        check(config, &[(0, client, &post("0"), true), (0, client, &post("7"), false), (0, client, &post("6"), true)]);
        check(config, &[(0, client, &post("+9"), true), (0, client, &post("6"), true), (0, client, GET, false)]);
    }

    #[test]
    fn consumers_are_counted_wherever_they_come_from() {
        let mut trial = trial("requests_per_hour: 1\nkey: [consumer]");
        let mut ask = |client: &str, consumer: Option<&str>| {
            trial.client = client.parse().unwrap();
            trial.identity =
                consumer.map(|name| Rc::new(Identity::new(Some(name.into()), None, Box::default(), Box::default())));
            trial.request(GET).refusal().is_none()
        };
        assert!(ask("::1", Some("ann")) && !ask("192.0.2.1", Some("ann")) && ask("::1", Some("bob")));
        assert!(ask("::1", None) && !ask("::1", None));
        let refused: Vec<_> = trial.state.get_mut().limits.take_refused().collect();
        assert_eq!(refused.iter().map(|refused| refused.count).sum::<u64>(), 2);
        assert!(refused.iter().any(|refused| refused.consumer.as_deref() == Some("ann") && refused.limit == "hour"));
    }

    #[test]
    fn responses_say_what_is_left_and_when_to_come_again() {
        let trial = trial("requests_per_minute: 2");
        let mut first = trial.request(GET);
        assert_eq!(
            first.answered(200, &[]),
            [
                "X-RateLimit-Limit-Minute: 2",
                "X-RateLimit-Remaining-Minute: 1",
                "RateLimit-Limit: 2",
                "RateLimit-Remaining: 1",
                "RateLimit-Reset: 30",
                "RateLimit-Policy: \"minute\";q=2;w=60",
                "RateLimit: \"minute\";r=1;t=30",
            ]
        );
        trial.request(GET);
        let mut refused = trial.request(GET);
        let answer = refused.answered(429, &[]);
        assert_eq!(answer.last().map(String::as_str), Some("Retry-After: 30"));
        assert!(answer.contains(&"RateLimit-Remaining: 0".to_owned()), "{answer:?}");
        let hidden = self::trial("requests_per_minute: 1\nhide_client_headers: true");
        assert!(hidden.request(GET).answered(200, &[]).is_empty());
        assert_eq!(hidden.request(GET).answered(429, &[]), ["Retry-After: 60"]);
    }

    #[test]
    fn of_several_limits_of_one_period_the_last_is_told_and_the_nearest_of_all() {
        let config = "requests_per_minute: 5\nlimits: [{ requests_per_minute: 60 }, { requests_per_hour: 90 }]";
        assert_eq!(
            trial(config).request(GET).answered(200, &[]),
            [
                "X-RateLimit-Limit-Minute: 60",
                "X-RateLimit-Remaining-Minute: 59",
                "X-RateLimit-Limit-Hour: 90",
                "X-RateLimit-Remaining-Hour: 89",
                "RateLimit-Limit: 5",
                "RateLimit-Remaining: 4",
                "RateLimit-Reset: 12",
                "RateLimit-Policy: \"minute\";q=5;w=60",
                "RateLimit: \"minute\";r=4;t=12",
            ]
        );
    }

    #[test]
    fn what_a_response_says_is_of_the_key_that_was_charged_whatever_became_of_the_request() {
        let mut trial = trial("requests_per_minute: 2\nkey: [consumer]");
        let mut anonymous = trial.request(GET);
        let left = |lines: Vec<String>| lines.contains(&"RateLimit-Remaining: 1".to_owned());
        assert!(left(anonymous.answered(200, &[])));
        trial.request(GET);
        // On its way it was found out who asks.
        trial.identity = Some(Rc::new(Identity::new(Some("ann".into()), None, Box::default(), Box::default())));
        let lines = trial.refused_before(GET).answered(200, &[]);
        assert!(lines.contains(&"RateLimit-Remaining: 0".to_owned()), "{lines:?}");
    }

    #[test]
    fn what_a_lost_shard_held_is_written_off_though_nobody_asks_for_anything() {
        let board = Arc::new(Board::new(2, 1, 8));
        let terms = trial("requests_per_hour: 400").policy().limits()[0].terms;
        board.limit(&[(1, terms)], Mono::ZERO);
        let mut lost = State::new(board.clone(), 0, 1);
        let admit = |state: &mut State, times: u32| {
            let (ledger, leases) = state.parts().unwrap();
            let charge = Charge { tag: ledger.tag(1, "key"), cost: 1 };
            (0..times).map(|_| u32::from(leases.admit(ledger, &[charge], Mono::ZERO).is_ok())).sum::<u32>()
        };
        let spent = admit(&mut lost, 41);
        drop(lost);
        let ledger = board.ledger().unwrap();
        let mut living = [0, 1].map(|shard| State::new(board.clone(), shard, 1));
        ledger.recall();
        ledger.write_off_when_recalled(Mono::ZERO);
        assert!(ledger.is_recalling(), "nobody has said that he holds nothing");
        living.iter_mut().for_each(|state| state.heed_recall(Mono::ZERO));
        ledger.write_off_when_recalled(Mono::ZERO);
        assert!(!ledger.is_recalling());
        let rest = admit(&mut living[1], 500);
        assert!((380..=400).contains(&(spent + rest)), "{spent} and {rest}");
    }

    #[test]
    fn limits_that_make_no_sense_are_mistakes() {
        let refused = Trial::<RateLimit>::refused;
        refused("{}", "a limit without a rate: say how many, as in `requests_per_second: 100`");
        refused(
            "{ requests_per_second: 1, requests_per_minute: 2, burst: 3 }",
            "a `burst` that is not one token bucket's: leave it out, or write each rate as an entry of `limits` with \
             its own",
        );
        refused(
            "{ requests_per_second: 1, key: [global, route] }",
            "a `key` that is empty or more than `global`: write `key: [global]`",
        );
        refused(
            "{ requests_per_second: 9, policy: redis, algorithm: sliding_window }",
            "a `sliding_window` with `policy: redis`: leave `algorithm` out",
        );
        refused(
            "{ requests_per_second: 9, policy: redis, key: [consumer, route] }",
            "a `key` of `route` or `service` with `policy: redis`: write the policy at each route or service: each of \
             them counts apart",
        );
        refused(
            "{ requests_per_second: 500000, algorithm: sliding_window }",
            "500000 requests a second, which cannot be counted: choose less, or a `token_bucket`",
        );
        refused(
            "{ requests_per_second: 2, cost_by_method: { POST: 3 } }",
            "a cost of 3 where the burst is 2: raise `burst`: such requests would always be refused",
        );
        let dear = "a request that costs more than 1 with `policy: redis`: leave `cost_by_method` and `cost_header` \
                    out: a node may hold less of a key than that";
        refused("{ requests_per_second: 60, policy: redis, cost_by_method: { POST: 20 } }", dear);
        refused("{ requests_per_day: 9, cost_header: x, limits: [{ requests_per_day: 9, policy: redis }] }", dear);
        Trial::<RateLimit>::unread("requests_per_second: 0", "expected a whole number from 1 to");
        Trial::<RateLimit>::unread("{ requests_per_second: 1, key: [clinet] }", "clinet");
    }
}
