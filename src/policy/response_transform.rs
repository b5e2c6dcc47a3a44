//! Response transform: headers and JSON bodies, changed before the client sees them.
//!
//! Kong's `response-transformer`; what it calls `json` is `body` here.

use serde::Deserialize;

use super::{
    Body, BodyBytes, BodyEdits, Content, Context, Edited, Given, Hooks, Invalid, Member, Renamed, Verdict, forget_body,
    forget_trailers,
};
use crate::http::view::{FieldName, FieldValue, Method, RequestView, ResponseView};
use crate::stdx::json::{Path, Value};

/// Changes headers of responses, the gateway's own answers included, and JSON bodies of services: first `remove`, then
/// `rename`, `replace`, `add` and `append`. Names are the same in any case and with `_` for `-`; a change is of all
/// lines of a name.
///
/// Bodies are changed whose `Content-Type` is `application/json` or ends in `+json`. A place in a body is a path of
/// names and elements: `a`, `a.b`, `a[0]`, `a[*].b`, the first element being 0. A path that leads nowhere changes
/// nothing. What is not named keeps its bytes and its order. Such a body is held until it has arrived as a whole; it
/// goes on with its length, without trailers, and if it has changed without `ETag`, `Accept-Ranges` and digests. A body
/// goes on as it came, so that nothing secret should be left to this policy alone, if it is longer than
/// `body_bytes_max`, compressed, not in UTF-8, a part of one (206), not JSON, nested more than 64 deep, has a member
/// twice that is named here, or too many elements to look at. Clients have no say in that: `Range`, `If-Range` and
/// `Accept-Encoding` are taken out of requests whose answers may be changed.
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
    /// The longest JSON body that is changed, in bytes, at most 8388608. Default: 262144.
    pub body_bytes_max: Option<BodyBytes>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Names of headers. Default: none.
    pub headers: Vec<FieldName>,
    /// Paths into JSON bodies. Default: none.
    pub body: Vec<Path>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Renames {
    /// `old:new` each. Default: none.
    pub headers: Vec<Renamed<FieldName>>,
    /// `path.old:new` each, in place of the member that had the new name. Default: none.
    pub body: Vec<Renamed<Path>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Values {
    /// `name:value` each. Default: none.
    pub headers: Vec<Given<FieldName, FieldValue>>,
    /// `path:value` each, the value a string; `path:=value` for one in JSON, as in `limit:=10`. What `append` finds
    /// that is no array becomes the first element of one. Default: none.
    pub body: Vec<Given<Path, Value>>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct ResponseTransform {
    headers: Edited<FieldName, FieldValue>,
    body: Option<BodyEdits>,
}

impl Member for ResponseTransform {
    type Config = Config;
    const HOOKS: Hooks = Hooks::RESPONSE;

    fn hooks(&self) -> Hooks {
        if self.body.is_some() { Hooks::BOTH.and(Hooks::RESPONSE_BODY) } else { Self::HOOKS }
    }

    fn new(Config { remove, rename, replace, add, append, body_bytes_max }: Config) -> Result<Self, Invalid> {
        let headers = Edited {
            remove: remove.headers,
            rename: rename.headers,
            replace: replace.headers,
            add: add.headers,
            append: append.headers,
        };
        let body = Edited {
            remove: remove.body,
            rename: rename.body,
            replace: replace.body,
            add: add.body,
            append: append.body,
        };
        if headers.is_empty() && body.is_empty() {
            return Err(Invalid::new("nothing to change", "say what to remove, rename, replace, add or append"));
        }
        headers.check()?;
        Ok(Self { headers, body: BodyEdits::new(body, body_bytes_max)? })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        if self.body.is_some() {
            OF_PARTS_AND_CODINGS.iter().for_each(|name| request.headers.remove(name));
        }
        Verdict::Continue
    }

    fn wants_response_body(&self, response: &ResponseView<'_>) -> Option<u64> {
        let is_whole = response.status != PARTIAL_CONTENT;
        let edits = self.body.as_ref().filter(|_| is_whole && Content::of(&response.headers) == Content::Json)?;
        Some(edits.bytes_max)
    }

    fn on_response_body(&self, response: &mut ResponseView<'_>, body: &mut Body<'_>) {
        // Another policy may have asked for more, or have changed what the body is.
        let bytes_max = self.wants_response_body(response).unwrap_or(0);
        let Some(edits) = self.body.as_ref().filter(|_| body.bytes().len() as u64 <= bytes_max) else { return };
        forget_trailers(&mut response.headers);
        if edits.apply(body) == Ok(true) {
            forget_body(&mut response.headers);
        }
    }

    fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, _context: &Context<'_>) {
        // What is said of a body that only a GET would have brought is said of the one before it is changed.
        if request.method() == Method::Head && self.wants_response_body(response).is_some() {
            forget_body(&mut response.headers);
        }
        self.headers.apply(&mut response.headers);
    }
}

/// By these a client would ask for what cannot be changed.
const OF_PARTS_AND_CODINGS: [FieldName; 3] =
    [FieldName::fixed("Range"), FieldName::fixed("If-Range"), FieldName::fixed("Accept-Encoding")];
/// Half a text cannot be read.
const PARTIAL_CONTENT: u16 = 206;

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, fields: &[(&str, &str)], want: &[&str]) {
        let trial = Trial::<ResponseTransform>::new(config);
        let mut tried = trial.request("GET / HTTP/1.1\nHost: h");
        assert!(tried.refusal().is_none() && tried.response().is_none());
        assert_eq!(tried.answered(200, fields), want, "{config}");
    }

    const FIELDS: &[(&str, &str)] = &[("Set-Cookie", "a"), ("set-cookie", "b"), ("Server", "x")];

    #[test]
    fn each_operation_does_what_kongs_does() {
        check("remove: { headers: [Set-Cookie] }", FIELDS, &["Server: x"]);
        check("rename: { headers: [\"Server:X-Server\"] }", FIELDS, &["Set-Cookie: a", "set-cookie: b", "X-Server: x"]);
        check(
            "replace: { headers: [\"Server:y\", \"No:1\"] }",
            FIELDS,
            &["Set-Cookie: a", "set-cookie: b", "Server: y"],
        );
        check("add: { headers: [\"Server:y\", \"No:1\"] }", &[("Server", "x")], &["Server: x", "No: 1"]);
        check("append: { headers: [\"Server:y\"] }", &[("Server", "x")], &["Server: x", "Server: y"]);
    }

    #[test]
    fn operations_follow_one_another_in_kongs_order() {
        let config = "
append: { headers: [\"X-S:4\"] }
add: { headers: [\"Set-Cookie:c\", \"X-S:3\"] }
replace: { headers: [\"X-S:2\"] }
rename: { headers: [\"Server:X-S\"] }
remove: { headers: [Set-Cookie] }";
        check(config, FIELDS, &["X-S: 2", "Set-Cookie: c", "X-S: 4"]);
    }

    /// What becomes of a body with these headers, and of its `ETag`.
    #[track_caller]
    fn check_body(config: &str, (status, content_type): (u16, &str), body: &str, want: Option<&str>) {
        let trial = Trial::<ResponseTransform>::new(config);
        let mut tried = trial.request("GET / HTTP/1.1\nHost: h");
        let fields = [("Content-Type", content_type), ("ETag", "\"x\""), ("X-A", "1")];
        let (left, got) = tried.answered_with(status, &fields, body);
        assert_eq!(got.as_deref(), want, "{config} of {body}");
        assert_eq!(left.iter().any(|field| field.starts_with("ETag")), want.is_none(), "{config} of {body}");
    }

    #[test]
    fn bodies_are_changed_in_kongs_order() {
        let config = "
append: { body: [\"c:5\"] }
add: { body: [\"a:4\"] }
replace: { body: [\"c:=true\"] }
rename: { body: [\"b:c\"] }
remove: { body: [a, \"u[*].ssn\"] }";
        let json = (200, "application/json");
        let body = r#"{"a":1,"b":2,"n":1.10,"u":[{"ssn":"x"}]}"#;
        check_body(config, json, body, Some(r#"{"c":[true,"5"],"n":1.10,"u":[{}],"a":"4"}"#));
        check_body("remove: { body: [a] }", (404, "application/problem+json"), "{\"a\":1}", Some("{}"));
    }

    #[test]
    fn a_client_cannot_ask_for_what_would_not_be_changed() {
        let head = "GET / HTTP/1.1\nHost: h\nRange: bytes=0-\nIf-Range: \"x\"\naccept_encoding: gzip\nAccept: */*";
        let kept = |config: &str| Trial::<ResponseTransform>::new(config).request(head).fields();
        assert_eq!(kept("remove: { body: [a] }"), ["Host: h", "Accept: */*"]);
        assert_eq!(kept("remove: { headers: [a] }").len(), 5);
        let trial = Trial::<ResponseTransform>::new("remove: { body: [a] }");
        let mut tried = trial.request("HEAD / HTTP/1.1\nHost: h");
        let fields = [("Content-Type", "application/json"), ("ETag", "\"x\""), ("Accept-Ranges", "bytes")];
        assert_eq!(tried.answered(200, &fields), ["Content-Type: application/json"]);
        assert_eq!(tried.answered(200, &[("Content-Type", "text/plain"), ("ETag", "\"x\"")]).len(), 2);
    }

    #[test]
    fn what_cannot_be_changed_goes_on_as_it_came() {
        let config = "{ remove: { body: [a] }, body_bytes_max: 100 }";
        let (json, body) = ((200, "application/json"), "{\"a\":1}");
        check_body(config, json, body, Some("{}"));
        check_body(config, (206, "application/json"), body, None);
        check_body(config, (200, "text/html"), body, None);
        check_body(config, (200, "application/json; charset=utf-16"), body, None);
        check_body(config, json, "{\"a\":1", None);
        check_body(config, json, "{\"a\":1,\"a\":2}", None);
        check_body(config, json, "{\"b\":1}", None);
        check_body(config, json, &format!("{{\"a\":1{}}}", " ".repeat(100)), None);
        check_body(config, json, "", None);
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        let refused = Trial::<ResponseTransform>::refused;
        refused("{}", "nothing to change: say what to remove, rename, replace, add or append");
        refused(
            "remove: { headers: [Transfer-Encoding] }",
            "the header `Transfer-Encoding`, which the gateway writes or goes by itself: leave it out",
        );
        Trial::<ResponseTransform>::unread("remove: { json: [a] }", "json");
    }
}
