//! SIGTERM: what runs is finished, what waits is told, what stays is closed at the deadline, and the process ends
//! with 0.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::harness::{Config, Gateway, OK, Origin, wait_until};

#[test]
fn an_idle_gateway_ends_at_once() {
    let origin = Origin::answering(OK);
    let mut gateway = Gateway::start(&Config::to(&origin));
    assert_eq!(gateway.get("/").status(), 200);
    let start = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    // The last lines are not lost.
    assert_eq!(gateway.log_lines(1).len(), 1);
    // The pool was closed behind it.
    origin.wait_finished(1);
}

/// A client that is just about to send its next request must not find its connection closed.
#[test]
fn a_kept_connection_is_not_closed_before_its_next_response_says_so() {
    let origin = Origin::answering(OK);
    let mut gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!client.response().closes());
    gateway.terminate();
    client.expect_silence(Duration::from_millis(300));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.closes()), (200, true));
    client.expect_closed_cleanly();
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn a_running_request_is_finished() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            wait.lock().unwrap().recv().unwrap();
            peer.send("1\r\n!\r\n0\r\n\r\n");
        }
    });
    let mut gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request runs", || origin.requests().len() == 1);
    gateway.terminate();
    std::thread::sleep(Duration::from_millis(300));
    assert!(gateway.is_running(), "ended under a running request");
    go.send(()).unwrap();
    let response = client.response();
    assert!(response.complete);
    assert_eq!(response.text(), "hello!");
    // Its head went out before the signal, so that the next response is the one that says goodbye.
    go.send(()).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().closes());
    client.expect_closed_cleanly();
    assert_eq!(gateway.wait_exit(), Some(0));
}

#[test]
fn what_is_left_is_closed_at_the_deadline() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.rest();
        }
    });
    let mut gateway = Gateway::start(&Config::to(&origin).with("shutdown: { drain_timeout_ms: 500 }"));
    let mut stuck = gateway.client();
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request runs", || origin.requests().len() == 1);
    let mut idle = gateway.client();
    let start = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "took {took:?}");
    idle.expect_closed();
    assert!(stuck.maybe_response().is_none_or(|response| response.status() >= 500));
    origin.wait_finished(1);
}
