//! HTTP/1 (RFC 9112) on the wire: bytes to heads and payload, and the few bytes of framing that we write.

pub(super) mod chunked;
pub mod encode;
mod fields;
pub mod request;
pub mod response;
pub mod scan;
mod trailers;

pub use scan::Scan;

use super::error::HeadError;

/// Tells apart what httparse does not: `text` holds a line that it refused.
#[cold]
fn line_refusal(text: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderName if has_fold(text) => HeadError::ObsFold,
        httparse::Error::HeaderName => HeadError::FieldNameInvalid,
        httparse::Error::HeaderValue => HeadError::FieldValueInvalid,
        httparse::Error::Status => HeadError::StatusInvalid,
        httparse::Error::NewLine | httparse::Error::Token | httparse::Error::Version => HeadError::LineEndInvalid,
    }
}

/// A field line that begins with whitespace, before the head's end (RFC 9112 §5.2).
fn has_fold(text: &[u8]) -> bool {
    let end = memchr::memmem::find(text, b"\r\n\r\n").unwrap_or(text.len());
    text[..end].windows(3).any(|window| matches!(window, [b'\r', b'\n', b' ' | b'\t']))
}

/// `text` begins with a version that is not HTTP/1.0 or HTTP/1.1, or not followed by what must follow.
#[cold]
fn version_refusal(text: &[u8]) -> HeadError {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r' | b' ', ..]
            if major.is_ascii_digit() && minor.is_ascii_digit() && (*major != b'1' || *minor > b'1') =>
        {
            HeadError::VersionUnsupported
        }
        _ => HeadError::VersionInvalid,
    }
}
