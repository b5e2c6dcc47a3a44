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
pub struct FieldName {
    text: Cow<'static, str>,
    marks: Marks,
}

/// Names that are written together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldNames {
    names: Box<[FieldName]>,
    marks: Marks,
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
        fits.then(|| Self { text: text.to_owned().into(), marks: Marks::of(text.as_bytes()) })
    }

    /// A name of ours, which is one.
    pub const fn fixed(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), marks: Marks::of(text.as_bytes()) }
    }

    /// As it is written out.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    #[inline]
    pub fn is(&self, name: &[u8]) -> bool {
        let own = self.text.as_bytes();
        // Names of one length rarely end alike.
        name.len() == own.len() && lasting(name) == lasting(own) && same(name, own)
    }

    /// The gateway writes this header itself or decides by it, so that no policy may touch it.
    pub fn is_the_gateways(&self) -> bool {
        !matches!(
            Known::of(&self.text.bytes().map(fold).collect::<Vec<_>>()),
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

fn same(name: &[u8], other: &[u8]) -> bool {
    name == other || name.iter().zip(other).all(|(a, b)| fold(*a) == fold(*b))
}

const fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// What the last letter of a name has in all of its forms.
const fn lasting(name: &[u8]) -> u8 {
    if let [.., last] = name { *last & ANY_FORM } else { 0 }
}

/// Bits for some names: most of what is looked for is not there, and nearly always these say so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Marks {
    /// Of how long each is, which is seen at once.
    pub(super) lengths: u64,
    /// Of that and its last letter.
    pub(super) names: u64,
}

impl FieldNames {
    pub fn new(names: impl IntoIterator<Item = FieldName>) -> Self {
        let names: Box<[FieldName]> = names.into_iter().collect();
        let mut marks = Marks::default();
        names.iter().for_each(|name| marks.add(name.marks));
        Self { names, marks }
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &FieldName> {
        self.names.iter()
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
    }
}

impl Marks {
    const fn of(name: &[u8]) -> Self {
        let length = name.len() as u64;
        Self { lengths: Self::of_length(length), names: Self::of_length(length ^ (lasting(name) << 2) as u64) }
    }

    /// Lengths that differ by a multiple of 64 are not told apart.
    pub(super) const fn of_length(length: u64) -> u64 {
        1 << (length % 64)
    }

    fn add(&mut self, others: Self) {
        self.lengths |= others.lengths;
        self.names |= others.names;
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

/// The bits that [`fold`] changes of no byte.
const ANY_FORM: u8 = 0b1101;
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
            assert_eq!(Marks::of(same.as_bytes()), name.marks(), "{same}");
        }
        assert!((0..=u8::MAX).all(|byte| byte & ANY_FORM == fold(byte) & ANY_FORM));
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
