//! Reads a response head (RFC 9112 §4).

use super::Scan;
use super::fields::{self, FieldRules};
use super::reader::{Reader, Stop};
use super::signals::Signals;
use crate::http::field::Span;
use crate::http::head::{HEAD_BYTES_MAX, HeadError, HeadLimits, ResponseHead, Version};

impl ResponseHead {
    /// As [`RequestHead::parse`](crate::http::head::RequestHead::parse); of the limits, those on bytes and fields hold.
    /// No field is dropped for its name.
    pub fn parse(&mut self, bytes: &[u8], limits: &HeadLimits, scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        let result = self.parse_on(bytes, limits, scan);
        scan.settle(result)
    }

    fn parse_on(&mut self, bytes: &[u8], limits: &HeadLimits, scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        let head_bytes_max = limits.head_bytes_max.min(HEAD_BYTES_MAX);
        let window = &bytes[..bytes.len().min(head_bytes_max)];
        if let Some(len) = scan.read_whole(window, 0, || self.read(window, limits))? {
            return Ok(Some(len));
        }
        if bytes.len() >= head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(None) }
    }

    fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<usize, Stop> {
        let mut reader = Reader { rest: bytes };
        self.version = reader.version()?;
        self.status = reader.status()?;
        self.reason = Span::within(bytes, reader.text(HeadError::ReasonInvalid)?);
        let (mut signals, rules) = (Signals::default(), FieldRules::of_response(limits));
        let reader = fields::read(reader, bytes, &mut self.table, &mut signals, rules)?;
        self.keep_alive = !signals.close && (self.version == Version::Http11 || signals.keep_alive);
        self.upgrade = signals.upgrade_listed && signals.upgrade.is_some();
        self.length = signals.length;
        self.chunked = signals.chunked;
        Ok(bytes.len() - reader.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::Framing;
    use crate::http::field::Known;
    use crate::http::head::Method;
    use crate::http::head::Underscores;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 256,
        fields_max: 8,
        uri_bytes_max: 0,
        underscores: Underscores::Drop,
        merge_slashes: true,
    };

    fn parse(text: &str) -> Result<Option<(usize, ResponseHead)>, HeadError> {
        let mut head = ResponseHead::new();
        let len = head.parse(text.as_bytes(), &LIMITS, &mut Scan::new())?;
        Ok(len.map(|len| (len, head)))
    }

    #[track_caller]
    fn accept(text: &str) -> ResponseHead {
        let (len, head) = parse(text).expect(text).expect(text);
        assert_eq!(len, text.len(), "{text:?}");
        head
    }

    #[track_caller]
    fn refuse(text: &str, error: HeadError) {
        assert_eq!(parse(text).map(|complete| complete.map(|(len, _)| len)), Err(error), "{text:?}");
    }

    #[test]
    fn a_status_line_has_a_status_and_perhaps_a_reason() {
        #[track_caller]
        fn check(line: &str, version: Version, status: u16, reason: &str) {
            for fields in ["", "A: b\r\n"] {
                let text = format!("{line}\r\n{fields}\r\n");
                let head = accept(&text);
                assert_eq!((head.version, head.status), (version, status), "{line}");
                assert_eq!(head.reason.of(text.as_bytes()), reason.as_bytes(), "{line}");
            }
        }
        check("HTTP/1.1 200 OK", Version::Http11, 200, "OK");
        check("HTTP/1.0 404 Not  Found ", Version::Http10, 404, "Not  Found ");
        check("HTTP/1.1 200 ", Version::Http11, 200, "");
        check("HTTP/1.1 200", Version::Http11, 200, "");
        check("HTTP/1.1 599 \u{e9}\t", Version::Http11, 599, "\u{e9}\t");
        check("HTTP/1.1 100 Continue", Version::Http11, 100, "Continue");
    }

    #[test]
    fn any_other_first_line_is_refused() {
        refuse("HTTP/1.1 099 A\r\n\r\n", HeadError::StatusInvalid);
        refuse("HTTP/1.1 600 A\r\n\r\n", HeadError::StatusInvalid);
        refuse("HTTP/1.1 20 A\r\n\r\n", HeadError::StatusInvalid);
        refuse("HTTP/1.1 2000\r\n\r\n", HeadError::StatusInvalid);
        refuse("HTTP/1.1  200 OK\r\n\r\n", HeadError::StatusInvalid);
        refuse("HTTP/1.1 200 \0\r\n\r\n", HeadError::ReasonInvalid);
        refuse("HTTP/1.1 200 O\rK\r\n\r\n", HeadError::ReasonInvalid);
        refuse("HTTP/2.0 200 OK\r\n\r\n", HeadError::VersionUnsupported);
        refuse("HTTP/0.9 200 OK\r\n\r\n", HeadError::VersionUnsupported);
        refuse("http/1.1 200 OK\r\n\r\n", HeadError::VersionInvalid);
        refuse("HTTPS/1.1 200 OK\r\n\r\n", HeadError::VersionInvalid);
        refuse("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::VersionInvalid);
        refuse("0\r\n\r\n", HeadError::VersionInvalid);
    }

    #[test]
    fn lines_and_fields_are_as_strict_as_in_a_request_but_no_name_is_dropped() {
        refuse("HTTP/1.1 200 OK\n\r\n", HeadError::BareLf);
        refuse("HTTP/1.1 200 OK\r\nA: b\n\r\n", HeadError::BareLf);
        refuse("HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLf);
        refuse("HTTP/1.1 200 OK\r\n\n", HeadError::BareLf);
        refuse("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::ObsFold);
        refuse("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::FieldNameInvalid);
        refuse("HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n", HeadError::FieldValueInvalid);
        refuse(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(9)), HeadError::TooManyFields);
        refuse(&format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(256)), HeadError::HeadTooLarge);
        let text = "HTTP/1.1 200 OK\r\nX_Y: z\r\nDate: b\r\nConnection: X-A\r\n\r\n";
        let head = accept(text);
        assert_eq!((head.fields().len(), head.value(text.as_bytes(), Known::Date)), (3, Some(&b"b"[..])));
        assert!(head.connection_lists(text.as_bytes(), b"x-a"));
    }

    #[test]
    fn a_head_may_arrive_byte_by_byte() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
        let (mut head, mut scan) = (ResponseHead::new(), Scan::new());
        let mut found = (0..=text.len()).map(|len| head.parse(&text.as_bytes()[..len], &LIMITS, &mut scan));
        assert_eq!(found.position(|result| result == Ok(Some(25))), Some(25));
        let early = "HTTP/1.1 200 OK\r\nA: b\n";
        let mut refused = (0..=early.len()).map(|len| head.parse(&early.as_bytes()[..len], &LIMITS, &mut scan));
        assert_eq!(refused.position(|result| result == Err(HeadError::BareLf)), Some(early.len()));
    }

    #[test]
    fn a_connection_is_kept_or_upgraded_as_both_fields_say() {
        #[track_caller]
        fn check(version: &str, fields: &str, keep_alive: bool, upgrade: bool) {
            let head = accept(&format!("{version} 101 A\r\n{fields}\r\n"));
            assert_eq!((head.keep_alive, head.upgrade), (keep_alive, upgrade), "{version} {fields:?}");
        }
        check("HTTP/1.1", "", true, false);
        check("HTTP/1.1", "Connection: close\r\n", false, false);
        check("HTTP/1.0", "", false, false);
        check("HTTP/1.0", "Connection: keep-alive\r\n", true, false);
        check("HTTP/1.1", "Upgrade: a\r\nConnection: upgrade\r\n", true, true);
        check("HTTP/1.1", "Upgrade: a\r\n", true, false);
        check("HTTP/1.1", "Connection: upgrade\r\n", true, false);
    }

    #[test]
    fn a_switch_is_to_one_protocol_and_has_no_body() {
        #[track_caller]
        fn check(version: &str, fields: &str, switches: bool) {
            let text = format!("{version} 101 A\r\nConnection: upgrade\r\n{fields}\r\n");
            assert_eq!(accept(&text).switches_to(text.as_bytes(), b"websocket"), switches, "{version} {fields:?}");
        }
        check("HTTP/1.1", "Upgrade: WebSocket\r\n", true);
        check("HTTP/1.0", "Upgrade: websocket\r\n", false);
        check("HTTP/1.1", "", false);
        check("HTTP/1.1", "Upgrade: h2c\r\n", false);
        check("HTTP/1.1", "Upgrade: websocket, h2c\r\n", false);
        check("HTTP/1.1", "Upgrade: websocket\r\nUpgrade: h2c\r\n", false);
        check("HTTP/1.1", "Upgrade: websocket\r\nContent-Length: 0\r\n", false);
        check("HTTP/1.1", "Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", false);
    }

    #[test]
    fn the_body_ends_by_method_status_and_fields_in_that_order() {
        #[track_caller]
        fn check(request: Method, line: &str, fields: &str, framing: Result<Framing, HeadError>) {
            let head = accept(&format!("{line}\r\n{fields}\r\n"));
            assert_eq!(head.framing(request), framing, "{request:?} {line} {fields:?}");
        }
        let (ok, length, chunked) = ("HTTP/1.1 200 OK", "Content-Length: 5\r\n", "Transfer-Encoding: Chunked\r\n");
        check(Method::Get, ok, length, Ok(Framing::Length(5)));
        check(Method::Get, ok, chunked, Ok(Framing::Chunked));
        check(Method::Get, ok, "", Ok(Framing::UntilClose));
        check(Method::Get, "HTTP/1.0 200 OK", "", Ok(Framing::UntilClose));
        check(Method::Head, ok, length, Ok(Framing::Empty));
        check(Method::Head, ok, chunked, Ok(Framing::Empty));
        for line in ["HTTP/1.1 100 A", "HTTP/1.1 103 A", "HTTP/1.1 204 A", "HTTP/1.1 304 A"] {
            check(Method::Get, line, length, Ok(Framing::Empty));
        }
        check(Method::Get, "HTTP/1.1 205 A", length, Ok(Framing::Length(5)));
        check(Method::Get, ok, &format!("{length}{length}"), Ok(Framing::Length(5)));
        check(Method::Get, ok, &format!("{length}{chunked}"), Err(HeadError::LengthAndChunked));
        check(Method::Head, ok, &format!("{chunked}{length}"), Err(HeadError::LengthAndChunked));
        check(Method::Get, "HTTP/1.0 200 OK", chunked, Err(HeadError::CodingInHttp10));
        refuse(&format!("{ok}\r\n{length}Content-Length: 6\r\n\r\n"), HeadError::LengthRepeated);
        refuse(&format!("{ok}\r\n{chunked}{chunked}\r\n"), HeadError::CodingMisplaced);
        refuse(&format!("{ok}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"), HeadError::CodingUnsupported);
        refuse(&format!("{ok}\r\nTransfer-Encoding: identity\r\n\r\n"), HeadError::CodingMisplaced);
        refuse(&format!("{ok}\r\nContent-Length: 5 5\r\n\r\n"), HeadError::LengthInvalid);
    }
}
