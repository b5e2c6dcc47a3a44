//! Our verdict on a vector: heads and bodies one after another, as on a connection.

use shardgate::http::body::{BodyLimits, Decoder, Framing};
use shardgate::http::h1::Scan;
use shardgate::http::head::{HeadLimits, Method, RequestHead, ResponseHead, Underscores};

use super::markdown::Vector;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong so far, and so many payload bytes were in it.
    Accepts {
        body: u64,
    },
    Refuses,
}

const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16 * 1024,
    fields_max: 100,
    uri_bytes_max: 8 * 1024,
    underscores: Underscores::Allow,
    merge_slashes: true,
};

const BODY_LIMITS: BodyLimits = BodyLimits {
    chunk_line_bytes_max: 256,
    trailer_bytes_max: 4096,
    trailer_fields_max: 32,
    underscores: Underscores::Allow,
};

pub fn of(vector: &Vector) -> Verdict {
    let mut bytes = if vector.is_response() { vector.input.clone() } else { with_host(&vector.input) };
    match judge(vector, &mut bytes) {
        Some(body) => Verdict::Accepts { body },
        None => Verdict::Refuses,
    }
}

/// What a message's head says about what follows.
struct Read {
    head_len: usize,
    framing: Framing,
    keep_alive: bool,
    /// Another protocol follows.
    upgrade: bool,
}

/// The payload bytes of all messages, or none when one is refused.
fn judge(vector: &Vector, mut rest: &mut [u8]) -> Option<u64> {
    let (mut decoder, mut body) = (Decoder::new(), 0);
    let mut open = true;
    while !rest.is_empty() {
        if !open {
            // Nothing but empty lines may follow the last message.
            return rest.iter().all(|byte| b"\r\n".contains(byte)).then_some(body);
        }
        let read = if vector.is_response() { read_response(rest, vector.skips_body)? } else { read_request(rest)? };
        let Some(read) = read else {
            return (!vector.finishes() && may_be_completed(rest, vector)).then_some(body);
        };
        rest = &mut rest[read.head_len..];
        decoder.reset(read.framing, &BODY_LIMITS);
        let decoded = decoder.decode(rest).ok()?;
        body += decoder.payload_total();
        rest = &mut rest[decoded.consumed..];
        if read.upgrade {
            return Some(body);
        }
        if !decoded.done {
            return (!vector.finishes() || decoder.end().is_ok()).then_some(body);
        }
        open = read.keep_alive;
    }
    Some(body)
}

/// llhttp judges fields as they come, we when the head is complete: one that ends between two fields is completed.
fn may_be_completed(rest: &[u8], vector: &Vector) -> bool {
    if !rest.ends_with(b"\r\n") || rest == b"\r\n" {
        return true;
    }
    let completed = [rest, b"\r\n"].concat();
    if vector.is_response() { read_response(&completed, false).is_some() } else { read_request(&completed).is_some() }
}

/// `None`: refused. `Some(None)`: more is needed.
fn read_request(bytes: &[u8]) -> Option<Option<Read>> {
    let mut head = RequestHead::new();
    let complete = head.parse(bytes, &HEAD_LIMITS, &mut Scan::new()).ok()?;
    Some(complete.map(|head_len| Read {
        head_len,
        framing: head.framing,
        keep_alive: head.keep_alive,
        upgrade: head.upgrade.is_some(),
    }))
}

fn read_response(bytes: &[u8], skips_body: bool) -> Option<Option<Read>> {
    let mut head = ResponseHead::new();
    let Some(head_len) = head.parse(bytes, &HEAD_LIMITS, &mut Scan::new()).ok()? else { return Some(None) };
    let framing = head.framing(if skips_body { Method::Head } else { Method::Get }).ok()?;
    Some(Some(Read { head_len, framing, keep_alive: head.keep_alive, upgrade: head.upgrade && head.status == 101 }))
}

/// llhttp does not look for Host, and most vectors have none: HTTP/1.1 requests get one, so that they are not all
/// refused for its absence.
fn with_host(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let line_len = rest.windows(2).position(|window| window == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, tail) = rest.split_at(line_len);
        bytes.extend_from_slice(line);
        let head_len = tail.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(tail.len());
        let head = tail[..head_len].to_ascii_lowercase();
        let has_host = head.starts_with(b"host:") || head.windows(7).any(|window| window == b"\r\nhost:");
        if let Some(target) = request_target(line).filter(|_| !has_host) {
            let authority = target.split("://").nth(1).map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
            bytes.extend_from_slice(format!("Host: {}\r\n", authority.unwrap_or("example.com")).as_bytes());
        }
        rest = tail;
    }
    bytes
}

/// The target of a line that is an HTTP/1.1 request line.
fn request_target(line: &[u8]) -> Option<&str> {
    let line = str::from_utf8(line.strip_suffix(b" HTTP/1.1\r\n")?).ok()?;
    let (method, target) = line.split_once(' ')?;
    (method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') && !target.contains(' ')).then_some(target)
}
