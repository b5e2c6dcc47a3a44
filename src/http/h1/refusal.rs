//! Why httparse refused a head: it names fewer causes than we answer with different statuses.

use super::fields::is_token_byte;
use crate::http::error::HeadError;

/// `text` begins with a request line.
#[cold]
pub(super) fn request_refusal(text: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::Token => method_or_target_refusal(text),
        httparse::Error::Version => {
            // Method and target were taken: the version follows the second space.
            version_refusal(text.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or(text))
        }
        other => line_refusal(text, other),
    }
}

/// `text` begins with a status line.
#[cold]
pub(super) fn response_refusal(text: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::Version => version_refusal(text),
        httparse::Error::Status
            if matches!(text, [_, _, _, _, _, _, _, _, _, b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..]) =>
        {
            HeadError::ReasonInvalid
        }
        other => line_refusal(text, other),
    }
}

fn method_or_target_refusal(text: &[u8]) -> HeadError {
    let method_len = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    let Some(target) = text[method_len..].strip_prefix(b" ").filter(|_| method_len > 0) else {
        return HeadError::MethodInvalid;
    };
    match target.iter().position(|byte| b" \r\n".contains(byte)) {
        // `GET /path` and nothing else is HTTP/0.9.
        Some(len) if len > 0 && target[len..].starts_with(b"\r\n") => HeadError::VersionUnsupported,
        Some(len) if target[len] == b'\n' => HeadError::BareLf,
        _ => HeadError::TargetInvalid,
    }
}

/// `text` begins with a version that is not HTTP/1.0 or HTTP/1.1, or not followed by what must follow.
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
