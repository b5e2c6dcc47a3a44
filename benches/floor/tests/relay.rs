//! The floor in front of the origin, as real processes: bytes must arrive unchanged however they are cut.

use bench_kit::body::Body;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};

/// A child that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be ended");
        self.0.wait().expect("a child can be waited for");
    }
}

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Starts a program and waits until it accepts.
fn start(program: &str, address: SocketAddr, more: &[String]) -> Program {
    let child = Program(Command::new(program).arg(address.to_string()).args(more).spawn().expect("the program starts"));
    while TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    child
}

/// Sends `pieces` with the socket flushed between them, ends the sending side, and returns all bodies that came back.
#[track_caller]
fn check(pieces: &[&str], expected_bodies: &[u64]) {
    let (origin, floor) = (free_address(), free_address());
    let _origin = start(env!("CARGO_BIN_EXE_origin"), origin, &[]);
    let _floor = start(env!("CARGO_BIN_EXE_floor"), floor, &[origin.to_string()]);
    let mut stream = TcpStream::connect(floor).expect("the floor accepts");
    stream.set_nodelay(true).expect("a socket option");
    for piece in pieces {
        stream.write_all(piece.as_bytes()).expect("the floor takes a piece");
    }
    let mut received = Vec::new();
    let body = Body::default();
    for expected in expected_bodies {
        let (head_bytes, end) = read_message(&mut stream, &mut received, *expected);
        assert!(body.matches(0, &received[head_bytes..end]), "{pieces:?}");
        received.drain(..end);
    }
    stream.shutdown(Shutdown::Write).expect("a half-close");
    stream.read_to_end(&mut received).expect("the end");
    assert!(received.is_empty(), "{} bytes too many for {pieces:?}", received.len());
}

/// Reads until one answer of `body_bytes` is whole; returns where its head and it end.
#[track_caller]
fn read_message(stream: &mut TcpStream, received: &mut Vec<u8>, body_bytes: u64) -> (usize, usize) {
    let mut buffer = [0; 65536];
    loop {
        if let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let end = head + 4 + body_bytes as usize;
            if received.len() >= end {
                let length = format!("Content-Length: {body_bytes}\r\n");
                assert!(String::from_utf8_lossy(&received[..head + 2]).contains(&length));
                return (head + 4, end);
            }
        }
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the connection ended after {} bytes", received.len());
        received.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn answers_are_passed_on_unchanged() {
    check(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"], &[1024]);
    check(&["GET /bytes/3000000 HTTP/1.1\r\nHost: a\r\n\r\n"], &[3_000_000]);
    check(&["GET /bytes/0 HTTP/1.1\r\nHost: a\r\n\r\n"], &[0]);
}

#[test]
fn requests_may_come_in_pieces_or_several_at_once() {
    check(&["GET /bytes/7 HT", "TP/1.1\r\nHost", ": a\r\n\r", "\n"], &[7]);
    let one = "GET /bytes/5 HTTP/1.1\r\nHost: a\r\n\r\n";
    check(&[&one.repeat(3)], &[5, 5, 5]);
    check(&[&one[..20], &format!("{}{one}{}", &one[20..], &one[..9]), &one[9..]], &[5, 5, 5]);
}

#[test]
fn request_bodies_are_passed_on_before_the_answer() {
    let post = format!("POST /bytes/9 HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}", "x".repeat(300_000));
    check(&[&post, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"], &[9, 1024]);
    check(&[&post[..100_000], &post[100_000..]], &[9]);
}
