//! A process out of descriptors: it must neither spin on the connections that it cannot accept nor forget how to serve.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Config, Gateway, OK, Origin, Wire, wait_until};

#[test]
fn exhausted_descriptors_cost_no_cpu_and_come_back() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).with("limits: { idle_timeout_ms: 60000 }").admin();
    let gateway = Gateway::start_with_descriptors(&config, 40);
    assert_eq!(gateway.get("/before").status(), 200);

    let crowd: Vec<Wire> = (0..80).map(|_| gateway.client()).collect();
    thread::sleep(Duration::from_millis(200));
    let before = gateway.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let spent = gateway.cpu_time() - before;
    assert!(spent <= Duration::from_millis(100), "spent {spent:?} of a second on connections that it cannot take");

    gateway.wait_said("connections were closed unserved, as descriptors had run out");

    // Those beyond the limit are closed, not left to wait for ever.
    let mut last = gateway.client();
    last.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(last.maybe_response().is_none_or(|response| response.status() == 503));

    drop(crowd);
    wait_until("descriptors come back", || {
        let mut client = gateway.client();
        client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
        client.maybe_response().is_some_and(|response| response.status() == 200)
    });
    assert!(gateway.metric("shardgate_connections_refused_total{reason=\"descriptors\"}") > 0.0);
}

/// The file is right and there is no room for what it asks: it is refused as a whole, and good when there is.
#[test]
fn a_listener_that_there_are_no_descriptors_for_leaves_everything_as_it_was() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).with("limits: { idle_timeout_ms: 60000 }").shards(8).admin().event_loop("epoll");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("descriptors-{}.yaml", std::process::id()));
    fs::write(&file, config.yaml()).unwrap();
    let limit = ["sh", "-c", "ulimit -n 100; exec \"$0\" \"$@\""];
    let gateway = Gateway::start_by(&limit, &file, &[]);
    let crowd: Vec<Wire> = (0..100).map(|_| gateway.client()).collect();
    gateway.wait_said("connections were closed unserved, as descriptors had run out");
    let second = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listeners = format!("  - {{ name: second, address: \"{second}\" }}\nruntime:");
    fs::write(&file, config.yaml().replace("runtime:", &listeners)).unwrap();
    gateway.wait_said("the configuration in force stays: cannot listen on");
    assert!(TcpStream::connect(second).is_err());
    drop(crowd);
    wait_until("somebody is served", || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.maybe_response().is_some_and(|response| response.status() == 200)
    });
    assert_eq!(gateway.metric("shardgate_config_ok"), 0.0);
    gateway.signal(Signal::HUP);
    gateway.wait_said("configuration 1 is in force");
    wait_until("it listens", || TcpStream::connect(second).is_ok());
    assert_eq!(gateway.metric("shardgate_config_ok"), 1.0);
    fs::remove_file(file).unwrap();
}

/// No descriptor left for the way up: the client is told.
#[test]
fn a_request_without_a_descriptor_for_its_origin_is_refused_only() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).with("limits: { idle_timeout_ms: 60000 }").one_shard();
    let gateway = Gateway::start_with_descriptors(&config, 40);
    let mut crowd: Vec<Wire> = (0..80).map(|_| gateway.client()).collect();
    let first = &mut crowd[0];
    first.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = first.response();
    assert!([502, 503].contains(&refused.status()), "{refused:?}");
    refused.problem();
    crowd.clear();
    wait_until("descriptors come back", || {
        let mut client = gateway.client();
        client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
        client.maybe_response().is_some_and(|response| response.status() == 200)
    });
}
