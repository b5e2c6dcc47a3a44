//! What a rule asks of a request beyond host and path.

use std::fmt;

use super::asked::{Asked, Scratch};
use super::pattern::Pattern;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Predicate {
    /// One of these, as they are written.
    Method(Box<[Box<[u8]>]>),
    /// The name is lower-case.
    Header(Named),
    Query(Named),
    Cookie(Named),
}

/// A name, and what its value must be.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Named {
    pub name: Box<[u8]>,
    pub test: Test,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Test {
    /// Any value, also an empty one.
    Present,
    Exact(Box<[u8]>),
    Regex(Pattern),
}

impl Predicate {
    pub fn matches(&self, asked: &Asked<'_>, scratch: &mut Scratch) -> bool {
        let Scratch { value, name, .. } = scratch;
        let (named, value) = match self {
            Self::Method(methods) => return methods.iter().any(|method| **method == *asked.method()),
            Self::Header(named) => (named, asked.header(&named.name, value)),
            Self::Query(named) => (named, asked.query(&named.name, name, value)),
            Self::Cookie(named) => (named, asked.cookie(&named.name)),
        };
        value.is_some_and(|value| match &named.test {
            Test::Present => true,
            Test::Exact(exact) => **exact == *value,
            Test::Regex(pattern) => pattern.is_match(value),
        })
    }

    /// Whether every request that fits `other` fits this one too, as far as that can be told.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Method(methods), Self::Method(others)) => others.iter().all(|method| methods.contains(method)),
            (Self::Header(named), Self::Header(other))
            | (Self::Query(named), Self::Query(other))
            | (Self::Cookie(named), Self::Cookie(other)) => {
                named.name == other.name && (named.test == Test::Present || named.test == other.test)
            }
            _ => false,
        }
    }

    /// Whether no request fits both.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Method(methods), Self::Method(others)) => others.iter().all(|method| !methods.contains(method)),
            (Self::Header(named), Self::Header(other))
            | (Self::Query(named), Self::Query(other))
            | (Self::Cookie(named), Self::Cookie(other)) => {
                let (test, other_test) = (&named.test, &other.test);
                let both_exact = matches!((test, other_test), (Test::Exact(_), Test::Exact(_)));
                named.name == other.name && both_exact && test != other_test
            }
            _ => false,
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(methods) => {
                let names: Vec<_> = methods.iter().map(|method| method.escape_ascii().to_string()).collect();
                write!(f, "method {}", names.join("|"))
            }
            Self::Header(named) => write!(f, "header {named}"),
            Self::Query(named) => write!(f, "query {named}"),
            Self::Cookie(named) => write!(f, "cookie {named}"),
        }
    }
}

/// As in `name`, `name=value` and `name~regex`.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.escape_ascii())?;
        match &self.test {
            Test::Present => Ok(()),
            Test::Exact(value) => write!(f, "={}", value.escape_ascii()),
            Test::Regex(pattern) => write!(f, "~{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::tests::{head, request};
    use super::super::pattern::Patterns;
    use super::*;

    /// `kind name`, `kind name=value` or `kind name~regex`, as predicates show themselves.
    fn predicate(text: &str) -> Predicate {
        let (kind, rest) = text.split_once(' ').unwrap();
        let (name, test) = match rest.find(['=', '~']) {
            None => (rest, Test::Present),
            Some(at) if rest.as_bytes()[at] == b'=' => (&rest[..at], Test::Exact(rest.as_bytes()[at + 1..].into())),
            Some(at) => (&rest[..at], Test::Regex(Patterns::default().compile(&rest[at + 1..]).unwrap())),
        };
        let named = Named { name: name.as_bytes().into(), test };
        let predicate = match kind {
            "method" => Predicate::Method(rest.split('|').map(|name| name.as_bytes().into()).collect()),
            "header" => Predicate::Header(named),
            "query" => Predicate::Query(named),
            _ => Predicate::Cookie(named),
        };
        assert_eq!(predicate.to_string(), text);
        predicate
    }

    #[track_caller]
    fn check(text: &str, want: bool) {
        let sent = request("POST /p?v=2&w=", &["X-Env: canary", "X-Env: test", "X-Empty:", "Cookie: id=7f; x=y"]);
        let head = head(&sent);
        let asked = Asked { head: &head, bytes: sent.as_bytes(), peer_is_trusted: false };
        assert_eq!(predicate(text).matches(&asked, &mut Scratch::default()), want, "{text}");
    }

    #[test]
    fn each_kind_asks_for_presence_a_value_or_a_form() {
        check("method GET|POST", true);
        check("method GET", false);
        check("method post", false);
        check("header x-env", true);
        check("header x-empty", true);
        check("header x-none", false);
        check("header x-empty=", true);
        check("header x-env=canary, test", true);
        check("header x-env=canary", false);
        check("header x-env=test", false);
        check("header x-env~canary", false);
        check("header x-env~.*, test", true);
        check("query v", true);
        check("query v=2", true);
        check("query v=22", false);
        check("query w=", true);
        check("query v~[0-9]", true);
        check("query z", false);
        check("cookie id=7f", true);
        check("cookie id~[0-9a-f]+", true);
        check("cookie ID", false);
    }

    #[test]
    fn what_covers_and_what_excludes_is_known() {
        #[track_caller]
        fn check(one: &str, other: &str, covers: bool, excludes: bool) {
            let (one, other) = (predicate(one), predicate(other));
            assert_eq!((one.covers(&other), one.excludes(&other)), (covers, excludes), "{one} {other}");
        }
        check("method GET|POST", "method POST", true, false);
        check("method POST", "method GET|POST", false, false);
        check("method POST", "method GET", false, true);
        check("header a", "header a=1", true, false);
        check("header a=1", "header a", false, false);
        check("header a=1", "header a=2", false, true);
        check("header a=1", "header b=2", false, false);
        check("header a~x+", "header a~x+", true, false);
        check("header a~x+", "header a=x", false, false);
        check("query a=1", "header a=1", false, false);
        check("cookie a", "cookie a~x", true, false);
    }
}
