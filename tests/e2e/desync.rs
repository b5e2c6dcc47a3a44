//! Bytes behind a request that was answered early, refused, or never became a tunnel: they are its body, or are
//! dropped with the connection, or are the next request; they are never a request by mistake.

use std::time::Duration;

use crate::harness::{Config, Gateway, Message, OK, Origin, Wire};

/// All that the gateway answers on this connection.
fn responses(client: &mut Wire) -> Vec<Message> {
    std::iter::from_fn(|| client.maybe_response()).collect()
}

/// Sends `request`, whose body is or holds a request for `/smuggled`, then an honest one that closes.
#[track_caller]
fn check(config: &Config, origin: &Origin, request: &str, status: u16) {
    let gateway = Gateway::start(config);
    let mut client = gateway.client();
    client.send(format!("{request}GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let responses = responses(&mut client);
    let statuses: Vec<u16> = responses.iter().map(Message::status).collect();
    assert!(statuses == [status] || statuses == [status, 200], "{statuses:?} to {request:?}");
    // Only now would a mistake have had its time: the gateway still serves, and the origin never saw it.
    assert_eq!(gateway.get("/probe").status(), 200);
    assert!(!origin.targets().contains(&"/smuggled".to_owned()), "{:?}", origin.targets());
    assert!(!responses.iter().any(|response| response.text().contains("smuggled")));
}

fn carrying(head: &str) -> String {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len())
}

#[test]
fn the_body_of_a_request_without_a_route_is_never_a_request() {
    let origin = Origin::answering(OK);
    let config = Config::empty().service("origin", &[origin.address], "").route(
        "some",
        "origin",
        "paths: [\"/smuggled\", \"/after\", \"/probe\"]",
    );
    check(&config, &origin, &carrying("POST /nowhere HTTP/1.1\r\nHost: a\r\n"), 404);
    check(&config, &origin, &carrying("POST /nowhere HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"), 404);
}

#[test]
fn the_body_of_a_request_that_is_too_large_is_never_a_request() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).of_route("body_bytes_max: 10");
    check(&config, &origin, &carrying("POST / HTTP/1.1\r\nHost: a\r\n"), 413);
    let chunked = "23\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n";
    check(&config, &origin, &format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"), 413);
}

#[test]
fn the_body_of_a_request_that_the_origin_answered_early_is_never_a_request() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.request_head() {
            let close = head.method() == "POST";
            peer.send(if close { EARLY } else { OK });
            if close {
                return;
            }
        }
    });
    check(&Config::to(&origin), &origin, &carrying("POST /early HTTP/1.1\r\nHost: a\r\n"), 403);
}

/// What is missing of the body comes after the answer.
#[test]
fn the_rest_of_a_body_that_comes_after_the_answer_is_never_a_request() {
    let origin = Origin::answering(OK);
    let config = Config::empty().service("origin", &[origin.address], "").route(
        "some",
        "origin",
        "paths: [\"/smuggled\", \"/probe\"]",
    );
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    client.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n0123456789");
    assert_eq!(client.response().status(), 404);
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    client.half_close();
    client.expect_closed();
    assert_eq!(gateway.get("/probe").status(), 200);
    assert_eq!(origin.targets(), ["/probe"]);
}

/// What stands behind a request for a tunnel is not the upstream's before it said 101; when it says 200 instead, never.
#[test]
fn nothing_behind_a_refused_upgrade_reaches_the_origin_as_it_came() {
    let origin = Origin::start(|peer| {
        while peer.request().is_some() {
            // Time in which an open tunnel would show.
            std::thread::sleep(Duration::from_millis(150));
            peer.send(OK);
        }
    });
    let config = Config::empty().service("origin", &[origin.address], "").route(
        "socket",
        "origin",
        "paths: [\"/socket\", \"/probe\"], upgrade: [websocket]",
    );
    let gateway = Gateway::start(&config);
    for upgrade in ["websocket", "x", "h2c", "h2c, websocket"] {
        let mut client = gateway.client();
        let head = format!("GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        client.send(format!("{head}GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.response().status(), 200, "{upgrade}");
        let statuses: Vec<u16> = responses(&mut client).iter().map(Message::status).collect();
        assert!(statuses.is_empty() || statuses == [404], "{upgrade}: {statuses:?}");
    }
    assert_eq!(gateway.get("/probe").status(), 200);
    assert!(!origin.heard("/admin"), "{:?}", origin.targets());
}

/// An upgrade to HTTP/2 would carry requests past every check.
#[test]
fn cleartext_http2_is_never_offered_to_the_origin() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route("upgrade: [websocket]"));
    let mut client = gateway.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_eq!(client.response().status(), 200);
    let request = origin.only_request();
    for name in ["Upgrade", "HTTP2-Settings"] {
        assert!(!request.has(name), "{request:?}");
    }
}

/// A connection that carried half a request is no use to anybody else's.
#[test]
fn a_request_that_breaks_off_does_not_lend_its_connection_to_the_next() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    for half in [
        "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234",
        "POST /half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n",
        "POST /half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n12",
        "POST /half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n",
        "POST /half HTTP/1.1\r\nHost: a\r\nContent-",
    ] {
        assert_eq!(gateway.get("/warm").status(), 200);
        let mut client = gateway.client();
        client.send(half);
        client.half_close();
        let answer = client.maybe_response();
        assert!(answer.as_ref().is_none_or(|answer| answer.status() == 400), "{half:?}: {answer:?}");
        client.expect_closed();
        assert_eq!(gateway.get("/probe").status(), 200);
        assert!(!origin.targets().contains(&"/half".to_owned()), "{half:?}");
    }
}

const EARLY: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
