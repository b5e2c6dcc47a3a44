//! Trailer lines, strict as field lines are, of which only those go on that change nothing on the way.

use super::token::Token;
use crate::http::body::{BodyError, BodyLimits};
use crate::http::field::{Known, is_a_gateways, is_an_alias};
use crate::http::head::Underscores;

/// The trailers of one body, reusable.
#[derive(Debug)]
pub(super) struct Trailers {
    kept: Vec<u8>,
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// What the head says is for this hop; each with a comma behind it, which none of them has.
    named: Vec<u8>,
    bytes: usize,
    fields: usize,
    complete: bool,
}

/// RFC 9110 §6.5.1: fields that say how the message is handled come before its body or not at all. Those of
/// [`Known`] are left out as well, what may be taken for one of them, and what only a gateway may say.
const NEVER_IN_TRAILERS: [&[u8]; 23] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"pragma",
    b"priority",
    b"range",
    b"retry-after",
    b"sec-websocket-accept",
    b"sec-websocket-key",
    b"set-cookie",
    b"set-cookie2",
    b"vary",
    b"warning",
    b"www-authenticate",
];

/// Enough for the trailers of gRPC; a connection that waits keeps no more.
const MEMORY_BYTES_KEPT: usize = 512;

impl Trailers {
    pub(super) fn new() -> Self {
        let (kept, line, named) = (Vec::new(), Vec::new(), Vec::new());
        Self { kept, line, named, bytes: 0, fields: 0, complete: false }
    }

    /// Forgets them, and gives back what more than a few took.
    pub(super) fn clear(&mut self) {
        if self.bytes == 0 {
            return;
        }
        for memory in [&mut self.kept, &mut self.line, &mut self.named] {
            memory.clear();
            memory.shrink_to(MEMORY_BYTES_KEPT);
        }
        self.bytes = 0;
        self.fields = 0;
        self.complete = false;
    }

    /// Trailers of these names do not go on with the body that begins.
    pub(super) fn leave_out<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        self.named.clear();
        for name in names {
            self.named.extend_from_slice(name);
            self.named.push(b',');
        }
    }

    /// `Name: value` lines with their line ends.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The empty line was there.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes bytes up to the end of a line, or all. Returns how many.
    pub(super) fn take_line(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<usize, BodyError> {
        let line_end = memchr::memchr(b'\n', bytes);
        let taken = line_end.map_or(bytes.len(), |at| at + 1);
        if taken > limits.trailer_bytes_max - self.bytes {
            return Err(BodyError::TrailersTooLarge);
        }
        self.bytes += taken;
        self.line.extend_from_slice(&bytes[..taken]);
        if line_end.is_some() {
            let Some(line) = self.line.strip_suffix(b"\r\n") else { return Err(BodyError::LineEndInvalid) };
            if line.is_empty() {
                self.complete = true;
            } else {
                self.fields += 1;
                if self.fields > limits.trailer_fields_max {
                    return Err(BodyError::TooManyTrailers);
                }
                keep(line, limits.underscores, &self.named, &mut self.kept)?;
            }
            self.line.clear();
        }
        Ok(taken)
    }
}

fn keep(line: &[u8], underscores: Underscores, named: &[u8], kept: &mut Vec<u8>) -> Result<(), BodyError> {
    let colon = memchr::memchr(b':', line).ok_or(BodyError::TrailerInvalid)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = Token::of(name);
    if name.is_empty() || token.len < name.len() {
        return Err(BodyError::TrailerInvalid);
    }
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
        return Err(BodyError::TrailerInvalid);
    }
    let is_named = named.split(|&byte| byte == b',').any(|other| other.eq_ignore_ascii_case(name));
    if goes_on(name) && !is_named && (underscores == Underscores::Allow || !token.has_underscore) {
        for part in [name, b": ", value.trim_ascii(), b"\r\n"] {
            kept.extend_from_slice(part);
        }
    }
    Ok(())
}

fn goes_on(name: &[u8]) -> bool {
    Known::of(name) == Known::Other
        && !is_an_alias(name)
        && !is_a_gateways(name)
        && !NEVER_IN_TRAILERS.iter().any(|never| never.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        chunk_line_bytes_max: 0,
        trailer_bytes_max: 64,
        trailer_fields_max: 3,
        underscores: Underscores::Drop,
    };

    fn take(wire: &str, limits: &BodyLimits) -> Result<(String, bool), BodyError> {
        let mut trailers = Trailers::new();
        let mut rest = wire.as_bytes();
        while !rest.is_empty() && !trailers.is_complete() {
            rest = &rest[trailers.take_line(rest, limits)?..];
        }
        Ok((String::from_utf8(trailers.kept().to_vec()).expect("UTF-8"), trailers.is_complete()))
    }

    #[track_caller]
    fn check(wire: &str, kept: &str) {
        assert_eq!(take(wire, &LIMITS), Ok((kept.into(), true)), "{wire:?}");
    }

    #[track_caller]
    fn check_refused(wire: &str, error: BodyError) {
        assert_eq!(take(wire, &LIMITS), Err(error), "{wire:?}");
    }

    #[test]
    fn harmless_trailers_go_on_in_one_form() {
        check("\r\n", "");
        check("Grpc-Status:0\r\nX-Sum: \t a b \r\n\r\n", "Grpc-Status: 0\r\nX-Sum: a b\r\n");
        check("Empty:\r\n\r\n", "Empty: \r\n");
        check("Name: \u{e9}:\r\n\r\n", "Name: \u{e9}:\r\n");
        assert_eq!(take("A: b\r\n", &LIMITS), Ok(("A: b\r\n".into(), false)));
    }

    #[test]
    fn trailers_that_frame_route_authenticate_or_belong_to_a_hop_do_not_go_on() {
        let names = ["content-length", "Transfer-Encoding", "HOST", "Authorization", "Set-Cookie", "Connection", "TE"];
        for name in names.into_iter().chain([
            "Trailer",
            "X-Forwarded-For",
            "X-Forwarded-Prefix",
            "Vary",
            "Content-Type",
            "Max-Forwards",
        ]) {
            check(&format!("{name}: 5\r\nA: b\r\n\r\n"), "A: b\r\n");
        }
        check("X-Consumer-Id: 5\r\nx-envoy-a: 5\r\nA: b\r\n\r\n", "A: b\r\n");
    }

    #[test]
    fn trailers_that_the_head_names_stay_until_another_body_begins() {
        let mut trailers = Trailers::new();
        let mut take = |names: &[&str]| {
            trailers.clear();
            trailers.leave_out(names.iter().map(|name| name.as_bytes()));
            for line in ["X-Hop: 1\r\n", "X-Hops: 2\r\n", "\r\n"] {
                assert_eq!(trailers.take_line(line.as_bytes(), &LIMITS), Ok(line.len()));
            }
            String::from_utf8(trailers.kept().to_vec()).expect("UTF-8")
        };
        assert_eq!(take(&["TE", "x-HOP"]), "X-Hops: 2\r\n");
        assert_eq!(take(&["x-hops"]), "X-Hop: 1\r\n");
        assert_eq!(take(&[]), "X-Hop: 1\r\nX-Hops: 2\r\n");
    }

    #[test]
    fn a_name_with_an_underscore_goes_on_only_when_allowed() {
        check("X_Y: z\r\n\r\n", "");
        let allowed = BodyLimits { underscores: Underscores::Allow, ..LIMITS };
        let wire = "X_Y: z\r\nX_Real_IP: 5\r\nx_consumer_id: 5\r\n\r\n";
        assert_eq!(take(wire, &allowed), Ok(("X_Y: z\r\n".into(), true)));
    }

    #[test]
    fn a_line_that_is_no_field_is_refused() {
        for line in [
            "a",
            ":b",
            " a: b",
            "\ta: b",
            "a : b",
            "a\0: b",
            "a: \0",
            "a: \x7f",
            "a: b\rc",
            "a\rb: c",
            "\r",
            "\u{e9}: a",
        ] {
            check_refused(&format!("{line}\r\n\r\n"), BodyError::TrailerInvalid);
        }
        check_refused("a: b\n\r\n", BodyError::LineEndInvalid);
        check_refused("\n", BodyError::LineEndInvalid);
    }

    #[test]
    fn bytes_and_fields_are_bounded() {
        check(&format!("a: {}\r\n\r\n", "b".repeat(57)), &format!("a: {}\r\n", "b".repeat(57)));
        check_refused(&format!("a: {}\r\n\r\n", "b".repeat(58)), BodyError::TrailersTooLarge);
        check("a: b\r\na: b\r\na: b\r\n\r\n", "a: b\r\na: b\r\na: b\r\n");
        check_refused("a: b\r\na: b\r\na: b\r\na: b\r\n\r\n", BodyError::TooManyTrailers);
    }
}
