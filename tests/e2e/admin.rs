//! Health, status and metrics of the running gateway.

use std::net::SocketAddr;

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
        "kong_latency_bucket{type=\"request\"",
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
