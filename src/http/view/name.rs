//! Names and values that an operator gives: checked when the file is read, so that nothing has to be when they are
//! sent.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer};

use super::query;
use crate::http::field::Known;
use crate::stdx::parsed::parsed;

/// A header's name. Names are the same in any case, and with `_` for `-`: many programs cannot tell those apart, and
/// what one of them would take for the name must not slip past a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldName(Cow<'static, str>);

/// Names that are written together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldNames {
    names: Box<[FieldName]>,
    lengths: Lengths,
}

/// A header's value: no control bytes, no space around it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldValue(Box<str>);

/// The name of an argument in a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArgumentName {
    text: Box<str>,
    encoded: Box<[u8]>,
}

impl FieldName {
    pub fn new(text: &str) -> Option<Self> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_token);
        fits.then(|| Self(text.to_owned().into()))
    }

    /// A name of ours, which is one.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// As it is written out.
    pub fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn lengths(&self) -> Lengths {
        Lengths::of(self.0.len())
    }

    pub fn is(&self, name: &[u8]) -> bool {
        let own = self.0.as_bytes();
        name.len() == own.len() && (name == own || name.iter().zip(own).all(|(a, b)| fold(*a) == fold(*b)))
    }

    /// The gateway writes this header itself or decides by it, so that no policy may touch it.
    pub fn is_the_gateways(&self) -> bool {
        !matches!(
            Known::of(&self.0.bytes().map(fold).collect::<Vec<_>>()),
            Known::Other
                | Known::Authorization
                | Known::Cookie
                | Known::Date
                | Known::UserAgent
                | Known::Referer
                | Known::XRealIp
        )
    }
}

const fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// How long some names are: most of what is looked for is not there, and nearly always this says so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Lengths(u64);

impl FieldNames {
    pub fn new(names: impl IntoIterator<Item = FieldName>) -> Self {
        let names: Box<[FieldName]> = names.into_iter().collect();
        let mut lengths = Lengths::default();
        names.iter().for_each(|name| lengths.join(name.lengths()));
        Self { names, lengths }
    }

    pub fn iter(&self) -> impl Iterator<Item = &FieldName> {
        self.names.iter()
    }

    pub(super) fn lengths(&self) -> Lengths {
        self.lengths
    }
}

impl Lengths {
    /// Of one name. Lengths that differ by a multiple of 64 are not told apart.
    pub(super) fn of(len: usize) -> Self {
        Self(1 << (len % u64::BITS as usize))
    }

    pub(super) fn insert(&mut self, len: usize) {
        self.join(Self::of(len));
    }

    pub(super) fn join(&mut self, Self(others): Self) {
        self.0 |= others;
    }

    /// Whether one of the others is among them.
    pub(super) fn have(self, Self(others): Self) -> bool {
        self.0 & others != 0
    }
}

impl FieldValue {
    pub fn new(text: &str) -> Option<Self> {
        let is_visible = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
        let fits = text.len() <= VALUE_BYTES_MAX && text.bytes().all(is_visible) && text.trim() == text;
        fits.then(|| Self(text.into()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl ArgumentName {
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        fits.then(|| Self { text: text.into(), encoded: Self::encode(text) })
    }

    /// A name or a value as it may stand in a query.
    pub fn encode(text: &str) -> Box<[u8]> {
        query::encoded(text.as_bytes())
    }

    /// As it stands in a query that we write.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Whether `sent`, percent-encoded in whichever way, is this name.
    pub fn is(&self, sent: &[u8]) -> bool {
        query::decoded(sent).eq(self.text.bytes())
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a header's name", Self::new)
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a header's value, without line ends or spaces around it", Self::new)
    }
}

impl<'de> Deserialize<'de> for ArgumentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "the name of an argument of the query, not percent-encoded", Self::new)
    }
}

/// No name that means something is longer.
const NAME_BYTES_MAX: usize = 128;
/// Of a value that an operator writes.
const VALUE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_any_case_and_with_underscores() {
        let name = FieldName::new("X-User-Role").unwrap();
        for same in ["X-User-Role", "x-user-role", "X_User-ROLE"] {
            assert!(name.is(same.as_bytes()), "{same}");
        }
        for other in ["X-User-Rol", "X-User-Roles", "X-User.Role", "XXUser-Role", ""] {
            assert!(!name.is(other.as_bytes()), "{other}");
        }
        assert_eq!(name.text(), "X-User-Role");
    }

    #[test]
    fn only_tokens_are_names_and_only_one_line_is_a_value() {
        for text in ["", "a b", "a:", "a\r\nb", "\u{e9}", &"a".repeat(129)] {
            assert_eq!(FieldName::new(text), None, "{text:?}");
        }
        for text in ["a\r\nb: c", "a\n", "\0", "\x7f", " a", "a "] {
            assert_eq!(FieldValue::new(text), None, "{text:?}");
        }
        for text in ["", "a b", "max-age=1; x", "caf\u{e9}", "a\tb"] {
            assert_eq!(FieldValue::new(text).map(|value| value.text().to_owned()), Some(text.to_owned()));
        }
    }

    #[test]
    fn what_frames_or_routes_a_message_is_no_policys() {
        for name in ["Content-Length", "transfer_encoding", "Connection", "Host", "X-Forwarded-For", "Via", "Expect"] {
            assert!(FieldName::new(name).unwrap().is_the_gateways(), "{name}");
        }
        for name in ["X-Role", "Authorization", "Cookie", "Server", "X-Forwarded-Prefix"] {
            assert!(!FieldName::new(name).unwrap().is_the_gateways(), "{name}");
        }
    }

    #[test]
    fn an_argument_is_found_however_it_is_encoded() {
        let name = ArgumentName::new("a b").unwrap();
        assert_eq!(name.encoded(), b"a%20b");
        for same in ["a b", "a+b", "a%20b", "%61%20%62", "%61+b"] {
            assert!(name.is(same.as_bytes()), "{same}");
        }
        for other in ["a", "a%2", "a%2520b", "A+b", "a%20bc", ""] {
            assert!(!name.is(other.as_bytes()), "{other}");
        }
    }
}
