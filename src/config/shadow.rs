//! Rules that no request reaches, because another rule comes first wherever they would match.
//!
//! Not a mistake as such: a route of high priority that says "closed for maintenance" shadows all others, and is meant
//! to. What is said here is one rule against one other; what several shadow together is not seen.

use super::snapshot::Snapshot;

/// A rule that is never reached, and by whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shadowed {
    pub route: String,
    /// The host, path and more of the rule, unless all of the route's rules are shadowed.
    pub rule: Option<String>,
    pub by: String,
}

/// Every rule that is shadowed, by route.
pub fn shadowed(snapshot: &Snapshot) -> Vec<Shadowed> {
    let plan = &snapshot.plan;
    let mut all = Vec::new();
    for route in &plan.routes {
        let mut found = Vec::new();
        for rule in &route.rules {
            let (mut by, mut looks_left) = (None, LOOKS_MAX);
            plan.table.above(rule, |other| {
                let route = &plan.routes[other.route];
                if route.rules[other.rule].covers(rule) {
                    by = Some(&route.name);
                }
                looks_left -= 1;
                by.is_none() && looks_left > 0
            });
            found.extend(by.map(|by| (rule, by)));
        }
        let whole = found.len() == route.rules.len();
        found.truncate(if whole { 1 } else { found.len() });
        all.extend(found.into_iter().map(|(rule, by)| Shadowed {
            route: route.name.clone(),
            rule: (!whole).then(|| rule.to_string()),
            by: by.clone(),
        }));
    }
    all
}

impl std::fmt::Display for Shadowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { route, rule, by } = self;
        match rule {
            None => write!(f, "route `{route}` never matches: `{by}` comes first wherever it would"),
            Some(rule) => write!(f, "route `{route}` never matches {rule}: `{by}` comes first there"),
        }
    }
}

/// Rules that one is held against: beyond them a file of very many routes for one path would take minutes.
const LOOKS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;

    #[track_caller]
    fn check(routes: &[&str], want: &[&str]) {
        let routes: String =
            routes.iter().enumerate().map(|(at, rest)| format!("\n- {{ name: r{at}, service: s, {rest} }}")).collect();
        let text = format!(
            "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n\
             services: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\nroutes:{routes}"
        );
        let resolve = |name: &str| Ok(vec![name.parse().unwrap()]);
        let snapshot = load_text("f.yaml", &text, &mut Ids::default(), &resolve).unwrap();
        let got: Vec<_> = shadowed(&snapshot).iter().map(ToString::to_string).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn closeness_alone_shadows_nothing() {
        check(
            &[
                "paths: [/a, /a/b, { exact: /a }, { regex: \"/a/.*\" }]",
                "hosts: [x, \"*.x\"]",
                "methods: [GET]",
                "methods: [GET], headers: [{ name: a }]",
                "hosts: [\"*.x\"], query: [{ name: a }], priority: 1",
            ],
            &[],
        );
    }

    #[test]
    fn a_wider_rule_that_comes_first_shadows() {
        let never = "route `r1` never matches: `r0` comes first wherever it would";
        check(&["methods: [GET, PUT]", "methods: [GET]"], &[never]);
        check(&["methods: [GET]", "methods: [GET, PUT]"], &[]);
        check(&["headers: [{ name: A }]", "headers: [{ name: a, exact: b }]"], &[never]);
        check(&["headers: [{ name: a, exact: b }]", "headers: [{ name: a }]"], &[]);
        check(&["priority: 1", "hosts: [x], paths: [/a]"], &[never]);
        check(&["hosts: [\"*.x\"], priority: 1", "hosts: [\"*.y.x\"], paths: [{ exact: /a }]"], &[never]);
        check(&["paths: [/a], priority: 1", "paths: [{ regex: \"/a/[0-9]\" }]"], &[never]);
        check(&["paths: [{ regex: \"/a/[0-9]\" }], priority: 1", "paths: [{ exact: /a/7 }]"], &[never]);
        check(&["paths: [{ regex: \"/a/[0-9]\" }], priority: 1", "paths: [{ exact: /a/x }]"], &[]);
    }

    #[test]
    fn a_route_of_which_some_rules_are_shadowed_says_which() {
        check(
            &["paths: [/a], priority: 1", "hosts: [h], paths: [/a/b, /b], methods: [GET]"],
            &["route `r1` never matches h /a/b [method GET]: `r0` comes first there"],
        );
    }
}
