//! Bounds of one request: each at a small configured value, just kept and just broken.

use crate::harness::{Config, Gateway, Message, OK, Origin};

/// Sends `request` through a gateway with `limits`, which passes it on whole when `status` is 200, and else not at all.
#[track_caller]
fn check(limits: &str, request: impl AsRef<[u8]>, status: u16) {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with(&format!("limits: {{ {limits} }}")));
    let response = answer(&gateway, request.as_ref());
    assert_eq!(response.status(), status, "{limits}: {}", response.text());
    if status == 200 {
        origin.only_request();
    } else {
        response.problem();
        assert!(response.closes(), "{limits}: {response:?}");
        assert_eq!(gateway.get("/probe").status(), 200);
        assert_eq!(origin.targets(), ["/probe"], "{limits}");
    }
}

#[track_caller]
fn answer(gateway: &Gateway, request: &[u8]) -> Message {
    let mut client = gateway.client();
    client.send(request);
    let response = client.response();
    if response.status() != 200 {
        client.expect_closed();
    }
    response
}

/// A GET whose head has exactly this many bytes.
fn head_of(bytes: usize) -> String {
    let empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
    empty.replace("X: ", &format!("X: {}", "x".repeat(bytes - empty.len())))
}

#[test]
fn head_bytes() {
    check("head_bytes_max: 600", head_of(600), 200);
    check("head_bytes_max: 600", head_of(601), 431);
    check("head_bytes_max: 600", head_of(5_000), 431);
    check("head_bytes_max: 65535", head_of(60_000), 200);
    // Refused without waiting for an end that may never come.
    check("head_bytes_max: 600", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(700)), 431);
}

#[test]
fn field_count() {
    let with = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    check("fields_max: 8", with(8), 200);
    check("fields_max: 8", with(9), 431);
    check("fields_max: 8", with(300), 431);
    check("head_bytes_max: 65535", with(101), 431);
}

#[test]
fn uri_bytes() {
    let with = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    check("uri_bytes_max: 20", with(20), 200);
    check("uri_bytes_max: 20", with(21), 414);
    check("head_bytes_max: 32768", with(8_193), 414);
    check("uri_bytes_max: 20", format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(30)), 414);
}

#[test]
fn body_bytes_by_length() {
    let with =
        |bytes: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
    check("body_bytes_max: 10", with(10), 200);
    check("body_bytes_max: 10", with(11), 413);
    check("body_bytes_max: 10", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", 413);
    check("body_bytes_max: 0", with(0), 200);
    check("body_bytes_max: 0", with(1), 413);
}

#[test]
fn body_bytes_by_chunk() {
    let with =
        |chunks: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    check("body_bytes_max: 10", with("a\r\n0123456789\r\n"), 200);
    check("body_bytes_max: 10", with("5\r\n01234\r\n6\r\n012345\r\n"), 413);
    check("body_bytes_max: 10", with(&"1\r\nx\r\n".repeat(11)), 413);
}

#[test]
fn body_bytes_of_a_route() {
    let origin = Origin::answering(OK);
    let config = Config::empty()
        .service("origin", &[origin.address], "")
        .route("large", "origin", "paths: [\"/large\"], body_bytes_max: 20")
        .route("small", "origin", "paths: [\"/\"]")
        .with("limits: { body_bytes_max: 10 }");
    let gateway = Gateway::start(&config);
    for (path, bytes, status) in [("/", 10, 200), ("/", 11, 413), ("/large", 20, 200), ("/large", 21, 413)] {
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
        assert_eq!(answer(&gateway, request.as_bytes()).status(), status, "{path} {bytes}");
    }
}

#[test]
fn trailer_bytes() {
    let with = |bytes: usize| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
        format!("{head}X: {}\r\n\r\n", "x".repeat(bytes))
    };
    check("trailer_bytes_max: 200", with(100), 200);
    check("trailer_bytes_max: 200", with(300), 431);
    check("trailer_bytes_max: 200", with(100_000), 431);
}

#[test]
fn interim_responses() {
    for (count, status) in [(2, 200), (3, 502)] {
        let origin = Origin::answering(format!("{}{OK}", "HTTP/1.1 102 Processing\r\n\r\n".repeat(count)));
        let gateway = Gateway::start(&Config::to(&origin).with("limits: { informational_max: 2 }"));
        let mut client = gateway.client();
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), status, "{count}");
    }
}

#[test]
fn requests_a_connection() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with("limits: { requests_per_connection_max: 3 }"));
    let mut client = gateway.client();
    // The fourth is there already when the third is answered: it must not be served, nor be half served.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4));
    let closes = [(); 3].map(|()| client.response().closes());
    assert_eq!(closes, [false, false, true]);
    client.expect_closed();
    assert_eq!(origin.requests().len(), 3);
}

/// Out of memory is the gateway's matter: told as 431 it would make a browser throw its cookies away.
#[test]
fn a_head_that_finds_no_buffer_is_not_called_too_large() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).one_shard().with("limits: { receive_bytes_max: 1048576 }"));
    let unfinished = &head_of(6_000)[..5_000];
    // Each takes one of the thirteen large buffers that this leaves room for; the last one finds none.
    let mut holders = [(); 14].map(|()| gateway.client());
    for holder in &mut holders {
        holder.send(unfinished);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let last = holders[13].response();
    assert_eq!((last.status(), last.value("retry-after")), (503, Some("1")), "{last:?}");
    // Received in a small buffer, but no longer small with what is added to it.
    let mut client = gateway.client();
    client.send(head_of(4_000));
    let response = client.response();
    assert_eq!((response.status(), response.problem()["part"].as_str()), (503, Some("gateway")), "{response:?}");
    drop(holders);
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn trailers_as_large_as_a_buffer_do_not_cut_the_framing() {
    let origin = Origin::answering(OK);
    let limits = "limits: { trailer_bytes_max: 65535, fields_max: 256 }";
    let gateway = Gateway::start(&Config::to(&origin).with(limits));
    let mut client = gateway.client();
    let trailers = format!("{}Y: {}\r\n", "X:y\r\n".repeat(200), "y".repeat(65_535 - 200 * 5 - 5 - 2));
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n"));
    assert_eq!(client.response().status(), 431);
    assert_eq!(origin.requests().len(), 0);
}
