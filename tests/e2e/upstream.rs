//! The way to a service: which endpoint, on which connection, for how long, and what the client is told when it fails.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, Gateway, Message, OK, Origin, Wire, black_hole, nobody, wait_until};

/// Answers the first request of its first connection, and closes that on the second without a word.
fn dying() -> Origin {
    Origin::start(|peer| {
        while peer.request().is_some() {
            if peer.number == 0 && peer.record().lock().unwrap().windows(7).any(|window| window == b"/second") {
                return;
            }
            peer.send(OK);
        }
    })
}

/// The answer to `request`, sent on a connection to the origin that dies under it.
#[track_caller]
fn on_a_dying_connection(origin: &Origin, config: &Config, request: &[u8]) -> Message {
    let gateway = Gateway::start(config);
    assert_eq!(gateway.get("/first").status(), 200);
    let mut client = gateway.client();
    client.send(request);
    let response = client.response();
    assert!(origin.targets().contains(&"/second".to_owned()), "{:?}", origin.targets());
    response
}

#[test]
fn endpoints_take_turns() {
    let origins = [(); 3].map(|()| Origin::answering(OK));
    let gateway = Gateway::start(&Config::to_addresses(&origins.each_ref().map(|origin| origin.address)).one_shard());
    for _ in 0..9 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert_eq!(origins.each_ref().map(|origin| origin.requests().len()), [3, 3, 3]);
    assert_eq!(origins.each_ref().map(Origin::connections), [1, 1, 1]);
}

/// Whoever is asked in place of an endpoint that is dead has his own turn nevertheless.
#[test]
fn a_dead_endpoint_is_asked_in_its_turn_only() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to_addresses(&[nobody(), origin.address]).one_shard().admin());
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    wait_until("all are counted", || gateway.metric("shardgate_upstream_reuses_total") == 9.0);
    assert_eq!(gateway.metric("shardgate_upstream_connects_failed_total"), 5.0);
}

/// With several endpoints too: a place is the service's.
#[test]
fn a_request_for_which_its_service_has_no_place_is_counted_once() {
    let origins = [(); 3].map(|()| {
        Origin::start(|peer| {
            peer.request();
            peer.rest();
        })
    });
    let config = Config::to_addresses(&origins.each_ref().map(|origin| origin.address)).one_shard().admin();
    let gateway = Gateway::start(&config.of_service("pool: { connections_max: 1 }"));
    let mut first = gateway.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the place is taken", || origins.iter().any(|origin| origin.connections() > 0));
    assert_eq!(gateway.get("/").status(), 503);
    let refused = || gateway.metric("shardgate_upstream_connects_refused_total");
    wait_until("it is counted", || refused() > 0.0);
    assert_eq!(refused(), 1.0);
}

#[test]
fn an_idempotent_request_on_a_connection_that_died_is_sent_once_more() {
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let origin = dying();
        let request = format!("{method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = on_a_dying_connection(&origin, &Config::to(&origin).one_shard(), request.as_bytes());
        assert_eq!(response.status(), 200, "{method}");
        let requests = origin.requests();
        assert_eq!(origin.targets(), ["/first", "/second", "/second"], "{method}");
        assert!(requests[1..].iter().all(|request| request.text() == "hello"), "{method}");
        assert_eq!(requests[1].value("x-request-id"), requests[2].value("x-request-id"), "one request has one id");
    }
}

#[test]
fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    for method in ["POST", "PATCH", "BREW"] {
        let origin = dying();
        let request = format!("{method} /second HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        let response = on_a_dying_connection(&origin, &Config::to(&origin).one_shard(), request.as_bytes());
        assert_eq!(response.status(), 502, "{method}");
        response.problem();
        assert_eq!(origin.targets(), ["/first", "/second"], "{method}");
    }
}

#[test]
fn the_second_try_takes_the_place_of_the_connection_that_died() {
    let origin = dying();
    let config = Config::to(&origin).of_service("pool: { connections_max: 1 }").one_shard();
    let response = on_a_dying_connection(&origin, &config, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status(), 200);
}

#[test]
fn a_body_that_was_not_kept_is_not_sent_again() {
    for (body, status) in [(1_000, 200), (1_001, 502)] {
        let origin = dying();
        let config = Config::to(&origin).of_service("retry: { replay_bytes_max: 1000 }").one_shard();
        let request = format!("PUT /second HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{}", "x".repeat(body));
        assert_eq!(on_a_dying_connection(&origin, &config, request.as_bytes()).status(), status, "{body} bytes");
    }
    let origin = dying();
    let config = Config::to(&origin).of_service("retry: { enabled: false }").one_shard();
    let response = on_a_dying_connection(&origin, &config, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status(), 502);
}

/// Answers the first request of its first connection, and closes that some time after the head of the second without a
/// word. On later ones it asks whoever waits for its body, of five bytes.
fn dying_at_a_head(after: Duration) -> Origin {
    Origin::start(move |peer| {
        if peer.number == 0 {
            peer.request();
            peer.send(OK);
            peer.request_head();
            return thread::sleep(after);
        }
        while let Some(head) = peer.request_head() {
            if head.has("expect") {
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            assert_eq!(peer.bytes(5), b"hello");
            peer.send(OK);
        }
    })
}

/// A client whose request's head has come to a connection that dies under it.
#[track_caller]
fn at_a_head(gateway: &Gateway, head: &str) -> Wire {
    assert_eq!(gateway.get("/first").status(), 200);
    let mut client = gateway.client();
    client.send(format!("{head}\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    client
}

#[test]
fn a_body_of_which_nothing_has_come_is_read_for_the_second_try() {
    let (plain, expecting) = ("PUT /second HTTP/1.1", "PUT /second HTTP/1.1\r\nExpect: 100-continue");
    // By the end of the third the gateway has asked for the body itself, and so the origin need not.
    for (head, after_ms, asks) in [(plain, 0, false), (expecting, 0, true), (expecting, 1_500, false)] {
        let origin = dying_at_a_head(Duration::from_millis(after_ms));
        let gateway = Gateway::start(&Config::to(&origin).one_shard());
        let mut client = at_a_head(&gateway, head);
        wait_until("the second try", || origin.connections() == 2);
        if head == expecting {
            assert_eq!(client.response().status(), 100, "{after_ms} ms");
        }
        client.send("hello");
        assert_eq!(client.response().status(), 200, "{head:?}, {after_ms} ms");
        let second = String::from_utf8(origin.bytes(1)).unwrap().to_ascii_lowercase();
        assert_eq!(second.contains("\r\nexpect:"), asks, "{second:?}");
        assert_eq!(gateway.log_lines(2)[1]["retried"], true);
    }
}

/// Before the first try has failed, after that, or in the middle of it.
#[test]
fn a_body_that_comes_between_two_tries_is_not_lost() {
    for after_ms in 1..10 {
        let origin = dying_at_a_head(Duration::from_millis(after_ms));
        let gateway = Gateway::start(&Config::to(&origin).one_shard());
        let mut client = at_a_head(&gateway, "PUT /second HTTP/1.1");
        wait_until("the first try", || origin.heard("/second"));
        thread::sleep(Duration::from_millis(5));
        client.send("hello");
        assert_eq!(client.response().status(), 200, "{after_ms} ms");
    }
}

#[test]
fn a_request_that_may_have_had_an_effect_is_not_sent_again_without_its_body_either() {
    let origin = dying_at_a_head(Duration::ZERO);
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    assert_eq!(at_a_head(&gateway, "POST /second HTTP/1.1").response().status(), 502);
    assert_eq!(origin.connections(), 1);
}

/// A fresh connection that dies is the origin's answer, not a race with its keep-alive timer.
#[test]
fn a_request_on_a_new_connection_is_sent_once() {
    let origin = Origin::start(|peer| {
        peer.request();
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let response = gateway.get("/");
    assert_eq!(response.status(), 502);
    response.problem();
    assert_eq!(origin.targets(), ["/"]);
}

/// A connection that the origin closed while it waited is thrown away, not tried.
#[test]
fn a_connection_that_the_origin_closed_costs_no_request() {
    let origin = Origin::start(|peer| {
        peer.request().unwrap();
        peer.send(OK);
    });
    let gateway = Gateway::start(&Config::to(&origin));
    for number in 0..5 {
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().status(), 200, "{number}");
        origin.wait_finished(number + 1);
        // The FIN is a matter of the kernel's only, but not of an instant.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(origin.requests().len(), 5);
}

#[test]
fn idle_connections_are_kept_no_longer_and_in_no_greater_number_than_configured() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_service("pool: { idle_timeout_ms: 100 }"));
    assert_eq!(gateway.get("/").status(), 200);
    origin.wait_finished(1);
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.connections(), 2);

    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_service("pool: { idle_max: 0 }"));
    for count in 1..=3 {
        assert_eq!(gateway.get("/").status(), 200);
        origin.wait_finished(count);
    }

    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_service("pool: { age_max_ms: 100 }"));
    assert_eq!(gateway.get("/").status(), 200);
    thread::sleep(Duration::from_millis(150));
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(origin.connections(), 2);
}

/// The status for a failure, no sooner than its timeout and not much later.
#[track_caller]
fn check_failure(config: &Config, status: u16, after: Duration) {
    let gateway = Gateway::start(config);
    let mut client = gateway.client();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    let took = start.elapsed();
    assert_eq!(response.status(), status, "{response:?}");
    response.problem();
    assert!(took >= after && took < after + Duration::from_secs(5), "after {took:?}");
    let line = &gateway.log_lines(1)[0];
    assert_eq!(line["status"], status);
    assert!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
}

#[test]
fn a_service_that_is_not_there_becomes_502() {
    check_failure(&Config::to_addresses(&[nobody()]), 502, Duration::ZERO);
}

#[test]
fn a_service_that_does_not_accept_becomes_504() {
    let (address, _hole) = black_hole();
    let config = Config::to_addresses(&[address]).of_service("timeouts: { connect_ms: 200 }");
    check_failure(&config, 504, Duration::from_millis(200));
}

#[test]
fn a_service_that_does_not_answer_becomes_504() {
    let origin = Origin::start(|peer| while peer.request().is_some() {});
    let config = Config::to(&origin).of_service("timeouts: { first_byte_ms: 200 }");
    check_failure(&config, 504, Duration::from_millis(200));
    origin.wait_finished(1);
}

#[test]
fn a_service_that_takes_longer_than_its_total_becomes_504() {
    let origin = Origin::start(|peer| {
        while peer.request().is_some() {
            // Signs of life, but no answer.
            while peer.send("HTTP/1.1 102 Processing\r\n\r\n") {
                thread::sleep(Duration::from_millis(60));
            }
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).of_service("timeouts: { total_ms: 300 }"));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 504);
    response.problem();
}

#[test]
fn a_response_that_stalls_is_seen_to_break_off() {
    for (timeouts, answer) in [
        ("timeouts: { idle_ms: 200 }", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234"),
        ("timeouts: { idle_ms: 200 }", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"),
        ("timeouts: { total_ms: 200 }", "HTTP/1.1 200 OK\r\n\r\n1234"),
    ] {
        let origin = Origin::answering(answer);
        let gateway = Gateway::start(&Config::to(&origin).of_service(timeouts));
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (200, "1234"), "{answer:?}");
        assert!(!response.complete, "{answer:?}");
        client.expect_closed();
        origin.wait_finished(1);
    }
}

/// A failure leaves the client its connection: what was wrong was behind the gateway.
#[test]
fn a_client_survives_its_service() {
    let gateway = Gateway::start(&Config::to_addresses(&[nobody()]));
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status(), response.closes()), (502, false));
    }
}
