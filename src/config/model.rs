//! What the operator writes. The comments here are the documentation of the file's keys.
//!
//! Keys carry their unit: `_ms`, `_s`, `_bytes`; `_max` and `_min` are bounds. A key that is left out, or `null`, has
//! its default. Examples of each part are in `config/`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::consumers::{ApiKeys, Consumer, ConsumerGroup};
use super::store::Redis;
use crate::policy::{self, rate_limit};
use crate::proxy::limits::Limits as Ceilings;
use crate::stdx::number::{Bounded, Bytes, Count, Millis};
use crate::telemetry::level::Level;

/// Only 1 exists, which is checked where the answer can say so.
pub type Version = Bounded<0, { u32::MAX as u64 }>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The form of this file. Always 1.
    pub version: Spanned<Version>,
    /// Where clients connect. At least one.
    pub listeners: Spanned<Vec<Listener>>,
    /// What answers requests. Default: none.
    #[serde(default)]
    pub services: Vec<Service>,
    /// Which request goes to which service. Default: none, and every request is answered 404.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Who sends requests. Default: none.
    #[serde(default)]
    pub consumers: Vec<Spanned<Consumer>>,
    /// Consumers that have something in common. Default: none.
    #[serde(default)]
    pub consumer_groups: Vec<ConsumerGroup>,
    /// How consumers' keys are kept.
    #[serde(default)]
    pub api_keys: ApiKeys,
    /// What every request meets beside its route; `docs/policies.md` has them all. A policy of the same kind of a route
    /// or its service stands in for one here. Default: none.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
    /// Names of policies in the order in which they run. Those that are left out run where they always do. Default:
    /// none is named, and all run in the order of `docs/policies.md`.
    pub policy_order: Option<Spanned<Vec<policy::Kind>>>,
    /// What roles stand for beside themselves, by their names; for the policy `authorize`. Default: none.
    #[serde(default)]
    pub roles: BTreeMap<String, Spanned<Role>>,
    /// Who has to prove who they are, and how strictly.
    #[serde(default)]
    pub authentication: Authentication,
    /// How often a client may ask, in short.
    #[serde(default)]
    pub rate_limiting: RateLimiting,
    /// Bounds of what clients may use.
    #[serde(default)]
    pub limits: Limits,
    /// Whom to believe about the client.
    #[serde(default)]
    pub trust: Trust,
    /// How HTTP is read and written.
    #[serde(default)]
    pub http: Http,
    /// One line of JSON a request, on standard output. `referer` is there without query and fragment, and arguments in
    /// which some policy looks for credentials are there without values.
    #[serde(default)]
    pub access_log: AccessLog,
    /// What the gateway says of itself, on standard error.
    #[serde(default)]
    pub logging: Logging,
    /// Health, status and metrics, for probes and for Prometheus.
    #[serde(default)]
    pub admin: Admin,
    /// How the gateway uses the machine. Read at the start only.
    #[serde(default)]
    pub runtime: Runtime,
    /// What happens on SIGTERM.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// What one environment has otherwise. Which one it is says `--profile`, or the variable `SHARDGATE_PROFILE`.
    #[serde(default)]
    pub profiles: Profiles,
}

/// Each may hold every section of the file but `version` and `profiles`. Sections merge key by key. A listener,
/// service, route, consumer or group takes the place of the one of the same name, a policy that of its kind, or is
/// added. Other lists are replaced.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    pub development: Option<Overlay>,
    pub staging: Option<Overlay>,
    pub production: Option<Overlay>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    pub listeners: Vec<Listener>,
    pub services: Vec<Service>,
    pub routes: Vec<Route>,
    pub consumers: Vec<Spanned<Consumer>>,
    pub consumer_groups: Vec<ConsumerGroup>,
    pub api_keys: ApiKeys,
    pub policies: Vec<Spanned<policy::Config>>,
    pub policy_order: Option<Spanned<Vec<policy::Kind>>>,
    pub roles: BTreeMap<String, Spanned<Role>>,
    pub authentication: Authentication,
    pub rate_limiting: RateLimiting,
    pub limits: Limits,
    pub trust: Option<Trust>,
    pub http: Http,
    pub access_log: AccessLog,
    pub logging: Logging,
    pub admin: Admin,
    pub runtime: Runtime,
    pub shutdown: Shutdown,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Letters, digits, `-`, `_`, `.` and `~`; each listener has its own.
    pub name: Spanned<String>,
    /// IP address and port, as in `0.0.0.0:8080` or `[::]:8080`.
    pub address: Spanned<String>,
    /// Networks of load balancers that begin each connection with a PROXY header (version 1 or 2), which says who the
    /// client is; a connection of theirs without a good one is closed. From others the header is no HTTP: 400. Default:
    /// none.
    #[serde(default)]
    pub proxy_protocol_from: Vec<Spanned<String>>,
    /// What every request that comes in here meets, before a route is looked for. Default: none.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Letters, digits, `-`, `_`, `.` and `~`; each service has its own.
    pub name: Spanned<String>,
    /// `HOST:PORT` each, used in turn. A host name is looked up when the file is loaded, and not again until it has
    /// changed or on SIGHUP; of its addresses the IPv4 ones are used, or all when there is none.
    pub endpoints: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(default)]
    pub pool: Pool,
    #[serde(default)]
    pub retry: Retry,
    /// What requests of its routes meet. One of a route stands in for one of the same kind here. Default: none.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
}

/// How long the gateway waits for a service before it answers 504.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, in milliseconds. Default: 5000.
    pub connect_ms: Option<Millis>,
    /// For the first byte of the response once the request is sent, in milliseconds. Default: 60000.
    pub first_byte_ms: Option<Millis>,
    /// For the next byte, either way, in milliseconds. Default: 60000.
    pub idle_ms: Option<Millis>,
    /// For the whole exchange, in milliseconds. Default: none.
    pub total_ms: Option<Millis>,
}

/// Connections to a service that are kept for the next request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Connections to the service, those in use and those kept, of all shards together; 503 with `Retry-After`. With
    /// several shards at most half of them are kept idle. Default: none, any number.
    pub connections_max: Option<Count>,
    /// Idle connections kept to one endpoint, by all shards together; 0 keeps none. Default: 256.
    pub idle_max: Option<Bounded<0, 65_536>>,
    /// How long an idle one is kept, in milliseconds. Should be less than the service's own keep-alive timeout.
    /// Default: 55000.
    pub idle_timeout_ms: Option<Millis>,
    /// Age after which a connection serves no further request, in milliseconds. Default: 3600000 (an hour).
    pub age_max_ms: Option<Millis>,
}

/// One more try for an idempotent request whose kept connection turned out to be closed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Default: true.
    pub enabled: Option<bool>,
    /// Requests with a longer body, in bytes, are not tried again. At most and by default 65536, which is one buffer.
    pub replay_bytes_max: Option<Bounded<0, 65_536>>,
}

/// The closest match wins: exact host, then the longest `*.suffix`, then any host; among those exact path, then the
/// longest prefix, where a regex counts as a prefix as long as the text it begins with; then one with methods; then the
/// one with more headers and cookies; then the one with more query parameters; then the earlier in the file. When a
/// route's other demands are not met, the next closest is tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Letters, digits, `-`, `_`, `.` and `~`; each route has its own.
    pub name: Spanned<String>,
    /// `example.com`, or `*.example.com` for every name below it. Default: any host.
    pub hosts: Option<Spanned<Vec<Spanned<String>>>>,
    /// `/a` (a prefix: `/a` and `/a/b`, not `/ab`), `{ prefix: "/a" }`, `{ exact: "/a" }` or `{ regex: "/a/[0-9]+" }`
    /// (of the whole path). Default: `/`, any path.
    pub paths: Option<Spanned<Vec<Spanned<Path>>>>,
    /// Methods, as in `[GET, POST]`. Default: any.
    pub methods: Option<Spanned<Vec<Spanned<String>>>>,
    /// Headers that must all be there. One that comes in several lines has their list as its value, as in `a, b`.
    #[serde(default)]
    pub headers: Vec<Spanned<Demand>>,
    /// Query parameters that must all be there, decoded; of one that comes again the first counts.
    #[serde(default)]
    pub query: Vec<Spanned<Demand>>,
    /// Cookies that must all be there; of one that comes again the first counts.
    #[serde(default)]
    pub cookies: Vec<Spanned<Demand>>,
    /// A route with a higher one comes first, however close others are. Default: 0.
    pub priority: Option<Bounded<0, 1_000_000>>,
    /// The name of the service that answers. A route has one of `service`, `split`, `redirect` and `respond`.
    pub service: Option<Spanned<String>>,
    /// Several services, each with a share of the requests.
    pub split: Option<Spanned<Split>>,
    /// Sends the client elsewhere.
    pub redirect: Option<Spanned<Redirect>>,
    /// Answers without a service.
    pub respond: Option<Spanned<Respond>>,
    /// What the request becomes on its way to the service. Policies and the log see what the service sees.
    #[serde(default)]
    pub rewrite: Rewrite,
    /// Whether the service sees the client's `Host`, or else the endpoint as written here. Default: true.
    pub preserve_host: Option<bool>,
    /// Protocols that a client may upgrade to. Default: none.
    #[serde(default)]
    pub upgrade: Vec<Upgrade>,
    /// This route's own bound on a request's body, in bytes. Default: that of `limits`.
    pub body_bytes_max: Option<Bytes>,
    /// What its requests meet. Default: none of its own.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Path {
    Prefix(String),
    Exact(String),
    Regex(String),
}

/// Of a header, query parameter or cookie; with a name alone any value will do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// Case counts, except in a header's.
    pub name: Spanned<String>,
    /// The value.
    pub exact: Option<String>,
    /// What the whole value must match. Regexes here know ASCII only, look neither ahead nor behind, and cost one look
    /// a byte of the value. For that each is written out as a table when the file is read: a count behind `.*` or the
    /// like doubles it, as in `.*a.{40}`, and one of more than 262144 bytes is refused.
    pub regex: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    Websocket,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// One or more. When the share of the last one grows, it takes from the one before it, and nobody goes back.
    pub arms: Spanned<Vec<Arm>>,
    /// Requests that have this in common get the same arm, on every node: `client` (the address), `consumer`,
    /// `{ header: NAME }` or `{ cookie: NAME }`. Those without it are dealt by chance. By `consumer`, the arm is chosen
    /// after the policies that find out who asks; until then no service of the split has policies of its own. Default:
    /// all are dealt by chance.
    pub sticky_by: Option<StickyBy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub service: Spanned<String>,
    /// Its share, in percent, in steps of 0.01; 100 together. 0 takes only what is forced on it.
    pub percent: Spanned<Percent>,
    /// A header that brings a request here whatever it is dealt.
    pub forced_by: Option<Spanned<Demand>>,
    /// A group of `consumers` whose requests come here whatever they are dealt; chosen when it is known who asks.
    pub forced_by_group: Option<Spanned<String>>,
}

/// In steps of 0.01 %.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Percent(pub u32);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyBy {
    Client,
    Consumer,
    Header(Spanned<String>),
    Cookie(Spanned<String>),
}

/// What is left out is as it was asked for, the query as policies have left it. With none of scheme, host and port the
/// client gets a path alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308. Default: 302.
    pub status: Option<Spanned<Bounded<300, 399>>>,
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    pub host: Option<Spanned<String>>,
    pub port: Option<Bounded<1, 65_535>>,
    pub path: Option<Spanned<PathEdit>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// Default: 200.
    pub status: Option<Bounded<200, 599>>,
    /// Text, at most 16384 bytes. Default: none.
    pub body: Option<Spanned<String>>,
    /// Headers beside those that frame the answer. Default: `Content-Type: text/plain; charset=utf-8` if there is a
    /// body.
    #[serde(default)]
    pub headers: Vec<Spanned<Line>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub name: String,
    pub value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Whether the prefix that matched is cut off: `/a/b` becomes `/b` under `/a`. Default: false.
    pub strip_path: Option<Spanned<bool>>,
    /// `{ prefix: "/b" }` in the place of the prefix that matched, `{ whole: "/b" }` in the place of the path, or
    /// `{ regex: { matches: "/a/(.*)", to: "/b/$1" } }` of the whole path; one that does not match stays. The result is
    /// normalised as a client's path is; what is no path then is answered 400, and so is a path of many thousand bytes
    /// of which a regex would have to try too many ways to find its groups.
    pub path: Option<Spanned<PathEdit>>,
    /// What the service gets for `Host`.
    pub host: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathEdit {
    Prefix(String),
    Whole(String),
    Regex(RegexEdit),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegexEdit {
    pub matches: String,
    /// `$1` or `${name}` is a group, `$0` the whole path, `$$` a dollar sign.
    pub to: String,
}

/// Whoever has a role may also do what it names here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Roles that come with it, and what comes with those. Default: none.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Scopes that come with it. Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// What the policies of authentication have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// Whether requests that come from this machine itself, and by way of no proxy, need no credential: one that they
    /// bring all the same is checked as ever, and those without go on as nobody, past `authorize` too. Only under the
    /// profiles `development` and `staging`. Default: false.
    pub bypass_local: Option<Spanned<bool>>,
    /// What `strict_validation` of a policy `jwt` is that does not say. Default: false.
    pub strict_validation: Option<bool>,
}

/// What the policy `rate_limit` does in full.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiting {
    /// Whether any policy `rate_limit` is in force, wherever it is written. Default: true.
    pub enabled: Option<bool>,
    /// Requests that each client address may send in a second; the same as a policy `rate_limit` for every request,
    /// and instead of one in `policies`. Default: none.
    pub requests_per_second: Option<rate_limit::Requests>,
    /// Where limits with `policy: redis` are counted, together with other nodes. Default: none.
    pub redis: Option<Redis>,
}

/// Beyond these a client is refused: with a status when it can still be told, else by closing the connection.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Request line and headers together, in bytes; 431. Default: 32768.
    pub head_bytes_max: Option<Bounded<512, { Ceilings::HEAD_BYTES_CEILING as u64 }>>,
    /// Headers in a request; 431. Default: 100.
    pub fields_max: Option<Bounded<1, { Ceilings::FIELDS_CEILING as u64 }>>,
    /// The request's target, in bytes; 414. Default: 8192.
    pub uri_bytes_max: Option<Bounded<1, { Ceilings::HEAD_BYTES_CEILING as u64 }>>,
    /// A request's body, in bytes; 413. Default: none.
    pub body_bytes_max: Option<Bytes>,
    /// The trailer section after a chunked body, in bytes. Default: 8192.
    pub trailer_bytes_max: Option<Bounded<0, { Ceilings::HEAD_BYTES_CEILING as u64 }>>,
    /// 1xx responses of a service to one request; 502. Default: 16.
    pub informational_max: Option<Bounded<0, 1_000>>,
    /// From the first byte of a request's head to its last, in milliseconds; 408. A new connection without a byte is
    /// closed after as long. Default: 10000.
    pub header_read_timeout_ms: Option<Millis>,
    /// Bytes a second that a request's body must bring on average; 408; 0 is off. Default: 240.
    pub body_bytes_per_s_min: Option<Bytes>,
    /// How long a body may be slower, in milliseconds. Default: 5000.
    pub body_rate_grace_ms: Option<Millis>,
    /// How long a connection is kept without another request when it has brought one, in milliseconds. Default: 75000.
    pub idle_timeout_ms: Option<Millis>,
    /// How long a client may take no byte of its response, in milliseconds. Default: 30000.
    pub send_timeout_ms: Option<Millis>,
    /// How long a refused client is still listened to, so that it can read why, in milliseconds. Default: 2000.
    pub linger_timeout_ms: Option<Millis>,
    /// Requests on one connection; the last response says `Connection: close`. Default: 10000.
    pub requests_per_connection_max: Option<Count>,
    /// Client connections in all. Default: 20000.
    pub connections_max: Option<Count>,
    /// Connections of one client address. Default: 1000.
    pub connections_per_client_max: Option<Count>,
    /// Requests at one time; 503 with `Retry-After`. Default: 10000.
    pub requests_in_flight_max: Option<Count>,
    /// Memory of each shard for what was received and not yet sent on, in bytes. Read at the start only. Default:
    /// 268435456 (256 MiB).
    pub receive_bytes_max: Option<Bounded<{ 1 << 20 }, { 1 << 40 }>>,
    /// What `Retry-After` says when a request is refused for load, in seconds. Default: 1.
    pub retry_after_s: Option<Bounded<1, 86_400>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Networks (`10.0.0.0/8`, `::1`) of proxies in front of the gateway. The client is the last address of their
    /// `X-Forwarded-For` that is not in one of these. The rest of `X-Forwarded-*`, `X-Real-IP` and `X-Request-Id` go on
    /// to services as they come from them, and `Forwarded` with the gateway's own element behind it; from others all of
    /// these are dropped, as are `X-Consumer-*`, `X-Credential-Identifier`, `X-Anonymous-Consumer` and `X-Envoy-*`.
    /// Where a policy finds out who asks, `X-Consumer-*` and the two after it are dropped whoever sends them.
    /// Default: none.
    #[serde(default)]
    pub proxies: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Whether `//` in a path is read as `/`. Default: true.
    pub merge_slashes: Option<bool>,
    /// Whether headers with `_` in their name are passed on; many programs cannot tell it from `-`. Default: false,
    /// they are dropped.
    pub underscores_in_headers: Option<bool>,
    /// The gateway's name in `Via`; "" sends no `Via`. Default: shardgate.
    pub via: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Default: true.
    pub enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The least that is said: `error`, `warn`, `info` or `debug`. Default: `info`.
    pub level: Option<Level>,
}

/// Nothing can be changed through it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Default: true.
    pub enabled: Option<bool>,
    /// IP address and port. Default: `0.0.0.0:8001`, all addresses, since a node's probes do not come from within.
    pub address: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Threads that serve, each with an event loop of its own: `auto` or a number. Default: auto, one for each CPU that
    /// the process may use, within the whole CPUs of its cgroup's quota.
    pub shards: Option<Shards>,
    /// Whether each shard keeps to one CPU: `auto`, `always` or `never`. Default: auto, if there are as many shards as
    /// CPUs that the process may use; with a bare quota it may use all, and every process would sit on the first ones.
    pub pin: Option<Pin>,
    /// `auto`, `uring` or `epoll`. Default: auto, which is epoll up to Linux 6.18, where a ring was measured to cost
    /// more, and io_uring on later kernels. Where a ring does not work it is epoll. The log, the metrics and the status
    /// say which it is, and why.
    pub event_loop: Option<EventLoop>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shards {
    Auto,
    Count(usize),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum EventLoop {
    Auto,
    Uring,
    Epoll,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long connections are still accepted after SIGTERM, while the gateway says that it is not ready, in
    /// milliseconds. Default: 0; 5000 under Kubernetes, whose endpoints lag behind.
    pub delay_ms: Option<Bounded<0, 3_600_000>>,
    /// How long requests in flight may take to finish, and connections last that clients keep without one, in
    /// milliseconds. Default: 30000.
    pub drain_timeout_ms: Option<Millis>,
}
