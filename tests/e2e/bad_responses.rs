//! Origins that answer badly. The client is told 502, or, when it already has a head, sees that the body broke off; the
//! connection to the origin serves nobody after it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Config, Framing, Gateway, Message, OK, Origin, Peer, Wire, wait_until};

/// The first connection says `answer` and stays open; later ones are well. Returns what the client got.
#[track_caller]
fn answer_of(answer: &[u8], after: fn(&mut Peer)) -> Message {
    let shown = answer[..answer.len().min(120)].escape_ascii().to_string();
    let bytes = answer.to_vec();
    let origin = Origin::start(move |peer| {
        while peer.request().is_some() {
            if peer.number == 0 {
                peer.send(&bytes);
                after(peer);
            } else {
                peer.send(OK);
            }
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    if !response.complete {
        client.expect_closed();
    }
    assert!(!client.record().lock().unwrap().windows(8).any(|window| window == b"smuggled"), "{shown}");
    let next = gateway.get("/next");
    assert_eq!((next.status(), next.text().as_str()), (200, "ok"), "{shown}");
    assert_eq!(origin.connections(), 2, "the connection served again after {shown}");
    response
}

#[track_caller]
fn check_bad_gateway(answer: impl AsRef<[u8]>) {
    let answer = answer.as_ref();
    let response = answer_of(answer, stay);
    let shown = answer[..answer.len().min(120)].escape_ascii().to_string();
    assert_eq!(response.status(), 502, "{shown}: {response:?}");
    response.problem();
}

/// Neither closes nor says more.
fn stay(_: &mut Peer) {}

fn close(peer: &mut Peer) {
    peer.half_close();
}

#[test]
fn a_malformed_head_becomes_502() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(128 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: y\r\n".repeat(2_000));
    for answer in [
        "garbage\r\n\r\n",
        "\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "<html>no head at all</html>\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2x0 Odd\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
        &huge,
        &many,
    ] {
        check_bad_gateway(answer);
    }
}

#[test]
fn a_doubtful_framing_becomes_502() {
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: +2",
        "Content-Length: -2",
        "Content-Length: 0x2",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \u{b}chunked",
    ] {
        check_bad_gateway(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
    }
    check_bad_gateway("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
}

#[test]
fn split_lines_in_a_response_split_nothing() {
    for value in
        ["/\rSet-Cookie: smuggled=1", "/\nSet-Cookie: smuggled=1", "/\n\nHTTP/1.1 200 smuggled", "/\r\r\nsmuggled"]
    {
        check_bad_gateway(format!("HTTP/1.1 302 Found\r\nLocation: {value}\r\nContent-Length: 0\r\n\r\n"));
    }
}

#[test]
fn a_tunnel_that_nobody_asked_for_becomes_502() {
    check_bad_gateway("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsmuggled");
    check_bad_gateway("HTTP/1.1 101 Switching Protocols\r\n\r\nsmuggled");
}

#[test]
fn a_flood_of_interim_responses_becomes_502() {
    let flood = format!("{}{OK}", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000));
    let origin = Origin::answering(flood);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut interim = 0;
    let last = loop {
        let response = client.response();
        if response.status() != 102 {
            break response;
        }
        interim += 1;
    };
    assert!(interim <= 16, "{interim} interim responses were passed on");
    assert_eq!(last.status(), 502);
    last.problem();
}

#[test]
fn an_origin_that_ends_before_a_head_becomes_502() {
    for answer in ["", "H", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let response = answer_of(answer.as_bytes(), close);
        assert_eq!(response.status(), 502, "{answer:?}");
        response.problem();
    }
    let origin = Origin::blurting("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 103);
    assert_eq!(client.response().status(), 502);
}

#[test]
fn a_body_that_breaks_off_is_seen_to_break_off() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n1234",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n0\r\nX: y\r\n",
    ] {
        let response = answer_of(answer.as_bytes(), close);
        assert_eq!(response.status(), 200, "{answer:?}");
        assert_eq!(response.text(), "1234", "{answer:?}");
        assert!(!response.complete, "{answer:?}: {response:?}");
    }
}

/// What came before the end is the client's, however close the end was behind it.
#[test]
fn a_body_that_breaks_off_in_one_burst_is_passed_on_as_far_as_it_came() {
    const ARRIVED: usize = 64 << 10;
    for reset in [false, true] {
        let origin = Origin::start(move |peer| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
                std::thread::sleep(Duration::from_millis(50));
                peer.send("x".repeat(ARRIVED));
                if reset {
                    std::thread::sleep(Duration::from_millis(1));
                    peer.reset_on_close();
                }
            }
        });
        let gateway = Gateway::start(&Config::to(&origin));
        for _ in 0..10 {
            let response = gateway.get("/");
            assert!(!response.complete);
            // A reset may overtake what came before it; an end does not.
            assert!(reset || response.body.len() == ARRIVED, "{} bytes", response.body.len());
        }
    }
}

#[test]
fn a_malformed_chunk_breaks_the_body_off() {
    for chunk in
        ["x\r\n", "0x4\r\nsmuggled", "+4\r\n", "4\nabcd\r\n", "4\r\nabcdef\r\n", "10000000000000004\r\nabcd", ";\r\n"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n{chunk}");
        let response = answer_of(answer.as_bytes(), stay);
        assert!(response.status() == 502 || !response.complete, "{chunk:?}: {response:?}");
        assert!(response.status() == 502 || response.text().starts_with("1234"), "{chunk:?}: {response:?}");
    }
}

/// A reset is the only sign that a body without a length broke off: the client must get one too.
#[test]
fn a_reset_in_a_body_until_the_close_is_seen_by_the_client() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\n\r\n1234");
            std::thread::sleep(Duration::from_millis(50));
            peer.reset_on_close();
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    for (version, framing) in [("1.1", Framing::Chunked), ("1.0", Framing::UntilClose)] {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.framing), (200, framing));
        assert!(!response.complete, "HTTP/{version}: {response:?}");
    }
}

/// Bytes behind a response would be taken for the answer to somebody else's request.
#[test]
fn what_follows_a_response_answers_nobody() {
    const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for (answer, body) in [
        (OK, "ok"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
    ] {
        let response = answer_of(format!("{answer}{SECOND}").as_bytes(), stay);
        assert_eq!(response.text(), body, "{answer:?}");
    }
}

#[test]
fn what_an_origin_says_unasked_answers_nobody() {
    let origin = Origin::start(|peer| {
        while peer.request().is_some() {
            peer.send(OK);
            if peer.number == 0 {
                // Alone in its segment, when the connection is back in the pool.
                std::thread::sleep(Duration::from_millis(50));
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled");
                // The gateway throws the connection away.
                assert!(peer.request().is_none());
                return;
            }
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    assert_eq!(gateway.get("/first").text(), "ok");
    origin.wait_finished(1);
    assert_eq!(gateway.get("/second").text(), "ok");
    assert_eq!(origin.connections(), 2);
}

/// The same while the gateway does not look: more happens meanwhile than it is told of at once.
#[test]
fn what_an_origin_says_while_nobody_looks_answers_nobody() {
    let writers = Arc::new(Mutex::new(Vec::new()));
    let kept = writers.clone();
    let origin = Origin::start(move |peer| {
        kept.lock().unwrap().push(peer.writer());
        // So that all that are asked at once are asked on connections of their own.
        let mut pause_ms = if peer.number < BUSY_UPSTREAMS { 100 } else { 0 };
        while peer.request().is_some() {
            std::thread::sleep(Duration::from_millis(std::mem::take(&mut pause_ms)));
            peer.send(OK);
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    let ask = |client: &mut Wire| client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut clients: Vec<Wire> = (0..BUSY_CLIENTS).map(|_| gateway.client()).collect();
    let (first, rest) = clients.split_at_mut(BUSY_UPSTREAMS);
    first.iter_mut().for_each(|client| assert!(ask(client)));
    first.iter_mut().for_each(|client| assert_eq!(client.response().text(), "ok"));
    for client in rest {
        assert!(ask(client));
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!(origin.connections(), BUSY_UPSTREAMS);
    gateway.signal(Signal::STOP);
    // The signal is on its way, to each thread for itself.
    wait_until("all threads stand still", || gateway.states().iter().all(|state| state == "T"));
    clients.iter_mut().for_each(|client| assert!(ask(client)));
    for mut writer in writers.lock().unwrap().iter() {
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled").unwrap();
    }
    gateway.signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.response().text(), "ok");
    }
}

/// More than one call tells the gateway of, and what they are sent on at once.
const BUSY_CLIENTS: usize = 300;
const BUSY_UPSTREAMS: usize = 20;

#[test]
fn a_body_behind_the_answer_to_head_answers_nobody() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled");
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").value("content-length"), Some("8"));
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.response_to("HEAD");
    client.expect_closed();
    assert_eq!(origin.connections(), 4);
}

/// What a 204 has no right to bring comes late, when its connection would serve the next request already.
#[test]
fn a_connection_is_not_kept_behind_a_204_that_announced_a_body() {
    for field in ["Transfer-Encoding: chunked", "Content-Length: 5"] {
        let origin = Origin::start(move |peer| {
            while peer.request().is_some() && peer.send(format!("HTTP/1.1 204 No Content\r\n{field}\r\n\r\n")) {}
        });
        let gateway = Gateway::start(&Config::to(&origin));
        for _ in 0..2 {
            assert_eq!(gateway.get("/").status(), 204);
        }
        assert_eq!(origin.connections(), 2, "{field}");
    }
}
