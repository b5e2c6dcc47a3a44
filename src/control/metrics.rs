//! Every metric that can be scraped, in Prometheus' text format 0.0.4.
//!
//! Written by hand and a piece at a time. Libraries write OpenMetrics, where a counter must be called `..._total`,
//! which some of Kong's are not; and with 10,000 routes the text has many megabytes, which nobody should have to hold
//! whole.

use super::clock::Clocks;
use super::sharing::shares::SHARES;
use super::sharing::{Breaker, Stats};
use super::status::{self, Names, Status};
use crate::policy;
use crate::stdx::histogram::Histogram;
use crate::telemetry::counters::{Counters, Refusal};
use crate::telemetry::route_stats::{Block, GATEWAY_BOUNDS_MS, Millis, NO_ROUTE, SERVICE_BOUNDS_MS};
use std::time::UNIX_EPOCH;

/// One scrape under way.
#[derive(Debug, Default)]
pub struct Scrape {
    /// The routes that there were when it began, those of one family after another.
    routes: Vec<u32>,
    family: usize,
    place: usize,
}

/// A family that has values for each route.
struct OfRoutes {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&mut Text<'_>, &str, &Names, &Block),
}

impl Scrape {
    pub fn new(status: &Status) -> Self {
        let mut routes: Vec<u32> = status.routes.keys().copied().collect();
        routes.sort_unstable();
        Self { routes, family: 0, place: 0 }
    }

    /// Appends the next piece; false when there is none.
    pub fn next(&mut self, status: &Status, clocks: Clocks, out: &mut Vec<u8>) -> bool {
        let mut text = Text { out };
        let Some(family) = FAMILIES.get(self.family) else {
            let first = self.family == FAMILIES.len();
            self.family = FAMILIES.len() + 1;
            if first {
                node(&mut text, status, clocks);
            }
            return first;
        };
        if self.place == 0 {
            text.family(family.name, family.kind, family.help);
        }
        let nobody = Names::default();
        while let Some(route) = self.routes.get(self.place) {
            self.place += 1;
            let names = if *route == NO_ROUTE { Some(&nobody) } else { status.names.get(route) };
            // A route that went meanwhile is left out.
            if let (Some(names), Some(block)) = (names, status.routes.get(route)) {
                (family.write)(&mut text, family.name, names, block);
            }
            if text.out.len() >= PIECE_BYTES {
                return true;
            }
        }
        (self.family, self.place) = (self.family + 1, 0);
        true
    }
}

const FAMILIES: &[OfRoutes] = &[
    OfRoutes {
        name: "kong_http_requests_total",
        kind: "counter",
        help: "HTTP status codes per service and route, and who answered",
        write: |text, name, names, block| {
            let codes = block.codes().map(|code| (Value::Number(code.status.into()), code.by_service, code.count));
            let others = block.others().map(|(by_service, count)| (Value::Word("other"), by_service, count));
            for (code, by_service, count) in codes.chain(others) {
                let source = if by_service { "service" } else { "kong" };
                text.begin(name, names);
                text.label("code", code);
                text.label("source", Value::Word(source));
                text.label("workspace", Value::Word("default"));
                text.label("consumer", Value::Word(""));
                text.end(count);
            }
        },
    },
    OfRoutes {
        name: "kong_kong_latency_ms",
        kind: "histogram",
        help: "Latency added by the gateway, in milliseconds",
        write: |text, name, names, block| text.histogram(name, names, None, &block.gateway, &GATEWAY_BOUNDS_MS),
    },
    OfRoutes {
        name: "kong_upstream_latency_ms",
        kind: "histogram",
        help: "Latency of the service until it answered, in milliseconds",
        write: |text, name, names, block| text.histogram(name, names, None, &block.upstream, &SERVICE_BOUNDS_MS),
    },
    OfRoutes {
        name: "kong_request_latency_ms",
        kind: "histogram",
        help: "Latency of the whole request, in milliseconds",
        write: |text, name, names, block| text.histogram(name, names, None, &block.request, &SERVICE_BOUNDS_MS),
    },
    OfRoutes {
        name: "kong_latency",
        kind: "histogram",
        help: "The three latencies under the name that Kong 2 had, in the buckets of Kong 3, in milliseconds",
        write: |text, name, names, block| {
            text.histogram(name, names, Some("request"), &block.request, &SERVICE_BOUNDS_MS);
            text.histogram(name, names, Some("upstream"), &block.upstream, &SERVICE_BOUNDS_MS);
            text.histogram(name, names, Some("kong"), &block.gateway, &GATEWAY_BOUNDS_MS);
        },
    },
    OfRoutes {
        name: "kong_bandwidth_bytes",
        kind: "counter",
        help: "Bytes from and to clients",
        write: |text, name, names, block| {
            for (direction, bytes) in [("ingress", block.ingress_bytes), ("egress", block.egress_bytes)] {
                text.begin(name, names);
                text.label("direction", Value::Word(direction));
                text.label("workspace", Value::Word("default"));
                text.label("consumer", Value::Word(""));
                text.end(bytes);
            }
        },
    },
];

/// What is not of a route.
fn node(text: &mut Text<'_>, status: &Status, clocks: Clocks) {
    let counters = status.counters();
    let idle: u64 = status.shards.iter().map(|shard| shard.gauges.connections_idle).sum();
    let active = counters.connections_active;
    let states = [
        ("accepted", counters.connections_accepted),
        ("handled", counters.connections_handled()),
        ("total", counters.requests_total),
        ("active", active),
        ("reading", 0),
        ("writing", active.saturating_sub(idle)),
        ("waiting", idle),
    ];
    for name in ["kong_nginx_connections_total", "kong_nginx_connections"] {
        text.family(name, "gauge", "Client connections by state");
        for (state, count) in states {
            text.sample(name, &[("node_id", ""), ("subsystem", "http"), ("state", state)], count);
        }
    }
    text.family("kong_nginx_requests_total", "gauge", "Requests in all");
    text.sample("kong_nginx_requests_total", &[("node_id", ""), ("subsystem", "http")], counters.requests_total);
    text.family("kong_node_info", "gauge", "The gateway and its version");
    text.sample("kong_node_info", &[("node_id", ""), ("version", env!("CARGO_PKG_VERSION"))], 1);
    shards(text, status, clocks);
    traffic(text, status, &counters);
    authentication(text, status, &counters);
    limits(text, status, clocks);
    bytes(text, &counters);
    configuration(text, status, clocks);
}

fn shards(text: &mut Text<'_>, status: &Status, clocks: Clocks) {
    let of_shards = |text: &mut Text<'_>, name, kind, help, value: &dyn Fn(usize) -> f64| {
        text.family(name, kind, help);
        for shard in 0..status.shards.len() {
            text.sample_f(name, &[("shard", &shard.to_string())], value(shard));
        }
    };
    let shard = |index: usize| &status.shards[index];
    text.family("shardgate_event_loop_info", "gauge", "Which interface of the kernel carries the event loops, and why");
    let choice = &status.event_loop;
    text.sample("shardgate_event_loop_info", &[("driver", choice.name()), ("reason", &choice.reason)], 1);
    of_shards(text, "shardgate_shard_busy_seconds_total", "counter", "Time that the shard was awake", &|index| {
        shard(index).busy.as_secs_f64()
    });
    let uptime = clocks.now.duration_since(status.started).as_secs_f64();
    of_shards(text, "shardgate_shard_busy_ratio", "gauge", "Its share of the time since the start", &|index| {
        shard(index).busy.as_secs_f64() / uptime.max(f64::MIN_POSITIVE)
    });
    of_shards(text, "shardgate_shard_silence_seconds", "gauge", "Since the shard's last sign of life", &|index| {
        clocks.mono.since(status.board.beat_of(index)).as_secs_f64()
    });
    of_shards(text, "shardgate_shard_connections", "gauge", "Client connections of the shard", &|index| {
        f64::from(status.board.connections_of(index))
    });
    text.family("shardgate_connections", "gauge", "Client connections: those that wait for a request, and the others");
    for (index, shard) in status.shards.iter().enumerate() {
        let (shard_number, idle) = (index.to_string(), shard.gauges.connections_idle);
        let serving = shard.counters.connections_active.saturating_sub(idle);
        for (state, count) in [("idle", idle), ("serving", serving)] {
            text.sample("shardgate_connections", &[("shard", &shard_number), ("state", state)], count);
        }
    }
    of_shards(text, "shardgate_listeners_refused", "gauge", "Listeners that the shard cannot accept on", &|index| {
        shard(index).listeners_refused.len() as f64
    });
    of_shards(text, "shardgate_handoffs_sent_total", "counter", "Connections given to a shard with fewer", &|index| {
        shard(index).counters.handoffs_sent as f64
    });
    of_shards(text, "shardgate_handoffs_received_total", "counter", "Connections taken from others", &|index| {
        shard(index).counters.handoffs_received as f64
    });
    of_shards(text, "shardgate_handoffs_refused_total", "counter", "Hand-offs that found a full mailbox", &|index| {
        shard(index).counters.handoffs_refused as f64
    });
    of_shards(text, "shardgate_buffer_bytes", "gauge", "Memory of buffers in use", &|index| {
        shard(index).gauges.buffer_bytes as f64
    });
    of_shards(text, "shardgate_receives_parked_total", "counter", "Receives that had to wait for memory", &|index| {
        shard(index).gauges.receives_parked as f64
    });
    of_shards(text, "shardgate_coroutines", "gauge", "Coroutines, with those that wait for a connection", &|index| {
        shard(index).gauges.coroutines as f64
    });
    text.family("shardgate_loop_lag_seconds", "histogram", "Turns of the event loop, from waking to the next sleep");
    for (index, shard) in status.shards.iter().enumerate() {
        text.lag("shardgate_loop_lag_seconds", &index.to_string(), &shard.lag, shard.busy.as_secs_f64());
    }
    let family = "shardgate_config_change_seconds";
    text.family(family, "histogram", "Time that a piece of a new configuration took a shard");
    for (index, shard) in status.shards.iter().enumerate() {
        text.lag(family, &index.to_string(), &shard.changes, shard.changes.sum_us() as f64 / 1e6);
    }
    let loads = (0..status.shards.len()).map(|index| f64::from(status.board.connections_of(index)));
    let (most, sum) = loads.fold((0.0, 0.0), |(most, sum): (f64, f64), load| (most.max(load), sum + load));
    let mean = sum / status.shards.len() as f64;
    text.family("shardgate_accept_imbalance_ratio", "gauge", "How far the fullest shard is above the mean");
    text.sample_f("shardgate_accept_imbalance_ratio", &[], if mean > 0.0 { most / mean - 1.0 } else { 0.0 });
}

fn traffic(text: &mut Text<'_>, status: &Status, counters: &Counters) {
    let refused = &counters.connections_refused;
    let refusals = [("total", Refusal::Total), ("client", Refusal::Client), ("descriptors", Refusal::Descriptors)];
    text.family("shardgate_connections_refused_total", "counter", "Connections closed right after accept, by reason");
    for (reason, refusal) in refusals {
        text.sample("shardgate_connections_refused_total", &[("reason", reason)], refused[refusal as usize]);
    }
    for (name, help, value) in [
        (
            "shardgate_proxy_headers_refused_total",
            "Load balancers' connections without a good PROXY header",
            counters.proxy_headers_refused,
        ),
        ("shardgate_requests_shed_total", "Requests refused because too many were in flight", counters.sheds),
        ("shardgate_exchange_panics_total", "Exchanges whose code panicked", counters.exchange_panics),
        (
            "shardgate_listens_failed_total",
            "Times that a shard could not accept on a listener, which it tries each second",
            counters.listens_failed,
        ),
        ("shardgate_upstream_connects_total", "Connections opened to services", counters.upstream_connects),
        ("shardgate_upstream_connects_failed_total", "Those that failed", counters.upstream_connects_failed),
        (
            "shardgate_upstream_connects_refused_total",
            "Connections that a service's pool.connections_max forbade",
            counters.upstream_connects_refused,
        ),
        ("shardgate_upstream_reuses_total", "Requests on a kept connection", counters.upstream_reuses),
        ("shardgate_upstream_retries_total", "Requests sent a second time", counters.upstream_retries),
        ("shardgate_log_lines_dropped_total", "Log lines that found no room", counters.log_lines_dropped),
        (
            "shardgate_event_loop_failures_total",
            "Rings that failed while they served, so that the shards began anew on epoll",
            status.event_loop_failures,
        ),
        ("shardgate_handovers_failed_total", "Hot restarts that came to nothing", status.handovers_failed),
        (
            "shardgate_admin_connections_ended_total",
            "Connections to the admin listener that lasted too long, or were too many",
            status.admin_connections_ended,
        ),
        ("shardgate_log_lines_lost_total", "Log lines that could not be written", status.log_lines_lost),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
    let family = "shardgate_policy_refusals_total";
    text.family(family, "counter", "Requests that a policy refused, by policy and reason");
    for (error, count) in policy::Error::ALL.iter().zip(counters.policy_refusals) {
        text.sample(family, &[("policy", error.kind().name()), ("reason", error.reason())], count);
    }
    let family = "shardgate_policy_would_refuse_total";
    text.family(family, "counter", "Requests that a policy would have refused that only logs, by policy and reason");
    for (error, count) in policy::Error::ALL.iter().zip(counters.policy_would_refuse) {
        if error.kind().has_shadow() {
            text.sample(family, &[("policy", error.kind().name()), ("reason", error.reason())], count);
        }
    }
    let upstream_idle: u64 = status.shards.iter().map(|shard| shard.gauges.upstream_idle).sum();
    text.family("shardgate_requests_in_flight", "gauge", "Requests being served");
    text.sample("shardgate_requests_in_flight", &[], counters.requests_in_flight);
    text.family("shardgate_upstream_idle_connections", "gauge", "Connections to services that are kept for reuse");
    text.sample("shardgate_upstream_idle_connections", &[], upstream_idle);
}

/// Whom limits refused.
fn limits(text: &mut Text<'_>, status: &Status, clocks: Clocks) {
    let family = "rate_limit_exceeded_total";
    text.family(family, "counter", "Requests that a rate limit refused, by the limit's period");
    for (limited, count) in &status.limited {
        let route = limited.route.and_then(|id| status.names.get(&id)).map_or("", |names| &*names.route);
        let labels = [
            ("route", route),
            ("consumer", limited.consumer.as_deref().unwrap_or("")),
            ("policy", "rate_limit"),
            ("limit", limited.limit),
        ];
        text.sample(family, &labels, *count);
    }
    let overflows = status.board.ledger().map_or(0, |ledger| ledger.overflows());
    text.family("shardgate_limit_overflows_total", "counter", "Requests for which the ledger had no room");
    text.sample("shardgate_limit_overflows_total", &[], overflows);
    let bytes = status.board.ledger().map_or(0, |ledger| ledger.bytes() as u64);
    text.family("shardgate_limit_ledger_bytes", "gauge", "Memory of the limits' ledger, however many keys it has");
    text.sample("shardgate_limit_ledger_bytes", &[], bytes);
    if let Some(stats) = &status.sharing {
        sharing(text, stats, clocks);
    }
}

/// Limits that nodes share.
fn sharing(text: &mut Text<'_>, stats: &Stats, clocks: Clocks) {
    let family = "shardgate_shared_limits_breaker";
    text.family(family, "gauge", "1 for the state of the breaker between this node and Redis");
    for (state, name) in [(Breaker::Closed, "closed"), (Breaker::Open, "open"), (Breaker::HalfOpen, "half_open")] {
        text.sample(family, &[("state", name)], u64::from(stats.breaker == state));
    }
    for (name, help, value) in [
        ("shardgate_shared_limits_granted_total", "Tokens that Redis granted this node", stats.granted),
        ("shardgate_shared_limits_refused_total", "Tokens that were asked for and Redis did not have", stats.lacking),
        ("shardgate_shared_limits_keys_total", "Keys that Redis was asked about", stats.keys),
        ("shardgate_shared_limits_failures_total", "Connections to Redis that failed", stats.failures),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
    // Before the first answer there is none that could be old.
    let since = clocks.mono.since(stats.answered_at.unwrap_or(clocks.mono)).as_secs_f64();
    let share = f64::from(stats.holding.share) / f64::from(SHARES);
    for (name, help, value) in [
        ("shardgate_shared_limits_answer_age_seconds", "Since Redis answered last", since),
        ("shardgate_shared_limits_share_ratio", "This node's share of the limits", share),
        ("shardgate_shared_limits_nodes", "Nodes that share the limits", f64::from(stats.holding.nodes)),
    ] {
        text.family(name, "gauge", help);
        text.sample_f(name, &[], value);
    }
}

/// Who sends requests, and where issuers of tokens publish their keys.
fn authentication(text: &mut Text<'_>, status: &Status, counters: &Counters) {
    let counts = status::authentication(counters);
    text.family("authentication_attempts_total", "counter", "Requests that were asked who sends them");
    text.sample("authentication_attempts_total", &[], counts.attempts);
    let family = "authentication_failures_total";
    text.family(family, "counter", "Those whose credentials were refused or missing, by policy and reason");
    for (error, count) in policy::Error::ALL.iter().zip(counters.policy_refusals) {
        if error.is_of_credentials() {
            text.sample(family, &[("policy", error.kind().name()), ("reason", error.reason())], count);
        }
    }
    let family = "authentication_failure_rate";
    text.family(family, "gauge", "Failures by attempts in the last minute");
    text.sample_f(family, &[], status.authentication.rate(counts));
    let family = "shardgate_api_key_last_used_timestamp_seconds";
    text.family(family, "gauge", "When a key of a consumer was last used, since the Unix epoch");
    for (at_s, key) in status::used_keys(&status.keys) {
        text.sample(family, &[("consumer", &key.consumer), ("key", &key.prefix)], at_s);
    }
    let family = "shardgate_jwks_fetches_total";
    text.family(family, "counter", "Times that an issuer was asked for its keys, by outcome");
    for issuer in &status.issuers {
        text.sample(family, &[("url", &issuer.url), ("outcome", "answered")], issuer.answered);
        text.sample(family, &[("url", &issuer.url), ("outcome", "failed")], issuer.failed);
    }
    let family = "shardgate_jwks_keys";
    text.family(family, "gauge", "Keys of an issuer that are in force");
    for issuer in &status.issuers {
        text.sample(family, &[("url", &issuer.url)], issuer.keys);
    }
}

fn bytes(text: &mut Text<'_>, counters: &Counters) {
    for (name, help, value) in [
        ("shardgate_downstream_received_bytes_total", "Bytes read from clients", counters.downstream_received_bytes),
        ("shardgate_downstream_sent_bytes_total", "Bytes written to clients", counters.downstream_sent_bytes),
        ("shardgate_upstream_received_bytes_total", "Bytes read from services", counters.upstream_received_bytes),
        ("shardgate_upstream_sent_bytes_total", "Bytes written to services", counters.upstream_sent_bytes),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
}

fn configuration(text: &mut Text<'_>, status: &Status, clocks: Clocks) {
    let configuration = &status.configuration;
    for (name, help, value) in [
        ("shardgate_config_applied_total", "Configurations put in force", configuration.applied),
        ("shardgate_config_rejected_total", "Configurations that were not", configuration.rejected),
        (
            "shardgate_config_keep_failed_total",
            "Times the last good one could not be kept",
            configuration.keeping_failed,
        ),
        (
            "shardgate_config_connections_closed_total",
            "Client connections that changing over closed at once; it closes none, so 0 but for a mistake",
            status.counters().connections_closed_by_configuration,
        ),
    ] {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
    let since_epoch = configuration.applied_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let age = clocks.wall.duration_since(configuration.applied_at).unwrap_or_default().as_secs_f64();
    for (name, help, value) in [
        (
            "shardgate_config_generation",
            "Which configuration since the start is in force",
            configuration.generation as f64,
        ),
        ("shardgate_config_applied_timestamp_seconds", "When it was put in force", since_epoch),
        ("shardgate_config_age_seconds", "For how long it has been", age),
        (
            "shardgate_config_ok",
            "1 unless a newer one was rejected, or cannot be looked at",
            f64::from(u8::from(configuration.is_well())),
        ),
        (
            "shardgate_config_from_last_good",
            "1 if the file could not be used and the one kept before is in force",
            f64::from(u8::from(configuration.from_last_good)),
        ),
    ] {
        text.family(name, "gauge", help);
        text.sample_f(name, &[], value);
    }
}

/// Lines of the text format.
struct Text<'a> {
    out: &'a mut Vec<u8>,
}

enum Value<'a> {
    Word(&'a str),
    Number(u64),
}

impl Text<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        for piece in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.out.extend_from_slice(piece.as_bytes());
        }
    }

    /// Begins a line of a route.
    fn begin(&mut self, name: &str, names: &Names) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'{');
        self.label("service", Value::Word(&names.service));
        self.label("route", Value::Word(&names.route));
    }

    /// Names are such that nothing in them needs escaping; other values may.
    fn label(&mut self, name: &str, value: Value<'_>) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"=\"");
        match value {
            Value::Number(number) => self.number(number),
            Value::Word(word) => {
                for byte in word.bytes() {
                    match byte {
                        b'\n' => self.out.extend_from_slice(b"\\n"),
                        b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                        _ => self.out.push(byte),
                    }
                }
            }
        }
        self.out.push(b'"');
    }

    fn end(&mut self, value: u64) {
        self.out.extend_from_slice(b"} ");
        self.number(value);
        self.out.push(b'\n');
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn labels(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.out.extend_from_slice(name.as_bytes());
        if !labels.is_empty() {
            self.out.push(b'{');
            labels.iter().for_each(|(name, value)| self.label(name, Value::Word(value)));
            self.out.push(b'}');
        }
        self.out.push(b' ');
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.labels(name, labels);
        self.number(value);
        self.out.push(b'\n');
    }

    fn sample_f(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.labels(name, labels);
        self.out.extend_from_slice(value.to_string().as_bytes());
        self.out.push(b'\n');
    }

    /// Kong's histograms: cumulative, `le` last, the sum in milliseconds.
    fn histogram<const CELLS: usize>(
        &mut self,
        name: &str,
        names: &Names,
        kind: Option<&str>,
        millis: &Millis<CELLS>,
        bounds_ms: &[u64],
    ) {
        // What all lines of it have in common is written once, and copied.
        let begin = self.out.len();
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"_bucket{");
        let labels = self.out.len();
        self.label("service", Value::Word(&names.service));
        self.label("route", Value::Word(&names.route));
        match kind {
            // Kong 2 had no workspaces here.
            Some(kind) => self.label("type", Value::Word(kind)),
            None => self.label("workspace", Value::Word("default")),
        }
        let end = self.out.len();
        let mut seen = 0;
        for (cell, count) in millis.cells.iter().enumerate() {
            if cell > 0 {
                self.out.extend_from_within(begin..end);
            }
            seen += count;
            self.out.extend_from_slice(b",le=\"");
            match bounds_ms.get(cell) {
                Some(bound_ms) => self.number(*bound_ms),
                None => self.out.extend_from_slice(b"+Inf"),
            }
            self.out.push(b'"');
            self.end(seen);
        }
        for suffix in ["_count", "_sum"] {
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(suffix.as_bytes());
            self.out.push(b'{');
            self.out.extend_from_within(labels..end);
            if suffix == "_count" {
                self.end(seen);
            } else {
                self.out.extend_from_slice(b"} ");
                self.number(millis.sum_us / 1_000);
                self.out.push(b'.');
                let micros = millis.sum_us % 1_000;
                [micros / 100, micros / 10 % 10, micros % 10]
                    .iter()
                    .for_each(|digit| self.out.push(b'0' + *digit as u8));
                self.out.push(b'\n');
            }
        }
    }

    fn lag(&mut self, name: &str, shard: &str, lag: &Histogram, sum: f64) {
        let bucket = format!("{name}_bucket");
        for bound_us in LAG_BOUNDS_US {
            let le = (*bound_us as f64 / 1e6).to_string();
            // A cell's longest time, as the bounds are.
            self.sample(&bucket, &[("shard", shard), ("le", &le)], lag.up_to(*bound_us));
        }
        self.sample(&bucket, &[("shard", shard), ("le", "+Inf")], lag.count());
        self.sample(&format!("{name}_count"), &[("shard", shard)], lag.count());
        self.sample_f(&format!("{name}_sum"), &[("shard", shard)], sum);
    }
}

/// A piece ends at the first route that takes it above this.
const PIECE_BYTES: usize = 64 << 10;
/// Ends of cells near 10 us, 25 us, 50 us, 100 us and so on up to a second.
const LAG_BOUNDS_US: &[u64] = &[9, 23, 47, 103, 255, 511, 1023, 2559, 5119, 10_239, 24_575, 98_303, 262_143, 1_048_575];
