//! Our own front-end: [`Model`] to [`Ir`].
//!
//! An object with a problem stays in, as far as it can, so that what refers to it is not reported too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::consumers;
use super::ir::{self, Ir, Name};
use super::load::without_line_end;
use super::model::{self, Model};
use super::named::NamedFiles;
use super::problem::{Origin, Problem};
use super::rules;
use super::store::{OnFailure, Redis, Secret, Server, Store};
use super::tls::Mistake;
use crate::http::authority::Authority;
use crate::policy::authorize::{is_role, is_scope};
use crate::policy::consumers::Pepper;
use crate::policy::{self, Kind, Order, Policy, Role, rate_limit};
use crate::proxy::HttpOptions;
use crate::proxy::limits::Limits;
use crate::runtime::options::{EventLoop, Pin, RuntimeOptions, Shards};
use crate::stdx::cidr::Cidr;
use crate::stdx::number::{Bounded, Millis};
use crate::upstream::service::{PoolLimits, Retry, Timeouts};

/// Adds what is wrong to `problems`; with any, the result is only good for finding more. `profile`: what the model is
/// under.
pub fn translate(
    file: &str,
    model: Model,
    profile: Option<&str>,
    named: &NamedFiles,
    problems: &mut Vec<Problem>,
) -> Ir {
    let is_strict = model.authentication.strict_validation.unwrap_or(false);
    let has_redis = model.rate_limiting.redis.is_some();
    let mut translate =
        Translate { file: file.into(), named, problems, are_limits_enforced: true, has_redis, is_strict };
    translate.version(&model.version);
    translate.are_limits_enforced = model.rate_limiting.enabled.unwrap_or(true);
    let http = translate.http(model.http);
    let order = translate.order(model.policy_order);
    let routes = rules::translate(model.routes, http.merge_slashes, &mut translate);
    Ir {
        listeners: translate.listeners(model.listeners),
        services: model.services.into_iter().map(|service| translate.service(service)).collect(),
        routes,
        consumers: consumers::translate(model.consumers, &order, &mut translate),
        groups: consumers::translate_groups(model.consumer_groups, &order, &mut translate),
        pepper: translate.pepper(&model.api_keys),
        policies: translate.policies_of_all(model.policies, &model.rate_limiting),
        order,
        roles: translate.roles(model.roles),
        bypass_local: translate.bypass_local(model.authentication.bypass_local, profile),
        store: model.rate_limiting.redis.and_then(|redis| translate.store(redis)),
        limits: limits(&model.limits),
        trust: translate.networks(&model.trust.proxies),
        http,
        admin_origin: model.admin.address.as_ref().map(|address| translate.origin(address.referenced)),
        admin: translate.admin(model.admin),
        runtime: runtime(&model.runtime),
        shutdown_delay: model.shutdown.delay_ms.map(|delay| Duration::from_millis(delay.get())),
        access_log: model.access_log.enabled.unwrap_or(true),
        log_level: model.logging.level.unwrap_or_default(),
        drain_timeout: model.shutdown.drain_timeout_ms.map_or(DRAIN_TIMEOUT, Millis::duration),
    }
}

/// What every part needs: where it is, and where to complain.
pub(super) struct Translate<'a> {
    file: Arc<str>,
    named: &'a NamedFiles,
    problems: &'a mut Vec<Problem>,
    /// Otherwise rate limits are checked and left out.
    are_limits_enforced: bool,
    /// The file says where limits are counted that nodes share.
    has_redis: bool,
    /// What policies of authentication are that do not say.
    is_strict: bool,
}

impl Translate<'_> {
    pub(super) fn origin(&self, location: Location) -> Origin {
        let number = |at: u64| u32::try_from(at).unwrap_or(0);
        Origin { file: self.file.clone(), line: number(location.line()), column: number(location.column()) }
    }

    pub(super) fn problem(&mut self, location: Location, what: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::new(&self.origin(location), what, help);
        self.problems.push(problem);
    }

    /// Names stand in logs and in metrics, so nothing in them may need escaping.
    pub(super) fn name(&mut self, name: Spanned<String>) -> Name {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if name.value.is_empty() || name.value.len() > NAME_BYTES_MAX || !name.value.bytes().all(fits) {
            let help = format!("use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.` or `~`");
            self.problem(name.referenced, format!("`{}` is not a name", name.value.escape_debug()), help);
        }
        Name { origin: self.origin(name.referenced), text: name.value }
    }

    fn version(&mut self, version: &Spanned<model::Version>) {
        if version.value.get() != VERSION {
            let what = format!("version {} of this file is not known", version.value.get());
            self.problem(version.referenced, what, format!("write `version: {VERSION}`"));
        }
    }

    fn listeners(&mut self, listeners: Spanned<Vec<model::Listener>>) -> Vec<ir::Listener> {
        if listeners.value.is_empty() {
            let help = "add one, as in `{ name: public, address: \"0.0.0.0:8080\" }`";
            self.problem(listeners.referenced, "no listener", help);
        }
        listeners.value.into_iter().filter_map(|listener| self.listener(listener)).collect()
    }

    fn listener(&mut self, listener: model::Listener) -> Option<ir::Listener> {
        let name = self.name(listener.name);
        let proxies = self.networks(&listener.proxy_protocol_from);
        let policies = self.policies(listener.policies);
        let (text, location) = (&listener.address.value, listener.address.referenced);
        match text.parse::<SocketAddr>() {
            Ok(address) => {
                let address_origin = self.origin(location);
                Some(ir::Listener { name, address, address_origin, proxies, policies })
            }
            Err(_) => {
                let help = "write IP:PORT, as in `0.0.0.0:8080`";
                self.problem(location, format!("`{}` is not an address to listen on", text.escape_debug()), help);
                None
            }
        }
    }

    fn service(&mut self, service: model::Service) -> ir::Service {
        let name = self.name(service.name);
        if service.endpoints.value.is_empty() {
            let help = "add one, as in `\"127.0.0.1:9000\"`";
            self.problem(service.endpoints.referenced, format!("service `{}` has no endpoint", name.text), help);
        }
        let mut endpoints: Vec<Name> = Vec::new();
        for endpoint in service.endpoints.value {
            let location = endpoint.referenced;
            let Some(endpoint) = self.endpoint(endpoint) else { continue };
            if endpoints.iter().any(|other| other.text == endpoint.text) {
                self.problem(location, format!("endpoint `{}` is given twice", endpoint.text), "keep one");
            } else {
                endpoints.push(endpoint);
            }
        }
        let (timeouts, pool, retry) = (timeouts(&service.timeouts), pool(&service.pool), retry(&service.retry));
        ir::Service { name, endpoints, timeouts, pool, retry, policies: self.policies(service.policies) }
    }

    fn endpoint(&mut self, endpoint: Spanned<String>) -> Option<Name> {
        let (text, location) = (endpoint.value, endpoint.referenced);
        match Authority::read(text.as_bytes(), &mut Vec::new()) {
            Some(Authority { port: Some(1..) }) => return Some(Name { origin: self.origin(location), text }),
            Some(Authority { port: None }) => {
                self.problem(
                    location,
                    format!("endpoint `{text}` has no port"),
                    format!("write `{text}:80`, or its port"),
                );
            }
            _ => {
                // Before an `@` there may be a password.
                let shown = text.rsplit_once('@').map_or_else(|| text.clone(), |(_, after)| format!("...@{after}"));
                let help = "write HOST:PORT, as in `127.0.0.1:9000`";
                self.problem(location, format!("`{}` is not an endpoint", shown.escape_debug()), help);
            }
        }
        None
    }

    fn networks(&mut self, given: &[Spanned<String>]) -> Vec<Cidr> {
        let mut networks = Vec::new();
        for network in given {
            match network.value.parse::<Cidr>() {
                Ok(network) => networks.push(network),
                Err(error) => self.problem(network.referenced, error.to_string(), error.help()),
            }
        }
        networks
    }

    /// The policies of one list, compiled.
    pub(super) fn policies(&mut self, given: Vec<Spanned<policy::Config>>) -> Vec<Arc<Policy>> {
        let mut policies: Vec<Arc<Policy>> = Vec::new();
        for mut config in given {
            let (kind, location) = (config.value.kind(), config.referenced);
            config.value.inherit(self.is_strict);
            let loaded = config.value.load(&|name| self.named.read(name));
            match loaded.and_then(|()| Policy::new(config.value)) {
                Err(invalid) => {
                    self.problem(location, format!("`{}` has {}", kind.name(), invalid.what), invalid.help);
                }
                Ok(_) if policies.iter().any(|other| other.kind() == kind) => {
                    self.problem(location, format!("policy `{}` is given twice", kind.name()), "keep one");
                }
                Ok(Policy::RateLimit(_)) if !self.are_limits_enforced => {}
                Ok(policy) => {
                    if !self.has_redis && is_shared(&policy) {
                        let help = "say where, as in `rate_limiting: { redis: { address: \"127.0.0.1:6379\" } }`";
                        self.problem(location, "a `rate_limit` with `policy: redis`, and no Redis", help);
                    }
                    policies.push(Arc::new(policy));
                }
            }
        }
        policies
    }

    /// The policies of every request, with the rate limit that has a section of its own.
    fn policies_of_all(
        &mut self,
        given: Vec<Spanned<policy::Config>>,
        short: &model::RateLimiting,
    ) -> Vec<Arc<Policy>> {
        let mut policies = self.policies(given);
        if let Some(requests_per_second) = short.requests_per_second.filter(|_| self.are_limits_enforced) {
            let config = rate_limit::Config { requests_per_second: Some(requests_per_second), ..Default::default() };
            let policy = Policy::new(policy::Config::RateLimit(config)).expect("a rate alone makes sense");
            policies.retain(|other| other.kind() != Kind::RateLimit);
            policies.push(Arc::new(policy));
        }
        policies
    }

    fn pepper(&mut self, given: &consumers::ApiKeys) -> Option<Pepper> {
        let pepper = consumers::pepper(given, &|name| self.named.read(name));
        pepper.unwrap_or_else(|(location, what)| {
            self.problem(location, what, "write a secret of 16 to 1024 bytes there, which nobody else can read");
            Some(Pepper::new(b""))
        })
    }

    fn store(&mut self, redis: Redis) -> Option<Store> {
        if let (Some(username), None) = (&redis.username, &redis.password_file) {
            let what = format!("the user `{}` of Redis without a password", username.value.escape_debug());
            self.problem(username.referenced, what, "name a `password_file`, or leave `username` out");
        }
        let password = redis.password_file.and_then(|name| match self.named.read(&name.value) {
            Ok(content) => Some(Secret(without_line_end(&content).to_vec())),
            Err(error) => {
                let what = format!("the password in `{}` cannot be read ({error})", name.value);
                self.problem(name.referenced, what, "check the path and who may read it");
                None
            }
        });
        let prefix = redis.prefix.map_or_else(|| STORE_PREFIX.to_owned(), |prefix| self.store_prefix(prefix));
        let address = self.endpoint(redis.address)?.text;
        let tls = redis.tls.and_then(|tls| match tls.load(self.named) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(Mistake { location, what, help }) => {
                self.problem(location, what, help);
                None
            }
        });
        let server = Server { address, tls };
        let on_failure = redis.on_failure.unwrap_or(OnFailure::KeepShare);
        let database = redis.database.map_or(0, Bounded::get);
        Some(Store { server, username: redis.username.map(|name| name.value), password, database, prefix, on_failure })
    }

    fn store_prefix(&mut self, prefix: Spanned<String>) -> String {
        let fits = |byte: u8| byte.is_ascii_graphic();
        if prefix.value.is_empty() || prefix.value.len() > NAME_BYTES_MAX || !prefix.value.bytes().all(fits) {
            let what = format!("`{}` is not a prefix of keys", prefix.value.escape_debug());
            self.problem(prefix.referenced, what, format!("use 1 to {NAME_BYTES_MAX} characters of ASCII, no spaces"));
        }
        prefix.value
    }

    fn order(&mut self, given: Option<Spanned<Vec<Kind>>>) -> Order {
        let Some(Spanned { value: kinds, referenced, .. }) = given else { return Order::default() };
        if let Some(twice) = kinds.iter().enumerate().find(|(place, kind)| kinds[..*place].contains(kind)) {
            self.problem(referenced, format!("policy `{}` is named twice", twice.1.name()), "keep one");
            return Order::default();
        }
        let order = Order::new(kinds);
        let mut doors = Kind::ALL.iter().filter(|kind| kind.authenticates());
        if let Some(door) = doors.find(|door| order.runs_before(Kind::Anonymous, **door)) {
            let what = format!("`anonymous` before `{}`, which nobody would need any more", door.name());
            self.problem(referenced, what, format!("name `{}` before it", door.name()));
        }
        order
    }

    fn roles(&mut self, given: BTreeMap<String, Spanned<model::Role>>) -> Vec<(Name, Role)> {
        if given.len() > ROLES_MAX {
            let what = format!("more than {ROLES_MAX} roles");
            given.values().take(1).for_each(|first| self.problem(first.referenced, &*what, "leave some out"));
        }
        let role = |(text, given): (String, Spanned<model::Role>)| {
            let Spanned { value: model::Role { includes, scopes }, referenced, .. } = given;
            let of_role = includes.iter().chain([&text]).find(|name| !is_role(name));
            if let Some(name) = of_role.or_else(|| scopes.iter().find(|name| !is_scope(name))) {
                let what = format!("role `{}` has the name `{}`", text.escape_debug(), name.escape_debug());
                let help = "a name is 1 to 128 bytes long, that of a scope without spaces, quotes and backslashes";
                self.problem(referenced, what, help);
            }
            (Name { origin: self.origin(referenced), text }, Role { includes, scopes })
        };
        given.into_iter().map(role).collect()
    }

    /// Never where it could let in the world: not in production, and not by leaving out where this is.
    fn bypass_local(&mut self, given: Option<Spanned<bool>>, profile: Option<&str>) -> bool {
        let Some(Spanned { value: true, referenced, .. }) = given else { return false };
        if !matches!(profile, Some("development" | "staging")) {
            let what = match profile {
                Some(profile) => format!("`bypass_local` under the profile `{profile}`"),
                None => "`bypass_local` without a profile".to_owned(),
            };
            self.problem(referenced, what, "move it to `profiles`, below `development` or `staging`");
        }
        true
    }

    fn admin(&mut self, admin: model::Admin) -> Option<SocketAddr> {
        let address = match admin.address {
            None => ADMIN_ADDRESS,
            Some(text) => text.value.parse().unwrap_or_else(|_| {
                let what = format!("`{}` is not an address to listen on", text.value.escape_debug());
                self.problem(text.referenced, what, "write IP:PORT, as in `0.0.0.0:8001`");
                ADMIN_ADDRESS
            }),
        };
        admin.enabled.unwrap_or(true).then_some(address)
    }

    fn http(&mut self, http: model::Http) -> HttpOptions {
        let default = HttpOptions::default();
        let via = match http.via {
            None => default.via,
            Some(via) if via.value.is_empty() => None,
            Some(via) => Some(self.name(via).text),
        };
        HttpOptions {
            merge_slashes: http.merge_slashes.unwrap_or(default.merge_slashes),
            underscores_in_headers: http.underscores_in_headers.unwrap_or(default.underscores_in_headers),
            via,
        }
    }
}

/// Nodes count it together.
fn is_shared(policy: &Policy) -> bool {
    matches!(policy, Policy::RateLimit(policy) if policy.limits().iter().any(|limit| limit.is_shared))
}

fn runtime(given: &model::Runtime) -> RuntimeOptions {
    RuntimeOptions {
        shards: match given.shards {
            None | Some(model::Shards::Auto) => Shards::Auto,
            Some(model::Shards::Count(count)) => Shards::Count(count),
        },
        pin: match given.pin {
            None | Some(model::Pin::Auto) => Pin::Auto,
            Some(model::Pin::Always) => Pin::Always,
            Some(model::Pin::Never) => Pin::Never,
        },
        event_loop: match given.event_loop {
            None | Some(model::EventLoop::Auto) => EventLoop::Auto,
            Some(model::EventLoop::Uring) => EventLoop::Uring,
            Some(model::EventLoop::Epoll) => EventLoop::Epoll,
        },
    }
}

fn timeouts(given: &model::Timeouts) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        connect: duration(given.connect_ms, default.connect),
        first_byte: duration(given.first_byte_ms, default.first_byte),
        idle: duration(given.idle_ms, default.idle),
        total: given.total_ms.map(Millis::duration).or(default.total),
    }
}

fn pool(given: &model::Pool) -> PoolLimits {
    let default = PoolLimits::default();
    PoolLimits {
        connections_max: given.connections_max.map(|max| size(Some(max), usize::MAX)),
        idle_max: size(given.idle_max, default.idle_max),
        idle_timeout: duration(given.idle_timeout_ms, default.idle_timeout),
        age_max: duration(given.age_max_ms, default.age_max),
    }
}

fn retry(given: &model::Retry) -> Retry {
    let default = Retry::default();
    Retry {
        enabled: given.enabled.unwrap_or(default.enabled),
        replay_bytes_max: size(given.replay_bytes_max, default.replay_bytes_max),
    }
}

fn limits(given: &model::Limits) -> Limits {
    let default = Limits::default();
    Limits {
        head_bytes_max: size(given.head_bytes_max, default.head_bytes_max),
        fields_max: size(given.fields_max, default.fields_max),
        uri_bytes_max: size(given.uri_bytes_max, default.uri_bytes_max),
        body_bytes_max: given.body_bytes_max.map(Bounded::get).or(default.body_bytes_max),
        trailer_bytes_max: size(given.trailer_bytes_max, default.trailer_bytes_max),
        informational_max: count(given.informational_max, default.informational_max),
        header_read_timeout: duration(given.header_read_timeout_ms, default.header_read_timeout),
        body_rate_min: given.body_bytes_per_s_min.map_or(default.body_rate_min, Bounded::get),
        body_rate_grace: duration(given.body_rate_grace_ms, default.body_rate_grace),
        idle_timeout: duration(given.idle_timeout_ms, default.idle_timeout),
        send_timeout: duration(given.send_timeout_ms, default.send_timeout),
        linger_timeout: duration(given.linger_timeout_ms, default.linger_timeout),
        requests_per_connection_max: count(given.requests_per_connection_max, default.requests_per_connection_max),
        connections_max: size(given.connections_max, default.connections_max),
        connections_per_client_max: size(given.connections_per_client_max, default.connections_per_client_max),
        requests_in_flight_max: size(given.requests_in_flight_max, default.requests_in_flight_max),
        receive_bytes_max: size(given.receive_bytes_max, default.receive_bytes_max),
        retry_after_s: count(given.retry_after_s, default.retry_after_s),
    }
}

fn duration(given: Option<Millis>, default: Duration) -> Duration {
    given.map_or(default, Millis::duration)
}

fn size<const MIN: u64, const MAX: u64>(given: Option<Bounded<MIN, MAX>>, default: usize) -> usize {
    given.map_or(default, |given| usize::try_from(given.get()).unwrap_or(usize::MAX))
}

fn count<const MIN: u64, const MAX: u64>(given: Option<Bounded<MIN, MAX>>, default: u32) -> u32 {
    given.map_or(default, |given| u32::try_from(given.get()).unwrap_or(u32::MAX))
}

/// All addresses: a node's probes do not come from within.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8001);
const VERSION: u64 = 1;
const STORE_PREFIX: &str = "shardgate";
const NAME_BYTES_MAX: usize = 128;
const ROLES_MAX: usize = 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
