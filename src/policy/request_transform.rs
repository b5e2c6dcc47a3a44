//! Request transform: headers and arguments of the query, changed before the service sees them.
//!
//! Kong's `request-transformer` without bodies, methods, paths and templates.

use serde::Deserialize;

use super::{ArgumentValue, Context, Edited, Given, Hooks, Invalid, Member, Renamed, Verdict};
use crate::http::view::{ArgumentName, FieldName, FieldValue, RequestView};

/// Changes headers and the query of requests: first `remove`, then `rename`, `replace`, `add` and `append`. Names of
/// headers are the same in any case and with `_` for `-`; a change is of all lines of a name. Bodies stay as they are.
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
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Names of headers. Default: none.
    pub headers: Vec<FieldName>,
    /// Names of arguments of the query. Default: none.
    pub querystring: Vec<ArgumentName>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Renames {
    /// `old:new` each. Default: none.
    pub headers: Vec<Renamed<FieldName>>,
    /// `old:new` each. Default: none.
    pub querystring: Vec<Renamed<ArgumentName>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Values {
    /// `name:value` each. Default: none.
    pub headers: Vec<Given<FieldName, FieldValue>>,
    /// `name:value` each, not percent-encoded. Default: none.
    pub querystring: Vec<Given<ArgumentName, ArgumentValue>>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RequestTransform {
    headers: Edited<FieldName, FieldValue>,
    query: Edited<ArgumentName, ArgumentValue>,
}

impl Member for RequestTransform {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(Config { remove, rename, replace, add, append }: Config) -> Result<Self, Invalid> {
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
        if headers.is_empty() && query.is_empty() {
            return Err(Invalid::new("nothing to change", "say what to remove, rename, replace, add or append"));
        }
        headers.check()?;
        Ok(Self { headers, query })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        self.headers.apply(&mut request.headers);
        self.query.apply(request);
        Verdict::Continue
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

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        let refused = Trial::<RequestTransform>::refused;
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
    }
}
