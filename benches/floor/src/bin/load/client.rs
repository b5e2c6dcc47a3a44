//! One keep-alive connection: sends a request, and judges the answer byte by byte.

use bench_kit::body::{Body, SMALL_BYTES};
use bench_kit::head::{self, Framing, Head};
use bench_kit::sys::{self, Connect, Moved};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The fields of a plain client.
pub const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n";

/// The same, of a client that asks only once.
pub const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n\
    Accept-Encoding: gzip\r\nConnection: close\r\n\r\n";

/// An answer of 1 KiB whose head is longer than this is wrong.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Partial,
    Right {
        /// The proxy said that it will close.
        last: bool,
    },
    Wrong(&'static str),
    Closed,
}

pub struct Client {
    fd: OwnedFd,
    /// What came of an answer that came in pieces.
    stash: Vec<u8>,
}

impl Client {
    pub fn open(address: SocketAddrV4, options: Connect) -> std::io::Result<Self> {
        let fd = sys::connect(address, Connect { blocking: true, ..options })?;
        Ok(Self { fd, stash: Vec::new() })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// False when the proxy has gone, or takes less than a request at once.
    pub fn send(&self, request: &[u8]) -> bool {
        sys::send(self.fd(), request) == Moved::Bytes(request.len())
    }

    pub fn receive(&mut self, buffer: &mut [u8], body: &Body) -> Answer {
        let count = match sys::receive(self.fd(), buffer) {
            Moved::Bytes(count) => count,
            Moved::NotReady => return Answer::Partial,
            Moved::Closed => return Answer::Closed,
        };
        if self.stash.is_empty() {
            let answer = judge(&buffer[..count], body);
            if answer == Answer::Partial {
                self.stash.extend_from_slice(&buffer[..count]);
            }
            return answer;
        }
        self.stash.extend_from_slice(&buffer[..count]);
        let answer = judge(&self.stash, body);
        if answer != Answer::Partial {
            self.stash.clear();
        }
        answer
    }
}

/// Judges the answer to `REQUEST`.
fn judge(bytes: &[u8], body: &Body) -> Answer {
    let head = match head::response(bytes) {
        Head::Complete(head) => head,
        Head::Partial if bytes.len() < ANSWER_BYTES_MAX => return Answer::Partial,
        Head::Partial | Head::Invalid => return Answer::Wrong("an answer's head cannot be read"),
    };
    if head.line != 200 {
        return Answer::Wrong("an answer's status is not 200");
    }
    if head.framing != Framing::Length(SMALL_BYTES as u64) {
        return Answer::Wrong("an answer is not 1 KiB by its Content-Length");
    }
    let received = &bytes[head.head_bytes..];
    match received.len() {
        ..SMALL_BYTES => Answer::Partial,
        SMALL_BYTES if body.matches(0, received) => Answer::Right { last: head.last },
        SMALL_BYTES => Answer::Wrong("an answer's body is not what the origin sent"),
        _ => Answer::Wrong("an answer is longer than it says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, body_bytes: usize, expected: Answer) {
        let body = Body::default();
        let bytes = [head.as_bytes(), &body.from(0)[..body_bytes]].concat();
        assert_eq!(judge(&bytes, &body), expected, "{head:?} and {body_bytes} bytes");
    }

    #[test]
    fn only_a_whole_200_of_the_origins_bytes_is_right() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", 1024, Answer::Right { last: false });
        check("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", 1023, Answer::Partial);
        check("HTTP/1.1 200 OK\r\nContent-Le", 0, Answer::Partial);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n",
            1025,
            Answer::Wrong("an answer is longer than it says"),
        );
        check("HTTP/1.1 502 No\r\nContent-Length: 1024\r\n\r\n", 1024, Answer::Wrong("an answer's status is not 200"));
        let framing = Answer::Wrong("an answer is not 1 KiB by its Content-Length");
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 12, framing);
        let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1024\r\n\r\n";
        check(last, 1024, Answer::Right { last: true });
    }

    #[test]
    fn a_changed_byte_is_wrong() {
        let body = Body::default();
        let mut bytes = [b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", &body.from(0)[..1024]].concat();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(judge(&bytes, &body), Answer::Wrong("an answer's body is not what the origin sent"));
    }
}
