//! Connections that load balancers pass on, with a PROXY header that says whose they are.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::{Config, Gateway, OK, Origin, Running, Wire, free_port, tool, wait_until};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway to which everybody on loopback is a load balancer.
fn gateway(origin: &Origin) -> Gateway {
    Gateway::start(&Config::to(origin).proxy_protocol_from("127.0.0.0/8").admin())
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

fn forwarded_for(origin: &Origin) -> String {
    origin.requests().last().unwrap().value("x-forwarded-for").unwrap().to_owned()
}

#[track_caller]
fn scrape(gateway: &Gateway) -> String {
    let mut client = Wire::connect(gateway.admin());
    client.send("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.response().text()
}

#[test]
fn the_client_is_whom_the_header_names() {
    let origin = Origin::answering(OK);
    let gateway = gateway(&origin);
    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let headers: [(&[u8], &str); 5] = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2(0x21, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 0, 1, 0, 80, 0x04, 0, 1, 0]), "192.0.2.8"),
        (&v2(0x21, 0x21, &v6), "2001:db8::7"),
    ];
    for (number, (header, client)) in headers.into_iter().enumerate() {
        // Together with the first request, before it, and a byte at a time.
        let mut together = gateway.client();
        together.send([header, REQUEST.as_bytes(), REQUEST.as_bytes()].concat());
        assert_eq!((together.response().status(), together.response().status()), (200, 200));
        assert_eq!(forwarded_for(&origin), client);
        let mut apart = gateway.client();
        apart.send(header);
        std::thread::sleep(Duration::from_millis(20));
        apart.send(REQUEST);
        assert_eq!(apart.response().status(), 200);
        assert_eq!(forwarded_for(&origin), client);
        let mut slowly = gateway.client();
        for byte in [header, REQUEST.as_bytes()].concat() {
            slowly.send([byte]);
        }
        assert_eq!(slowly.response().status(), 200);
        let lines = gateway.log_lines(4 * (number + 1));
        assert!(lines.iter().skip(4 * number).all(|line| line["client"] == client), "{lines:#?}");
    }
    assert!(scrape(&gateway).contains("\nshardgate_proxy_headers_refused_total 0\n"));
}

#[test]
fn a_connection_without_a_good_header_is_closed_and_counted() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).proxy_protocol_from("127.0.0.0/8").admin();
    let gateway = Gateway::start(&config.with("limits: { header_read_timeout_ms: 300 }"));
    for bytes in [REQUEST.as_bytes(), b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n", &v2(0x21, 0x12, &[0; 12]), b"PROXY TC"] {
        let mut client = gateway.client();
        client.send(bytes);
        client.expect_closed();
    }
    // Only looked whether somebody is there.
    drop(gateway.client());
    wait_until("they are counted", || scrape(&gateway).contains("\nshardgate_proxy_headers_refused_total 4\n"));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_header_from_anybody_else_is_no_http() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).proxy_protocol_from("192.0.2.0/24"));
    let mut client = gateway.client();
    client.send(format!("PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n{REQUEST}"));
    assert_eq!(client.response().status(), 400);
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn limits_are_the_clients_and_not_the_load_balancers() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).proxy_protocol_from("127.0.0.0/8");
    let gateway = Gateway::start(&config.with("limits: { connections_per_client_max: 1 }"));
    let connect = |address: &str| {
        let mut client = gateway.client();
        client.send(format!("PROXY TCP4 {address} 10.0.0.1 4660 80\r\n{REQUEST}"));
        client
    };
    let mut kept: Vec<_> = (1..=3).map(|number| connect(&format!("192.0.2.{number}"))).collect();
    kept.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    connect("192.0.2.2").expect_closed();
    drop(kept.pop());
    let again = || connect("192.0.2.3").maybe_response().is_some_and(|response| response.status() == 200);
    wait_until("its place is free", again);
}

#[test]
fn haproxy_says_who_the_client_is() {
    let origin = Origin::answering(OK);
    let gateway = gateway(&origin);
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        let port = free_port();
        let config = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
             listen all\n bind 127.0.0.1:{port}\n unique-id-format %ci_%cp\n server gateway {} {send}\n",
            gateway.address
        );
        let path = format!("{}/haproxy-{}-{port}.cfg", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::write(&path, config).unwrap();
        let mut haproxy = tool("haproxy");
        haproxy.args(["-db", "-f", &path]);
        let _haproxy = Running::start(haproxy, port);
        let mut client = Wire::connect_from("127.0.0.77", SocketAddr::from(([127, 0, 0, 1], port)));
        client.send(REQUEST);
        assert_eq!(client.response().status(), 200, "{send}");
        assert_eq!(forwarded_for(&origin), "127.0.0.77", "{send}");
        std::fs::remove_file(path).unwrap();
    }
}
