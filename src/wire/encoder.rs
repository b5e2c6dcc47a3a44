//! Framing of the bodies that the gateway sends: always its own, never what it received.

use super::connection::ReadError;
use crate::http::body::{BodyError, Framing};
use crate::http::h1::encode;
use crate::runtime::{Buf, Class, Pieces, Pool};

/// Frames one body.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    framing: Framing,
}

impl Encoder {
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// What goes on the wire for this payload behind `before` (a head, or nothing). With `end` the body is over, and
    /// its trailers follow. A short piece joins `before` in one buffer.
    pub fn encode(
        &self,
        pool: &Pool,
        before: Option<Buf>,
        payload: Option<Buf>,
        end: Option<&[u8]>,
    ) -> Result<Pieces, ReadError> {
        let payload_bytes = payload.as_ref().map_or(0, Buf::len);
        let needed_bytes = payload_bytes + FRAMING_BYTES_MAX + end.map_or(0, <[u8]>::len);
        if let Some(mut head) = before {
            if head.spare_len() >= needed_bytes {
                self.append(&mut head, payload.as_ref().map_or(&[], Buf::bytes), end);
                return Ok(Pieces::one(head));
            }
            let framed = payload.map(|payload| self.frame(payload)).transpose()?;
            return Ok(Pieces::new([Some(head), framed, self.end(pool, end)?]));
        }
        let mut framed = payload.map(|payload| self.frame(payload)).transpose()?;
        if let (Some(b""), Framing::Chunked, Some(last)) = (end, self.framing, &mut framed) {
            last.truncate(last.len() - encode::CHUNK_END.len());
            last.push_tail(CHUNK_END_AND_LAST);
            return Ok(Pieces::new([framed]));
        }
        Ok(Pieces::new([framed, self.end(pool, end)?]))
    }

    fn append(&self, head: &mut Buf, payload: &[u8], end: Option<&[u8]>) {
        let mut fits = true;
        if self.framing != Framing::Chunked {
            fits &= head.push(payload);
        } else {
            if !payload.is_empty() {
                let mut line = [0; encode::CHUNK_HEAD_BYTES_MAX];
                let length = encode::chunk_head(payload.len(), &mut line);
                fits &= head.push(&line[line.len() - length..]);
                fits &= head.push(payload);
                fits &= head.push(encode::CHUNK_END);
            }
            if let Some(trailers) = end {
                fits &= push_end(head, trailers);
            }
        }
        debug_assert!(fits, "the caller looked whether it fits");
    }

    /// Frames the payload where it lies. Only body buffers keep room around their payload; a piece that came with a
    /// head moves to one.
    fn frame(&self, payload: Buf) -> Result<Buf, ReadError> {
        if self.framing != Framing::Chunked || payload.is_empty() {
            return Ok(payload);
        }
        let mut framed = payload;
        if !framed.has_framing_room() {
            let mut roomy = framed.pool().take(Class::Body).ok_or(ReadError::NoBuffer)?;
            let fits = roomy.push(framed.bytes());
            debug_assert!(fits, "no buffer holds more than a body buffer's payload");
            framed = roomy;
        }
        let mut line = [0; encode::CHUNK_HEAD_BYTES_MAX];
        let length = encode::chunk_head(framed.len(), &mut line);
        framed.push_front(&line[line.len() - length..]);
        framed.push_tail(encode::CHUNK_END);
        Ok(framed)
    }

    fn end(&self, pool: &Pool, end: Option<&[u8]>) -> Result<Option<Buf>, ReadError> {
        let Some(trailers) = end.filter(|_| self.framing == Framing::Chunked) else { return Ok(None) };
        let short = trailers.len() + FRAMING_BYTES_MAX <= Class::Head.payload_bytes();
        let class = if short { Class::Head } else { Class::Body };
        let mut buf = pool.take(class).ok_or(ReadError::NoBuffer)?;
        // Cut short, they would leave the body without its end, and what follows it would be read as a part of it.
        let fits = push_end(&mut buf, trailers);
        if fits { Ok(Some(buf)) } else { Err(ReadError::Body(BodyError::TrailersTooLarge)) }
    }
}

fn push_end(buf: &mut Buf, trailers: &[u8]) -> bool {
    buf.push(encode::LAST_CHUNK) && buf.push(trailers) && buf.push(encode::CHUNK_END)
}

/// What a piece becomes that has no head before it: itself, and what ends the body.
pub const FRAMED_MAX: usize = 2;

/// Ends a chunk's data and the body, when no trailers follow.
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";
/// A chunk's size line, the CRLF behind it, and the last chunk with its empty line.
const FRAMING_BYTES_MAX: usize = encode::CHUNK_HEAD_BYTES_MAX + CHUNK_END_AND_LAST.len();

#[cfg(test)]
mod tests {
    use super::*;

    fn buf(pool: &Pool, class: Class, bytes: &[u8]) -> Buf {
        let mut buf = pool.take(class).unwrap();
        assert!(buf.push(bytes));
        buf
    }

    #[track_caller]
    fn check(framing: Framing, head: Option<&str>, payload: Option<&[u8]>, end: Option<&str>, want: &[u8]) {
        let pool = Pool::new(1 << 20);
        for class in [Class::Head, Class::Body] {
            if payload.is_some_and(|payload| payload.len() > class.payload_bytes()) {
                continue;
            }
            let head = head.map(|head| buf(&pool, Class::Head, head.as_bytes()));
            let payload = payload.map(|payload| buf(&pool, class, payload));
            let end = end.map(str::as_bytes);
            let pieces = Encoder::new(framing).encode(&pool, head, payload, end).unwrap();
            let got: Vec<u8> = pieces.iter().flat_map(|buf| buf.bytes().to_vec()).collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn every_framing_with_and_without_a_head() {
        check(Framing::Length(3), Some("H"), Some(b"abc"), Some(""), b"Habc");
        check(Framing::Length(3), None, Some(b"abc"), Some(""), b"abc");
        check(Framing::UntilClose, None, Some(b"abc"), Some("A: b\r\n"), b"abc");
        check(Framing::Empty, Some("H"), None, Some(""), b"H");
        check(Framing::Chunked, Some("H"), Some(b"abc"), None, b"H3\r\nabc\r\n");
        check(Framing::Chunked, Some("H"), Some(b"abc"), Some(""), b"H3\r\nabc\r\n0\r\n\r\n");
        check(Framing::Chunked, None, Some(b"abc"), Some(""), b"3\r\nabc\r\n0\r\n\r\n");
        check(Framing::Chunked, None, Some(b"abc"), Some("A: b\r\n"), b"3\r\nabc\r\n0\r\nA: b\r\n\r\n");
        check(Framing::Chunked, None, None, Some(""), b"0\r\n\r\n");
        check(Framing::Chunked, Some("H"), None, None, b"H");
        check(Framing::Chunked, None, None, None, b"");
    }

    #[test]
    fn a_payload_that_fills_its_buffer_is_framed_too() {
        let full = vec![7; Class::Body.payload_bytes()];
        let want = [b"H10000\r\n", &full[..], b"\r\n0\r\nT: 1\r\n\r\n"].concat();
        check(Framing::Chunked, Some("H"), Some(&full), Some("T: 1\r\n"), &want);
        let want = [b"10000\r\n", &full[..], b"\r\n0\r\n\r\n"].concat();
        check(Framing::Chunked, None, Some(&full), Some(""), &want);
    }
}
