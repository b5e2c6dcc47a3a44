//! Health, status and metrics of the running gateway.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};

use crate::harness::{Config, Gateway, OK, Origin, Wire, wait_until};

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Wire::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let answer = client.response();
    (answer.status(), answer.text())
}

/// Every metric as it is scraped now.
pub fn metrics(gateway: &Gateway) -> String {
    ask(gateway.admin(), "/metrics").1
}

#[test]
fn what_was_served_is_told_under_kongs_names() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).admin());
    let admin = gateway.admin();
    for _ in 0..5 {
        assert_eq!(gateway.get("/x").status(), 200);
    }
    let line = "kong_http_requests_total{service=\"origin\",route=\"all\",code=\"200\",source=\"service\",\
                workspace=\"default\",consumer=\"\"} 5";
    wait_until("the requests are counted", || ask(admin, "/metrics").1.contains(line));
    let (status, text) = ask(admin, "/metrics");
    assert_eq!(status, 200);
    for metric in [
        "kong_latency_bucket{service=\"origin\",route=\"all\",type=\"request\"",
        "shardgate_loop_lag_seconds_bucket{shard=\"0\"",
        "shardgate_config_ok 1",
    ] {
        assert!(text.contains(metric), "no {metric} in {text}");
    }
    let (status, text) = ask(admin, "/status/latency?route=all");
    assert_eq!((status, text.contains("\"count\":5")), (200, true), "{text}");
    let json: serde_json::Value = serde_json::from_str(&ask(admin, "/status").1).unwrap();
    assert_eq!(json["server"]["total_requests"], 5);
    let driver = json["shardgate"]["event_loop"]["driver"].as_str().unwrap();
    assert!(["io_uring", "epoll"].contains(&driver));
    assert!(!json["shardgate"]["event_loop"]["reason"].as_str().unwrap().is_empty());
    for path in ["/health", "/status/ready", "/gateway/health"] {
        assert_eq!(ask(admin, path).0, 200, "{path}");
    }
}

/// A family of the text format: its type, the names of its labels in order, and the bounds of its buckets.
#[derive(Debug, Default, Eq, PartialEq)]
struct Family {
    kind: String,
    labels: Vec<String>,
    bounds: Vec<String>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), ..Family::default() });
        }
        let Some((name, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) else { continue };
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        let Some(family) = families.get_mut(base) else { continue };
        let names = labels.split("\"").step_by(2).filter_map(|piece| piece.trim_start_matches(',').strip_suffix('='));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if family.labels.is_empty() {
            family.labels = names;
        } else {
            assert_eq!(family.labels, names, "{line}");
        }
        let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((bound, _)) = bound.filter(|(bound, _)| !family.bounds.iter().any(|other| other == bound)) {
            family.bounds.push(bound.to_owned());
        }
    }
    families
}

const KONG_BOUNDS: &str = "1 2 5 7 10 15 20 30 50 75 100 200 500 750 1000 3000 6000 +Inf";
const SERVICE_BOUNDS: &str = "25 50 80 100 250 400 700 1000 2000 5000 10000 30000 60000 +Inf";

/// As dashboards that were made for Kong ask for them.
#[test]
fn kongs_metrics_have_its_types_labels_and_buckets() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).admin());
    assert_eq!(gateway.get("/x").status(), 200);
    let scrape = || gateway.ask_admin("/metrics").text();
    wait_until("the request is counted", || scrape().contains("kong_http_requests_total{service=\"origin\""));
    let families = families(&scrape());
    for (name, kind, labels, bounds) in [
        ("kong_http_requests_total", "counter", "service route code source workspace consumer", ""),
        ("kong_kong_latency_ms", "histogram", "service route workspace le", KONG_BOUNDS),
        ("kong_upstream_latency_ms", "histogram", "service route workspace le", SERVICE_BOUNDS),
        ("kong_request_latency_ms", "histogram", "service route workspace le", SERVICE_BOUNDS),
        ("kong_bandwidth_bytes", "counter", "service route direction workspace consumer", ""),
        ("kong_nginx_connections_total", "gauge", "node_id subsystem state", ""),
        ("kong_nginx_connections", "gauge", "node_id subsystem state", ""),
        ("kong_nginx_requests_total", "gauge", "node_id subsystem", ""),
        ("kong_node_info", "gauge", "node_id version", ""),
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let want = Family { kind: kind.to_owned(), labels: words(labels), bounds: words(bounds) };
        assert_eq!(families.get(name), Some(&want), "{name}");
    }
    assert_eq!(families["kong_latency"].labels, ["service", "route", "type", "le"]);
    for (name, kind) in SHARDGATES {
        assert_eq!(families.get(*name).map(|family| &*family.kind), Some(*kind), "{name}");
    }
}

/// What an operator is promised beside Kong's.
const SHARDGATES: &[(&str, &str)] = &[
    ("shardgate_shard_busy_ratio", "gauge"),
    ("shardgate_loop_lag_seconds", "histogram"),
    ("shardgate_accept_imbalance_ratio", "gauge"),
    ("shardgate_listeners_refused", "gauge"),
    ("shardgate_listens_failed_total", "counter"),
    ("shardgate_handoffs_sent_total", "counter"),
    ("shardgate_handoffs_received_total", "counter"),
    ("shardgate_handoffs_refused_total", "counter"),
    ("shardgate_event_loop_info", "gauge"),
    ("shardgate_event_loop_failures_total", "counter"),
    ("shardgate_buffer_bytes", "gauge"),
    ("shardgate_receives_parked_total", "counter"),
    ("shardgate_log_lines_dropped_total", "counter"),
    ("shardgate_log_lines_lost_total", "counter"),
    ("shardgate_connections", "gauge"),
    ("shardgate_connections_refused_total", "counter"),
    ("shardgate_upstream_reuses_total", "counter"),
    ("shardgate_upstream_idle_connections", "gauge"),
    ("shardgate_config_applied_total", "counter"),
    ("shardgate_config_rejected_total", "counter"),
    ("shardgate_config_keep_failed_total", "counter"),
    ("shardgate_config_age_seconds", "gauge"),
    ("shardgate_config_connections_closed_total", "counter"),
    ("shardgate_handovers_failed_total", "counter"),
    ("shardgate_admin_connections_ended_total", "counter"),
];

fn bytes(gateway: &Gateway, which: &str) -> f64 {
    gateway.metric(&format!("shardgate_{which}_bytes_total"))
}

#[test]
fn what_a_service_has_sent_is_counted_also_if_the_client_leaves_before_its_end() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
            let piece = [b'x'; 1 << 16];
            while peer.send(piece) {}
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).admin());
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.bytes(1 << 20);
    drop(client);
    wait_until("it is counted", || bytes(&gateway, "upstream_received") >= 1_048_576.0);
}

#[test]
fn an_answer_that_finds_its_client_gone_is_not_counted_as_sent() {
    let (left, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let origin = Origin::start(move |peer| {
        if peer.request().is_some() {
            gone.lock().unwrap().recv().unwrap();
            peer.send(OK);
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).admin());
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is at the origin", || origin.requests().len() == 1);
    client.reset_on_close();
    drop(client);
    left.send(()).unwrap();
    wait_until("it is counted", || bytes(&gateway, "downstream_received") > 0.0);
    assert_eq!(bytes(&gateway, "downstream_sent"), 0.0);
}

/// Scrapers that send half a request, or read nothing of a long answer.
#[test]
fn scrapes_that_hang_keep_no_probe_out_and_slow_no_request_down() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).admin());
    let hang = |index: usize| {
        let mut client = Wire::connect(gateway.admin());
        client.send(if index.is_multiple_of(2) {
            "GET /metrics HTTP/1.1\r\n"
        } else {
            "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        });
        client
    };
    let hanging: Vec<Wire> = (0..100).map(hang).collect();
    assert_eq!(gateway.ask_admin("/health").status(), 200);
    assert_eq!(gateway.get("/").status(), 200);
    gateway.wait_said("connections to the admin listener were ended");
    assert!(gateway.metric("shardgate_admin_connections_ended_total") >= 36.0);
    drop(hanging);
}

#[test]
fn a_gateway_that_is_told_to_end_is_not_ready_at_once_and_accepts_until_the_delay_is_over() {
    let origin = Origin::answering(OK);
    let mut gateway = Gateway::start(&Config::to(&origin).admin().with("shutdown: { delay_ms: 1500 }"));
    let admin = gateway.admin();
    assert_eq!(ask(admin, "/status/ready").0, 200);
    gateway.terminate();
    wait_until("it is not ready", || ask(admin, "/status/ready").0 == 503);
    assert_eq!(ask(admin, "/health").0, 200);
    assert_eq!(gateway.get("/still").status(), 200);
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// The lists of a cluster's endpoints still name a pod that it has told to end. Who asks twice does not wait.
#[test]
fn under_kubernetes_accepting_goes_on_for_5_s_without_being_told_to() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubernetes-{}.yaml", std::process::id()));
    fs::write(&file, Config::empty().yaml()).unwrap();
    let mut gateway = Gateway::start_by(&["env", "KUBERNETES_SERVICE_HOST=10.0.0.1"], &file, &[]);
    gateway.terminate();
    gateway.wait_said("accepting for 5000 ms more");
    assert_eq!(gateway.get("/").status(), 404);
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    fs::remove_file(file).unwrap();
}
