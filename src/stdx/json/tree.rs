//! A text as a tree, opened only where edits lead: what they do not name stays one piece of text.

use super::Malformed;
use super::scan::{skip_space, skip_string, skip_value};
use std::borrow::Cow;

/// The names that edits know, by which members are told apart from the rest.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Names(Vec<Name>);

#[derive(Debug, Eq, PartialEq)]
struct Name {
    text: Box<str>,
    quoted: Box<[u8]>,
}

/// A value.
#[derive(Debug)]
pub enum Node<'a> {
    Text(&'a [u8]),
    Object(Vec<Part<'a>>),
    Array(Vec<Node<'a>>),
}

/// A part of an object.
#[derive(Debug)]
pub enum Part<'a> {
    /// Members that no edit names, as they stand, without what separates them from others.
    Others(&'a [u8]),
    Member {
        /// Its place among the names.
        name: usize,
        /// As it is written.
        key: &'a [u8],
        value: Node<'a>,
    },
}

impl Names {
    pub fn new(mut names: Vec<&str>) -> Self {
        names.sort_unstable();
        names.dedup();
        let name = |text: &str| Name { text: text.into(), quoted: super::path::quoted(text) };
        Self(names.into_iter().map(name).collect())
    }

    pub fn find(&self, text: &[u8]) -> Option<usize> {
        self.0.binary_search_by(|name| name.text.as_bytes().cmp(text)).ok()
    }

    /// As we would write it.
    pub fn quoted(&self, name: usize) -> &[u8] {
        &self.0[name].quoted
    }
}

impl<'a> Node<'a> {
    /// Opens an object or an array that has not been opened. `left` is how many more members and elements may be met.
    pub fn open(&mut self, names: &Names, left: &mut usize) -> Result<(), Malformed> {
        let Self::Text(text) = *self else { return Ok(()) };
        match text.first() {
            Some(b'{') => *self = Self::Object(members(text, names, left)?),
            Some(b'[') => *self = Self::Array(elements(text, left)?),
            _ => {}
        }
        Ok(())
    }

    pub fn write(&self, out: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Text(text) => out(text),
            Self::Object(parts) => {
                let mut separator: &[u8] = b"{";
                for part in parts {
                    out(std::mem::replace(&mut separator, b","));
                    match part {
                        Part::Others(text) => out(text),
                        Part::Member { key, value, .. } => {
                            out(key);
                            out(b":");
                            value.write(out);
                        }
                    }
                }
                out(if parts.is_empty() { b"{}" } else { b"}" });
            }
            Self::Array(elements) => {
                let mut separator: &[u8] = b"[";
                for element in elements {
                    out(std::mem::replace(&mut separator, b","));
                    element.write(out);
                }
                out(if elements.is_empty() { b"[]" } else { b"]" });
            }
        }
    }
}

pub fn position(parts: &[Part<'_>], wanted: usize) -> Option<usize> {
    parts.iter().position(|part| matches!(part, Part::Member { name, .. } if *name == wanted))
}

fn members<'a>(text: &'a [u8], names: &Names, left: &mut usize) -> Result<Vec<Part<'a>>, Malformed> {
    let (mut parts, mut at) = (Vec::new(), skip_space(text, 1));
    // Where members begin and end that nobody names.
    let mut others: Option<(usize, usize)> = None;
    while text[at] != b'}' {
        let key = &text[at..skip_string(text, at)];
        let colon = skip_space(text, at + key.len());
        let begin = skip_space(text, colon + 1);
        let end = skip_value(text, begin);
        match names.find(&unescaped(&key[1..key.len() - 1])) {
            None => others = Some((others.map_or(at, |(begin, _)| begin), end)),
            Some(name) => {
                *left = left.checked_sub(1).ok_or(Malformed::TooMany)?;
                if position(&parts, name).is_some() {
                    return Err(Malformed::Repeated);
                }
                parts.extend(others.take().map(|(begin, end)| Part::Others(&text[begin..end])));
                parts.push(Part::Member { name, key, value: Node::Text(&text[begin..end]) });
            }
        }
        at = skip_space(text, end);
        if text[at] == b',' {
            at = skip_space(text, at + 1);
        }
    }
    parts.extend(others.map(|(begin, end)| Part::Others(&text[begin..end])));
    Ok(parts)
}

fn elements<'a>(text: &'a [u8], left: &mut usize) -> Result<Vec<Node<'a>>, Malformed> {
    let (mut elements, mut at) = (Vec::new(), skip_space(text, 1));
    while text[at] != b']' {
        *left = left.checked_sub(1).ok_or(Malformed::TooMany)?;
        let end = skip_value(text, at);
        elements.push(Node::Text(&text[at..end]));
        at = skip_space(text, end);
        if text[at] == b',' {
            at = skip_space(text, at + 1);
        }
    }
    Ok(elements)
}

/// What the inside of a string stands for: a name that is spelt with escapes is the same name. Half a surrogate pair
/// stands for nothing and is not equal to anything.
fn unescaped(inside: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inside).is_none() {
        return Cow::Borrowed(inside);
    }
    let (mut out, mut at) = (Vec::with_capacity(inside.len()), 0);
    while let Some(&byte) = inside.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let escape = inside[at];
        at += 1;
        let char = match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = |at: usize| hex(inside.get(at..at + 4)?);
                let first = unit(at).unwrap_or(0);
                at += 4;
                let second = (first >> 10 == 0x36 && inside[at..].starts_with(b"\\u")).then(|| unit(at + 2)).flatten();
                match second.filter(|second| second >> 10 == 0x37) {
                    Some(second) => {
                        at += 6;
                        char::from_u32(0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff))
                    }
                    None => char::from_u32(first),
                }
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            itself => char::from(itself),
        };
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Cow::Owned(out)
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Members and elements of one text that are looked at one by one. Each costs a hundred bytes for as long as the text
/// is edited.
pub const ELEMENTS_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_spelt() {
        for (inside, name) in [
            ("a", "a"),
            (r"\u0061", "a"),
            (r"\u0052ole", "Role"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\ud83d\ude00!", "\u{1f600}!"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\u0061", "\u{fffd}a"),
            ("caf\u{e9}", "caf\u{e9}"),
        ] {
            assert_eq!(unescaped(inside.as_bytes()), name.as_bytes(), "{inside}");
        }
    }
}
