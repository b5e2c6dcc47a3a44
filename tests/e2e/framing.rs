//! Bodies in every framing, both ways, byte for byte, and the trailers behind them.

use crate::harness::{Config, Framing, Gateway, Message, OK, Origin, chunks, noise};

const SIZES: [usize; 5] = [0, 1, 1_000, 100_000, 10 << 20];

#[test]
fn a_body_with_a_length_arrives_as_it_was_sent() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    for (number, size) in SIZES.into_iter().enumerate() {
        let body = noise(size);
        client.send(format!("POST /{size} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"));
        client.send(&body);
        assert_eq!(client.response().status(), 200, "{size}");
        let request = &origin.requests()[number];
        assert_eq!(request.framing, Framing::Length(size));
        assert!(request.body == body, "{size} bytes differ");
    }
}

#[test]
fn a_chunked_body_arrives_as_it_was_sent() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    let cases = [(0, 1), (1, 1), (1_000, 1), (1_000, 999), (100_000, 65_536), (10 << 20, 10_000), (10 << 20, 10 << 20)];
    for (number, (size, chunk)) in cases.into_iter().enumerate() {
        let body = noise(size);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks(&body, chunk));
        client.send("0\r\n\r\n");
        assert_eq!(client.response().status(), 200, "{size} by {chunk}");
        let request = &origin.requests()[number];
        assert_eq!(request.framing, Framing::Chunked);
        assert!(request.body == body, "{size} bytes by {chunk} differ");
    }
}

#[test]
fn a_chunk_may_be_written_in_every_way_that_the_grammar_has() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    for (number, body) in [
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\n0000\r\n\r\n",
        "5;a\r\nhello\r\n0;b\r\n\r\n",
        "5;a=b;c=\"d e\"\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: ChUnKeD\r\n\r\n");
        client.send(body);
        assert_eq!(client.response().status(), 200, "{body:?}");
        assert_eq!(origin.requests()[number].text(), "hello", "{body:?}");
    }
    assert!(!origin.heard(";a"), "an extension is for one hop only");
}

/// A body is not a matter of the method.
#[test]
fn any_method_may_carry_a_body() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    for (number, method) in ["GET", "DELETE", "OPTIONS", "PATCH", "PUT", "PROPFIND"].into_iter().enumerate() {
        let mut client = gateway.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.response().status(), 200, "{method}");
        let request = &origin.requests()[number];
        assert_eq!((request.method(), request.text().as_str()), (method, "hello"));
    }
}

#[test]
fn a_request_without_a_body_has_none_at_the_origin() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    gateway.get("/");
    assert_eq!(origin.only_request().framing, Framing::None);
}

/// The client's framing for each of the origin's.
#[track_caller]
fn check_response(answer: Vec<u8>, body: &[u8], modern: Framing, old: Framing) {
    let origin = Origin::blurting(answer);
    let gateway = Gateway::start(&Config::to(&origin));
    for (version, framing) in [("1.1", modern), ("1.0", old)] {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.framing), (200, framing), "HTTP/{version}");
        assert!(response.complete, "HTTP/{version}: cut short at {}", response.body.len());
        assert!(response.body == body, "HTTP/{version}: {} bytes differ", body.len());
    }
}

#[test]
fn a_response_arrives_as_it_was_sent() {
    for size in SIZES {
        let body = noise(size);
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        let framing = Framing::Length(size);
        check_response([length.as_bytes(), &body].concat(), &body, framing, framing);

        let chunked: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = [chunked, &chunks(&body, 7_001), b"0\r\n\r\n"].concat();
        check_response(whole, &body, Framing::Chunked, Framing::UntilClose);

        let until_close: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        check_response([until_close, &body].concat(), &body, Framing::Chunked, Framing::UntilClose);
        let until_close: &[u8] = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n";
        check_response([until_close, &body].concat(), &body, Framing::Chunked, Framing::UntilClose);
    }
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", "HTTP/1.1 404 Not Found\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n"),
        ("PUT", "HTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let origin = Origin::answering(answer);
        let gateway = Gateway::start(&Config::to(&origin));
        let mut client = gateway.client();
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.response_to(method);
            assert!(answer.starts_with(&response.first_line), "{method}: {:?}", response.first_line);
            if answer.contains("1000") {
                assert_eq!(response.value("content-length"), Some("1000"), "{method} {answer:?}");
            }
            assert!(response.status() != 204 || response.framing == Framing::None, "{response:?}");
        }
        assert_eq!(origin.connections(), 1, "{method} {answer:?}");
    }
}

/// Neither has a body that another method would get (RFC 9110 §8.6).
#[test]
fn a_length_goes_on_with_no_interim_response_and_no_204() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    );
    let gateway = Gateway::start(&Config::to(&origin));
    for method in ["HEAD", "GET"] {
        let mut client = gateway.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let response = String::from_utf8(client.rest()).unwrap();
        assert!(response.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), "{response}");
        assert!(response.contains("HTTP/1.1 204 ") && !response.contains("Content-Length"), "{response}");
    }
}

#[test]
fn a_large_head_of_a_response_arrives_whole() {
    let fields: String = (0..90).map(|number| format!("X-{number}: {}\r\n", "v".repeat(300))).collect();
    let origin = Origin::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
    let gateway = Gateway::start(&Config::to(&origin));
    let response = gateway.get("/");
    assert_eq!(response.text(), "ok");
    assert!((0..90).all(|number| response.value(&format!("X-{number}")).is_some_and(|value| value.len() == 300)));
}

fn trailers(message: &Message) -> Vec<(&str, &str)> {
    message.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn trailers_go_on_but_those_that_frame_or_route_do_not() {
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{TRAILERS}\r\n"
    ));
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n");
        client.send("Transfer-Encoding: chunked\r\n\r\n");
        client.send(format!("5\r\nhello\r\n0\r\n{TRAILERS}\r\n"));
        let response = client.response();
        assert_eq!(trailers(&response), [("X-Sum", "12"), ("x-LAST", "")]);
        assert_eq!(response.text(), "ok");
    }
    for request in origin.requests() {
        assert_eq!(trailers(&request), [("X-Sum", "12"), ("x-LAST", "")]);
        assert_eq!(request.text(), "hello");
    }
}

#[test]
fn trailers_that_connection_names_end_here() {
    const LAST: &str = "0\r\nX-Hop: 1\r\nX-Stays: 2\r\n\r\n";
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n{LAST}"
    ));
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    for (connection, sent) in [("X-HOP", &[("X-Stays", "2")][..]), ("TE", &[("X-Hop", "1"), ("X-Stays", "2")][..])] {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: {connection}\r\n"));
        client.send(format!("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{LAST}"));
        assert_eq!(trailers(&client.response()), [("X-Stays", "2")]);
        let requests = origin.requests();
        assert_eq!(trailers(requests.last().expect("it was sent on")), sent, "{connection}");
    }
}

/// An HTTP/1.0 client knows no trailers, and gets none in its body.
#[test]
fn trailers_do_not_spill_into_an_old_clients_body() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 12\r\n\r\n");
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
}

const TRAILERS: &str = "X-Sum: 12\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\
    Authorization: Basic eA==\r\nConnection: close\r\nTE: trailers\r\nx-LAST:\r\n";
