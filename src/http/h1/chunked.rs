//! The chunked coding (RFC 9112 §7.1), strict: what a lenient peer could end elsewhere is refused.

use super::token::is_token_byte;
use super::trailers::Trailers;
use crate::http::body::{BodyError, BodyLimits};
use crate::http::head::Underscores;
use crate::http::path::hex_value;

/// One body's decoder, reusable.
#[derive(Debug)]
pub(in crate::http) struct Chunked {
    state: State,
    limits: BodyLimits,
    /// The size being read, then what is left of the chunk.
    left: u64,
    digits: u8,
    line_bytes: usize,
    trailers: Trailers,
}

/// ```text
///     +--------------------------------------------------+
///     v                                                  |
///   Size --;--> Extension --CR--> SizeLf --> Data --> DataCr --> DataLf (to Size)
///     +-----------CR-----------------^   \
///                                         size 0 --> Trailers --empty line--> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// What was read last of `;name=value;name="quoted"`. No whitespace outside quotes: the grammar only tolerates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    Semicolon,
    Name,
    Equals,
    Value,
    Quoted,
    Backslash,
    QuoteEnd,
}

/// As many as 64 bits hold.
const SIZE_DIGITS_MAX: u8 = 16;

impl Chunked {
    pub(in crate::http) fn new() -> Self {
        let limits = BodyLimits {
            chunk_line_bytes_max: 0,
            trailer_bytes_max: 0,
            trailer_fields_max: 0,
            underscores: Underscores::Drop,
        };
        Self { state: State::Done, limits, left: 0, digits: 0, line_bytes: 0, trailers: Trailers::new() }
    }

    /// Begins another body.
    pub(in crate::http) fn reset(&mut self, limits: &BodyLimits) {
        self.limits = *limits;
        self.forget_trailers();
        self.leave_out(std::iter::empty());
        self.begin_size();
    }

    pub(in crate::http) fn leave_out<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        self.trailers.leave_out(names);
    }

    pub(in crate::http) fn forget_trailers(&mut self) {
        self.trailers.clear();
    }

    pub(in crate::http) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(in crate::http) fn trailers(&self) -> &[u8] {
        self.trailers.kept()
    }

    /// Moves the payload in `bytes` to its front. How many bytes were used, and how many of them were payload.
    pub(in crate::http) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, usize), BodyError> {
        let (mut read, mut payload) = (0, 0);
        while read < bytes.len() {
            match self.state {
                State::Done => break,
                State::Data => {
                    let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - read);
                    bytes.copy_within(read..read + len, payload);
                    read += len;
                    payload += len;
                    self.left -= len as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                }
                State::Trailers => {
                    read += self.trailers.take_line(&bytes[read..], &self.limits)?;
                    if self.trailers.is_complete() {
                        self.state = State::Done;
                    }
                }
                _ => {
                    self.take_framing(bytes[read])?;
                    read += 1;
                }
            }
        }
        Ok((read, payload))
    }

    fn take_framing(&mut self, byte: u8) -> Result<(), BodyError> {
        match (self.state, byte) {
            (State::SizeLf, b'\n') if self.left == 0 => self.state = State::Trailers,
            (State::SizeLf, b'\n') => self.state = State::Data,
            (State::SizeLf, _) => return Err(BodyError::LineEndInvalid),
            (State::DataCr, b'\r') => self.state = State::DataLf,
            (State::DataLf, b'\n') => self.begin_size(),
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEndInvalid),
            (State::Size, b'\r') if self.digits > 0 => self.state = State::SizeLf,
            (State::Extension(last), b'\r') if last.may_end() => self.state = State::SizeLf,
            (State::Size | State::Extension(_), b'\n') => return Err(BodyError::LineEndInvalid),
            _ => self.take_size_line(byte)?,
        }
        Ok(())
    }

    fn take_size_line(&mut self, byte: u8) -> Result<(), BodyError> {
        if self.line_bytes == self.limits.chunk_line_bytes_max {
            return Err(BodyError::ChunkLineTooLong);
        }
        self.line_bytes += 1;
        if let State::Extension(last) = self.state {
            self.state = State::Extension(last.then(byte).ok_or(BodyError::ChunkExtensionInvalid)?);
        } else if let Some(digit) = hex_value(byte)
            && self.digits < SIZE_DIGITS_MAX
        {
            self.left = self.left << 4 | u64::from(digit);
            self.digits += 1;
        } else if byte == b';' && self.digits > 0 {
            self.state = State::Extension(Extension::Semicolon);
        } else {
            return Err(BodyError::ChunkSizeInvalid);
        }
        Ok(())
    }

    fn begin_size(&mut self) {
        self.state = State::Size;
        self.left = 0;
        self.digits = 0;
        self.line_bytes = 0;
    }
}

impl Extension {
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::QuoteEnd)
    }

    fn then(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Quoted, b'"') => Some(Self::QuoteEnd),
            (Self::Quoted, b'\\') => Some(Self::Backslash),
            (Self::Quoted | Self::Backslash, b'\t' | b' '..=b'~' | 0x80..) => Some(Self::Quoted),
            (Self::Name | Self::Value | Self::QuoteEnd, b';') => Some(Self::Semicolon),
            (Self::Name, b'=') => Some(Self::Equals),
            (Self::Equals, b'"') => Some(Self::Quoted),
            (Self::Semicolon | Self::Name, _) if is_token_byte(byte) => Some(Self::Name),
            (Self::Equals | Self::Value, _) if is_token_byte(byte) => Some(Self::Value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        chunk_line_bytes_max: 24,
        trailer_bytes_max: 64,
        trailer_fields_max: 4,
        underscores: Underscores::Drop,
    };

    fn decode(wire: &str) -> Result<(Vec<u8>, bool), BodyError> {
        let mut chunked = Chunked::new();
        chunked.reset(&LIMITS);
        let mut bytes = wire.as_bytes().to_vec();
        let (_, payload) = chunked.decode(&mut bytes)?;
        Ok((bytes[..payload].to_vec(), chunked.is_done()))
    }

    #[track_caller]
    fn check(wire: &str, payload: &str) {
        assert_eq!(decode(wire), Ok((payload.as_bytes().to_vec(), true)), "{wire:?}");
    }

    #[track_caller]
    fn check_refused(wire: &str, error: BodyError) {
        assert_eq!(decode(wire), Err(error), "{wire:?}");
    }

    #[test]
    fn chunks_are_joined() {
        check("0\r\n\r\n", "");
        check("000\r\n\r\n", "");
        check("a\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n", "0123456789!");
        check("A\r\n0123456789\r\n0\r\n\r\n", "0123456789");
        check("0000000000000002\r\nab\r\n0\r\n\r\n", "ab");
        check("4\r\n\r\n0\r\r\n0\r\n\r\n", "\r\n0\r");
        assert_eq!(decode("ffffffffffffffff\r\nab"), Ok((b"ab".to_vec(), false)));
    }

    #[test]
    fn a_size_is_hexadecimal_digits_and_nothing_else() {
        for size in ["", "+5", "-5", "0x5", "5_0", " 5", "5 ", "5\t", "g", "5g", "\0", "5\0", "10000000000000005"] {
            check_refused(&format!("{size}\r\nabcde\r\n0\r\n\r\n"), BodyError::ChunkSizeInvalid);
        }
        check_refused(";a\r\n\r\n", BodyError::ChunkSizeInvalid);
        check_refused("00000000000000001\r\na\r\n", BodyError::ChunkSizeInvalid);
    }

    #[test]
    fn extensions_are_read_and_thrown_away() {
        for extension in
            [";a", ";a=b", ";a;b", ";a=\"\"", ";a=\"b;\\\"\t\\\\\"", ";a=\"\u{e9}\";b=c", ";!#$%&'*+-.^_`|~=1"]
        {
            check(&format!("2{extension}\r\nab\r\n0{extension}\r\n\r\n"), "ab");
        }
    }

    #[test]
    fn an_extension_that_peers_could_end_elsewhere_is_refused() {
        for extension in
            [";", ";;", ";a;", ";=b", ";a=", "; a", ";a ", ";a =b", ";a= b", ";a=\"b\"c", ";a=b\"c\"", ";a\0"]
        {
            check_refused(&format!("2{extension}\r\nab\r\n0\r\n\r\n"), BodyError::ChunkExtensionInvalid);
        }
        check_refused("2;a=\"\r\nab\r\n0\r\n\r\n", BodyError::ChunkExtensionInvalid);
        check_refused("2;a=\"\\\r\nab\r\n0\r\n\r\n", BodyError::ChunkExtensionInvalid);
        check_refused("2;a=\"\x7f\"\r\nab\r\n0\r\n\r\n", BodyError::ChunkExtensionInvalid);
        check_refused("2;a=\"\n\"\r\nab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check_refused("2;a\nb\r\nab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check_refused("2;a\rb\r\nab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check("2;aaaaaaaaaaaaaaaaaaaaaa\r\nab\r\n0\r\n\r\n", "ab");
        check_refused("2;aaaaaaaaaaaaaaaaaaaaaaa\r\nab\r\n0\r\n\r\n", BodyError::ChunkLineTooLong);
    }

    #[test]
    fn every_line_ends_in_crlf() {
        check_refused("2\nab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check_refused("2\r\r\nab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check_refused("2\rab\r\n0\r\n\r\n", BodyError::LineEndInvalid);
        check_refused("2\r\nab\n0\r\n\r\n", BodyError::ChunkEndInvalid);
        check_refused("2\r\nab\r0\r\n\r\n", BodyError::ChunkEndInvalid);
        check_refused("2\r\nab0\r\n\r\n", BodyError::ChunkEndInvalid);
        check_refused("2\r\nabc\r\n0\r\n\r\n", BodyError::ChunkEndInvalid);
        check_refused("0\n\r\n", BodyError::LineEndInvalid);
        check_refused("0\r\n\n", BodyError::LineEndInvalid);
        check_refused("0\r\n\rx\n", BodyError::LineEndInvalid);
    }
}
