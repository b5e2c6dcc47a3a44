//! Tokens (RFC 9110 §5.6.2): methods, names, chunk extensions.

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
            Some(len) if bytes[len] != b'_' => Self { len, has_underscore: false },
            _ => Self::of_any(bytes),
        }
    }

    fn of_any(bytes: &[u8]) -> Self {
        let len = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
        Self { len, has_underscore: bytes[..len].contains(&b'_') }
    }
}

/// How long the token is at the beginning of `bytes`, if it ends within [`SHORT`] of them or has an underscore there, and
/// what it is then: nearly all tokens are short and without underscore. A loop of known length is unrolled.
#[inline(always)]
pub(super) fn short(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk::<SHORT>()?.iter().position(|&byte| class(byte) != PLAIN)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    class(byte) != NONE
}

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

pub(super) const SHORT: usize = 16;

const NONE: u8 = 0;
const PLAIN: u8 = 1;
const UNDERSCORE: u8 = 2;

const CLASSES: [u8; 256] = {
    let mut classes = [NONE; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'_' => UNDERSCORE,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => PLAIN,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'`' | b'|' | b'~' => PLAIN,
            _ => NONE,
        };
        byte += 1;
    }
    classes
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
