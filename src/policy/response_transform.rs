//! Response transform: headers, changed before the client sees them.
//!
//! Kong's `response-transformer` without bodies.

use serde::Deserialize;

use super::{Context, Edited, Given, Hooks, Invalid, Member, Renamed};
use crate::http::view::{FieldName, FieldValue, RequestView, ResponseView};

/// Changes headers of responses, the gateway's own answers included: first `remove`, then `rename`, `replace`, `add`
/// and `append`. Names are the same in any case and with `_` for `-`; a change is of all lines of a name. Bodies stay
/// as they are.
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
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Renames {
    /// `old:new` each. Default: none.
    pub headers: Vec<Renamed<FieldName>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Values {
    /// `name:value` each. Default: none.
    pub headers: Vec<Given<FieldName, FieldValue>>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct ResponseTransform {
    headers: Edited<FieldName, FieldValue>,
}

impl Member for ResponseTransform {
    type Config = Config;
    const HOOKS: Hooks = Hooks::RESPONSE;

    fn new(Config { remove, rename, replace, add, append }: Config) -> Result<Self, Invalid> {
        let headers = Edited {
            remove: remove.headers,
            rename: rename.headers,
            replace: replace.headers,
            add: add.headers,
            append: append.headers,
        };
        if headers.is_empty() {
            return Err(Invalid::new("nothing to change", "say what to remove, rename, replace, add or append"));
        }
        headers.check()?;
        Ok(Self { headers })
    }

    fn on_response(&self, _request: &RequestView<'_>, response: &mut ResponseView<'_>, _context: &Context<'_>) {
        self.headers.apply(&mut response.headers);
    }
}

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
