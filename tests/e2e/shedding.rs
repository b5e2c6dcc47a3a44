//! More clients or requests than the gateway was told to take: it says so at once, and to the surplus only.

use std::sync::{Mutex, mpsc};

use crate::harness::{Config, Gateway, OK, Origin, Wire, wait_until};

/// A connection beyond a bound: told to come back, or closed.
#[track_caller]
fn expect_refused(client: &mut Wire) {
    client.send("GET /refused HTTP/1.1\r\nHost: a\r\n\r\n");
    if let Some(response) = client.maybe_response() {
        assert_eq!(response.status(), 503, "{response:?}");
        assert!(response.has("retry-after") && response.closes(), "{response:?}");
    }
    client.expect_closed();
}

#[track_caller]
fn expect_served(client: &mut Wire) {
    client.send("GET /served HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 200);
}

#[track_caller]
fn check_connections(limits: &str) {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with(&format!("limits: {{ {limits} }}")));
    let mut kept = [gateway.client(), gateway.client()];
    kept.iter_mut().for_each(expect_served);
    for _ in 0..3 {
        expect_refused(&mut gateway.client());
    }
    kept.iter_mut().for_each(expect_served);
    let [left, mut stays] = kept;
    drop(left);
    // The place is free again, as soon as the gateway has seen the end.
    wait_until("a place for one more", || {
        let mut client = gateway.client();
        client.send("GET /served HTTP/1.1\r\nHost: a\r\n\r\n");
        client.maybe_response().is_some_and(|response| response.status() == 200)
    });
    expect_served(&mut stays);
    assert!(!origin.heard("/refused"));
    let (limit, _) = limits.split_once(':').unwrap();
    gateway.wait_said(&format!("as many as limits.{limit} allows"));
}

#[test]
fn connections_in_all() {
    check_connections("connections_max: 2");
}

#[test]
fn connections_of_one_client() {
    check_connections("connections_per_client_max: 2");
}

#[test]
fn requests_in_flight() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/slow" {
                wait.lock().unwrap().recv().unwrap();
            }
            peer.send(OK);
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).with("limits: { requests_in_flight_max: 2, retry_after_s: 7 }"));
    let mut slow = [gateway.client(), gateway.client()];
    for (number, client) in slow.iter_mut().enumerate() {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("the slow requests are at the origin", || origin.connections() > number);
    }
    let mut surplus = gateway.client();
    surplus.send("GET /refused HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = surplus.response();
    assert_eq!((response.status(), response.value("retry-after")), (503, Some("7")), "{response:?}");
    response.problem();
    go.send(()).unwrap();
    go.send(()).unwrap();
    for client in &mut slow {
        assert_eq!(client.response().status(), 200);
    }
    // Whether its connection was kept or not, the same client is now welcome.
    assert_eq!(gateway.get("/served").status(), 200);
    assert!(!origin.heard("/refused"));
}

#[test]
fn a_service_has_no_more_connections_than_it_may_on_the_whole_node() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/slow" {
                wait.lock().unwrap().recv().unwrap();
            }
            peer.send(OK);
        }
    });
    let config = Config::to(&origin).of_service("pool: { connections_max: 2 }").with("limits: { retry_after_s: 7 }");
    let gateway = Gateway::start(&config);
    let mut slow = [gateway.client(), gateway.client()];
    for (number, client) in slow.iter_mut().enumerate() {
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("the slow requests are at the origin", || origin.connections() > number);
    }
    let mut surplus = gateway.client();
    surplus.send("GET /refused HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = surplus.response();
    assert_eq!((response.status(), response.value("retry-after")), (503, Some("7")), "{response:?}");
    assert!(response.problem()["type"].as_str().unwrap().ends_with(":service_full"), "{response:?}");
    go.send(()).unwrap();
    go.send(()).unwrap();
    for client in &mut slow {
        assert_eq!(client.response().status(), 200);
    }
    wait_until("their places are free", || gateway.get("/served").status() == 200);
    (0..20).for_each(|_| assert_eq!(gateway.get("/served").status(), 200));
    assert!(!origin.heard("/refused"));
}
