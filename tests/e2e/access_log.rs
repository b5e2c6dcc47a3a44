//! One line of JSON a request on standard output, whatever was in the request.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Config, Gateway, OK, Origin, nobody, wait_until};

#[test]
fn a_line_says_who_asked_what_and_what_came_of_it() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send(
        "POST /a/../b?c=d HTTP/1.1\r\nHost: Shop.test:81\r\nUser-Agent: tester/1\r\nReferer: http://x.test/?a#b\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    assert_eq!(client.response().status(), 200);
    let line = &gateway.log_lines(1)[0];
    for (key, value) in [
        ("method", "POST"),
        ("host", "shop.test"),
        ("path", "/b"),
        ("query", "c=d"),
        ("version", "HTTP/1.1"),
        ("listener", "public"),
        ("route", "all"),
        ("service", "origin"),
        ("client", "127.0.0.1"),
        ("user_agent", "tester/1"),
        ("referer", "http://x.test/"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    for (key, value) in [("status", 200), ("request_body_bytes", 5), ("response_body_bytes", 2)] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["peer"], client.local().to_string());
    assert_eq!(line["upstream"], origin.address.to_string());
    assert_eq!(line["request_id"], origin.only_request().value("x-request-id").unwrap());
    assert!(line["duration_us"].is_u64() && line["upstream_duration_us"].is_u64(), "{line}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert!(line["error"].is_null(), "{line}");
}

/// Whoever looks for a request by the name that its client or its service knows finds it.
#[test]
fn an_id_that_a_policy_has_sent_is_there_beside_the_gateways_own() {
    let origin = Origin::answering(OK);
    let policy = "request_id: { header_name: X-Trace, generator: uuid, accept: true }";
    let gateway = Gateway::start(&Config::to(&origin).one_shard().with(&format!("policies: [{{ {policy} }}]")));
    let mut client = gateway.client();
    for trace in ["X-Trace: mine-1\r\n", ""] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{trace}\r\n"));
        assert_eq!(client.response().status(), 200);
    }
    let requests = origin.requests();
    assert_eq!(requests[0].value("x-trace"), Some("mine-1"));
    for (line, request) in gateway.log_lines(2).iter().zip(&requests) {
        assert_eq!(line["request_id_sent"], request.value("x-trace").unwrap(), "{line}");
        assert_eq!(line["request_id"], request.value("x-request-id").unwrap(), "{line}");
    }
}

/// Bytes that could end a line, a string or a terminal's patience.
#[test]
fn no_byte_of_a_request_escapes_its_string() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    let agents: [&[u8]; 6] = [
        b"quote\" backslash\\",
        b"\",\"status\":999,\"x\":\"",
        b"tab\there",
        b"\x80\xff\xfe",
        b"caf\xc3\xa9",
        b"{}[]:,'<>&",
    ];
    for agent in agents {
        let mut client = gateway.client();
        client.send(
            [b"GET /%0d%0a%1b?%0a\" HTTP/1.1\r\nHost: a\r\nUser-Agent: ", agent, b"\r\nReferer: ", agent, b"\r\n\r\n"]
                .concat(),
        );
        assert_eq!(client.response().status(), 200, "{}", agent.escape_ascii());
    }
    let lines = gateway.log_lines(agents.len());
    for line in &lines {
        assert_eq!((&line["status"], &line["path"]), (&200.into(), &"/%0D%0A%1B".into()), "{line}");
    }
    let seen: Vec<&str> = lines.iter().map(|line| line["user_agent"].as_str().unwrap()).collect();
    let expected = [
        "quote\" backslash\\",
        "\",\"status\":999,\"x\":\"",
        "tab\there",
        "\u{80}\u{ff}\u{fe}",
        "caf\u{e9}",
        "{}[]:,'<>&",
    ];
    assert_eq!(seen, expected);
}

/// What could not be parsed has a line too, with as much as is known.
#[test]
fn a_line_survives_every_missing_field() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut expected = Vec::new();
    for (request, status) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x1b[31m / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: \x1b]0;x\x07\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[31m\r\n\r\n", 400),
        ("\0\0\0\0\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}", 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        ("OPTIONS * HTTP/1.0\r\n\r\n", 0),
    ] {
        let mut client = gateway.client();
        client.send(request);
        let got = client.response().status();
        assert!(got == status || status == 0, "{request:?}: {got}");
        expected.push(got);
        gateway.log_lines(expected.len());
    }
    let lines = gateway.log_lines(expected.len());
    let logged: Vec<u64> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(logged, expected.iter().map(|&status| u64::from(status)).collect::<Vec<_>>());
    for line in gateway.log() {
        assert!(line.bytes().all(|byte| !byte.is_ascii_control()), "{line:?}");
    }
}

#[test]
fn each_request_has_exactly_one_line() {
    let origin = Origin::answering(OK);
    let config = Config::empty()
        .service("origin", &[origin.address], "")
        .service("nobody", &[nobody()], "")
        .route("origin", "origin", "paths: [\"/a\"]")
        .route("nobody", "nobody", "paths: [\"/dead\"]");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    for target in ["/a", "/none", "/dead", "/a"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response();
    }
    let lines = gateway.log_lines(4);
    let statuses: Vec<_> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 404, 502, 200]);
    assert_eq!(lines.iter().filter(|line| line["error"].is_string()).count(), 2);
    // A connection that ends without a request is not one.
    drop(client);
    drop(gateway.client());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gateway.log().len(), 4);
}

#[test]
fn a_client_that_left_is_in_the_log() {
    let origin = Origin::start(|peer| {
        peer.request();
        peer.rest();
    });
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the request is at the origin", || origin.requests().len() == 1);
    client.reset_on_close();
    drop(client);
    // Neither waits the origin for nobody, nor the log for the origin's timeout.
    origin.wait_finished(1);
    let line = &gateway.log_lines(1)[0];
    assert_eq!(line["path"], "/left");
    assert!(line["error"].is_string(), "{line}");
}

#[test]
fn a_log_that_is_off_writes_nothing() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with("access_log: { enabled: false }"));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(gateway.log().is_empty(), "{:?}", gateway.log());
}

/// Who cannot write the log serves all the same, and says so.
#[test]
fn a_log_on_a_full_disk_costs_its_lines_and_nothing_else() {
    let (origin, yaml) = (Origin::answering(OK), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let file = yaml.join(format!("full-log-{}.yaml", std::process::id()));
    fs::write(&file, Config::to(&origin).admin().yaml()).unwrap();
    let gateway = Gateway::start_by(&["sh", "-c", "exec \"$0\" \"$@\" >/dev/full"], &file, &[]);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    gateway.wait_said("lines of the access log could not be written: the disk is full");
    wait_until("all are counted", || gateway.metric("shardgate_log_lines_lost_total") == 5.0);
    fs::remove_file(file).unwrap();
}

/// What the gateway says of itself may be read by nobody any more, and it says a lot when something is amiss.
#[test]
fn a_reader_of_standard_error_that_has_gone_costs_its_lines_and_nothing_else() {
    let (origin, folder) = (Origin::answering(OK), Path::new(env!("CARGO_TARGET_TMPDIR")));
    let file = folder.join(format!("no-reader-{}.yaml", std::process::id()));
    fs::write(&file, Config::to(&origin).yaml()).unwrap();
    let script = "exec \"$0\" \"$@\" 2> >(exec sed -u '/listening on/q' >&2)";
    let mut gateway = Gateway::start_by(&["bash", "-c", script], &file, &[]);
    for _ in 0..5 {
        gateway.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(gateway.get("/").status(), 200);
    }
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    fs::remove_file(file).unwrap();
}
