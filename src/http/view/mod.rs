//! A head as policies see it: the fields that go on, with the edits of the policies before.
//!
//! ```text
//!   head (offsets into bytes) --+
//!                               +--> Headers: read through the edits --> written once, when the head goes on
//!   Edits (dropped, lines) -----+
//! ```
//!
//! Nothing of a head is copied or moved for a policy. Lines that it adds are kept as they will be written, in memory
//! that the next request uses again, within bounds: a head that would outgrow them is refused as a whole, never sent on
//! half edited.

mod edits;
mod headers;
mod name;
mod query;
#[cfg(test)]
pub mod sample;

pub use super::head::Method;
pub use edits::{Edits, TEXT_BYTES_MAX};
pub use headers::{Fields, Headers};
pub use name::{ArgumentName, FieldName, FieldNames, FieldValue};
pub use query::without_values;

use super::body::Framing;
use super::head::RequestHead;

/// A request's head.
pub struct RequestView<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    pub headers: Headers<'a>,
}

/// A response's head, a service's or the gateway's own.
pub struct ResponseView<'a> {
    pub status: u16,
    pub headers: Headers<'a>,
}

impl<'a> RequestView<'a> {
    pub fn new(head: &'a RequestHead, bytes: &'a [u8], edits: &'a mut Edits) -> Self {
        Self { head, bytes, headers: Headers::new(Fields::Read(head.fields(), bytes), edits) }
    }

    pub fn method(&self) -> Method {
        self.head.method
    }

    /// As it was sent.
    pub fn method_name(&self) -> &[u8] {
        self.head.method_span.of(self.bytes)
    }

    /// Normalised: what is matched, logged and sent on.
    pub fn path(&self) -> &[u8] {
        &self.head.path
    }

    /// How long the body says that it is; `None` if it does not say.
    pub fn content_length(&self) -> Option<u64> {
        match self.head.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::Known;
    use sample::Sample;

    /// Edits a request and compares the fields that go on, one a line, and the query.
    #[track_caller]
    fn check(head: &str, edit: impl Fn(&mut RequestView<'_>), want: &[&str], query: Option<&str>) {
        let mut sample = Sample::new(head);
        // Twice, so that what the first request left behind would show.
        for _ in 0..2 {
            sample.begin(|field| field.known == Known::Host);
            let mut view = sample.view();
            edit(&mut view);
            let edited = view.query().map(|query| String::from_utf8_lossy(query).into_owned());
            assert_eq!(edited.as_deref(), query);
            let to_be_written = sample.edits().query().unwrap_or(edited.as_deref().map(str::as_bytes));
            assert_eq!(to_be_written, query.map(str::as_bytes));
            assert_eq!(sample.fields(), want);
            assert!(!sample.edits().overflowed());
        }
    }

    fn name(text: &str) -> FieldName {
        FieldName::new(text).unwrap()
    }

    fn argument(text: &str) -> ArgumentName {
        ArgumentName::new(text).unwrap()
    }

    const HEAD: &str = "GET /p?a=1&b=2&a=3 HTTP/1.1\nHost: h\nX-Role: user\nAccept: */*\nx_role: admin";

    #[test]
    fn a_name_is_edited_on_all_its_lines() {
        check(HEAD, |_| (), &["X-Role: user", "Accept: */*", "x_role: admin"], Some("a=1&b=2&a=3"));
        check(HEAD, |view| view.headers.remove(&name("x-ROLE")), &["Accept: */*"], Some("a=1&b=2&a=3"));
        check(
            HEAD,
            |view| view.headers.set(&name("X-Role"), b"none"),
            &["Accept: */*", "X-Role: none"],
            Some("a=1&b=2&a=3"),
        );
        check(
            HEAD,
            |view| view.headers.rename(&name("X-Role"), &name("X-Was")),
            &["Accept: */*", "X-Was: user", "X-Was: admin"],
            Some("a=1&b=2&a=3"),
        );
    }

    #[test]
    fn a_later_edit_sees_the_earlier_ones() {
        check(
            HEAD,
            |view| {
                view.headers.add(&name("A"), b"1");
                view.headers.add(&name("a"), b"2");
                assert_eq!(view.headers.values(&name("A")).collect::<Vec<_>>(), [b"1", b"2"]);
                assert_eq!(
                    (view.headers.only(&name("A")), view.headers.only(&name("Accept"))),
                    (None, Some(&b"*/*"[..]))
                );
                view.headers.rename(&name("A"), &name("Accept"));
                assert!(!view.headers.has(&name("A")) && view.headers.only(&name("x-role")).is_none());
            },
            &["X-Role: user", "x_role: admin", "Accept: 1", "Accept: 2"],
            Some("a=1&b=2&a=3"),
        );
        check(
            HEAD,
            |view| {
                view.headers.set(&name("A"), b"1");
                view.headers.remove(&name("A"));
                view.headers.rename(&name("Accept"), &name("accept"));
            },
            &["X-Role: user", "x_role: admin", "accept: */*"],
            Some("a=1&b=2&a=3"),
        );
    }

    #[test]
    fn what_stays_behind_is_not_there() {
        check(
            HEAD,
            |view| {
                assert!(!view.headers.has(&name("Host")));
                view.headers.rename(&name("Host"), &name("X-Host"));
            },
            &["X-Role: user", "Accept: */*", "x_role: admin"],
            Some("a=1&b=2&a=3"),
        );
    }

    #[test]
    fn who_asks_is_not_what_was_sent_of_it() {
        let head = "GET / HTTP/1.1\nHost: h\nX-Consumer-Id: 1\nx_consumer_username: root\nX-Envoy-A: 1\n\
                    X-Credential-Identifier: c\nX-Anonymous-Consumer: true\nX-Forwarded-User: u\nX-Consumer: x";
        check(
            head,
            |view| {
                view.headers.add(&name("X-Consumer-Username"), b"ann");
                view.headers.remove_sent_identity();
                assert_eq!(view.headers.only(&name("X-Consumer-Username")), Some(&b"ann"[..]));
                assert!(!view.headers.has(&name("X-Consumer-Id")));
            },
            &["X-Envoy-A: 1", "X-Forwarded-User: u", "X-Consumer: x", "X-Consumer-Username: ann"],
            None,
        );
    }

    #[test]
    fn arguments_are_edited_by_their_decoded_names() {
        let fields = ["X-Role: user", "Accept: */*", "x_role: admin"];
        let edited = |head: &str, edit: &dyn Fn(&mut RequestView<'_>), query| check(head, edit, &fields, query);
        edited(HEAD, &|view| view.remove_argument(&argument("a")), Some("b=2"));
        edited(HEAD, &|view| view.set_argument(&argument("a"), b"%209"), Some("b=2&a=%209"));
        edited(HEAD, &|view| view.rename_argument(&argument("a"), &argument("c d")), Some("c%20d=1&b=2&c%20d=3"));
        edited(HEAD, &|view| view.add_argument(&argument("b"), b"x"), Some("a=1&b=2&a=3&b=x"));
        let encoded = HEAD.replace("a=1", "%61=1");
        edited(&encoded, &|view| view.remove_argument(&argument("a")), Some("b=2"));
        edited(&encoded, &|view| view.remove_argument(&argument("z")), Some("%61=1&b=2&a=3"));
        let bare = HEAD.replace("?a=1&b=2&a=3", "");
        edited(&bare, &|view| view.remove_argument(&argument("a")), None);
        edited(&bare, &|view| view.add_argument(&argument("a"), b"1"), Some("a=1"));
        let single = HEAD.replace("a=1&b=2&a=3", "a");
        edited(&single, &|view| view.remove_argument(&argument("a")), None);
        edited(&single, &|view| assert_eq!(view.argument(&argument("a")).collect::<Vec<_>>(), [b""]), Some("a"));
    }

    #[test]
    fn lines_are_set_together_and_found_one_by_one() {
        let names = FieldNames::new(["X-Role", "B"].map(name));
        check(
            HEAD,
            |view| {
                view.headers.add(&name("b"), b"0");
                view.headers.set_lines(&names, |lines| lines.extend_from_slice(b"X-Role: none\r\nB: 1: 2\r\n"));
                assert_eq!(view.headers.only(&name("b")), Some(&b"1: 2"[..]));
                view.headers.rename(&name("X-Role"), &name("X-Was"));
                view.headers.set_lines(&FieldNames::new([name("C")]), |lines| lines.extend_from_slice(b"C: \r\n"));
                assert_eq!(view.headers.only(&name("c")), Some(&b""[..]));
            },
            &["Accept: */*", "X-Was: none", "B: 1: 2", "C: "],
            Some("a=1&b=2&a=3"),
        );
    }

    #[test]
    fn edits_have_bounds() {
        let mut edits = Edits::default();
        let fields = [];
        let mut headers = Headers::new(Fields::Own(&fields), &mut edits);
        (0..TEXT_BYTES_MAX / 6).for_each(|_| headers.add(&name("A"), b"1"));
        assert!(!edits.overflowed());
        Headers::new(Fields::Own(&fields), &mut edits).add(&name("A"), b"1");
        assert!(edits.overflowed() && edits.lines().len() <= TEXT_BYTES_MAX);
        edits.begin(Fields::Own(&fields), |_| false);
        assert!(!edits.overflowed());
        let mut headers = Headers::new(Fields::Own(&fields), &mut edits);
        headers.add(&name("A"), &[b'x'; TEXT_BYTES_MAX]);
        assert!(edits.overflowed() && edits.added().next().is_none());
    }
}
