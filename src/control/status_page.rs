//! The answers of the admin listener that are JSON.

use super::clock::Clocks;
use super::status::Status;
use crate::stdx::histogram::Histogram;
use crate::telemetry::route_stats::NO_ROUTE;
use serde_json::{Map, Value, json};

/// Whether the shards turn. Depends on nothing outside of the process.
pub fn health(status: &Status, clocks: Clocks) -> String {
    let alive = status.is_alive(clocks.mono);
    json!({
        "status": if alive { "healthy" } else { "unhealthy" },
        "silence_seconds": status.silence(clocks.mono).as_secs_f64(),
    })
    .to_string()
}

pub fn ready(status: &Status, clocks: Clocks) -> String {
    let message = match (status.draining, status.is_alive(clocks.mono), status.accepts()) {
        (true, ..) => "draining",
        (false, false, _) => "a shard does not turn",
        (false, true, false) => "no shard accepts on any listener",
        (false, true, true) => "ready",
    };
    json!({ "message": message }).to_string()
}

/// Whether all is served that there is to serve: ready, and no listener is without a shard that accepts on it.
pub fn is_healthy(status: &Status, clocks: Clocks) -> bool {
    status.is_ready(clocks.mono) && status.listeners_dead().next().is_none()
}

/// What the gateway needs to serve, each part by itself.
pub fn gateway_health(status: &Status, clocks: Clocks) -> String {
    let configuration = &status.configuration;
    let listeners = match (status.listeners_dead().next(), status.listeners_refused().next()) {
        (Some(_), _) => "unhealthy",
        // Other shards accept there.
        (None, Some(_)) => "degraded",
        (None, None) => "healthy",
    };
    json!({
        "status": if is_healthy(status, clocks) { "healthy" } else { "unhealthy" },
        "checks": {
            "shards": if status.is_alive(clocks.mono) { "healthy" } else { "unhealthy" },
            "accepting": if status.draining { "draining" } else { "healthy" },
            "listeners": listeners,
            // The gateway serves with what it has.
            "configuration": if configuration.is_well() { "healthy" } else { "degraded" },
        },
    })
    .to_string()
}

/// In Kong's shape where it has one.
pub fn status(status: &Status, clocks: Clocks) -> String {
    let counters = status.counters();
    let idle: u64 = status.shards.iter().map(|shard| shard.gauges.connections_idle).sum();
    let shards = status.shards.iter().enumerate().map(|(index, shard)| {
        json!({
            "shard": index,
            "connections": status.board.connections_of(index),
            "silence_seconds": clocks.mono.since(status.board.beat_of(index)).as_secs_f64(),
            "busy_seconds": shard.busy.as_secs_f64(),
            "loop_lag_us": percentiles(&shard.lag),
            "config_change_us": percentiles(&shard.changes),
            "requests_total": shard.counters.requests_total,
            "handoffs_sent": shard.counters.handoffs_sent,
            "handoffs_received": shard.counters.handoffs_received,
            "buffer_bytes": shard.gauges.buffer_bytes,
        })
    });
    let refused = status.listeners_refused();
    let refused = refused.map(|(shard, (name, why))| json!({ "shard": shard, "listener": name, "error": why }));
    let configuration = &status.configuration;
    let looking_seconds = configuration.looking_since.map(|since| clocks.now.duration_since(since).as_secs_f64());
    json!({
        "server": {
            "connections_accepted": counters.connections_accepted,
            "connections_handled": counters.connections_handled(),
            "connections_active": counters.connections_active,
            "connections_reading": 0,
            "connections_writing": counters.connections_active.saturating_sub(idle),
            "connections_waiting": idle,
            "total_requests": counters.requests_total,
        },
        "shardgate": {
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": clocks.now.duration_since(status.started).as_secs_f64(),
            "ready": status.is_ready(clocks.mono),
            "event_loop": { "driver": status.event_loop.name(), "reason": status.event_loop.reason },
            "shards": shards.collect::<Vec<_>>(),
            // Tried again each second.
            "listeners_refused": refused.collect::<Vec<_>>(),
            "configuration": {
                "generation": configuration.generation,
                "applied": configuration.applied,
                "rejected": configuration.rejected,
                "age_seconds":
                    clocks.wall.duration_since(configuration.applied_at).unwrap_or_default().as_secs_f64(),
                "error": configuration.error,
                "from_last_good": configuration.from_last_good,
                "keeping_error": configuration.keeping_error,
                // Null unless a look at the files takes too long.
                "looking_seconds": looking_seconds,
            },
        },
    })
    .to_string()
}

/// Percentiles of the latency of every route since the start, or of one; `None` if there is no such route.
pub fn latency(status: &Status, route: Option<&str>) -> Option<String> {
    let mut all = Histogram::default();
    let mut routes = Map::new();
    for (id, block) in &status.routes {
        all.merge(&block.fine);
        let name = if *id == NO_ROUTE { "" } else { &status.names.get(id)?.route };
        if route.is_none_or(|wanted| wanted == name) {
            routes.insert(name.to_owned(), percentiles(&block.fine));
        }
    }
    let is_known = |wanted| status.names.values().any(|names| names.route == wanted);
    if route.is_some_and(|wanted| !is_known(wanted)) {
        return None;
    }
    Some(json!({ "unit": "us", "all": percentiles(&all), "routes": routes }).to_string())
}

/// By HdrHistogram, so that these are the numbers that other tools would find in the same counts.
fn percentiles(histogram: &Histogram) -> Value {
    let mut hdr = hdrhistogram::Histogram::<u64>::new(HDR_DIGITS).expect("two digits are few enough");
    for (micros, count) in histogram.iter() {
        hdr.record_n(micros, count).expect("it grows with what it is given");
    }
    let at = |share| hdr.value_at_quantile(share);
    json!({
        "count": hdr.len(), "p50": at(0.5), "p90": at(0.9), "p95": at(0.95), "p99": at(0.99), "p99.9": at(0.999),
        "max": hdr.max(),
    })
}

const HDR_DIGITS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;
    use crate::control::clock::clocks;
    use crate::runtime::driver::choice::Choice;
    use crate::runtime::options::EventLoop;
    use crate::stdx::board::Board;
    use std::sync::Arc;

    /// Of each of two shards how many listeners it accepts on, and those that it cannot.
    #[track_caller]
    fn check(of_shards: [(usize, &[&str]); 2], listeners: &str, is_healthy: bool, is_ready: bool) {
        let bare = "{version: 1, listeners: [{name: a, address: \"127.0.0.1:1\"}]}";
        let snapshot = load_text("bare", bare, &mut Ids::default(), &|_| Ok(Vec::new())).expect("it is good");
        let event_loop = Choice { event_loop: EventLoop::Epoll, reason: String::new() };
        let (board, clocks) = (Arc::new(Board::new(of_shards.len(), 1, 8)), clocks());
        let mut status = Status::new(event_loop, board.clone(), &snapshot, clocks.wall, clocks.now);
        for (shard, (accepts, refuses)) in of_shards.into_iter().enumerate() {
            board.beat(shard, clocks.mono);
            board.set_listeners(shard, accepts);
            status.shards[shard].listeners_refused =
                refuses.iter().map(|name| ((*name).to_owned(), "not today".to_owned())).collect();
        }
        let health: Value = serde_json::from_str(&gateway_health(&status, clocks)).expect("JSON");
        assert_eq!(health["checks"]["listeners"], listeners);
        assert_eq!(health["status"], if is_healthy { "healthy" } else { "unhealthy" });
        assert_eq!((super::is_healthy(&status, clocks), status.is_ready(clocks.mono)), (is_healthy, is_ready));
        assert_eq!(ready(&status, clocks) == r#"{"message":"ready"}"#, is_ready);
    }

    #[test]
    fn a_listener_that_no_shard_accepts_on_is_unhealthy_and_only_such_ones_are_not_ready() {
        check([(1, &[]), (1, &[])], "healthy", true, true);
        check([(1, &["b"]), (2, &[])], "degraded", true, true);
        check([(1, &["b"]), (1, &["c"])], "degraded", true, true);
        check([(1, &["b"]), (1, &["c", "b"])], "unhealthy", false, true);
        check([(0, &["a"]), (1, &[])], "degraded", true, true);
        check([(0, &["a"]), (0, &["a"])], "unhealthy", false, false);
    }
}
