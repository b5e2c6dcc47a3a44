//! The user name and the password of a request (RFC 7617 §2), read so that no two readers could differ.

use super::Refusal;
use crate::http::view::{FieldName, RequestView};
use crate::stdx::base64::{self, Alphabet, Form};
use std::fmt;

/// Both, overwritten when they are of no use any more.
pub struct Credentials {
    text: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// The request's. Of two lines of the header, which a service behind would take is not for a gateway to guess.
    pub fn of(request: &RequestView<'_>) -> Result<Self, Refusal> {
        let name = AUTHORIZATION;
        let mut values = request.headers.values(&name);
        let value = values.next().ok_or(Refusal::Missing)?;
        if values.next().is_some() {
            return Err(Refusal::Several);
        }
        let digits = digits(value).ok_or(Refusal::Missing)?;
        if digits.is_empty() || digits.len() > TEXT_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        // RFC 4648 §4: groups of four, of which the last may end in one or two `=`.
        let bare = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
        let mut this = Self { text: Vec::new(), colon: 0 };
        let decoded = base64::decode(Alphabet::Standard, Form::Canonical, bare, &mut this.text);
        if digits.len() % 4 != 0 || decoded.is_err() {
            return Err(Refusal::Malformed);
        }
        let text = std::str::from_utf8(&this.text).map_err(|_| Refusal::Malformed)?;
        this.colon = text.find(':').ok_or(Refusal::Malformed)?;
        if this.colon == 0 || text.chars().any(char::is_control) {
            return Err(Refusal::Malformed);
        }
        Ok(this)
    }

    pub fn username(&self) -> &str {
        std::str::from_utf8(&self.text[..self.colon]).expect("it was read as UTF-8")
    }

    /// Whatever follows the first colon.
    pub fn password(&self) -> &[u8] {
        &self.text[self.colon + 1..]
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.text.fill(0);
        std::hint::black_box(&self.text);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// What follows the scheme, which has no case; `None` if it is another one.
fn digits(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BASIC.len())?;
    match rest {
        _ if !scheme.eq_ignore_ascii_case(BASIC) => None,
        [] => Some(rest),
        [b' ', rest @ ..] => Some(rest.trim_ascii_start()),
        _ => None,
    }
}

pub const AUTHORIZATION: FieldName = FieldName::fixed("Authorization");
const BASIC: &[u8] = b"Basic";
/// A user name of 128 bytes and a password of a kibibyte and a half, in Base64.
const TEXT_BYTES_MAX: usize = 2 << 10;
