//! Reads a response head (RFC 9112 §4).

use std::mem::MaybeUninit;

use super::Scan;
use super::fields;
use crate::http::field::Span;
use crate::http::head::{FIELDS_MAX, HEAD_BYTES_MAX, HeadError, HeadLimits, ResponseHead, Underscores, Version};

/// Where the reason of `HTTP/1.1 200 OK` begins.
const REASON_START: usize = "HTTP/1.1 200 ".len();

impl ResponseHead {
    /// As [`RequestHead::parse`](crate::http::head::RequestHead::parse); of the limits, those on bytes and fields hold.
    /// No field is dropped for its name.
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
        match window.first() {
            None => return Ok(None),
            // httparse would skip empty lines.
            Some(b'H') => {}
            Some(_) => return Err(HeadError::VersionInvalid),
        }
        if scan.is_fresh() || scan.advance(window, 0)? {
            let complete = self.read(window, limits)?;
            if complete.is_some() {
                return Ok(complete);
            }
            scan.advance(window, 0)?;
        }
        if bytes.len() >= head_bytes_max { Err(HeadError::HeadTooLarge) } else { Ok(None) }
    }

    fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let room = &mut room[..limits.fields_max.min(FIELDS_MAX)];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, room) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::Version) => return Err(super::version_refusal(bytes)),
            Err(error) => return Err(super::line_refusal(bytes, error)),
        };
        let bytes = &bytes[..len];
        let (Some(minor), Some(status)) = (parsed.version, parsed.code) else { return Ok(None) };
        if !(100..=599).contains(&status) {
            return Err(HeadError::StatusInvalid);
        }
        let signals = fields::read(&mut self.table, bytes, parsed.headers, Underscores::Allow)?;
        self.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        self.status = status;
        // Lines end in CRLF, as the pass over the fields has seen; the reason may be missing with its space.
        let line_end =
            parsed.headers.first().map_or(len - 2, |first| Span::within(bytes, first.name.as_bytes()).start()) - 2;
        let reason_start = REASON_START.min(line_end);
        self.reason = Span::new(reason_start, line_end - reason_start);
        self.keep_alive = !signals.close && (self.version == Version::Http11 || signals.keep_alive);
        self.upgrade = signals.upgrade_listed && signals.upgrade.is_some();
        self.length = signals.length;
        self.chunked = signals.chunked;
        Ok(Some(len))
    }
}
