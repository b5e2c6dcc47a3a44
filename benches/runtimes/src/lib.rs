//! What the relays have in common: who listens, who answers, and where a message ends.
//!
//! Each relay is the same program on another runtime: accept; read a request without a body; send it on a kept
//! connection to the one origin, or on a new one; read the answer, send it back; again. One thread, no timers, no
//! checks. What differs is what the runtime makes of it.

use bench_kit::head::{self, Framing, Head};
use std::net::SocketAddrV4;
use std::process::ExitCode;

/// Memory of one message: the measured ones have 1.2 KiB.
pub const BUFFER_BYTES: usize = 4 << 10;

/// Where the whole request ends that `bytes` begin with; `None` while more is to come.
pub fn request_end(bytes: &[u8]) -> Option<usize> {
    match head::request(bytes) {
        Head::Complete(head) => Some(head.head_bytes),
        Head::Partial | Head::Invalid => None,
    }
}

/// The same of a response, which is framed by its length.
pub fn response_end(bytes: &[u8]) -> Option<usize> {
    let Head::Complete(head) = head::response(bytes) else { return None };
    let Framing::Length(length) = head.framing else { return None };
    let end = head.head_bytes + usize::try_from(length).ok()?;
    (end <= bytes.len()).then_some(end)
}

/// Runs a relay on the addresses of the command line: LISTEN ORIGIN.
pub fn main(relay: impl FnOnce(SocketAddrV4, SocketAddrV4) -> std::io::Result<()>) -> ExitCode {
    let mut words = std::env::args().skip(1).map(|word| word.parse());
    let (Some(Ok(listen)), Some(Ok(origin))) = (words.next(), words.next()) else {
        eprintln!("usage: LISTEN ORIGIN, as in 127.0.0.1:8080 127.0.0.1:9000");
        return ExitCode::from(2);
    };
    match relay(listen, origin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_it_says() {
        assert_eq!(request_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), Some(27));
        assert_eq!(request_end(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(response_end(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Some(40));
        assert_eq!(response_end(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), None);
    }
}
