//! Tokens (RFC 9110 §5.6.2): methods, names, chunk extensions.

use crate::stdx::lanes::{self, Lanes};

/// A token at the beginning of some bytes; empty when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) len: usize,
    pub(super) has_underscore: bool,
}

impl Token {
    /// The longest there is.
    #[inline(always)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        match short(bytes) {
            Some(len) if !is_token_byte(bytes[len]) => Self { len, has_underscore: false },
            _ => Self::of_any(bytes),
        }
    }

    fn of_any(bytes: &[u8]) -> Self {
        let len = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
        Self { len, has_underscore: bytes[..len].contains(&b'_') }
    }
}

/// How many letters, digits and dashes `bytes` begin with, of which nearly all tokens are; `None` if there may be more
/// than are looked at in one go.
#[inline(always)]
pub(super) fn short(bytes: &[u8]) -> Option<usize> {
    let plain = |lanes: Lanes| lanes.with(0x20).between(b'a', b'z') | lanes.between(b'0', b'9') | lanes.equal(b'-');
    let len = plain(Lanes::of(bytes.first_chunk()?)).bits().trailing_ones() as usize;
    (len < lanes::WIDTH).then_some(len)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    IS_TOKEN[usize::from(byte)]
}

const IS_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
                | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_token_are_those_of_the_rfc() {
        for byte in 0..=255_u8 {
            let expected = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{}", byte.escape_ascii());
        }
    }

    #[test]
    fn a_byte_is_of_a_token_wherever_it_stands() {
        for byte in 0..=255 {
            for (at, before) in (0..18).flat_map(|at| [(at, b'a'), (at, b'Z'), (at, b'-')]) {
                let mut bytes = [before; 18];
                bytes[at] = byte;
                let len = if is_token_byte(byte) { 18 } else { at };
                let expected = Token { len, has_underscore: byte == b'_' };
                assert_eq!(Token::of(&bytes), expected, "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn a_token_ends_before_the_first_byte_of_no_token() {
        #[track_caller]
        fn check(bytes: &str, len: usize, has_underscore: bool) {
            assert_eq!(Token::of(bytes.as_bytes()), Token { len, has_underscore }, "{bytes:?}");
        }
        check("", 0, false);
        check(":", 0, false);
        check("Host: a_b", 4, false);
        check("X_Y: a", 3, true);
        check("abc", 3, false);
        check("_", 1, true);
        check("a\u{e9}_", 1, false);
        check("Content-Length: a_b", 14, false);
        check("Content_Length: a", 14, true);
        check("X-Request-1d-and-m0re_: a", 22, true);
    }
}
