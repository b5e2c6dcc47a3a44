//! The request target (RFC 9112 §3.2), taken apart.

use super::error::HeadError;
use super::field::Span;
use super::method::Method;
use crate::stdx::lanes::{self, Lanes};

/// Which form the target was sent in. CONNECT's authority form is refused with its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Origin,
    Absolute,
    Asterisk,
}

/// A target's parts, not yet checked beyond their extent, apart from the query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) form: Target,
    /// The port that the scheme of an absolute target implies.
    pub(super) port_implied: u16,
    /// Empty unless the form is absolute.
    pub(super) authority: Span,
    /// Empty in an absolute target that ends with its authority.
    pub(super) path: Span,
    pub(super) query: Option<Span>,
}

impl Parts {
    /// `sent` begins at `start` of the head and is not empty; its first `?`, or else its end, is at `query_at`.
    pub(super) fn of(sent: &[u8], query_at: usize, start: usize, method: Method) -> Result<Self, HeadError> {
        let (form, authority, port_implied) = match sent {
            [b'/', ..] => (Target::Origin, 0..0, 0),
            b"*" if method == Method::Options => (Target::Asterisk, 0..0, 0),
            _ => {
                let (scheme_len, port) = scheme(sent).ok_or(HeadError::TargetInvalid)?;
                let authority_len = sent[scheme_len..].iter().position(|byte| b"/?".contains(byte));
                let authority_end = authority_len.map_or(sent.len(), |len| scheme_len + len);
                (Target::Absolute, scheme_len..authority_end, port)
            }
        };
        let query = match sent.get(query_at + 1..) {
            None => None,
            Some(query) if is_query(query) => Some(Span::new(start + query_at + 1, query.len())),
            Some(_) => return Err(HeadError::TargetInvalid),
        };
        let path = Span::new(start + authority.end, query_at - authority.end);
        let authority = Span::new(start + authority.start, authority.len());
        Ok(Self { form, port_implied, authority, path, query })
    }
}

/// How long the scheme is with its `://`, and the port it implies.
fn scheme(sent: &[u8]) -> Option<(usize, u16)> {
    let begins = |with: &[u8]| sent.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins(b"http://") {
        Some((7, 80))
    } else if begins(b"https://") {
        Some((8, 443))
    } else {
        None
    }
}

/// Visible ASCII without `#` and backslash. Triplets are the application's.
fn is_query(query: &[u8]) -> bool {
    let forbidden = |lanes: Lanes| {
        let not_visible = lanes.below(b'!') | lanes.above(b'~');
        not_visible | lanes.equal(b'#') | lanes.equal(b'\\')
    };
    lanes::find(query, 0, forbidden) == query.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sent: &[u8], start: usize, method: Method) -> Result<Parts, HeadError> {
        let query_at = sent.iter().position(|&byte| byte == b'?').unwrap_or(sent.len());
        Parts::of(sent, query_at, start, method)
    }

    #[track_caller]
    fn check(sent: &str, form: Target, authority: &str, path: &str, query: Option<&str>) {
        let bytes = format!("OPTIONS {sent}");
        let parts = parts(sent.as_bytes(), 8, Method::Options).expect(sent);
        let text = |span: Span| str::from_utf8(span.of(bytes.as_bytes())).expect("ASCII");
        assert_eq!((parts.form, text(parts.authority), text(parts.path)), (form, authority, path), "{sent}");
        assert_eq!(parts.query.map(text), query, "{sent}");
    }

    #[test]
    fn a_target_is_taken_apart_by_its_form() {
        check("/", Target::Origin, "", "/", None);
        check("/a?b?c", Target::Origin, "", "/a", Some("b?c"));
        check("/a?", Target::Origin, "", "/a", Some(""));
        check("//a/b", Target::Origin, "", "//a/b", None);
        check("/a?http://b", Target::Origin, "", "/a", Some("http://b"));
        check("*", Target::Asterisk, "", "*", None);
        check("http://a:80/b?c", Target::Absolute, "a:80", "/b", Some("c"));
        check("HTTPS://a", Target::Absolute, "a", "", None);
        check("http://a?b/c", Target::Absolute, "a", "", Some("b/c"));
        check("http:///b", Target::Absolute, "", "/b", None);
    }

    #[test]
    fn other_targets_are_refused() {
        for sent in
            ["a", "a:80", "ftp://a/", "http:/a", "http", "**", "*/a", "?a", "/?a#b", "/?a\\b", "/?\u{e9}", "/?a\x7f"]
        {
            assert_eq!(parts(sent.as_bytes(), 8, Method::Options), Err(HeadError::TargetInvalid), "{sent}");
        }
        assert_eq!(parts(b"*", 4, Method::Get), Err(HeadError::TargetInvalid));
    }

    #[test]
    fn a_scheme_implies_its_port() {
        let port = |sent: &[u8]| parts(sent, 0, Method::Get).map(|parts| parts.port_implied);
        assert_eq!(port(b"http://a/"), Ok(80));
        assert_eq!(port(b"https://a/"), Ok(443));
    }
}
