//! Clients that take their time: each phase of a connection has its own patience, and no more.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, DEADLINE, Framing, Gateway, OK, Origin, Wire};

fn gateway_with(origin: &Origin, limits: &str) -> Gateway {
    Gateway::start(&Config::to(origin).with(&format!("limits: {{ {limits} }}")))
}

#[track_caller]
fn expect_timeout(client: &mut Wire) {
    let response = client.response();
    assert_eq!(response.status(), 408, "{response:?}");
    assert!(response.closes(), "{response:?}");
    response.problem();
    client.expect_closed();
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "header_read_timeout_ms: 300");
    for beginning in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n"] {
        let mut client = gateway.client();
        client.send(beginning);
        expect_timeout(&mut client);
    }
    // Dripping does not help: the time is the head's, not the byte's.
    let mut client = gateway.client();
    let start = Instant::now();
    let mut writer = client.writer();
    let dripper = thread::spawn(move || {
        use std::io::Write;
        let head = "GET / HTTP/1.1\r\nHost: a\r\n".bytes().chain(std::iter::repeat(b'x'));
        for byte in head.take(500) {
            if writer.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    expect_timeout(&mut client);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(client);
    dripper.join().unwrap();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "idle_timeout_ms: 300");
    let mut fresh = gateway.client();
    let mut used = gateway.client();
    used.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(used.response().status(), 200);
    let start = Instant::now();
    used.expect_closed_cleanly();
    assert!(start.elapsed() >= Duration::from_millis(250), "closed after {:?}", start.elapsed());
    fresh.expect_closed_cleanly();
}

/// A request that waits for its origin is not idle.
#[test]
fn a_client_that_waits_is_not_idle() {
    let origin = Origin::start(|peer| {
        while peer.request().is_some() {
            thread::sleep(Duration::from_millis(600));
            peer.send(OK);
        }
    });
    let gateway = gateway_with(&origin, "idle_timeout_ms: 200, header_read_timeout_ms: 200");
    assert_eq!(gateway.get("/").text(), "ok");
}

#[test]
fn a_body_that_is_too_slow_is_given_up() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "body_bytes_per_s_min: 1000, body_rate_grace_ms: 300");
    for framing in ["Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nffff\r\n"] {
        // Silent.
        let mut client = gateway.client();
        client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\n{framing}0123456789"));
        expect_timeout(&mut client);
        // Dripping.
        let mut client = gateway.client();
        client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\n{framing}"));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) && client.send("x") {
            thread::sleep(Duration::from_millis(20));
        }
        // It may be past the answer: what counts is that the connection is gone.
        if let Some(response) = client.maybe_response() {
            assert_eq!(response.status(), 408);
        }
    }
    assert_eq!(gateway.get("/probe").status(), 200);
    assert_eq!(origin.targets(), ["/probe"]);
}

/// Fast enough on the whole, with a pause in the middle.
#[test]
fn a_body_that_keeps_its_rate_is_served() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "body_bytes_per_s_min: 1000, body_rate_grace_ms: 300");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n");
    for _ in 0..10 {
        client.send([b'x'; 1_000]);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.only_request().body.len(), 10_000);
}

/// The rate is the client's: time in which the origin takes nothing does not count.
#[test]
fn a_slow_origin_does_not_make_its_client_slow() {
    const BODY: usize = 32 << 20;
    const LAST: usize = 1_000;
    let (nearly, done) = mpsc::channel();
    let nearly = Mutex::new(nearly);
    let origin = Origin::start(move |peer| {
        assert_eq!(peer.request_head().unwrap().framing, Framing::Length(BODY));
        thread::sleep(Duration::from_secs(2));
        peer.bytes(BODY - LAST);
        nearly.lock().unwrap().send(()).unwrap();
        peer.bytes(LAST);
        peer.send(OK);
    });
    let gateway = gateway_with(&origin, "body_bytes_per_s_min: 50000000, body_rate_grace_ms: 300");
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"));
    client.send(vec![b'x'; BODY - LAST]);
    done.recv_timeout(DEADLINE).expect("the origin reads on");
    // Now the gateway waits for the client, for the first time in two seconds.
    thread::sleep(Duration::from_millis(50));
    client.send([b'x'; LAST]);
    assert_eq!(client.response().status(), 200);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30));
            let piece = vec![b'x'; 1 << 20];
            while peer.send(&piece) {}
        }
    });
    let gateway = gateway_with(&origin, "send_timeout_ms: 300");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // Nothing is read here, and yet the origin is rid of it.
    origin.wait_finished(1);
    assert!(!client.response().complete);
}

/// Sixty-four of each kind do not keep an honest client waiting.
#[test]
fn slow_clients_are_their_own_problem() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "connections_per_client_max: 10000");
    let slow: Vec<Wire> = ["", "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"]
        .iter()
        .flat_map(|beginning| (0..64).map(move |_| beginning))
        .map(|beginning| {
            let mut client = gateway.client();
            client.send(beginning);
            client
        })
        .collect();
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(gateway.get("/").status(), 200);
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    }
    drop(slow);
}

/// Some clients end a body with a line that belongs to nothing (RFC 9112 §2.2). It is no request that could time out: a
/// 408 for it would be taken for the answer to the next one. A whole line takes nothing of the time that the connection
/// may be idle; a second one is not what the RFC speaks of, and is not waited behind for long.
#[test]
fn an_empty_line_between_requests_is_not_answered() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "header_read_timeout_ms: 300");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = gateway.client();
    client.send(format!("{request}\r"));
    assert_eq!(client.response().status(), 200);
    client.expect_closed();

    let mut client = gateway.client();
    for line in ["\r\n", ""] {
        client.send(format!("{request}{line}"));
        assert_eq!(client.response().status(), 200);
        client.expect_silence(Duration::from_millis(600));
    }
    client.send("\r\n");
    client.expect_silence(Duration::from_millis(600));
    client.send("\r\n");
    client.expect_closed();
}

/// Behind it the connection is idle, for no longer than any other.
#[test]
fn an_empty_line_does_not_keep_a_connection() {
    let origin = Origin::answering(OK);
    let gateway = gateway_with(&origin, "idle_timeout_ms: 300");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n");
    assert_eq!(client.response().status(), 200);
    let start = Instant::now();
    client.expect_closed_cleanly();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
