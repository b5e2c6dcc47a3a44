//! Upgrades: a tunnel of bytes once the origin said 101, and not before.

use std::time::Duration;

use crate::harness::{Config, Gateway, Message, OK, Origin, Peer, Wire, noise, wait_until};

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn gateway_to(origin: &Origin) -> Gateway {
    Gateway::start(&Config::to(origin).of_route("upgrade: [websocket]").one_shard())
}

/// Opens a tunnel and returns the 101.
#[track_caller]
fn open(client: &mut Wire) -> Message {
    client.send(UPGRADE);
    let response = client.response();
    assert_eq!(response.status(), 101, "{response:?}");
    response
}

/// Says back what it hears until the other side ends.
fn echo(peer: &mut Peer) {
    if peer.request().is_some() {
        peer.send(SWITCHING);
        peer.echo();
    }
}

#[test]
fn a_websocket_handshake_passes_whole() {
    let origin = Origin::start(echo);
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    let response = open(&mut client);
    assert_eq!(response.value("upgrade"), Some("websocket"));
    assert!(response.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{response:?}");
    assert_eq!(response.value("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(!response.has("content-length") && !response.has("transfer-encoding"), "{response:?}");
    let request = origin.only_request();
    assert_eq!(request.value("upgrade"), Some("websocket"));
    assert!(request.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{request:?}");
    assert_eq!(request.value("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    let origin = Origin::start(echo);
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    open(&mut client);
    for number in 0..100_u8 {
        client.send([number, 0, 255, b'\r', b'\n']);
        assert_eq!(client.bytes(5), [number, 0, 255, b'\r', b'\n']);
    }
    let flood = noise(4 << 20);
    let mut writer = client.writer();
    let sent = flood.clone();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &sent).unwrap());
    assert!(client.bytes(flood.len()) == flood, "the bytes differ");
    sender.join().unwrap();
}

#[test]
fn what_a_tunnel_carries_is_counted_on_both_sides() {
    const BYTES: usize = 100_000;
    let origin = Origin::start(echo);
    let gateway = Gateway::start(&Config::to(&origin).of_route("upgrade: [websocket]").admin());
    let mut client = gateway.client();
    open(&mut client);
    client.send(noise(BYTES));
    client.half_close();
    assert_eq!(client.rest().len(), BYTES);
    for which in ["downstream_received", "downstream_sent", "upstream_received", "upstream_sent"] {
        let counted = || gateway.metric(&format!("shardgate_{which}_bytes_total")) as usize;
        wait_until(which, || counted() >= BYTES);
        assert!(counted() < BYTES + 2_000, "{which}: {}", counted());
    }
}

#[test]
fn bytes_right_behind_the_101_belong_to_the_tunnel() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(format!("{SWITCHING}first words"));
            assert_eq!(peer.bytes(5), b"reply");
            peer.send("!");
        }
    });
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    open(&mut client);
    assert_eq!(client.bytes(11), b"first words");
    client.send("reply");
    assert_eq!(client.rest(), b"!");
}

/// A client that does not wait for the 101 is served all the same, but its bytes wait.
#[test]
fn bytes_right_behind_the_request_reach_the_origin_after_its_101() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.expect_silence(Duration::from_millis(150));
            peer.send(SWITCHING);
            assert_eq!(peer.bytes(5), b"eager");
            peer.send("patience");
        }
    });
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    client.send(format!("{UPGRADE}eager"));
    assert_eq!(client.response().status(), 101);
    assert_eq!(client.rest(), b"patience");
}

#[test]
fn each_side_of_a_tunnel_may_close_its_half() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(SWITCHING);
            let all = peer.rest();
            peer.send(format!("got {} bytes", all.len()));
        }
    });
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    open(&mut client);
    client.send(noise(100_000));
    client.half_close();
    assert_eq!(client.rest(), b"got 100000 bytes");

    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(format!("{SWITCHING}goodbye"));
            peer.half_close();
            assert_eq!(peer.rest(), b"goodbye to you");
        }
    });
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    open(&mut client);
    assert_eq!(client.rest(), b"goodbye");
    client.send("goodbye to you");
    client.half_close();
    origin.wait_finished(1);
}

#[test]
fn a_tunnel_ends_with_either_peer() {
    let origin = Origin::start(|peer| {
        if peer.request().is_some() {
            peer.send(SWITCHING);
            if peer.number == 0 {
                peer.reset_on_close();
            } else {
                peer.rest();
            }
        }
    });
    let gateway = gateway_to(&origin);
    let mut client = gateway.client();
    open(&mut client);
    client.expect_closed();

    let mut client = gateway.client();
    open(&mut client);
    client.reset_on_close();
    drop(client);
    origin.wait_finished(2);
    assert_eq!(gateway.log_lines(2)[1]["status"], 101);
}

#[test]
fn an_upgrade_that_the_origin_declines_is_an_ordinary_exchange() {
    let origin = Origin::answering("HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 2\r\n\r\nno");
    let gateway = gateway_to(&origin);
    for _ in 0..2 {
        let mut client = gateway.client();
        client.send(UPGRADE);
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (426, "no"));
        // What would follow might have been meant for the tunnel: the connection ends, and says so.
        assert!(response.closes(), "{response:?}");
        client.expect_closed_cleanly();
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_switch_to_something_else_opens_no_tunnel() {
    for (from, to) in [
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: websocket, h2c"),
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"),
        ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        let origin = Origin::answering(SWITCHING.replace(from, to));
        let gateway = gateway_to(&origin);
        let mut client = gateway.client();
        client.send(UPGRADE);
        let response = client.response();
        assert_eq!(response.status(), 502, "{to:?}");
        assert_eq!(response.problem()["type"], "urn:shardgate:problem:upstream_unasked_switch");
        client.expect_closed_cleanly();
    }
}

#[test]
fn a_route_without_upgrades_passes_none_on() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send(UPGRADE);
    assert_eq!(client.response().text(), "ok");
    let request = origin.only_request();
    assert!(!request.has("upgrade"), "{request:#?}");
    assert!(!request.values("connection").iter().any(|value| value.to_ascii_lowercase().contains("upgrade")));
}
