//! Rate limits of a node: what clients are told, and that shards together admit no more than one would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Config, Gateway, OK, Origin, wait_until};

/// Two shards, and the limit for everything.
fn gateway(limit: &str) -> (Gateway, Origin) {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).admin().shards(2).of_route(&format!("policies: [{{ rate_limit: {limit} }}]"));
    (Gateway::start(&config), origin)
}

#[test]
fn a_client_is_told_what_is_left_and_when_to_come_again() {
    let (gateway, origin) = gateway("{ requests_per_minute: 2, key: [global] }");
    let first = gateway.get("/1");
    assert_eq!(
        (first.status(), first.value("ratelimit-limit"), first.value("ratelimit-remaining")),
        (200, Some("2"), Some("1"))
    );
    assert_eq!(first.value("x-ratelimit-limit-minute"), Some("2"));
    assert_eq!(first.value("ratelimit-policy"), Some("\"minute\";q=2;w=60"));
    assert_eq!(gateway.get("/2").status(), 200);
    let refused = gateway.get("/3");
    assert_eq!((refused.status(), refused.value("x-ratelimit-remaining-minute")), (429, Some("0")));
    let wait: u64 = refused.value("retry-after").expect("it says when").parse().expect("a number");
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(refused.problem()["type"], "urn:shardgate:problem:rate_limited");
    assert!(!origin.heard("/3"));
    let line = gateway.log_lines(3).into_iter().find(|line| line["status"] == 429).expect("the refusal is logged");
    assert_eq!(
        (&line["policy"], &line["reason"], &line["error"]),
        (&"rate_limit".into(), &"exceeded".into(), &"rate_limited".into())
    );
    let counted = "rate_limit_exceeded_total{route=\"all\",consumer=\"\",policy=\"rate_limit\",limit=\"minute\"} 1\n";
    wait_until("the refusal is counted", || metrics(&gateway).contains(counted));
}

#[test]
fn who_is_refused_by_one_limit_hears_nothing_of_another_that_was_not_asked() {
    let of_listener = "policies: [{ rate_limit: { requests_per_minute: 1, key: [global] } }]";
    let of_file = "policies: [{ rate_limit: { requests_per_second: 1000 } }]";
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_listener(of_listener).with(of_file));
    let admitted = gateway.get("/1");
    assert_eq!((admitted.status(), admitted.value("ratelimit-limit")), (200, Some("1000")));
    let refused = gateway.get("/2");
    assert_eq!((refused.status(), refused.value("ratelimit-limit")), (429, Some("1")));
    assert_eq!((refused.value("ratelimit-remaining"), refused.value("x-ratelimit-limit-second")), (Some("0"), None));
    let wait: u64 = refused.value("retry-after").expect("it says when").parse().expect("a number");
    assert!((50..=60).contains(&wait), "{wait}");
}

fn metrics(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.admin()).expect("the admin listener is there");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// Asks over and over from several connections at once, for a while; how many were answered, and for how long.
fn flood(gateway: &Gateway, patience: Duration) -> (u32, Duration) {
    let began = Instant::now();
    let ask = || {
        let (mut client, mut served) = (gateway.client(), 0);
        while began.elapsed() < patience {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let response = client.response();
            match response.status() {
                200 => served += 1,
                status => assert_eq!(status, 429),
            }
            if response.closes() {
                client = gateway.client();
            }
        }
        served
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        let served = clients.into_iter().map(|client| client.join().expect("a client does not panic")).sum();
        (served, began.elapsed())
    })
}

#[test]
fn two_shards_admit_no_more_than_the_limit_and_nearly_all_of_it() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let (gateway, _origin) = gateway(&format!("{{ requests_per_second: 200, algorithm: {algorithm} }}"));
        let (served, took) = flood(&gateway, Duration::from_millis(2_500));
        let most = 200.0 + 200.0 * took.as_secs_f64();
        assert!(f64::from(served) <= most, "{algorithm}: {served} of {most}");
        // A slow machine asks less often than it may.
        assert!(f64::from(served) >= 0.9 * most - 200.0, "{algorithm}: {served} of {most}");
    }
}

#[test]
fn a_reload_that_changes_the_limit_forgives_nobody() {
    let (origin, folder) = (Origin::answering(OK), tempfile());
    let yaml = |burst: u32| {
        let limit = format!("policies: [{{ rate_limit: {{ requests_per_hour: 10, burst: {burst} }} }}]");
        Config::to(&origin).shards(2).of_route(&limit).yaml()
    };
    std::fs::write(&folder, yaml(10)).expect("the file can be written");
    let gateway = Gateway::start_on(&folder, &[]);
    let served = || (0..30).filter(|_| gateway.get("/").status() == 200).count();
    assert_eq!(served(), 10);
    std::fs::write(&folder, yaml(14)).expect("the file can be written");
    gateway.wait_said("configuration 1 is in force");
    assert_eq!(served(), 4);
    std::fs::write(&folder, yaml(5)).expect("the file can be written");
    gateway.wait_said("configuration 2 is in force");
    assert_eq!(served(), 0);
    std::fs::remove_file(&folder).expect("it is there");
}

fn tempfile() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("shardgate-rate-limits-{}.yaml", std::process::id()))
}
