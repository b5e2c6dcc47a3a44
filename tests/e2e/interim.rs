//! What comes before the final response: `100 Continue` when a body is wanted, and the origin's own 1xx.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::harness::{Config, Gateway, OK, Origin};

#[test]
fn a_client_that_waits_for_100_gets_it_once() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.response().first_line, "HTTP/1.1 100 Continue");
        client.expect_silence(Duration::from_millis(50));
        client.send("hello");
        assert_eq!(client.response().status(), 200);
    }
    assert!(origin.requests().iter().all(|request| request.text() == "hello"));
}

#[test]
fn a_client_that_does_not_wait_for_100_is_served() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    let first = client.response();
    let last = if first.status() == 100 { client.response() } else { first };
    assert_eq!(last.status(), 200);
    assert_eq!(origin.only_request().text(), "hello");
}

#[track_caller]
fn check_refused_unasked(config: &Config, head: &str, status: u16) {
    let gateway = Gateway::start(config);
    let mut client = gateway.client();
    client.send(format!("{head}\r\n\r\n"));
    let response = client.response();
    assert_eq!(response.status(), status, "{head:?}: {response:?}");
    response.problem();
}

#[test]
fn a_body_that_nobody_wants_is_not_asked_for() {
    let origin = Origin::answering(OK);
    let config = Config::empty().service("origin", &[origin.address], "").route(
        "some",
        "origin",
        "paths: [\"/some\"], body_bytes_max: 4",
    );
    let expecting = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5";
    check_refused_unasked(&config, &format!("PUT /nowhere {expecting}"), 404);
    check_refused_unasked(&config, &format!("PUT /some {expecting}"), 413);
    check_refused_unasked(&config, "PUT /some HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 4", 417);
    assert_eq!(origin.connections(), 0);
}

/// HTTP/1.0 has no 1xx (RFC 9110 §10.1.1: the expectation is ignored).
#[test]
fn an_old_client_gets_no_interim_response() {
    let origin = Origin::answering(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"));
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status(), 200);
    client.expect_closed();
}

#[test]
fn the_origins_interim_responses_are_relayed_in_order_and_at_once() {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 102 Processing\r\n\r\n");
            peer.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n",
            );
            // Not before the client saw the hint.
            wait.lock().unwrap().recv().unwrap();
            peer.send(OK);
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 102);
    let hint = client.response();
    assert_eq!((hint.status(), hint.value("link")), (103, Some("</a.css>; rel=preload")));
    assert!(!hint.has("x-hop"), "{hint:?}");
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "ok");
}
