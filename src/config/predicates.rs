//! What routes of our own file demand beyond host and path, as [`Predicate`]s.

use serde_saphyr::{Location, Spanned};

use super::model::{self, Demand};
use super::translate::Translate;
use crate::route::{Named, Pattern, Patterns, Predicate, Test};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Header,
    Query,
    Cookie,
}

/// Reads the demands of a route, in the order of the model. `None` if one of them is none, which has been said then:
/// without it the route is not the one that was meant.
pub(super) fn predicates(
    route: &mut model::Route,
    patterns: &mut Patterns,
    translate: &mut Translate<'_>,
) -> Option<Vec<Predicate>> {
    let (mut read, mut is_whole) = (Vec::<(Predicate, Location)>::new(), true);
    if let Some(methods) = route.methods.take() {
        let at = methods.referenced;
        read.push((Predicate::Method(self::methods(methods, translate)), at));
    }
    let kinds: [(&mut Vec<Spanned<Demand>>, Kind); 3] =
        [(&mut route.headers, Kind::Header), (&mut route.query, Kind::Query), (&mut route.cookies, Kind::Cookie)];
    for (demands, kind) in kinds {
        for Spanned { value: demand, referenced: at, .. } in std::mem::take(demands) {
            match self::demand(demand, at, kind, patterns, translate) {
                Some(predicate) => read.push((predicate, at)),
                None => is_whole = false,
            }
        }
    }
    let mut predicates: Vec<Predicate> = Vec::new();
    for (predicate, at) in read {
        if predicates.len() == PREDICATES_MAX {
            let what = format!("more than {PREDICATES_MAX} demands on one route");
            translate.problem(at, what, "let the service decide, or divide the route");
            return None;
        }
        if predicates.contains(&predicate) {
            translate.problem(at, format!("`{predicate}` is demanded twice"), "remove one of the two");
        } else if let Some(other) = predicates.iter().find(|other| other.excludes(&predicate)) {
            let what = format!("the route never matches, as no request has both `{other}` and `{predicate}`");
            translate.problem(at, what, "make two routes of it, or use one regex");
        }
        predicates.push(predicate);
    }
    is_whole.then_some(predicates)
}

fn methods(methods: Spanned<Vec<Spanned<String>>>, translate: &mut Translate<'_>) -> Box<[Box<[u8]>]> {
    if methods.value.is_empty() {
        translate.problem(methods.referenced, "no method", "leave out `methods` to match any");
    }
    let mut read: Vec<Box<[u8]>> = Vec::new();
    for Spanned { value: method, referenced: at, .. } in methods.value {
        let upper = method.to_ascii_uppercase();
        let shown = method.escape_debug();
        if !is_token(&method) {
            translate.problem(at, format!("`{shown}` is not a method"), "write it as in `GET`");
        } else if method != upper {
            // No method in use has lower-case letters, and no client's `get` is a GET (RFC 9110 §9.1).
            translate.problem(at, format!("`{shown}` is not how clients write a method"), format!("write `{upper}`"));
        } else if method == "CONNECT" {
            translate.problem(at, "CONNECT is never routed, it is answered 501", "remove it");
        } else if read.iter().any(|other| **other == *method.as_bytes()) {
            translate.problem(at, format!("method `{method}` is given twice"), "keep one");
        }
        read.push(method.into_bytes().into());
    }
    read.into()
}

/// One demand. `None` if it is none, which has been said then.
pub(super) fn demand(
    demand: Demand,
    at: Location,
    kind: Kind,
    patterns: &mut Patterns,
    translate: &mut Translate<'_>,
) -> Option<Predicate> {
    let Spanned { value: mut name, referenced: name_at, .. } = demand.name;
    let is_header = kind == Kind::Header;
    if name.is_empty() || name.len() > TEXT_BYTES_MAX || kind != Kind::Query && !is_token(&name) {
        let help = "write the name alone, as in `x-version`";
        translate.problem(name_at, format!("`{}` is not a name", name.escape_debug()), help);
        return None;
    }
    if is_header {
        name.make_ascii_lowercase();
    }
    let test = match (demand.exact, demand.regex) {
        (None, None) => Test::Present,
        (Some(exact), None) if exact.len() <= TEXT_BYTES_MAX && (!is_header || exact.trim() == exact) => {
            Test::Exact(exact.into_bytes().into())
        }
        (Some(_), None) => {
            let what = format!("no header has such a value, or it has more than {TEXT_BYTES_MAX} bytes");
            translate.problem(at, what, "write it without spaces around it");
            return None;
        }
        (None, Some(regex)) => Test::Regex(pattern(&regex.value, regex.referenced, patterns, translate)?),
        (Some(_), Some(_)) => {
            translate.problem(at, "both `exact` and `regex`", "keep one");
            return None;
        }
    };
    let named = Named { name: name.into_bytes().into(), test };
    Some(match kind {
        Kind::Header => Predicate::Header(named),
        Kind::Query => Predicate::Query(named),
        Kind::Cookie => Predicate::Cookie(named),
    })
}

/// A compiled regex; `None` if it is none, which has been said then.
pub(super) fn pattern(
    text: &str,
    at: Location,
    patterns: &mut Patterns,
    translate: &mut Translate<'_>,
) -> Option<Pattern> {
    let compiled = patterns.compile(text);
    compiled.inspect_err(|error| translate.problem(at, error.to_string(), "write a simpler one")).ok()
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Each is asked of every request that comes by.
const PREDICATES_MAX: usize = 32;
/// Of names and values.
const TEXT_BYTES_MAX: usize = 1024;
