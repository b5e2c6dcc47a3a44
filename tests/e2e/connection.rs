//! What a client may do with a connection: keep it, fill it, close half of it, leave it.

use std::io::Write;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::harness::{Config, Framing, Gateway, Origin, noise, wait_until};

/// Answers with the request's target as the body, `/slow` later than the rest.
fn naming() -> Origin {
    Origin::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/slow" {
                thread::sleep(Duration::from_millis(150));
            }
            let target = request.target();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        }
    })
}

#[test]
fn many_requests_share_one_connection_on_both_sides() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    let mut client = gateway.client();
    for number in 0..50 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.text(), format!("/{number}"));
        assert!(!response.closes());
    }
    for number in 50..60 {
        assert_eq!(gateway.get(&format!("/{number}")).text(), format!("/{number}"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    let targets = ["/slow", "/b", "/nowhere/../c", "/slow", "/e"];
    for target in targets {
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"));
    }
    let bodies: Vec<String> = targets.iter().map(|_| client.response().text()).collect();
    assert_eq!(bodies, ["/slow", "/b", "/c", "/slow", "/e"]);
    assert_eq!(origin.targets(), bodies);

    // And all in one segment, with a bad one at the end that only ends the connection behind the good ones.
    let mut client = gateway.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().text(), "/1");
    assert_eq!(client.response().text(), "/2");
    assert_eq!(client.response().status(), 400);
    client.expect_closed();
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    let request = "\r\nPOST /slowly HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    client.send_slowly(request, Duration::from_millis(1));
    assert_eq!(client.response().text(), "/slowly");
    assert_eq!(origin.only_request().text(), "hello");
}

#[test]
fn a_response_may_arrive_byte_by_byte() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n";
            peer.send_slowly(answer, Duration::from_millis(1));
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    assert_eq!(gateway.get("/").text(), "hello!");
}

/// Version, fields, and whether the connection stays (RFC 9112 §9.3).
#[test]
fn a_connection_stays_as_its_version_and_fields_say() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    for (version, fields, stays) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: close\r\n", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let mut client = gateway.client();
        client.send(format!("GET /1 HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 200, "{version} {fields:?}");
        assert_eq!(response.framing, Framing::Length(2), "{version} {fields:?}");
        if stays {
            let told = response.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"));
            assert!(version == "1.1" || told, "an old client must be told that the connection stays: {response:?}");
            client.send(format!("GET /2 HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(client.response().text(), "/2", "{version} {fields:?}");
        } else {
            assert!(version == "1.0" || response.closes(), "{version} {fields:?}: {response:?}");
            client.expect_closed_cleanly();
        }
    }
    assert_eq!(origin.connections(), 1, "what a client wants of its connection is not the origin's matter");
}

#[test]
fn an_old_client_may_leave_out_the_host() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "/old");
    client.expect_closed_cleanly();
    assert!(origin.only_request().first_line.ends_with("HTTP/1.1"));
    assert!(origin.only_request().has("host"), "HTTP/1.1 to the origin needs a Host");
}

#[test]
fn an_origin_that_closes_is_not_asked_again_on_that_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let origin = Origin::blurting(answer);
        let gateway = Gateway::start(&Config::to(&origin));
        let mut client = gateway.client();
        for _ in 0..3 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            let response = client.response();
            assert_eq!((response.status(), response.closes()), (200, false), "{answer:?}");
        }
        assert_eq!(origin.connections(), 3, "{answer:?}");
    }
}

/// A client that shut its sending side still reads (RFC 9112 §9.6 speaks of servers; many clients do it).
#[test]
fn a_half_closed_client_gets_its_answer() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin));
    for request in
        ["GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"]
    {
        let mut client = gateway.client();
        client.send(request);
        client.half_close();
        assert_eq!(client.response().text(), "/slow", "{request:?}");
        client.expect_closed_cleanly();
    }
    let mut client = gateway.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    client.half_close();
    assert_eq!((client.response().text(), client.response().text()), ("/slow".to_owned(), "/b".to_owned()));
    client.expect_closed_cleanly();
}

#[test]
fn an_early_answer_overtakes_the_upload() {
    let origin = Origin::start(|peer| {
        peer.request_head().unwrap();
        peer.bytes(1_000);
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        // Reads on, as a well-bred server does, until the gateway gives up.
        peer.rest();
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(noise(2_000));
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
}

/// Both directions at the same time: the origin answers each piece before the next one is sent.
#[test]
fn request_and_response_bodies_run_independently() {
    let origin = Origin::start(|peer| {
        let head = peer.request_head().unwrap();
        assert_eq!(head.framing, Framing::Chunked);
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            let chunk = peer.bytes(b"5\r\nhello\r\n".len());
            assert_eq!(chunk, b"5\r\nhello\r\n");
            peer.send("3\r\nyes\r\n");
        }
        assert_eq!(peer.bytes(5), b"0\r\n\r\n");
        peer.send("0\r\n\r\n");
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let head = client.request_head().unwrap();
    assert_eq!(head.status(), 200);
    for number in 0..20 {
        assert_eq!(client.bytes(8), b"3\r\nyes\r\n", "{number}");
        if number < 19 {
            client.send("5\r\nhello\r\n");
        }
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn a_client_that_leaves_ends_the_work_at_the_origin() {
    let (left, gone) = mpsc::channel();
    let left = Mutex::new(left);
    let origin = Origin::start(move |peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while peer.send("5\r\nhello\r\n") {
                thread::sleep(Duration::from_millis(1));
            }
            left.lock().unwrap().send(()).unwrap();
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.bytes(1_000);
    drop(client);
    gone.recv_timeout(Duration::from_secs(10)).expect("the origin's connection ends with the client's");
}

/// Whether or not the request had a body, once that has been read.
#[test]
fn a_client_that_resets_while_it_waits_ends_the_work_at_the_origin() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let origin = Origin::start(|peer| {
            peer.request();
            peer.rest();
        });
        let gateway = Gateway::start(&Config::to(&origin));
        let mut client = gateway.client();
        client.send(request);
        wait_until("the request is at the origin", || origin.requests().len() == 1);
        client.reset_on_close();
        drop(client);
        origin.wait_finished(1);
        assert_eq!(gateway.log_lines(1)[0]["error"], "client_gone", "{request:?}");
    }
}

/// The gateway has looked by then whether its client is still there.
#[test]
fn a_request_that_is_sent_while_another_is_waited_for_gets_its_answer() {
    let origin = Origin::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/slow" {
                thread::sleep(Duration::from_secs(2));
            }
            let target = request.target();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    for body in ["", "hello"] {
        let mut client = gateway.client();
        client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        thread::sleep(Duration::from_millis(1_500));
        client.send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!((client.response().text(), client.response().text()), ("/slow".to_owned(), "/b".to_owned()));
    }
}

/// A reader of nothing must not make the gateway take the whole body into memory.
#[test]
fn a_client_that_does_not_read_holds_the_origin_back() {
    const BODY: usize = 256 << 20;
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n"));
            let mut writer = peer.writer();
            writer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let piece = vec![b'x'; 1 << 20];
            let sent = (0..BODY >> 20).take_while(|_| writer.write_all(&piece).is_ok()).count();
            assert!(sent < 64, "the gateway took {sent} MiB that nobody read");
        }
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let before = gateway.memory_bytes();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_finished(1);
    let grown = gateway.memory_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "grew by {grown} bytes for one slow reader");
}

/// The last response a connection brings says so, but the client may have sent its next request by then. A socket that
/// is closed with bytes unread resets the connection, and takes what is under way of the response with it.
#[test]
fn a_last_response_arrives_whole_though_the_client_sends_on() {
    const BODY: usize = 400_000;
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            // The second request is at the gateway by then.
            thread::sleep(Duration::from_millis(200));
            peer.send([format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes(), &noise(BODY)].concat());
        }
    });
    let gateway = Gateway::start(&Config::to(&origin).with("limits: { requests_per_connection_max: 1 }"));
    let mut client = gateway.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(50));
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(Duration::from_millis(500));
    let response = client.response();
    assert!(response.closes() && response.complete, "cut after {} of {BODY} bytes", response.body.len());
    client.expect_closed_cleanly();
    assert_eq!(origin.targets(), ["/1"]);
}

/// An old client that puts the authority into its target need not repeat it.
#[test]
fn an_absolute_target_names_the_host() {
    let origin = naming();
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET http://shop.test:81/old HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "/old");
    assert_eq!(origin.only_request().values("host"), ["shop.test:81"]);
}
