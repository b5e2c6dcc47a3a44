//! The strict pass over the field lines (RFC 9112 §5): into the table, with what they say about framing and connection.
//!
//! httparse has refused names that are no tokens, whitespace before the colon, folded lines and control characters.

use crate::http::error::HeadError;
use crate::http::field::{Field, FieldTable, Known, Span, same};
use crate::http::head::Underscores;

/// What the fields say that the parser acts on.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) host: Option<Span>,
    pub(super) host_repeated: bool,
    pub(super) length: Option<u64>,
    /// There are more Content-Length lines, all with the same number.
    pub(super) length_repeated: bool,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: Option<Span>,
    pub(super) upgrade_listed: bool,
    pub(super) expect_continue: bool,
    pub(super) expect_other: bool,
    pub(super) te_trailers: bool,
}

/// Reads `headers`, which lie in `bytes`, the whole head.
pub(super) fn read(
    table: &mut FieldTable,
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    underscores: Underscores,
) -> Result<Signals, HeadError> {
    table.clear();
    let mut signals = Signals::default();
    for header in headers {
        let name = header.name.as_bytes();
        let name_span = Span::within(bytes, name);
        // The line before, the first line included, must have ended in CRLF.
        if !bytes[..name_span.start()].ends_with(b"\r\n") {
            return Err(HeadError::BareLf);
        }
        let known = Known::of(name);
        if known == Known::Other && underscores == Underscores::Drop && has_underscore(name) {
            continue;
        }
        let value = Span::within(bytes, header.value);
        table.push(Field { name: name_span, value, known });
        signals.read_field(table, known, header.value, bytes)?;
    }
    if !bytes.ends_with(b"\r\n\r\n") {
        return Err(HeadError::BareLf);
    }
    Ok(signals)
}

impl Signals {
    fn read_field(
        &mut self,
        table: &mut FieldTable,
        known: Known,
        value: &[u8],
        bytes: &[u8],
    ) -> Result<(), HeadError> {
        match known {
            Known::Host => {
                self.host_repeated |= self.host.is_some();
                self.host = Some(Span::within(bytes, value));
            }
            Known::ContentLength => self.read_length(value)?,
            Known::TransferEncoding => self.read_coding(value)?,
            Known::Connection => self.read_connection(table, value, bytes)?,
            Known::Upgrade => self.upgrade = self.upgrade.or(Some(Span::within(bytes, value))),
            Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => self.expect_continue = true,
            Known::Expect => self.expect_other = true,
            Known::Te => self.te_trailers |= list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
            _ => {}
        }
        Ok(())
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let length = decimal(value).ok_or(HeadError::LengthInvalid)?;
        match self.length {
            None => self.length = Some(length),
            Some(before) if before == length => self.length_repeated = true,
            Some(_) => return Err(HeadError::LengthRepeated),
        }
        Ok(())
    }

    /// One field that says `chunked` and nothing else is understood.
    fn read_coding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if !same(value, b"chunked") {
            return Err(refused_coding(value));
        }
        if self.chunked {
            return Err(HeadError::CodingMisplaced);
        }
        self.chunked = true;
        Ok(())
    }

    fn read_connection(&mut self, table: &mut FieldTable, value: &[u8], bytes: &[u8]) -> Result<(), HeadError> {
        // Nearly all say just this.
        if same(value, b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if !option.is_empty() {
                self.upgrade_listed |= option.eq_ignore_ascii_case(b"upgrade");
                if !table.push_connection_option(Span::within(bytes, option)) {
                    return Err(HeadError::TooManyConnectionOptions);
                }
            }
        }
        Ok(())
    }
}

/// The elements of a list (RFC 9110 §5.6.1), without the whitespace around them.
fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(number)
}

/// A body whose end can be found but not its payload is a thing we do not do (501); anything else is malformed.
#[cold]
fn refused_coding(value: &[u8]) -> HeadError {
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_token = |coding: &[u8]| !coding.is_empty() && coding.iter().all(|&byte| is_token_byte(byte));
    if !list(value).all(is_token) {
        HeadError::CodingInvalid
    } else if list(value).filter(is_chunked).count() == 1 && list(value).next_back().as_ref().is_some_and(is_chunked) {
        HeadError::CodingUnsupported
    } else {
        HeadError::CodingMisplaced
    }
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Eight bytes at a time, the last ones overlapping.
pub(super) fn has_underscore(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const UNDERSCORES: u64 = u64::from_ne_bytes([b'_'; 8]);
    let Some(last) = name.last_chunk::<8>() else { return name.contains(&b'_') };
    // The top bit of a byte is set where the byte was zero (and sometimes above a zero: the answer stays right).
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut found = zeros(u64::from_ne_bytes(*last) ^ UNDERSCORES);
    for chunk in name.as_chunks::<8>().0 {
        found |= zeros(u64::from_ne_bytes(*chunk) ^ UNDERSCORES);
    }
    found != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit_64_bits() {
        #[track_caller]
        fn check(value: &str, expected: Option<u64>) {
            assert_eq!(decimal(value.as_bytes()), expected, "{value}");
        }
        check("0", Some(0));
        check("003", Some(3));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        check("184467440737095516150", None);
        for value in ["", "+5", "-5", "5_0", "0x5", "5 0", "5,5", "5.0", "5;", "\u{665}"] {
            check(value, None);
        }
    }

    #[test]
    fn a_coding_other_than_chunked_is_unsupported_or_malformed() {
        #[track_caller]
        fn check(value: &str, expected: HeadError) {
            assert_eq!(Signals::default().read_coding(value.as_bytes()), Err(expected), "{value}");
        }
        check("gzip, chunked", HeadError::CodingUnsupported);
        check("foo ,\tChunked", HeadError::CodingUnsupported);
        check("identity", HeadError::CodingMisplaced);
        check("gzip", HeadError::CodingMisplaced);
        check("chunkedchunked", HeadError::CodingMisplaced);
        check("chunked, chunked", HeadError::CodingMisplaced);
        check("chunked, gzip", HeadError::CodingMisplaced);
        check("", HeadError::CodingInvalid);
        check("chunked,", HeadError::CodingInvalid);
        check(",chunked", HeadError::CodingInvalid);
        check("chunked;q=1", HeadError::CodingInvalid);
        check("\"chunked\"", HeadError::CodingInvalid);
        check("chunked\x0b", HeadError::CodingInvalid);
    }

    #[test]
    fn an_underscore_is_found_wherever_it_stands() {
        for len in 1..40 {
            assert!(!has_underscore(&vec![b'^'; len]));
            assert!(!has_underscore(&vec![b'`'; len]));
            for at in 0..len {
                let mut name = vec![b'a'; len];
                name[at] = b'_';
                assert!(has_underscore(&name), "{at} of {len}");
            }
        }
        assert!(!has_underscore(b""));
    }
}
