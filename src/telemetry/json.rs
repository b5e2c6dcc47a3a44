//! JSON strings out of bytes that a stranger chose: always valid JSON, always UTF-8, always one line.

use crate::stdx::text::HEX_DIGITS;

/// Appends `bytes` as they stand between the quotes of a JSON string. Control characters, C1 and the Unicode line
/// separators included, are escaped, so that no value starts a line or moves a terminal's cursor; bytes that are not
/// UTF-8 are read as Latin-1.
pub fn push_text(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_clean_ascii(bytes) {
        out.extend_from_slice(bytes);
    } else {
        push_escaped(out, bytes);
    }
}

/// No early exit: without one the compiler looks at many bytes at a time.
fn is_clean_ascii(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |dirty, &byte| dirty | !(b' '..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\'))
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\u{2028}' => out.extend_from_slice(b"\\u2028"),
                '\u{2029}' => out.extend_from_slice(b"\\u2029"),
                // Controls are below U+00A0, so the cast loses nothing.
                _ if char.is_control() => push_byte(out, char as u8),
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_byte(out, byte));
    }
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    let (high, low) = (HEX_DIGITS[usize::from(byte >> 4)], HEX_DIGITS[usize::from(byte & 0xf)]);
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
}

/// No byte of input becomes more bytes of output than `\u00XX`.
pub const ESCAPED_BYTES_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    #[track_caller]
    fn check(bytes: &[u8], want: &str) {
        let mut out = Vec::new();
        push_text(&mut out, bytes);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn clean_text_is_copied() {
        check(b"", "");
        check(b"GET /a?b=c HTTP/1.1 ~", "GET /a?b=c HTTP/1.1 ~");
        check("größe €".as_bytes(), "größe €");
    }

    #[test]
    fn what_ends_a_string_or_a_line_is_escaped() {
        check(br#"a"b\c"#, r#"a\"b\\c"#);
        check(b"a\r\nb\t\0", r"a\u000d\u000ab\u0009\u0000");
        check(b"\x1b[31m\x7f", r"\u001b[31m\u007f");
        check("\u{85}\u{9b}\u{2028}\u{2029}".as_bytes(), r"\u0085\u009b\u2028\u2029");
    }

    #[test]
    fn every_byte_at_every_place_is_told_apart() {
        for (length, byte) in (1..20).flat_map(|length| (0..=255u8).map(move |byte| (length, byte))) {
            for place in 0..length {
                let mut bytes = vec![b'~'; length];
                bytes[place] = byte;
                let is_clean = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                assert_eq!(is_clean_ascii(&bytes), is_clean, "{byte:#x} at {place} of {length}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_read_as_latin1() {
        check(b"caf\xe9", r"caf\u00e9");
        check(b"\xff\xc3", r"\u00ff\u00c3");
        check(b"\xed\xa0\x80 \xc0\xaf", r"\u00ed\u00a0\u0080 \u00c0\u00af");
    }

    #[test]
    fn any_bytes_make_one_bounded_line_without_controls() {
        let mut rng = Rng::new(8259);
        for _ in 0..5_000 {
            let bytes: Vec<u8> = (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect();
            let mut out = Vec::new();
            push_text(&mut out, &bytes);
            let text = String::from_utf8(out).unwrap();
            assert!(!text.chars().any(char::is_control), "{bytes:?}");
            assert!(text.len() <= bytes.len() * ESCAPED_BYTES_MAX, "{bytes:?}");
            assert!(!text.replace("\\\\", "").replace("\\\"", "").contains('"'), "{bytes:?}");
        }
    }
}
