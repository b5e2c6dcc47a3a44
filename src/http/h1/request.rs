//! Reads a request head (RFC 9112 §3).

use std::mem::MaybeUninit;

use super::Scan;
use super::fields::{self, Signals, is_token_byte};
use crate::http::authority::Authority;
use crate::http::body::Framing;
use crate::http::field::Span;
use crate::http::head::{FIELDS_MAX, HEAD_BYTES_MAX, HeadError, HeadLimits, Method, RequestHead, Target, Version};
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
        if result != Ok(None) {
            *scan = Scan::new();
        }
        result
    }

    fn parse_on(&mut self, bytes: &[u8], limits: &HeadLimits, scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        let head_bytes_max = limits.head_bytes_max.min(HEAD_BYTES_MAX);
        let window = &bytes[..bytes.len().min(head_bytes_max)];
        let begin = begin_of(window)?;
        if begin < window.len() {
            // Most heads arrive whole: only what did not is looked at line by line.
            if scan.is_fresh() || scan.advance(window, begin)? {
                let complete = self.read(window, begin, limits)?;
                if complete.is_some() {
                    return Ok(complete);
                }
                scan.advance(window, begin)?;
            }
            let line_bytes_max = METHOD_BYTES_MAX.saturating_add(limits.uri_bytes_max).saturating_add(LINE_REST);
            if scan.is_in_first_line(begin) && window.len() - begin > line_bytes_max {
                return Err(HeadError::UriTooLong);
            }
        }
        if bytes.len() >= head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(None) }
    }

    fn read(&mut self, bytes: &[u8], begin: usize, limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut []);
        let text = &bytes[begin..];
        let len = match parsed.parse_with_uninit_headers(text, &mut room[..limits.fields_max.min(FIELDS_MAX)]) {
            Ok(httparse::Status::Complete(len)) => begin + len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(refusal(text, error)),
        };
        let bytes = &bytes[..len];
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Ok(None);
        };
        self.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        self.read_method(bytes, method.as_bytes())?;
        if target.len() > limits.uri_bytes_max {
            return Err(HeadError::UriTooLong);
        }
        let signals = fields::read(&mut self.table, bytes, parsed.headers, limits.underscores)?;
        let parts = Parts::of(target.as_bytes(), Span::within(bytes, target.as_bytes()).start(), self.method)?;
        self.read_authority(bytes, &parts, &signals)?;
        self.read_path(bytes, &parts, limits.merge_slashes)?;
        self.read_framing(&signals)?;
        self.read_connection(&signals)?;
        Ok(Some(len))
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

/// Tells apart what httparse does not.
#[cold]
fn refusal(text: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::Token | httparse::Error::Version => first_line_refusal(text),
        other => super::line_refusal(text, other),
    }
}

fn first_line_refusal(text: &[u8]) -> HeadError {
    let method_len = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    let Some(target) = text[method_len..].strip_prefix(b" ").filter(|_| method_len > 0) else {
        return HeadError::MethodInvalid;
    };
    match target.iter().position(|byte| b" \r\n".contains(byte)) {
        Some(len) if len > 0 && target[len] == b' ' => super::version_refusal(&target[len + 1..]),
        // `GET /path` and nothing else is HTTP/0.9.
        Some(len) if len > 0 && target[len..].starts_with(b"\r\n") => HeadError::VersionUnsupported,
        Some(len) if target[len] == b'\n' => HeadError::BareLf,
        _ => HeadError::TargetInvalid,
    }
}
