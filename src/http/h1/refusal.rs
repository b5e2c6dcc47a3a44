//! Why reading a head stopped: off the path that heads take which are complete and valid.

use super::reader::Stop;
use crate::http::error::HeadError;

/// `rest` begins where a request target ended, and not with the space after one.
#[cold]
pub(super) fn target(target: &[u8], rest: &[u8]) -> Stop {
    Stop::Refused(match rest {
        [] => return Stop::Incomplete,
        [b'\n', ..] => HeadError::BareLf,
        [b'\r'] if !target.is_empty() => return Stop::Incomplete,
        // `GET /path` and nothing else is HTTP/0.9.
        [b'\r', b'\n', ..] if !target.is_empty() => HeadError::VersionUnsupported,
        _ => HeadError::TargetInvalid,
    })
}

/// `rest` does not begin with `HTTP/1.1` or `HTTP/1.0`.
#[cold]
pub(super) fn version(rest: &[u8]) -> Stop {
    if !has_form(rest, b"HTTP/0.0") {
        return Stop::Refused(HeadError::VersionInvalid);
    }
    match rest.get("HTTP/1.1".len()) {
        None if rest.len() < "HTTP/1.1".len() => Stop::Incomplete,
        None | Some(b'\r' | b'\n' | b' ') => Stop::Refused(HeadError::VersionUnsupported),
        Some(_) => Stop::Refused(HeadError::VersionInvalid),
    }
}

/// `rest`, what follows the version, does not begin with a status from 100 to 599 and the end of a word.
#[cold]
pub(super) fn status(rest: &[u8]) -> Stop {
    match rest.get(" 200".len()) {
        _ if !has_form(rest, b" ") => Stop::Refused(HeadError::VersionInvalid),
        _ if !has_form(rest, b" 000") => Stop::Refused(HeadError::StatusInvalid),
        None => Stop::Incomplete,
        Some(b'\n') => Stop::Refused(HeadError::BareLf),
        Some(_) => Stop::Refused(HeadError::StatusInvalid),
    }
}

/// `rest` begins where a name ended, and with neither its colon nor the empty line.
#[cold]
pub(super) fn name(name: &[u8], rest: &[u8]) -> Stop {
    Stop::Refused(match rest {
        [] => return Stop::Incomplete,
        [b'\r'] if name.is_empty() => return Stop::Incomplete,
        [b'\n', ..] => HeadError::BareLf,
        [b'\r', ..] if name.is_empty() => HeadError::LineEndInvalid,
        // RFC 9112 §5.2: whitespace where a line begins continues the line before.
        [b' ' | b'\t', ..] if name.is_empty() => HeadError::ObsFold,
        _ => HeadError::FieldNameInvalid,
    })
}

/// `rest` begins with a byte that no text holds, or is empty, and does not begin with CRLF.
#[cold]
pub(super) fn text(rest: &[u8], invalid: HeadError) -> Stop {
    match rest {
        [] | [b'\r'] => Stop::Incomplete,
        [b'\n', ..] => Stop::Refused(HeadError::BareLf),
        _ => Stop::Refused(invalid),
    }
}

/// Whether `text` is like `form` as far as both go; a `0` stands for any digit.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.iter().zip(form).all(|(byte, like)| byte == like || (*like == b'0' && byte.is_ascii_digit()))
}
