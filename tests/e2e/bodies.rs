//! Policies that change bodies: what the service and the client get of them, whatever the client tries.

use std::time::Duration;

use crate::harness::{Config, Framing, Gateway, Message, OK, Origin, Wire, chunks};

const TRANSFORM: &str = "policies: [{ request_transform: { remove: { body: [role, \"users[*].role\"] }, \
                         add: { body: [\"tenant:t1\"] }, body_bytes_max: 100000 } }]";

/// A JSON request's head up to its framing.
fn head(target: &str, more: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; charset=utf-8\r\n{more}")
}

fn with_length(body: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str, size: usize) -> String {
    let chunks = String::from_utf8(chunks(body.as_bytes(), size)).unwrap();
    format!("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{chunks}0\r\nX-Sum: 1\r\n\r\n")
}

#[test]
fn the_service_gets_the_body_that_the_operator_wants() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM));
    let body = r#" { "n" : 1.50, "r\u006fle":"admin","users":[{"role":1,"b":1e400}] , "z":12345678901234567890 } "#;
    let want = r#"{"n" : 1.50,"users":[{"b":1e400}],"z":12345678901234567890,"tenant":"t1"}"#;
    let mut client = gateway.client();
    for framing in [with_length(body), chunked(body, 1), chunked(body, 20)] {
        client.send(head("/a", "Digest: sha-256=x\r\nContent-MD5: y\r\n") + &framing);
        assert_eq!(client.response().status(), 200, "on one connection, as the request is read to its end");
    }
    for request in origin.requests() {
        assert_eq!((request.text(), request.framing), (want.to_owned(), Framing::Length(want.len())), "{request:#?}");
        assert!(
            request.trailers.is_empty()
                && !request.has("trailer")
                && !request.has("digest")
                && !request.has("content-md5")
        );
    }
    assert_eq!((origin.requests().len(), origin.connections()), (3, 1));
}

#[test]
fn a_long_body_goes_on_in_pieces() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM).one_shard());
    let kept = "k".repeat(90_000);
    let body = format!(r#"{{"kept":"{kept}","role":1}}"#);
    let mut client = gateway.client();
    client.send(head("/", "") + &chunked(&body, 1000));
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.only_request().text(), format!(r#"{{"kept":"{kept}","tenant":"t1"}}"#));
}

#[test]
fn what_is_not_json_or_has_no_body_goes_on_as_it_came() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n{\"role\":");
    client.response();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n");
    client.response();
    client.send(head("/", "") + &with_length("{\"tenant\":1}"));
    client.response();
    let [text, bare, same] = origin.requests().try_into().expect("three came");
    assert_eq!((text.text(), bare.framing, same.text()), ("{\"role\":".into(), Framing::None, "{\"tenant\":1}".into()));
}

/// What is refused is refused before the service hears of it, and says why.
#[test]
fn a_body_that_cannot_be_read_is_refused() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM).one_shard().admin());
    let cases = [
        (head("/", "") + &with_length(r#"{"a":1"#), 400, "json_malformed", "body_not_json"),
        (head("/", "") + &with_length("role=admin"), 400, "json_malformed", "body_not_json"),
        (head("/", "") + &with_length(&"[".repeat(99_000)), 400, "json_too_deep", "body_too_deep"),
        (head("/", "") + &with_length(r#"{"role":1,"role":2}"#), 400, "json_member_repeated", "member_repeated"),
        (head("/", "Content-Encoding: gzip\r\n") + &with_length("{}"), 415, "json_encoded", "body_encoded"),
        (head("/", "Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n"), 413, "json_too_large", "body_too_large"),
        (head("/", "") + &chunked(&format!("[{}]", " ".repeat(100_000)), 999), 413, "json_too_large", "body_too_large"),
    ];
    for (request, status, kind, reason) in &cases {
        let mut client = gateway.client();
        client.send(request);
        let response = client.response();
        assert_eq!(
            (response.status(), response.problem()["type"].as_str()),
            (*status, Some(&*format!("urn:shardgate:problem:{kind}")))
        );
        let metric = format!("shardgate_policy_refusals_total{{policy=\"request_transform\",reason=\"{reason}\"}}");
        crate::harness::wait_until(&metric, || gateway.metric(&metric) > 0.0);
    }
    for (line, (_, _, kind, reason)) in gateway.log_lines(cases.len()).iter().zip(&cases) {
        assert_eq!((&line["policy"], &line["reason"]), (&"request_transform".into(), &(*reason).into()), "{line}");
        assert_eq!(line["error"], *kind, "{line}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_that_is_cut_is_400_and_a_slow_one_408() {
    let origin = Origin::answering(OK);
    let limits = "limits: { body_bytes_per_s_min: 1000, body_rate_grace_ms: 300 }";
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM).with(limits));
    let mut client = gateway.client();
    client.send(head("/", "Content-Length: 100\r\n\r\n{\"a\":"));
    client.half_close();
    assert_eq!((client.response().status(), origin.connections()), (400, 0));
    let mut client = gateway.client();
    client.send(head("/", "Content-Length: 100\r\n\r\n{\"a\":"));
    assert_eq!((client.response().status(), origin.connections()), (408, 0));
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked_before_the_service_hears_of_it() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM));
    let mut client = gateway.client();
    client.send(head("/", "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"));
    assert_eq!(client.response().status(), 100);
    assert_eq!(origin.connections(), 0);
    client.send("{\"role\":1}");
    assert_eq!(client.response().status(), 200);
    let request = origin.only_request();
    assert_eq!((request.text(), request.has("expect")), ("{\"tenant\":\"t1\"}".to_owned(), false));
}

/// The body is at hand whole, so that a connection that has died costs nothing.
#[test]
fn an_idempotent_request_is_sent_again_with_the_body_it_has_now() {
    let origin = Origin::start(|peer| {
        peer.request();
        if peer.number == 0 {
            peer.send(OK);
            // The next request dies on it.
            peer.request_head();
            return;
        }
        peer.send(OK);
        while peer.request().is_some() && peer.send(OK) {}
    });
    let gateway = Gateway::start(&Config::to(&origin).of_route(TRANSFORM).one_shard());
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(head("/", "").replace("POST", "PUT") + &with_length("{\"role\":1}"));
        assert_eq!(client.response().status(), 200);
    }
    let last = origin.requests().pop().expect("it came");
    assert_eq!((last.text(), origin.connections()), ("{\"tenant\":\"t1\"}".to_owned(), 2));
}

/// What a client gets of an answer with this head, its framing and its body.
fn answered(policy: &str, request: &str, answer: &str) -> (Message, Wire) {
    let answer = answer.to_owned();
    let origin = Origin::start(move |peer| {
        if peer.request().is_some() {
            for piece in answer.split_inclusive('|') {
                peer.send(piece.trim_end_matches('|'));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let policies = format!("policies: [{{ response_transform: {policy} }}]");
    let gateway = Gateway::start(&Config::to(&origin).of_route(&policies));
    let mut client = gateway.client();
    client.send(request);
    let method = request.split(' ').next().unwrap();
    (client.response_to(method), client)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const STRIP: &str = "{ remove: { body: [\"users[*].ssn\"] }, add: { headers: [\"X-A:1\"] }, body_bytes_max: 1000 }";
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"1\"\r\n";
const BODY: &str = r#"{"n":0.10,"users":[{"ssn":"1","id":7}]}"#;
const STRIPPED: &str = r#"{"n":0.10,"users":[{"id":7}]}"#;

#[test]
fn the_client_gets_the_body_that_the_operator_wants() {
    let (begin, end) = BODY.split_at(20);
    for answer in [
        format!("{JSON}Content-Length: {}\r\n\r\n{BODY}", BODY.len()),
        format!("{JSON}Content-Length: {}\r\n\r\n{begin}|{end}", BODY.len()),
        format!(
            "{JSON}Transfer-Encoding: chunked\r\n\r\n14\r\n{begin}\r\n|{:x}\r\n{end}\r\n0\r\nX-T: 1\r\n\r\n",
            end.len()
        ),
        format!("{JSON}\r\n{begin}|{end}"),
    ] {
        let (response, _) = answered(STRIP, GET, &answer);
        assert_eq!((response.text(), response.framing), (STRIPPED.to_owned(), Framing::Length(STRIPPED.len())));
        assert!(!response.has("etag") && response.has("x-a") && !response.closes(), "{response:#?}");
    }
}

#[test]
fn an_answer_that_is_no_such_json_goes_on_as_it_came() {
    let long = format!(r#"{{"users":[{{"ssn":"{}"}}]}}"#, "1".repeat(100_000));
    for (answer, body) in [
        (format!("{JSON}Content-Length: {}\r\n\r\n{long}", long.len()), &*long),
        (format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n|{long}\r\n0\r\n\r\n", long.len()), &*long),
        (format!("{JSON}\r\n{long}"), &*long),
        (format!("{JSON}Content-Encoding: br\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()), BODY),
        (format!("{JSON}Content-Length: 8\r\n\r\n{{\"users\""), "{\"users\""),
    ] {
        let (response, _) = answered(STRIP, GET, &answer);
        assert!(response.complete && response.text() == body, "{} bytes", response.body.len());
        assert!(response.has("etag") && response.has("x-a"), "{response:#?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_an_honest_502() {
    let (response, _) = answered(STRIP, GET, &format!("{JSON}Content-Length: 100\r\n\r\n{BODY}"));
    assert_eq!(response.status(), 502);
    assert_eq!(response.problem()["type"], "urn:shardgate:problem:upstream_truncated");
}

/// Of a body that would be changed it is not known how long it would be.
#[test]
fn an_answer_to_head_tells_no_length_that_get_would_not() {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (response, _) = answered(STRIP, head, &format!("{JSON}Content-Length: 41\r\n\r\n"));
    assert_eq!((response.status(), response.has("content-length")), (200, false));
    let plain = "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n";
    assert_eq!(answered(STRIP, head, plain).0.value("content-length"), Some("41"));
    // Nor does an answer without a body, with which a client would update what it has stored.
    for status in ["304 Not Modified", "204 No Content"] {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nETag: \"1\"\r\n\r\n");
        let (response, _) = answered(STRIP, GET, &answer);
        assert_eq!((response.has("content-length"), response.value("x-a")), (false, Some("1")), "{status}");
        let longer = answer.replace("ETag", "Content-Length: 41\r\nETag");
        if status.starts_with("304") {
            assert!(!answered(STRIP, GET, &longer).0.has("content-length"), "{status}");
        }
    }
}
