//! Where a head ends and how long its body is: all that these programs need of HTTP.

use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// Fields that a head may have; more is `Invalid`.
const FIELDS_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    pub line: T,
    pub head_bytes: usize,
    pub framing: Framing,
    /// The sender said `Connection: close`.
    pub last: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Head<T> {
    Complete(Parsed<T>),
    Partial,
    Invalid,
}

/// A request's head; its line is the path.
pub fn request(bytes: &[u8]) -> Head<&str> {
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(head_bytes)) => complete(request.path.unwrap_or("/"), head_bytes, request.headers, Some(0)),
        Ok(Status::Partial) => Head::Partial,
        Err(_) => Head::Invalid,
    }
}

/// A response's head; its line is the status. A body that only the connection's end would delimit is `Invalid`.
pub fn response(bytes: &[u8]) -> Head<u16> {
    let mut fields = [const { MaybeUninit::<Header>::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
        Ok(Status::Complete(head_bytes)) => {
            let status = response.code.unwrap_or(0);
            // RFC 9112 §6.3: these have no body whatever their fields say.
            let implied = matches!(status, 100..200 | 204 | 304).then_some(0);
            complete(status, head_bytes, response.headers, implied)
        }
        Ok(Status::Partial) => Head::Partial,
        Err(_) => Head::Invalid,
    }
}

fn complete<T>(line: T, head_bytes: usize, fields: &[Header], implied: Option<u64>) -> Head<T> {
    let mut framing = implied.map(Framing::Length);
    let mut last = false;
    for field in fields {
        match field.name.len() {
            10 if field.name.eq_ignore_ascii_case("connection") => last |= field.value.eq_ignore_ascii_case(b"close"),
            14 if field.name.eq_ignore_ascii_case("content-length") => match number(field.value) {
                Some(length) => framing = Some(Framing::Length(length)),
                None => return Head::Invalid,
            },
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => framing = Some(Framing::Chunked),
            _ => {}
        }
    }
    match framing {
        Some(framing) => Head::Complete(Parsed { line, head_bytes, framing, last }),
        None => Head::Invalid,
    }
}

/// A decimal number of at most 18 digits.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, expected: Option<(u16, usize, Framing, bool)>) {
        let found = match response(bytes.as_bytes()) {
            Head::Complete(head) => Some((head.line, head.head_bytes, head.framing, head.last)),
            Head::Partial | Head::Invalid => None,
        };
        assert_eq!(found, expected, "{bytes:?}");
    }

    #[test]
    fn a_response_says_its_status_length_and_whether_it_is_the_last() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Some((200, 39, Framing::Length(12), false)));
        check("HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", Some((204, 38, Framing::Length(0), true)));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Some((200, 47, Framing::Chunked, false)));
        check("HTTP/1.1 200 OK\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\nContent-Le", None);
    }

    #[test]
    fn a_request_without_framing_has_no_body() {
        let Head::Complete(head) = request(b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n") else { panic!("not complete") };
        assert_eq!((head.line, head.head_bytes, head.framing), ("/a", 28, Framing::Length(0)));
        assert_eq!(request(b"GET /a HTTP/1.1\r\nHost"), Head::Partial);
        assert_eq!(request(b"GET\0/a HTTP/1.1\r\n\r\n"), Head::Invalid);
    }
}
