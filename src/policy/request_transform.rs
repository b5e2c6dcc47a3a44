//! Request transform: headers, arguments of the query and JSON bodies, changed before the service sees them.
//!
//! Kong's `request-transformer` without forms, methods, paths and templates, and with paths into bodies.

use serde::Deserialize;

use super::{
    ArgumentValue, Body, BodyBytes, BodyEdits, Content, Context, Edited, Given, Hooks, Invalid, Member, Renamed,
    Verdict, forget_body, forget_trailers,
};
use crate::http::view::{ArgumentName, FieldName, FieldValue, RequestView};
use crate::stdx::json::{Malformed, Path, Value};

/// Changes headers, the query and JSON bodies of requests: first `remove`, then `rename`, `replace`, `add` and
/// `append`. Names of headers are the same in any case and with `_` for `-`; a change is of all lines of a name.
///
/// Bodies are changed whose `Content-Type` is `application/json` or ends in `+json`; others, and a request without a
/// body, stay as they are. A place in a body is a path of names and elements: `a`, `a.b`, `a[0]`, `a[*].b`, the first
/// element being 0. A path that leads nowhere changes nothing. What is not named keeps its bytes and its order. Such a
/// body is held until it has arrived as a whole; it goes on with its length, without trailers, and if it has changed
/// without the digests that were sent of it. It is refused if it is longer than `body_bytes_max` or has too many
/// elements to look at (413), compressed or not in UTF-8 (415), or if it is cut, not JSON, nested more than 64 deep, or
/// has a member twice that is named here (400).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Takes away.
    pub remove: Names,
    /// Gives another name, in place of what had that name.
    pub rename: Renames,
    /// Gives another value to what is there.
    pub replace: Values,
    /// Adds what is not there.
    pub add: Values,
    /// Adds one more, whatever is there.
    pub append: Values,
    /// The longest JSON body, in bytes, at most 8388608, if bodies are changed. Default: 262144.
    pub body_bytes_max: Option<BodyBytes>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Names of headers. Default: none.
    pub headers: Vec<FieldName>,
    /// Names of arguments of the query. Default: none.
    pub querystring: Vec<ArgumentName>,
    /// Paths into JSON bodies. Default: none.
    pub body: Vec<Path>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Renames {
    /// `old:new` each. Default: none.
    pub headers: Vec<Renamed<FieldName>>,
    /// `old:new` each. Default: none.
    pub querystring: Vec<Renamed<ArgumentName>>,
    /// `path.old:new` each, in place of the member that had the new name. Default: none.
    pub body: Vec<Renamed<Path>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Values {
    /// `name:value` each. Default: none.
    pub headers: Vec<Given<FieldName, FieldValue>>,
    /// `name:value` each, not percent-encoded. Default: none.
    pub querystring: Vec<Given<ArgumentName, ArgumentValue>>,
    /// `path:value` each, the value a string; `path:=value` for one in JSON, as in `limit:=10`. What `append` finds
    /// that is no array becomes the first element of one. Default: none.
    pub body: Vec<Given<Path, Value>>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RequestTransform {
    headers: Edited<FieldName, FieldValue>,
    query: Option<Edited<ArgumentName, ArgumentValue>>,
    body: Option<BodyEdits>,
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    BodyTooLarge,
    /// Not in UTF-8, or compressed: what is in it could not be seen.
    BodyEncoded,
    BodyNotJson,
    BodyTooDeep,
    MemberRepeated,
}

impl Error {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::BodyEncoded => "body_encoded",
            Self::BodyNotJson => "body_not_json",
            Self::BodyTooDeep => "body_too_deep",
            Self::MemberRepeated => "member_repeated",
        }
    }
}

impl Member for RequestTransform {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(Config { remove, rename, replace, add, append, body_bytes_max }: Config) -> Result<Self, Invalid> {
        let headers = Edited {
            remove: remove.headers,
            rename: rename.headers,
            replace: replace.headers,
            add: add.headers,
            append: append.headers,
        };
        let query = Edited {
            remove: remove.querystring,
            rename: rename.querystring,
            replace: replace.querystring,
            add: add.querystring,
            append: append.querystring,
        };
        let body = Edited {
            remove: remove.body,
            rename: rename.body,
            replace: replace.body,
            add: add.body,
            append: append.body,
        };
        if headers.is_empty() && query.is_empty() && body.is_empty() {
            return Err(Invalid::new("nothing to change", "say what to remove, rename, replace, add or append"));
        }
        headers.check()?;
        let query = Some(query).filter(|query| !query.is_empty());
        Ok(Self { headers, query, body: BodyEdits::new(body, body_bytes_max)? })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        // As it was sent: what this policy says of a body is said of the one that it makes.
        let has_body = request.content_length() != Some(0);
        let body = self.body.as_ref().filter(|_| has_body).map(|edits| (edits, Content::of(&request.headers)));
        self.headers.apply(&mut request.headers);
        self.query.iter().for_each(|query| query.apply(request));
        match body {
            None | Some((_, Content::Other)) => Verdict::Continue,
            Some((_, Content::EncodedJson)) => Verdict::Reject(Error::BodyEncoded.into()),
            Some((edits, Content::Json)) => {
                Verdict::Buffer { bytes_max: edits.bytes_max, too_large: Error::BodyTooLarge.into() }
            }
        }
    }

    fn on_request_body<'a>(
        &'a self,
        request: &mut RequestView<'_>,
        body: &mut Body<'_>,
        _context: &mut Context<'_>,
    ) -> Verdict<'a> {
        forget_trailers(&mut request.headers);
        let Some(edits) = self.body.as_ref().filter(|_| !body.bytes().is_empty()) else { return Verdict::Continue };
        match edits.apply(body) {
            Ok(true) => forget_body(&mut request.headers),
            Ok(false) => {}
            Err(error) => return Verdict::Reject(Error::from(error).into()),
        }
        Verdict::Continue
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotJson => Self::BodyNotJson,
            Malformed::TooDeep => Self::BodyTooDeep,
            Malformed::Repeated => Self::MemberRepeated,
            Malformed::TooMany => Self::BodyTooLarge,
        }
    }
}

impl From<Error> for super::Error {
    fn from(error: Error) -> Self {
        Self::RequestTransform(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    /// The head's lines but the first two, and the query.
    #[track_caller]
    fn check(config: &str, request: &str, want: &[&str], query: Option<&str>) {
        let trial = Trial::<RequestTransform>::new(config);
        let mut tried = trial.request(request);
        assert_eq!(tried.fields()[1..], *want, "{config}");
        assert_eq!(tried.query().as_deref(), query, "{config}");
    }

    const REQUEST: &str = "GET /p?a=1&b=2 HTTP/1.1\nHost: h\nX-A: 1\nx-a: 2\nX-B: 3";

    #[test]
    fn each_operation_does_what_kongs_does() {
        let (all, query) = (["X-A: 1", "x-a: 2", "X-B: 3"], Some("a=1&b=2"));
        check("remove: { headers: [x_a], querystring: [a] }", REQUEST, &["X-B: 3"], Some("b=2"));
        check("rename: { headers: [\"X-A:X-C\"] }", REQUEST, &["X-B: 3", "X-C: 1", "X-C: 2"], query);
        check("rename: { headers: [\"X-B:X-A\"] }", REQUEST, &["X-A: 3"], query);
        check("rename: { headers: [\"X-No:X-A\"], querystring: [\"a:c\"] }", REQUEST, &all, Some("c=1&b=2"));
        check("replace: { headers: [\"X-A: 9\", \"X-No:1\"] }", REQUEST, &["X-B: 3", "X-A: 9"], query);
        check("replace: { querystring: [\"a:x y\", \"no:1\"] }", REQUEST, &all, Some("b=2&a=x%20y"));
        check(
            "add: { headers: [\"X-A:9\", \"X-C:http://x\"], querystring: [\"a:9\", \"c:1&2\"] }",
            REQUEST,
            &["X-A: 1", "x-a: 2", "X-B: 3", "X-C: http://x"],
            Some("a=1&b=2&c=1%262"),
        );
        check(
            "append: { headers: [\"X-A:9\"], querystring: [\"a:9\"] }",
            REQUEST,
            &["X-A: 1", "x-a: 2", "X-B: 3", "X-A: 9"],
            Some("a=1&b=2&a=9"),
        );
    }

    #[test]
    fn operations_follow_one_another_in_kongs_order() {
        let config = "
append: { headers: [\"X-C:5\"], querystring: [\"d:5\"] }
add: { headers: [\"X-A:4\", \"X-C:4\"], querystring: [\"a:4\", \"d:4\"] }
replace: { headers: [\"X-C:3\"], querystring: [\"d:3\"] }
rename: { headers: [\"X-B:X-C\"], querystring: [\"b:d\"] }
remove: { headers: [X-A], querystring: [a] }";
        check(config, REQUEST, &["X-C: 3", "X-A: 4", "X-C: 5"], Some("d=3&a=4&d=5"));
    }

    /// What becomes of a JSON body, and of what was said of it.
    #[track_caller]
    fn check_body(config: &str, body: &str, want: Result<&str, Error>) {
        let trial = Trial::<RequestTransform>::new(config);
        let head = format!("{JSON}\nContent-Length: {}", body.len());
        let tried = trial.request_with(&head, body);
        match want {
            Err(error) => assert_eq!(tried.refusal(), Some(error.into()), "{config} of {body}"),
            Ok(want) => {
                assert_eq!(
                    (tried.refusal(), tried.body.as_deref().unwrap_or(body)),
                    (None, want),
                    "{config} of {body}"
                );
                let has_digest = tried.fields().iter().any(|field| field.starts_with("Digest"));
                assert_eq!(has_digest, want == body, "{config} of {body}");
            }
        }
    }

    const JSON: &str = "POST / HTTP/1.1\nHost: h\nContent-Type: application/json; charset=utf-8\nDigest: x";

    #[test]
    fn bodies_are_changed_in_kongs_order() {
        let config = "
append: { body: [\"c:5\", \"l:=6\"] }
add: { body: [\"a:4\", \"c:4\"] }
replace: { body: [\"c:=3.0\", \"no:3\"] }
rename: { body: [\"b:c\"] }
remove: { body: [a, \"u[*].password\"] }";
        check_body(
            config,
            r#"{"a":1,"b":2,"n":1.10,"u":[{"password":"x"}],"l":[5]}"#,
            Ok(r#"{"c":[3.0,"5"],"n":1.10,"u":[{}],"l":[5,6],"a":"4"}"#),
        );
        check_body("remove: { body: [x] }", r#" { "a" : 1.0 } "#, Ok(r#" { "a" : 1.0 } "#));
        check_body("add: { body: [\"a:http://x\"] }", "{}", Ok(r#"{"a":"http://x"}"#));
    }

    #[test]
    fn a_body_that_cannot_be_read_is_refused() {
        let config = "{ remove: { body: [role] }, body_bytes_max: 200 }";
        check_body(config, r#"{"a":1"#, Err(Error::BodyNotJson));
        check_body(config, "role=1", Err(Error::BodyNotJson));
        check_body(config, &"[".repeat(100), Err(Error::BodyTooDeep));
        check_body(config, r#"{"role":1,"r\u006fle":2}"#, Err(Error::MemberRepeated));
        check_body(config, &format!("[{}]", " ".repeat(199)), Err(Error::BodyTooLarge));
        let trial = Trial::<RequestTransform>::new(config);
        for more in ["Content-Encoding: gzip", "Content-Type: application/json; charset=utf-16"] {
            let tried = trial.request_with(&format!("{JSON}\nContent-Length: 2\n{more}"), "{}");
            assert_eq!(tried.refusal(), Some(Error::BodyEncoded.into()), "{more}");
        }
    }

    #[test]
    fn only_json_is_waited_for() {
        let trial = Trial::<RequestTransform>::new("add: { body: [\"a:1\"], headers: [\"X-A:1\"] }");
        for head in [
            "GET / HTTP/1.1\nHost: h\nContent-Type: application/json",
            "POST / HTTP/1.1\nHost: h\nContent-Type: application/json\nContent-Length: 0",
            "POST / HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 2",
        ] {
            let tried = trial.request(head);
            assert!(tried.refusal().is_none() && !tried.wants_body(), "{head}");
            assert!(tried.fields().contains(&"X-A: 1".to_owned()));
        }
        assert!(trial.request(&format!("{JSON}\nTransfer-Encoding: chunked")).wants_body());
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        let refused = Trial::<RequestTransform>::refused;
        refused("rename: { body: [\"a:b.c\"] }", RENAMED);
        refused("rename: { body: [\"a[0]:b\"] }", RENAMED);
        refused("add: { body: [\"a[0]:b\"] }", "an element of a body that would be added at a place: use `append`");
        refused("{}", "nothing to change: say what to remove, rename, replace, add or append");
        for name in ["Host", "content_length", "X-Forwarded-For", "Connection"] {
            let what = format!("the header `{name}`, which the gateway writes or goes by itself: leave it out");
            refused(&format!("remove: {{ headers: [{name}] }}"), &what);
            refused(&format!("add: {{ headers: [\"{name}:x\"] }}"), &what);
            refused(&format!("rename: {{ headers: [\"X-A:{name}\"] }}"), &what);
        }
        let unread = Trial::<RequestTransform>::unread;
        unread("add: { headers: [X-A] }", "expected `name:value`");
        unread("add: { headers: [\"X A:1\"] }", "expected `name:value`");
        unread("add: { headers: [\"X-A:$(headers.x)\"] }", "without Kong's `$(...)`");
        unread("add: { headers: [\"X-A:a\\r\\nX-B: b\"] }", "expected `name:value`");
        unread("rename: { headers: [X-A] }", "expected `old:new`");
        unread("remove: { body: [\"a..b\"] }", "expected a path like `a.b`");
        unread("add: { body: [\"a:=x\"] }", "expected `name:value`");
        unread("{ remove: { body: [a] }, body_bytes_max: 10000000 }", "8388608");
    }

    const RENAMED: &str =
        "a member of a body that would be renamed to a path, or an element to a name: write `path.old:new`";
}
