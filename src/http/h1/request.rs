//! Reads a request head (RFC 9112 §3).

use super::Scan;
use super::fields::{self, FieldRules};
use super::reader::{Reader, Stop};
use super::signals::Signals;
use crate::http::authority::Authority;
use crate::http::body::Framing;
use crate::http::field::Span;
use crate::http::head::{HEAD_BYTES_MAX, HeadError, HeadLimits, Method, RequestHead, Target, Version};
use crate::http::path;
use crate::http::target::Parts;

/// RFC 9112 §3: a method longer than any that is implemented is answered 501.
const METHOD_BYTES_MAX: usize = 32;
/// What a request line holds besides method and target.
const LINE_REST: usize = "  HTTP/1.1\r\n".len();

impl RequestHead {
    /// `Ok(None)`: more bytes are needed, and the next call has these again with more behind them. `Ok(Some(n))`: the
    /// head is the first `n` bytes. What can be refused early is.
    pub fn parse(&mut self, bytes: &[u8], limits: &HeadLimits, scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        let result = self.parse_on(bytes, limits, scan);
        scan.settle(result)
    }

    fn parse_on(&mut self, bytes: &[u8], limits: &HeadLimits, scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        let head_bytes_max = limits.head_bytes_max.min(HEAD_BYTES_MAX);
        let window = &bytes[..bytes.len().min(head_bytes_max)];
        let begin = begin_of(window)?;
        if begin < window.len() {
            if let Some(len) = scan.read_whole(window, begin, || self.read(window, begin, limits))? {
                return Ok(Some(len));
            }
            let line_bytes_max = METHOD_BYTES_MAX.saturating_add(limits.uri_bytes_max).saturating_add(LINE_REST);
            if scan.is_in_first_line(begin) && window.len() - begin > line_bytes_max {
                return Err(HeadError::UriTooLong);
            }
        }
        if bytes.len() >= head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(None) }
    }

    fn read(&mut self, bytes: &[u8], begin: usize, limits: &HeadLimits) -> Result<usize, Stop> {
        let mut reader = Reader { rest: &bytes[begin..] };
        self.read_method(bytes, reader.method()?)?;
        let (target, query_at) = reader.target()?;
        if target.len() > limits.uri_bytes_max {
            return Err(Stop::Refused(HeadError::UriTooLong));
        }
        self.version = reader.version()?;
        reader.line_end()?;
        let (mut signals, rules) = (Signals::default(), FieldRules::of_request(limits));
        let reader = fields::read(reader, bytes, &mut self.table, &mut signals, rules)?;
        let parts = Parts::of(target, query_at, Span::within(bytes, target).start(), self.method)?;
        self.read_authority(bytes, &parts, &signals)?;
        self.read_path(bytes, &parts, limits.merge_slashes)?;
        self.read_framing(&signals)?;
        self.read_connection(&signals)?;
        Ok(bytes.len() - reader.rest.len())
    }

    fn read_method(&mut self, bytes: &[u8], method: &[u8]) -> Result<(), HeadError> {
        self.method = Method::of(method);
        self.method_span = Span::within(bytes, method);
        if self.method == Method::Connect || method.len() > METHOD_BYTES_MAX {
            return Err(HeadError::MethodUnsupported);
        }
        Ok(())
    }

    /// RFC 9112 §3.2: exactly one Host, which an absolute target must not contradict.
    fn read_authority(&mut self, bytes: &[u8], parts: &Parts, signals: &Signals) -> Result<(), HeadError> {
        if signals.host_repeated {
            return Err(HeadError::HostRepeated);
        }
        let named = match signals.host {
            Some(span) => Some(Authority::read(span.of(bytes), &mut self.host).ok_or(HeadError::HostInvalid)?),
            None if self.version == Version::Http11 => return Err(HeadError::HostMissing),
            None => {
                self.host.clear();
                None
            }
        };
        self.authority = signals.host.unwrap_or(Span::EMPTY);
        if parts.form != Target::Absolute {
            return Ok(());
        }
        // The path is not read yet: its memory holds the host of the target meanwhile.
        self.path.clear();
        let target = Authority::read(parts.authority.of(bytes), &mut self.path).ok_or(HeadError::HostInvalid)?;
        let port = |authority: Authority| authority.port.unwrap_or(parts.port_implied);
        if named.is_some_and(|named| self.host != self.path || port(named) != port(target)) {
            return Err(HeadError::AuthorityMismatch);
        }
        std::mem::swap(&mut self.host, &mut self.path);
        self.authority = parts.authority;
        Ok(())
    }

    fn read_path(&mut self, bytes: &[u8], parts: &Parts, merge_slashes: bool) -> Result<(), HeadError> {
        self.target = parts.form;
        self.query = parts.query;
        let raw = match parts.path.of(bytes) {
            // RFC 9112 §3.2.4: an absolute target without path asks about the server as a whole.
            b"" if self.method == Method::Options && parts.query.is_none() => b"*",
            b"" => b"/",
            raw => raw,
        };
        if raw == b"*" {
            self.path.clear();
            self.path.push(b'*');
            return Ok(());
        }
        Ok(path::normalise(raw, merge_slashes, &mut self.path)?)
    }

    /// RFC 9112 §6.3, without the guesses that it allows.
    fn read_framing(&mut self, signals: &Signals) -> Result<(), HeadError> {
        self.framing = match (signals.chunked, signals.length) {
            (true, Some(_)) => return Err(HeadError::LengthAndChunked),
            (true, None) if self.version == Version::Http10 => return Err(HeadError::CodingInHttp10),
            (false, Some(_)) if signals.length_repeated => return Err(HeadError::LengthRepeated),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Empty,
        };
        if self.method == Method::Trace && self.has_body() {
            return Err(HeadError::TraceWithBody);
        }
        Ok(())
    }

    /// RFC 9112 §9.3; RFC 9110 §7.8 and §10.1.1: Upgrade and Expect mean nothing in HTTP/1.0.
    fn read_connection(&mut self, signals: &Signals) -> Result<(), HeadError> {
        let http11 = self.version == Version::Http11;
        if http11 && signals.expect_other {
            return Err(HeadError::ExpectationUnknown);
        }
        self.keep_alive = !signals.close && (http11 || signals.keep_alive);
        self.upgrade = if http11 && signals.upgrade_listed { signals.upgrade } else { None };
        self.expect_continue = http11 && signals.expect_continue && self.has_body();
        self.te_trailers = signals.te_trailers;
        Ok(())
    }

    fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::Empty | Framing::Length(0))
    }
}

/// RFC 9112 §2.2: one empty line before the request line is skipped.
fn begin_of(bytes: &[u8]) -> Result<usize, HeadError> {
    let begin = match bytes {
        [] | [b'\r'] => return Ok(bytes.len()),
        [b'\r', b'\n', ..] => 2,
        [b'\r', ..] => return Err(HeadError::LineEndInvalid),
        _ => 0,
    };
    match bytes.get(begin) {
        Some(b'\n') => Err(HeadError::BareLf),
        Some(b'\r') => Err(HeadError::MethodInvalid),
        _ => Ok(begin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Known;
    use crate::http::head::Underscores;
    use crate::http::path::PathError;
    use crate::stdx::rng::Rng;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 512,
        fields_max: 20,
        uri_bytes_max: 64,
        underscores: Underscores::Drop,
        merge_slashes: true,
    };

    fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, RequestHead)>, HeadError> {
        let mut head = RequestHead::new();
        let len = head.parse(bytes, limits, &mut Scan::new())?;
        Ok(len.map(|len| (len, head)))
    }

    #[track_caller]
    fn accept(text: &str) -> RequestHead {
        let (len, head) = parse(text.as_bytes(), &LIMITS).expect(text).expect(text);
        assert_eq!(len, text.len(), "{text:?}");
        head
    }

    #[track_caller]
    fn refuse(text: &str, error: HeadError) {
        let result = parse(text.as_bytes(), &LIMITS).map(|complete| complete.map(|(len, _)| len));
        assert_eq!(result, Err(error), "{text:?}");
    }

    /// A request with these lines after the request line and Host.
    fn with(method: &str, fields: &str) -> String {
        format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    #[test]
    fn a_head_is_offsets_into_its_bytes() {
        let text = "POST /A/%7eb/../c?d=%zz?e HTTP/1.1\r\nhOST: Example.com:8080\r\nX-Two:  two words\t \r\nEmpty:\r\n\
                    Content-Length: 5\r\nx-two: \u{e9}\r\n\r\n";
        let head = accept(text);
        let bytes = text.as_bytes();
        assert_eq!((head.method, head.method_span.of(bytes)), (Method::Post, &b"POST"[..]));
        assert_eq!((head.version, head.target), (Version::Http11, Target::Origin));
        assert_eq!((&head.path[..], head.query.map(|span| span.of(bytes))), (&b"/A/c"[..], Some(&b"d=%zz?e"[..])));
        assert_eq!((head.authority.of(bytes), &head.host[..]), (&b"Example.com:8080"[..], &b"example.com"[..]));
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(5), true));
        let fields: Vec<_> = head.fields().iter().map(|field| (field.name.of(bytes), field.value.of(bytes))).collect();
        let expected: [(&[u8], &[u8]); 5] = [
            (b"hOST", b"Example.com:8080"),
            (b"X-Two", b"two words"),
            (b"Empty", b""),
            (b"Content-Length", b"5"),
            (b"x-two", "\u{e9}".as_bytes()),
        ];
        assert_eq!(fields, expected);
        assert_eq!(head.value(bytes, Known::ContentLength), Some(&b"5"[..]));
        assert_eq!(head.value(bytes, Known::Via), None);
    }

    #[test]
    fn a_head_ends_at_its_empty_line_and_leaves_the_rest() {
        let mut head = RequestHead::new();
        let one = "\r\nGET /one HTTP/1.1\r\nHost: a\r\nVia: b\r\n\r\n";
        let two = "GET /two HTTP/1.0\r\n\r\n";
        let pipeline = format!("{one}{two}");
        let mut scan = Scan::new();
        assert_eq!(head.parse(pipeline.as_bytes(), &LIMITS, &mut scan), Ok(Some(one.len())));
        assert_eq!((&head.path[..], head.fields().len(), head.keep_alive), (&b"/one"[..], 2, true));
        assert_eq!(head.parse(two.as_bytes(), &LIMITS, &mut scan), Ok(Some(two.len())));
        assert_eq!((&head.path[..], head.fields().len(), head.keep_alive), (&b"/two"[..], 0, false));
        assert_eq!((head.authority, &head.host[..]), (Span::EMPTY, &b""[..]));
    }

    #[test]
    fn the_first_line_is_one_method_one_target_one_version() {
        refuse("\r\n\r\nGET / HTTP/1.1\r\n", HeadError::MethodInvalid);
        refuse("\nGET / HTTP/1.1\r\n", HeadError::BareLf);
        refuse("\rGET / HTTP/1.1\r\n", HeadError::LineEndInvalid);
        refuse(" GET / HTTP/1.1\r\n", HeadError::MethodInvalid);
        refuse("\x16\x03\x01", HeadError::MethodInvalid);
        refuse("G(T / HTTP/1.1\r\n", HeadError::MethodInvalid);
        refuse("GET\r\n\r\n", HeadError::MethodInvalid);
        refuse("GET\t/ HTTP/1.1\r\n", HeadError::MethodInvalid);
        refuse("GET  / HTTP/1.1\r\n", HeadError::TargetInvalid);
        refuse("GET /\t HTTP/1.1\r\n", HeadError::TargetInvalid);
        refuse("GET / HTTP/1.1 \r\n\r\n", HeadError::LineEndInvalid);
        refuse("GET /  HTTP/1.1\r\n\r\n", HeadError::VersionInvalid);
        refuse("GET / http/1.1\r\n\r\n", HeadError::VersionInvalid);
        refuse("GET / HTTP/1.10\r\n\r\n", HeadError::LineEndInvalid);
        refuse("GET / HTTP/01.1\r\n\r\n", HeadError::VersionInvalid);
        refuse("GET / HTTP/0.9\r\n\r\n", HeadError::VersionUnsupported);
        refuse("GET / HTTP/1.2\r\n\r\n", HeadError::VersionUnsupported);
        refuse("GET /\r\n", HeadError::VersionUnsupported);
        refuse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::VersionUnsupported);
        refuse("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::MethodUnsupported);
        refuse(&with(&"M".repeat(33), ""), HeadError::MethodUnsupported);
        assert_eq!(accept(&with(&"M".repeat(32), "")).method, Method::Other);
    }

    #[test]
    fn every_line_ends_in_crlf() {
        refuse("GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::BareLf);
        refuse("GET /\nHost: a\r\n\r\n", HeadError::BareLf);
        refuse("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLf);
        refuse("GET / HTTP/1.1\r\nHost: a\nVia: b\r\n\r\n", HeadError::BareLf);
        refuse("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLf);
        refuse("GET / HTTP/1.0\n\n", HeadError::BareLf);
        refuse("GET / HTTP/1.1\r\nHost: a\n", HeadError::BareLf);
        refuse("GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::LineEndInvalid);
        refuse("GET / HTTP/1.1\r\nHost: a\rVia: b\r\n\r\n", HeadError::FieldValueInvalid);
        refuse("GET / HTTP/1.1\r\nHost: a\r\n\rx\r\n", HeadError::LineEndInvalid);
    }

    #[test]
    fn a_field_is_a_token_a_colon_and_a_value_on_one_line() {
        refuse(&with("GET", "Via : b\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", ": b\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", "V(a: b\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", "V\u{e9}a: b\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", "Via\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", "V\0a: b\r\n"), HeadError::FieldNameInvalid);
        refuse(&with("GET", "Via: b\r\n c\r\n"), HeadError::ObsFold);
        refuse("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", HeadError::ObsFold);
        for byte in (0..b' ').filter(|byte| !b"\t\r\n".contains(byte)).chain([0x7f]) {
            refuse(&with("GET", &format!("Via: b{}c\r\n", char::from(byte))), HeadError::FieldValueInvalid);
        }
        assert_eq!(accept(&with("GET", "Via: b\tc\u{e9}~\r\n")).fields().len(), 2);
    }

    #[test]
    fn a_name_with_an_underscore_is_dropped_unless_allowed_and_never_taken_for_another() {
        let text = with("POST", "Content_Length: 5\r\nX_Forwarded-For: b\r\nTransfer_Encoding: chunked\r\nX-C: _\r\n");
        let head = accept(&text);
        assert_eq!((head.framing, head.fields().len()), (Framing::Empty, 2));
        let allowed = HeadLimits { underscores: Underscores::Allow, ..LIMITS };
        let (_, head) = parse(text.as_bytes(), &allowed).expect("valid").expect("complete");
        assert_eq!((head.framing, head.fields().len()), (Framing::Empty, 2));
        assert_eq!(head.value(text.as_bytes(), Known::XForwardedFor), None);
        let text = with("GET", "X_C: 1\r\nx_user_agent: 2\r\nUser_Agent: 3\r\n");
        let (_, head) = parse(text.as_bytes(), &allowed).expect("valid").expect("complete");
        assert_eq!(head.fields().len(), 3, "Host, and those that are nobody's");
    }

    #[test]
    fn a_target_is_visible_ascii_in_a_form_that_names_a_path() {
        #[track_caller]
        fn check(method: &str, target: &str, form: Target, path: &str) {
            let head = accept(&format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((head.target, &head.path[..]), (form, path.as_bytes()), "{target}");
        }
        #[track_caller]
        fn check_refused(target: &str, error: HeadError) {
            refuse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), error);
        }
        check("GET", "//b//c/../%2F", Target::Origin, "/b/%2F");
        check("OPTIONS", "*", Target::Asterisk, "*");
        check("GET", "http://a/b/../c", Target::Absolute, "/c");
        check("GET", "http://a", Target::Absolute, "/");
        check("GET", "http://a?b", Target::Absolute, "/");
        check("OPTIONS", "http://a", Target::Absolute, "*");
        check("OPTIONS", "http://a?b", Target::Absolute, "/");
        check_refused("*", HeadError::TargetInvalid);
        check_refused("a/b", HeadError::TargetInvalid);
        check_refused("ftp://a/", HeadError::TargetInvalid);
        check_refused("http://user@a/", HeadError::HostInvalid);
        check_refused("http:///b", HeadError::HostInvalid);
        check_refused("/?\u{e9}", HeadError::TargetInvalid);
        check_refused("/?b#c", HeadError::TargetInvalid);
        check_refused("/b#c", HeadError::PathInvalid(PathError::Fragment));
        check_refused("/../b", HeadError::PathInvalid(PathError::AboveRoot));
        check_refused("/b%00", HeadError::PathInvalid(PathError::Nul));
        check_refused("/b\\c", HeadError::PathInvalid(PathError::Backslash));
        check_refused("/\u{e9}", HeadError::PathInvalid(PathError::ByteInvalid));
        check_refused("/\x7f", HeadError::TargetInvalid);
    }

    #[test]
    fn a_request_names_one_authority() {
        let head = |line: &str, host: &str| format!("GET {line}\r\n{host}\r\n");
        assert_eq!(accept(&head("/ HTTP/1.1", "Host: A.b.\r\n")).host, b"a.b");
        refuse(&head("/ HTTP/1.1", ""), HeadError::HostMissing);
        refuse(&head("http://a/ HTTP/1.1", ""), HeadError::HostMissing);
        refuse(&head("/ HTTP/1.1", "Host:\r\n"), HeadError::HostInvalid);
        refuse(&head("/ HTTP/1.0", "Host:\r\n"), HeadError::HostInvalid);
        refuse(&head("/ HTTP/1.1", "Host: a, b\r\n"), HeadError::HostInvalid);
        refuse(&head("/ HTTP/1.1", "Host: a\r\nHost: a\r\n"), HeadError::HostRepeated);
        refuse(&head("/ HTTP/1.0", "Host: a\r\nhost: b\r\n"), HeadError::HostRepeated);
        assert_eq!(accept(&head("http://b/ HTTP/1.0", "")).host, b"b");
        let text = head("http://A:80/ HTTP/1.1", "Host: a\r\n");
        assert_eq!(accept(&text).authority.of(text.as_bytes()), b"A:80");
        accept(&head("https://a/ HTTP/1.1", "Host: A.:443\r\n"));
        refuse(&head("http://a/ HTTP/1.1", "Host: b\r\n"), HeadError::AuthorityMismatch);
        refuse(&head("http://a/ HTTP/1.1", "Host: a:443\r\n"), HeadError::AuthorityMismatch);
        refuse(&head("https://a/ HTTP/1.1", "Host: a:80\r\n"), HeadError::AuthorityMismatch);
    }

    #[test]
    fn a_body_has_one_framing() {
        #[track_caller]
        fn check(fields: &str, framing: Framing) {
            assert_eq!(accept(&with("GET", fields)).framing, framing, "{fields:?}");
        }
        #[track_caller]
        fn check_refused(fields: &str, error: HeadError) {
            refuse(&with("POST", fields), error);
        }
        check("", Framing::Empty);
        check("Content-Length: 0\r\n", Framing::Length(0));
        check("content-length:\t 003 \t\r\n", Framing::Length(3));
        check("Transfer-Encoding: \tCHUNKED \r\n", Framing::Chunked);
        check_refused("Content-Length:\r\n", HeadError::LengthInvalid);
        check_refused("Content-Length: +5\r\n", HeadError::LengthInvalid);
        check_refused("Content-Length: 5, 5\r\n", HeadError::LengthInvalid);
        check_refused("Content-Length: 18446744073709551616\r\n", HeadError::LengthInvalid);
        check_refused("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::LengthRepeated);
        check_refused("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::LengthRepeated);
        check_refused("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::LengthAndChunked);
        check_refused("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::LengthAndChunked);
        check_refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadError::CodingMisplaced);
        check_refused("Transfer-Encoding: identity\r\n", HeadError::CodingMisplaced);
        check_refused("Transfer-Encoding: gzip, chunked\r\n", HeadError::CodingUnsupported);
        check_refused("Transfer-Encoding:\r\n", HeadError::CodingInvalid);
        refuse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::CodingInHttp10);
        refuse(&with("TRACE", "Content-Length: 5\r\n"), HeadError::TraceWithBody);
        refuse(&with("TRACE", "Transfer-Encoding: chunked\r\n"), HeadError::TraceWithBody);
        accept(&with("TRACE", "Content-Length: 0\r\n"));
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_options_say() {
        #[track_caller]
        fn check(version: &str, connection: &str, keep_alive: bool) {
            let head = accept(&format!("GET / {version}\r\nHost: a\r\n{connection}\r\n"));
            assert_eq!(head.keep_alive, keep_alive, "{version} {connection:?}");
        }
        check("HTTP/1.1", "", true);
        check("HTTP/1.1", "Connection: Close\r\n", false);
        check("HTTP/1.1", "Connection: a, ,close\r\n", false);
        check("HTTP/1.1", "Connection: closed\r\n", true);
        check("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false);
        check("HTTP/1.0", "", false);
        check("HTTP/1.0", "Connection: Keep-Alive\r\n", true);
        check("HTTP/1.0", "Connection: keep-alive, close\r\n", false);
        check("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false);
    }

    #[test]
    fn connection_lists_fields_of_this_hop_and_not_too_many() {
        let text = with("GET", "Connection: close, X-A ,x-b\r\nConnection: TE\r\n");
        let head = accept(&text);
        let lists = |name: &[u8]| head.connection_lists(text.as_bytes(), name);
        assert!(lists(b"x-a") && lists(b"X-B") && lists(b"te"));
        assert!(!lists(b"close") && !lists(b"x") && !lists(b""));
        accept(&with("GET", &format!("Connection: close{}\r\n", ",a".repeat(16))));
        let many = with("GET", &format!("Connection: close{}\r\n", ",a".repeat(17)));
        refuse(&many, HeadError::TooManyConnectionOptions);
    }

    #[test]
    fn upgrade_expect_and_te_count_only_where_they_mean_something() {
        let text = with("GET", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
        assert_eq!(accept(&text).upgrade.map(|span| span.of(text.as_bytes())), Some(&b"websocket"[..]));
        assert_eq!(accept(&with("GET", "Upgrade: websocket\r\n")).upgrade, None);
        assert_eq!(accept(&with("GET", "Connection: upgrade\r\n")).upgrade, None);
        assert_eq!(accept(&text.replace("HTTP/1.1", "HTTP/1.0")).upgrade, None);

        let text = with("POST", "Expect: 100-Continue\r\nContent-Length: 5\r\n");
        assert!(accept(&text).expect_continue);
        assert!(!accept(&text.replace("HTTP/1.1", "HTTP/1.0")).expect_continue);
        assert!(!accept(&text.replace(": 5", ": 0")).expect_continue);
        refuse(&with("POST", "Expect: 200-ok\r\n"), HeadError::ExpectationUnknown);
        refuse(&with("POST", "Expect: 100-continue\r\nExpect:\r\n"), HeadError::ExpectationUnknown);
        assert!(!accept("POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n").expect_continue);

        assert!(accept(&with("GET", "TE: gzip, Trailers\r\n")).te_trailers);
        assert!(!accept(&with("GET", "TE: trailers;q=0, trailersx\r\n")).te_trailers);
    }

    #[test]
    fn bytes_fields_and_targets_are_bounded() {
        let uri = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
        accept(&uri(64));
        refuse(&uri(65), HeadError::UriTooLong);
        refuse(&format!("GET /{}", "a".repeat(108)), HeadError::UriTooLong);
        assert!(matches!(parse(format!("GET /{}", "a".repeat(60)).as_bytes(), &LIMITS), Ok(None)));

        let head = |len: usize| with("GET", &format!("X: {}\r\n", "a".repeat(len - 32)));
        assert_eq!(head(512).len(), 512);
        accept(&head(512));
        refuse(&head(513), HeadError::HeadTooLarge);
        refuse(&head(600)[..512], HeadError::HeadTooLarge);
        assert!(matches!(parse(&head(600).as_bytes()[..511], &LIMITS), Ok(None)));
        let unlimited = HeadLimits { head_bytes_max: usize::MAX, ..LIMITS };
        assert!(matches!(parse(head(65_535).as_bytes(), &unlimited), Ok(Some((65_535, _)))));
        assert!(matches!(parse(head(65_536).as_bytes(), &unlimited), Err(HeadError::HeadTooLarge)));

        accept(&with("GET", &"a: b\r\n".repeat(19)));
        refuse(&with("GET", &"a: b\r\n".repeat(20)), HeadError::TooManyFields);
        let many = HeadLimits { fields_max: usize::MAX, head_bytes_max: usize::MAX, ..LIMITS };
        assert!(matches!(parse(with("GET", &"a: b\r\n".repeat(255)).as_bytes(), &many), Ok(Some(_))));
        assert!(matches!(parse(with("GET", &"a: b\r\n".repeat(256)).as_bytes(), &many), Err(HeadError::TooManyFields)));
    }

    #[test]
    fn a_head_that_arrives_in_pieces_is_judged_as_one_that_arrives_whole() {
        let lines =
            ["Host: a\r\n", "Content-Length: 5\r\n", "Via: b\r\n", "X_Y: z\r\n", "Connection: close\r\n", "A: b\n"];
        let (mut rng, mut complete, mut refused) = (Rng::new(9), 0, 0);
        for _ in 0..3_000 {
            let mut text = ["", "\r\n"][rng.below(2) as usize].to_owned() + "GET /a?b HTTP/1.1\r\nHost: a\r\n";
            for _ in 0..rng.below(4) {
                let kinds = if rng.chance(50) { 6 } else { 5 };
                text.push_str(lines[rng.below(kinds) as usize]);
            }
            let mut bytes = (text + "\r\nrest").into_bytes();
            if rng.chance(300) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = b"\r\n :\0a"[rng.below(6) as usize];
            }
            let whole = parse(&bytes, &LIMITS).map(|found| found.map(|(len, _)| len));
            let (mut head, mut scan) = (RequestHead::new(), Scan::new());
            let mut feed = |len: usize| head.parse(&bytes[..len], &LIMITS, &mut scan);
            let pieces = (0..=bytes.len()).map(&mut feed).find(|result| *result != Ok(None)).unwrap_or(Ok(None));
            match (whole, pieces) {
                (Err(_), Err(_)) => refused += 1,
                // What a whole head is refused for may wait for its end when it comes in pieces.
                (Err(_), Ok(None)) => assert!(!bytes.windows(4).any(|window| window == b"\r\n\r\n")),
                (Ok(whole), Ok(pieces)) => {
                    assert_eq!(whole, pieces, "{}", bytes.escape_ascii());
                    complete += usize::from(whole.is_some());
                }
                _ => panic!("{whole:?} at once, {pieces:?} byte by byte: {}", bytes.escape_ascii()),
            }
        }
        assert!(complete > 500 && refused > 500, "both kinds must occur: {complete} {refused}");
    }
}
