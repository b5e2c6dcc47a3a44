//! What the fields say about framing and connection, gathered while they are read.

use super::token::is_token_byte;
use crate::http::error::HeadError;
use crate::http::field::{FieldTable, Known, Span, same};

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

impl Signals {
    /// Whether [`read_field`](Self::read_field) makes anything of such a field.
    pub(super) fn are_in(known: Known) -> bool {
        matches!(
            known,
            Known::Host
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::Connection
                | Known::Upgrade
                | Known::Expect
                | Known::Te
        )
    }

    /// Reads a field whose value lies in `bytes`. Apart from the loop over the fields, of which few come here.
    #[inline(never)]
    pub(super) fn read_field(
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

/// However high they are.
const DIGITS_THAT_FIT: usize = u64::MAX.ilog10() as usize;

fn decimal(digits: &[u8]) -> Option<u64> {
    let value = |digit: &u8| if digit.is_ascii_digit() { Some(u64::from(digit - b'0')) } else { None };
    let (first, others) = digits.split_at(digits.len().min(DIGITS_THAT_FIT));
    let number = first.iter().try_fold(0, |number, digit| Some(number * 10 + value(digit)?))?;
    let number =
        others.iter().try_fold(number, |number: u64, digit| number.checked_mul(10)?.checked_add(value(digit)?));
    number.filter(|_| !digits.is_empty())
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
}
