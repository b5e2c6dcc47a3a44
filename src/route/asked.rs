//! What a request says, as routes ask for it.

use super::pattern::Caches;
use crate::http::head::RequestHead;

/// A request to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub head: &'a RequestHead,
    /// What `head` points into.
    pub bytes: &'a [u8],
    /// It is believed what it says of others.
    pub peer_is_trusted: bool,
}

/// Memory of one shard for finding routes, used by one request after another.
#[derive(Debug, Default)]
pub struct Scratch {
    pub caches: Caches,
    /// A value that is not there in one piece.
    pub value: Vec<u8>,
    /// A name that is compared with what it decodes to.
    pub(super) name: Vec<u8>,
    /// Candidates whose conditions are still to be asked, with their ranks.
    pub(super) waiting: Vec<(u32, u32)>,
}

impl<'a> Asked<'a> {
    pub fn method(&self) -> &'a [u8] {
        self.head.method_span.of(self.bytes)
    }

    /// The value of the field with this lower-case name. That of several lines is their list (RFC 9110 §5.3), written
    /// to `joined`: no line of it can be taken for the whole.
    pub fn header<'v>(&self, name: &[u8], joined: &'v mut Vec<u8>) -> Option<&'v [u8]>
    where
        'a: 'v,
    {
        let mut values = self.lines(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first) };
        joined.clear();
        joined.extend_from_slice(first);
        for value in std::iter::once(second).chain(values) {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// The value of the first cookie of this name (RFC 6265 §4.2).
    pub fn cookie(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut pairs = self.lines(b"cookie").flat_map(|line| line.split(|&byte| byte == b';'));
        pairs
            .find_map(|pair| pair.trim_ascii_start().strip_prefix(name)?.strip_prefix(b"="))
            .map(<[u8]>::trim_ascii_end)
    }

    /// The value of the first query parameter whose name decodes to this one, decoded as forms are.
    pub fn query<'v>(&self, name: &[u8], decoded_name: &mut Vec<u8>, decoded: &'v mut Vec<u8>) -> Option<&'v [u8]> {
        let query = self.head.query?.of(self.bytes);
        for pair in query.split(|&byte| byte == b'&') {
            let end = memchr::memchr(b'=', pair);
            decode(&pair[..end.unwrap_or(pair.len())], decoded_name);
            if decoded_name == name {
                decode(end.map_or(&b""[..], |end| &pair[end + 1..]), decoded);
                return Some(decoded);
            }
        }
        None
    }

    fn lines(&self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let Self { head, bytes, peer_is_trusted } = *self;
        let counts = head.is_for_routes(bytes, peer_is_trusted);
        let named = head.fields().iter().filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name));
        named.filter(move |field| counts(field)).map(move |field| field.value.of(bytes))
    }
}

/// Triplets and `+`, as in a form; what is no triplet stays.
fn decode(sent: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut at = 0;
    while let Some(&byte) = sent.get(at) {
        at += 1;
        let value = match byte {
            b'%' => sent.get(at..at + 2).and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?)),
            _ => None,
        };
        match (byte, value) {
            (_, Some(value)) => {
                out.push(value);
                at += 2;
            }
            (b'+', None) => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, Underscores};

    /// The head of a request as a client would send it.
    pub fn head(text: &str) -> RequestHead {
        let limits = HeadLimits {
            head_bytes_max: 4096,
            fields_max: 50,
            uri_bytes_max: 2048,
            underscores: Underscores::Drop,
            merge_slashes: true,
        };
        let mut head = RequestHead::new();
        let read = head.parse(text.as_bytes(), &limits, &mut Default::default());
        assert_eq!(read, Ok(Some(text.len())), "{text}");
        head
    }

    /// A request with these lines after its first one and Host.
    pub fn request(first: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{first} HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
    }

    #[test]
    fn a_header_is_found_in_any_case_and_its_lines_are_one_list() {
        let text = request("GET /", &["X-A: 1", "x-b: 2", "X-a:  3 ", "X_C: 4"]);
        let (head, mut joined) = (head(&text), Vec::new());
        let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
        for (name, want) in
            [("x-a", Some("1, 3")), ("x-b", Some("2")), ("x-c", None), ("x_c", None), ("host", Some("h"))]
        {
            assert_eq!(asked.header(name.as_bytes(), &mut joined), want.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_cookie_is_the_first_of_its_name() {
        let text = request("GET /", &["Cookie: a=1; bc=2;b=x=y ; A=3", "Cookie: a=4; d=; e"]);
        let head = head(&text);
        let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
        let wanted =
            [("a", Some("1")), ("b", Some("x=y")), ("bc", Some("2")), ("A", Some("3")), ("d", Some("")), ("e", None)];
        for (name, want) in wanted {
            assert_eq!(asked.cookie(name.as_bytes()), want.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_query_parameter_is_compared_decoded() {
        let text = request("GET /?a=1&b%63=x%20y+z&a=2&=e&f&g=%zz%4&a%3Db=c", &[]);
        let (head, mut name_memory, mut memory) = (head(&text), Vec::new(), Vec::new());
        let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
        let wanted = [
            ("a", Some("1")),
            ("bc", Some("x y z")),
            ("b", None),
            ("", Some("e")),
            ("f", Some("")),
            ("g", Some("%zz%4")),
            ("a=b", Some("c")),
        ];
        for (name, want) in wanted {
            let got = asked.query(name.as_bytes(), &mut name_memory, &mut memory);
            assert_eq!(got, want.map(str::as_bytes), "{name}");
        }
    }
}
