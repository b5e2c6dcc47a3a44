//! Base64 to bytes (RFC 4648), and back. What is let pass beside the one canonical text of each value is the caller's
//! choice.

/// How the last two of the 64 digits are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alphabet {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`.
    Url,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Without `=`, and with zeros where bits are left over: each value has one text.
    Canonical,
    /// The `=` that complete the last group may be there, and bits that are left over may be anything.
    Lenient,
}

/// The text is not Base64 in this alphabet and form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not Base64")]
pub struct Malformed;

/// Appends what `text` stands for. With an error, `out` has some of it.
pub fn decode(alphabet: Alphabet, form: Form, text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let digits = match alphabet {
        Alphabet::Standard => &STANDARD,
        Alphabet::Url => &URL,
    };
    let text = if form == Form::Lenient { without_padding(text) } else { text };
    out.reserve(text.len() / 4 * 3 + 2);
    let (groups, rest) = text.as_chunks::<4>();
    for group in groups {
        let [a, b, c, d] = group.map(|byte| digits[usize::from(byte)]);
        // No digit has bit 7, and what is none has every bit.
        if (a | b | c | d) & 0x80 != 0 {
            return Err(Malformed);
        }
        out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
    }
    let mut values = [0; 3];
    for (value, byte) in values.iter_mut().zip(rest) {
        *value = digits[usize::from(*byte)];
        if *value & 0x80 != 0 {
            return Err(Malformed);
        }
    }
    let [a, b, c] = values;
    let (bytes, left_over) = match rest.len() {
        0 => (0, 0),
        2 => (1, b << 4),
        3 => (2, c << 6),
        // Six bits are no byte.
        _ => return Err(Malformed),
    };
    if left_over != 0 && form == Form::Canonical {
        return Err(Malformed);
    }
    out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2][..bytes]);
    Ok(())
}

/// The canonical text, by the alphabet for URLs.
pub fn encode_url(bytes: &[u8]) -> String {
    let digit = |value: u8| URL.iter().position(|other| *other == value).map_or('=', |byte| char::from(byte as u8));
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|place| group.get(place).copied().unwrap_or(0));
        let values = [a >> 2, (a << 4 | b >> 4) & 63, (b << 2 | c >> 6) & 63, c & 63];
        text.extend(values[..=group.len()].iter().map(|value| digit(*value)));
    }
    text
}

/// Without the `=` that complete the last group; any others stay, and are no digits.
fn without_padding(text: &[u8]) -> &[u8] {
    if !text.len().is_multiple_of(4) {
        return text;
    }
    text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text)
}

const STANDARD: [u8; 256] = digits(*b"+/");
const URL: [u8; 256] = digits(*b"-_");

const fn digits(last_two: [u8; 2]) -> [u8; 256] {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 64 {
        let byte = match value {
            0..26 => b'A' + value,
            26..52 => b'a' + value - 26,
            52..62 => b'0' + value - 52,
            _ => last_two[value as usize - 62],
        };
        table[byte as usize] = value;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(alphabet: Alphabet, form: Form, text: &str, bytes: Option<&[u8]>) {
        let mut out = Vec::new();
        let got = decode(alphabet, form, text.as_bytes(), &mut out).ok().map(|()| out);
        assert_eq!(got.as_deref(), bytes, "{text} as {alphabet:?}, {form:?}");
    }

    #[test]
    fn the_vectors_of_the_rfc_are_read() {
        let vectors = [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ];
        for (text, bytes) in vectors {
            for alphabet in [Alphabet::Standard, Alphabet::Url] {
                check(alphabet, Form::Canonical, text, Some(bytes.as_bytes()));
                assert_eq!(encode_url(bytes.as_bytes()), text);
                let padded = format!("{text}{}", &"=="[..text.len().next_multiple_of(4) - text.len()]);
                check(alphabet, Form::Lenient, &padded, Some(bytes.as_bytes()));
                if padded != text {
                    check(alphabet, Form::Canonical, &padded, None);
                }
            }
        }
    }

    #[test]
    fn the_alphabets_differ_in_two_digits() {
        check(Alphabet::Url, Form::Canonical, "-_-_", Some(&[0xfb, 0xff, 0xbf]));
        assert_eq!(encode_url(&[0xfb, 0xff, 0xbf]), "-_-_");
        check(Alphabet::Standard, Form::Canonical, "+/+/", Some(&[0xfb, 0xff, 0xbf]));
        check(Alphabet::Url, Form::Lenient, "+/+/", None);
        check(Alphabet::Standard, Form::Lenient, "-_-_", None);
    }

    #[test]
    fn bits_that_are_left_over_are_zero_in_the_canonical_form() {
        for (text, bytes) in [("Zh", "f"), ("Zm9", "fo")] {
            check(Alphabet::Url, Form::Canonical, text, None);
            check(Alphabet::Url, Form::Lenient, text, Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_digit_is_refused_in_every_form() {
        let texts =
            ["Z", "Zm9vY", "Zm9v Zm9v", "Zm9v\n", "Zg=", "Zg===", "=", "====", "Zg==Zg==", "Zm=v", "Zm9v?", "\u{e9}"];
        for text in texts {
            for form in [Form::Canonical, Form::Lenient] {
                check(Alphabet::Url, form, text, None);
            }
        }
    }
}
