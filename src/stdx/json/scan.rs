//! One pass over a text that says whether it is JSON, and the steps by which a text that is can be walked.

use super::Malformed;

/// Whether `text` is one JSON value with nothing but white space around it.
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    if std::str::from_utf8(text).is_err() {
        return Err(Malformed::NotJson);
    }
    let mut scan = Scan { text, at: 0 };
    // A bit for each container that is open, the innermost the lowest: whether it is an object.
    let (mut depth, mut objects) = (0, 0u64);
    loop {
        if let Some(is_object) = scan.value()? {
            if depth == JSON_DEPTH_MAX {
                return Err(Malformed::TooDeep);
            }
            (depth, objects) = (depth + 1, objects << 1 | u64::from(is_object));
            let is_empty = scan.peek() == Some(if is_object { b'}' } else { b']' });
            if !is_empty {
                if is_object {
                    scan.name()?;
                }
                continue;
            }
        }
        // A value has ended, or an empty container is about to.
        loop {
            scan.space();
            match (scan.peek(), objects & 1 == 1) {
                (None, _) if depth == 0 => return Ok(()),
                _ if depth == 0 => return Err(Malformed::NotJson),
                (Some(b'}'), true) | (Some(b']'), false) => {
                    scan.at += 1;
                    (depth, objects) = (depth - 1, objects >> 1);
                }
                (Some(b','), is_object) => {
                    scan.at += 1;
                    if is_object {
                        scan.name()?;
                    }
                    break;
                }
                _ => return Err(Malformed::NotJson),
            }
        }
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        self.at = skip_space(self.text, self.at);
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let is_there = self.text[self.at..].starts_with(bytes);
        self.at += bytes.len();
        if is_there { Ok(()) } else { Err(Malformed::NotJson) }
    }

    /// A value that is no container, or the beginning of one and the space behind: then whether it is an object.
    fn value(&mut self) -> Result<Option<bool>, Malformed> {
        self.space();
        match self.peek().ok_or(Malformed::NotJson)? {
            open @ (b'{' | b'[') => {
                self.at += 1;
                self.space();
                return Ok(Some(open == b'{'));
            }
            b'"' => self.string()?,
            b't' => self.expect(b"true")?,
            b'f' => self.expect(b"false")?,
            b'n' => self.expect(b"null")?,
            _ => self.number()?,
        }
        Ok(None)
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Result<(), Malformed> {
        self.space();
        self.string()?;
        self.space();
        self.expect(b":")
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.expect(b"\"")?;
        loop {
            let byte = self.peek().ok_or(Malformed::NotJson)?;
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..0x20 => return Err(Malformed::NotJson),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let byte = self.peek().ok_or(Malformed::NotJson)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4).ok_or(Malformed::NotJson)?;
                self.at += 4;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(Malformed::NotJson) }
            }
            _ => Err(Malformed::NotJson),
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits > 0 { Ok(()) } else { Err(Malformed::NotJson) }
    }
}

pub(super) fn skip_space(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Where the string ends that begins at `at`. Of checked text, as all below.
pub(super) fn skip_string(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..]).expect("a string ends");
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
}

/// Where the value ends that begins at `at`.
pub(super) fn skip_value(text: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0);
    loop {
        match text[at] {
            b'"' => at = skip_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                at += text[at..].iter().position(ends).unwrap_or(text.len() - at);
            }
        }
        if depth == 0 {
            return at;
        }
    }
}

/// Objects and arrays within one another. What people write has ten.
pub const JSON_DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_is_taken() {
        for text in [
            "0 -0 12.50e+3 1E-2 true false null \"\" {} [] \"caf\u{e9}\" \"\\ud800\"".split(' ').collect(),
            vec![" [ ] ", "[1,2]", "{\"a\":1,\"b\":[{}]}", "[[],{},[{}]]", "\r\n\t{ \"a\" : [ 1 , null ] }\n"],
            vec!["\"\\u00e9\\\"\\\\\\/\\b\\f\\n\\r\\t\""],
        ]
        .concat()
        {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
            let begin = skip_space(text.as_bytes(), 0);
            assert_eq!(skip_value(text.as_bytes(), begin), text.trim_end().len(), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "01 +1 1. .5 1e - tru True nul NaN Infinity \" \"a \"\\x\" \"\\u12g4\" \"\\u12".split(' ').collect(),
            "[ [1 [1, [1,] [,1] { {\"a\" {\"a\": {\"a\":1 {\"a\":1,} {a:1} {1:2} {\"a\":1] [1} [1]] 'a'"
                .split(' ')
                .collect(),
            vec!["", " ", "\"a\nb\"", "[1 2]", "{\"a\" 1}", "{} {}", "1 2", "// a\n1", "\u{feff}{}", "{\"a\":1;}"],
        ]
        .concat()
        {
            assert_eq!(check(text.as_bytes()), Err(Malformed::NotJson), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Err(Malformed::NotJson));
        assert_eq!(check(b"\"\xc0\xaf\""), Err(Malformed::NotJson));
    }

    #[test]
    fn every_text_that_is_cut_is_none() {
        let text = br#"{"a":[1.5e1,"\u00e9",{"b":null}],"c":{"d":[true,false]}}"#;
        assert_eq!(check(text), Ok(()));
        for length in 0..text.len() {
            assert_eq!(check(&text[..length]), Err(Malformed::NotJson), "{length}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_whatever_follows() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(check(&nested(JSON_DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(JSON_DEPTH_MAX + 1)), Err(Malformed::TooDeep));
        assert_eq!(check(&[b'['; 1 << 20]), Err(Malformed::TooDeep));
        assert_eq!(check(&b"{\"a\":".repeat(JSON_DEPTH_MAX + 1)), Err(Malformed::TooDeep));
        let mixed = [&b"[{\"a\":".repeat(JSON_DEPTH_MAX / 2)[..], b"1", &b"}]".repeat(JSON_DEPTH_MAX / 2)].concat();
        assert_eq!(check(&mixed), Ok(()));
    }
}
