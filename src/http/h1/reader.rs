//! One pass over the bytes of a head: each is looked at once, in order.

use super::refusal;
use super::token::{self, Token};
use crate::http::error::HeadError;
use crate::http::method::Version;
use crate::stdx::lanes::{self, Lanes};

/// What is left of a head.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

/// A field line.
pub(super) struct Line<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// It is name, `: `, value and line end, as the gateway would write it.
    pub(super) is_plain: bool,
    /// It does not go on, for what its name is.
    pub(super) is_dropped: bool,
}

/// Why reading ends before the head does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing is wrong so far.
    Incomplete,
    Refused(HeadError),
}

impl<'a> Reader<'a> {
    /// A token, which may be empty, and whether it holds `_`.
    #[inline(always)]
    pub(super) fn token(&mut self) -> (&'a [u8], bool) {
        let Token { len, has_underscore } = Token::of(self.rest);
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        (token, has_underscore)
    }

    /// The method with the space that ends it (RFC 9112 §3.1).
    #[inline(always)]
    pub(super) fn method(&mut self) -> Result<&'a [u8], Stop> {
        let (method, _) = self.token();
        match self.rest {
            [b' ', rest @ ..] if !method.is_empty() => {
                self.rest = rest;
                Ok(method)
            }
            [] => Err(Stop::Incomplete),
            _ => Err(Stop::Refused(HeadError::MethodInvalid)),
        }
    }

    /// A request target with the space that ends it (RFC 9112 §3.2), whatever its form, and where its query begins: at
    /// the first `?`, or at its end.
    #[inline(always)]
    pub(super) fn target(&mut self) -> Result<(&'a [u8], usize), Stop> {
        let no_part_of_it = |lanes: Lanes| lanes.below(b'!') | lanes.equal(DEL);
        let query_at = lanes::find(self.rest, 0, |lanes| no_part_of_it(lanes) | lanes.equal(b'?'));
        let mut len = query_at;
        if let [b'?', query @ ..] = &self.rest[query_at..] {
            len += 1 + lanes::find(query, 0, no_part_of_it);
        }
        match self.rest.split_at(len) {
            (target, [b' ', rest @ ..]) if !target.is_empty() => {
                self.rest = rest;
                Ok((target, query_at))
            }
            (target, rest) => Err(refusal::target(target, rest)),
        }
    }

    /// A version that we speak (RFC 9112 §2.3).
    #[inline(always)]
    pub(super) fn version(&mut self) -> Result<Version, Stop> {
        let Some((version, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(refusal::version(self.rest));
        };
        let version = if version == b"HTTP/1.1" {
            Version::Http11
        } else if version == b"HTTP/1.0" {
            Version::Http10
        } else {
            return Err(refusal::version(self.rest));
        };
        self.rest = rest;
        Ok(version)
    }

    /// A status with the space before it and the one after it (RFC 9112 §4). Some leave out the reason with its space.
    #[inline(always)]
    pub(super) fn status(&mut self) -> Result<u16, Stop> {
        let digit = |byte: u8| u16::from(byte - b'0');
        let [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = self.rest else {
            return Err(refusal::status(self.rest));
        };
        self.rest = match rest {
            [b' ', reason @ ..] => reason,
            [b'\r', ..] => rest,
            _ => return Err(refusal::status(self.rest)),
        };
        Ok(digit(*a) * 100 + digit(*b) * 10 + digit(*c))
    }

    /// A field line as nearly all are: a short name without underscore, a colon, one space, and a value that neither
    /// begins nor ends with whitespace and holds no tab. `None`, and nothing is read, where it is not or is not whole.
    #[inline(always)]
    pub(super) fn plain_line(&mut self) -> Option<Line<'a>> {
        // Its bounds are known to hold what is looked at here.
        let begin = self.rest.first_chunk::<{ lanes::WIDTH + 2 }>()?;
        let colon = token::short(begin)?;
        if colon == 0 || begin[colon] != b':' || begin[colon + 1] != b' ' || begin[colon + 2] <= b' ' {
            return None;
        }
        let (line, line_end) = self.rest.split_at(lanes::find(self.rest, colon + 2, lanes::control));
        let (b"\r\n", rest) = line_end.split_first_chunk()? else { return None };
        let value = line.get(colon + 2..)?;
        if *value.last()? <= b' ' {
            return None;
        }
        self.rest = rest;
        Some(Line { name: &begin[..colon], value, is_plain: true, is_dropped: false })
    }

    /// What follows the colon, to the end of the line, without the whitespace around it (RFC 9112 §5), and whether that
    /// is one space before it and none after.
    pub(super) fn value(&mut self) -> Result<(&'a [u8], bool), Stop> {
        let after_one_space = match self.rest {
            [b' ', rest @ ..] if rest.first().is_some_and(|&first| first > b' ') => Some(rest),
            _ => None,
        };
        self.rest = after_one_space.unwrap_or_else(|| trim_start(self.rest));
        match self.text(HeadError::FieldValueInvalid)? {
            value @ [.., last] if *last > b' ' => Ok((value, after_one_space.is_some())),
            value => Ok((trim_end(value), false)),
        }
    }

    /// Text without control bytes but tabs, with the line end after it. Anything else is `invalid`.
    #[inline(always)]
    pub(super) fn text(&mut self, invalid: HeadError) -> Result<&'a [u8], Stop> {
        match self.rest.split_at(lanes::find(self.rest, 0, lanes::control)) {
            (text, [b'\r', b'\n', rest @ ..]) => {
                self.rest = rest;
                Ok(text)
            }
            (text, _) => self.text_with_tabs(text.len(), invalid),
        }
    }

    /// As [`text`](Self::text); the first control byte is at `len`.
    #[cold]
    fn text_with_tabs(&mut self, mut len: usize, invalid: HeadError) -> Result<&'a [u8], Stop> {
        loop {
            match self.rest.split_at(len) {
                (text, [b'\r', b'\n', rest @ ..]) => {
                    self.rest = rest;
                    return Ok(text);
                }
                (_, [b'\t', rest @ ..]) => len += 1 + lanes::find(rest, 0, lanes::control),
                (_, rest) => return Err(refusal::text(rest, invalid)),
            }
        }
    }

    /// The end of a line that must be over.
    #[inline(always)]
    pub(super) fn line_end(&mut self) -> Result<(), Stop> {
        let [b'\r', b'\n', rest @ ..] = self.rest else {
            return Err(refusal::text(self.rest, HeadError::LineEndInvalid));
        };
        self.rest = rest;
        Ok(())
    }
}

impl From<HeadError> for Stop {
    fn from(error: HeadError) -> Self {
        Self::Refused(error)
    }
}

/// Without the whitespace that may be before a value (RFC 9110 §5.6.3).
#[cold]
fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cold]
fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [before @ .., b' ' | b'\t'] = value {
        value = before;
    }
    value
}

const DEL: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_value_is_judged_alike_wherever_it_stands() {
        for (len, byte) in (1..20).flat_map(|len| (0..=255).map(move |byte| (len, byte))) {
            for at in 0..len {
                let mut line = vec![b'a'; len];
                line[at] = byte;
                let value = line.trim_ascii().to_vec();
                line.extend_from_slice(b"\r\nnext line");
                let expected = match byte {
                    b'\n' => Err(Stop::Refused(HeadError::BareLf)),
                    0..=8 | 11..=31 | 127 => Err(Stop::Refused(HeadError::FieldValueInvalid)),
                    _ => Ok(&value[..]),
                };
                let read = Reader { rest: &line }.value().map(|(value, _)| value);
                assert_eq!(read, expected, "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn a_value_is_not_whole_before_its_line_is() {
        #[track_caller]
        fn check(line: &str, expected: Result<&str, Stop>) {
            let read = Reader { rest: line.as_bytes() }.value().map(|(value, _)| value);
            assert_eq!(read, expected.map(str::as_bytes), "{line:?}");
        }
        check("", Err(Stop::Incomplete));
        check(" ", Err(Stop::Incomplete));
        check(" a", Err(Stop::Incomplete));
        check(" a\t", Err(Stop::Incomplete));
        check(" a\r", Err(Stop::Incomplete));
        check(" a\rb", Err(Stop::Refused(HeadError::FieldValueInvalid)));
        check("\r\n", Ok(""));
        check(" \t\r\n", Ok(""));
        check("a\tb c \t\r\n", Ok("a\tb c"));
    }

    #[test]
    fn a_value_is_plain_after_one_space_and_before_none() {
        #[track_caller]
        fn check(line: &str, is_plain: bool) {
            assert_eq!(Reader { rest: line.as_bytes() }.value().map(|(_, plain)| plain), Ok(is_plain), "{line:?}");
        }
        check(" a\r\n", true);
        check(" a b\tc\r\n", true);
        for line in ["a\r\n", "  a\r\n", "\ta\r\n", " a \r\n", " a\t\r\n", "\r\n", " \r\n"] {
            check(line, false);
        }
    }
}
