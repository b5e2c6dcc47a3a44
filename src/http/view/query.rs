//! Queries as lists of arguments: `a=1&b=2`, names compared as their decoded bytes.

use super::edits::{Edits, TEXT_BYTES_MAX};
use super::{ArgumentName, RequestView};
use crate::http::path::hex_value;

impl RequestView<'_> {
    /// What follows the `?`, edited.
    pub fn query(&self) -> Option<&[u8]> {
        match &self.headers.edits.query {
            Some(query) => Some(query).filter(|query| !query.is_empty()).map(Vec::as_slice),
            None => self.head.query.map(|query| query.of(self.bytes)),
        }
    }

    /// Each value of the argument, as sent.
    pub fn argument<'b>(&'b self, name: &'b ArgumentName) -> impl Iterator<Item = &'b [u8]> {
        let pairs = self.query().unwrap_or_default().split(|byte| *byte == b'&');
        pairs.map(pair).filter(|(sent, _)| name.is(sent)).map(|(_, value)| value)
    }

    pub fn has_argument(&self, name: &ArgumentName) -> bool {
        self.argument(name).next().is_some()
    }

    pub fn remove_argument(&mut self, name: &ArgumentName) {
        if self.has_argument(name) {
            self.rewrite(|sent, _, _| !name.is(sent));
        }
    }

    /// Gives the argument another name.
    pub fn rename_argument(&mut self, from: &ArgumentName, to: &ArgumentName) {
        if self.has_argument(from) {
            self.rewrite(|sent, value, out| {
                let is_it = from.is(sent);
                if is_it {
                    push_pair(out, to.encoded(), value);
                }
                !is_it
            });
        }
    }

    /// The argument has this value, percent-encoded, and no other.
    pub fn set_argument(&mut self, name: &ArgumentName, value: &[u8]) {
        self.remove_argument(name);
        self.add_argument(name, value);
    }

    /// One more value, percent-encoded.
    pub fn add_argument(&mut self, name: &ArgumentName, value: &[u8]) {
        self.rewrite(|_, _, _| true);
        let Edits { query: Some(query), overflowed, .. } = &mut *self.headers.edits else { return };
        push_pair(query, name.encoded(), value);
        *overflowed |= query.len() > TEXT_BYTES_MAX;
    }

    /// Makes the query anew of those arguments for which `keep` is true, and of what it pushes.
    fn rewrite(&mut self, mut keep: impl FnMut(&[u8], &[u8], &mut Vec<u8>) -> bool) {
        let Edits { query, query_spare: spare, overflowed, .. } = &mut *self.headers.edits;
        spare.clear();
        let old = match query {
            Some(query) => query,
            None => self.head.query.map_or(&[][..], |query| query.of(self.bytes)),
        };
        for argument in old.split(|byte| *byte == b'&').filter(|argument| !argument.is_empty()) {
            let (name, value) = pair(argument);
            if keep(name, value, spare) {
                separate(spare);
                spare.extend_from_slice(argument);
            }
        }
        *overflowed |= spare.len() > TEXT_BYTES_MAX;
        let made = std::mem::replace(spare, query.take().unwrap_or_default());
        *query = Some(made);
    }
}

/// The query for others to read: arguments of these names have no value. `out` is memory for that.
pub fn without_values<'a>(query: &'a [u8], names: &[ArgumentName], out: &'a mut Vec<u8>) -> &'a [u8] {
    let arguments = || query.split(|byte| *byte == b'&');
    let is_secret = |argument: &[u8]| names.iter().any(|name| name.is(pair(argument).0));
    if names.is_empty() || !arguments().any(is_secret) {
        return query;
    }
    out.clear();
    for argument in arguments() {
        if !out.is_empty() {
            out.push(b'&');
        }
        let shown = if is_secret(argument) { &argument[..argument.len() - pair(argument).1.len()] } else { argument };
        out.extend_from_slice(shown);
    }
    out
}

fn pair(argument: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', argument) {
        Some(at) => (&argument[..at], &argument[at + 1..]),
        None => (argument, &[]),
    }
}

fn push_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    separate(out);
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
}

fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'&');
    }
}

/// The bytes that a name stands for, as HTML forms encode them: a triplet that is none stands for itself.
pub(super) fn decoded(sent: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = sent;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => byte,
            },
            _ => byte,
        })
    })
}

/// The bytes as they may stand in any query (RFC 3986 §2.3).
pub(super) fn encoded(bytes: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_value_for_others_however_its_name_is_sent() {
        let names = ["key", "a b"].map(|name| ArgumentName::new(name).unwrap());
        for (query, want) in [
            ("", ""),
            ("a=1&keys=2&b", "a=1&keys=2&b"),
            ("key=s", "key="),
            ("key", "key"),
            ("a=1&k%65y=s=t&&b=2&a+b=s", "a=1&k%65y=&&b=2&a+b="),
            ("&key=s", "key="),
        ] {
            let mut out = b"from before".to_vec();
            let got = without_values(query.as_bytes(), &names, &mut out);
            assert_eq!(std::str::from_utf8(got), Ok(want), "{query}");
            assert_eq!(without_values(query.as_bytes(), &[], &mut Vec::new()), query.as_bytes());
        }
    }
}
