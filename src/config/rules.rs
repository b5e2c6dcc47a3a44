//! Routes of our own file: each pair of a host and a path is a rule, and the closer match has the higher rank.
//!
//! Closeness is the precedence of Gateway API. It leaves open where a regex stands. Here it stands among the prefixes,
//! as one that is as long as the text it begins with, and before the prefix of that length: `/users/[0-9]+` comes
//! before `/` and `/users`, which it would never be reached behind, and after `/users/7/orders`, which says more.

use std::sync::Arc;

use serde_saphyr::{Location, Spanned};

use super::actions::Actions;
use super::ir::{Action, Route};
use super::matcher::{host_rule, path_bytes};
use super::model;
use super::predicates::{pattern, predicates};
use super::translate::Translate;
use crate::route::{HostRule, PathRule, Patterns, Predicate, Rule};
use crate::stdx::hash::FixedMap;
use crate::stdx::number::{Bounded, Bytes};

/// Reads the routes and ranks their rules against each other.
pub(super) fn translate(routes: Vec<model::Route>, merge_slashes: bool, translate: &mut Translate<'_>) -> Vec<Route> {
    let mut rules =
        Rules { merge_slashes, patterns: Patterns::default(), hosts: FixedMap::default(), taken: FixedMap::default() };
    let mut routes: Vec<Route> = routes.into_iter().map(|route| rules.route(route, translate)).collect();
    rank(&mut routes);
    routes
}

struct Rules {
    merge_slashes: bool,
    patterns: Patterns,
    /// Hosts as they were written, so that routes share the memory of one.
    hosts: FixedMap<String, HostRule>,
    /// Which route has all of these and this priority already.
    taken: FixedMap<Demanded, String>,
}

type Demanded = (HostRule, PathRule, Arc<[Predicate]>, u32);

/// A part of a rule and where it was written.
type Part<T> = (T, Location);

/// What a route matches.
struct Parts {
    hosts: Vec<Part<HostRule>>,
    paths: Vec<Part<PathRule>>,
    /// None if they are not all known.
    predicates: Option<Arc<[Predicate]>>,
    priority: u32,
}

impl Rules {
    fn route(&mut self, mut route: model::Route, translate: &mut Translate<'_>) -> Route {
        let at = route.name.referenced;
        let predicates = predicates(&mut route, &mut self.patterns, translate).map(Arc::from);
        let name = translate.name(route.name);
        let parts = Parts {
            hosts: self.hosts(route.hosts, at, translate),
            paths: self.paths(route.paths, at, translate),
            predicates,
            priority: route.priority.map_or(0, Bounded::get) as u32,
        };
        let Parts { hosts, paths, .. } = &parts;
        let by_prefix = paths.iter().all(|(path, _)| !matches!(path, PathRule::Regex(_)));
        let mut actions = Actions { merge_slashes: self.merge_slashes, patterns: &mut self.patterns, by_prefix };
        let rewrite = actions.rewrite(route.rewrite, translate);
        let action = actions.action(at, (route.service, route.split, route.redirect, route.respond), translate);
        if let (Some(_), Action::Redirect(_) | Action::Respond(_)) = (&rewrite, &action) {
            translate.problem(at, "`rewrite` without a service", "remove it; a redirect has a `path` of its own");
        }
        let rules = if self.taken.len().saturating_add(hosts.len().saturating_mul(paths.len())) > RULES_MAX {
            let what = format!("more than {RULES_MAX} pairs of a host and a path");
            translate.problem(at, what, "split the file over several gateways, or use `*.suffix` and prefixes");
            Vec::new()
        } else {
            self.rules(&name.text, &parts, translate)
        };
        Route {
            name,
            action,
            rewrite,
            rules,
            priority: parts.priority,
            preserve_host: route.preserve_host.unwrap_or(true),
            websocket: route.upgrade.contains(&model::Upgrade::Websocket),
            body_bytes_max: route.body_bytes_max.map(Bytes::get),
            policies: translate.policies(route.policies),
        }
    }

    fn hosts(
        &mut self,
        hosts: Option<Spanned<Vec<Spanned<String>>>>,
        at: Location,
        translate: &mut Translate<'_>,
    ) -> Vec<Part<HostRule>> {
        let Some(hosts) = hosts else { return vec![(HostRule::Any, at)] };
        if hosts.value.is_empty() {
            translate.problem(hosts.referenced, "no host", "leave out `hosts` to match any");
        }
        let mut read = Vec::new();
        for host in hosts.value {
            if let Some(known) = self.hosts.get(&host.value) {
                read.push((known.clone(), host.referenced));
                continue;
            }
            match host_rule(&host.value) {
                Ok(rule) => {
                    self.hosts.insert(host.value, rule.clone());
                    read.push((rule, host.referenced));
                }
                Err(error) => translate.problem(host.referenced, error.to_string(), error.help()),
            }
        }
        read
    }

    fn paths(
        &mut self,
        paths: Option<Spanned<Vec<Spanned<model::Path>>>>,
        at: Location,
        translate: &mut Translate<'_>,
    ) -> Vec<Part<PathRule>> {
        let Some(paths) = paths else { return vec![(PathRule::Prefix(b"/".as_slice().into()), at)] };
        if paths.value.is_empty() {
            translate.problem(paths.referenced, "no path", "leave out `paths` to match any");
        }
        let mut read = Vec::new();
        for Spanned { value: path, referenced: at, .. } in paths.value {
            let rule = match &path {
                model::Path::Prefix(text) => self.path(text, at, translate).map(PathRule::Prefix),
                model::Path::Exact(text) => self.path(text, at, translate).map(PathRule::Exact),
                model::Path::Regex(text) => self.regex(text, at, translate),
            };
            read.extend(rule.map(|rule| (rule, at)));
        }
        read
    }

    fn path(&self, text: &str, at: Location, translate: &mut Translate<'_>) -> Option<Box<[u8]>> {
        let what = match path_bytes(text, self.merge_slashes) {
            Ok(bytes) if bytes.len() <= PATH_BYTES_MAX => return Some(bytes),
            Ok(_) => format!("a path has more than {PATH_BYTES_MAX} bytes"),
            Err(error) => format!("`{}` is not a path, {error}", text.escape_debug()),
        };
        translate.problem(at, what, "write one as in `/users`");
        None
    }

    fn regex(&mut self, text: &str, at: Location, translate: &mut Translate<'_>) -> Option<PathRule> {
        let pattern = pattern(text, at, &mut self.patterns, translate)?;
        let literal = pattern.literal();
        if !literal.is_empty() && !literal.starts_with(b"/") {
            let what = format!("the regex `{}` never matches, as a path begins with a slash", text.escape_debug());
            translate.problem(at, what, "write one as in `/users/[0-9]+`");
            return None;
        }
        Some(PathRule::Regex(pattern))
    }

    /// Every pair, except those that an earlier one shadows. None of a route with a demand that is none: it would look
    /// like its neighbours that demand less.
    fn rules(&mut self, route: &str, parts: &Parts, translate: &mut Translate<'_>) -> Vec<Rule> {
        let Parts { hosts, paths, predicates: Some(predicates), priority } = parts else { return Vec::new() };
        let mut rules = Vec::new();
        for (host, _) in hosts {
            for (path, at) in paths {
                let demanded = (host.clone(), path.clone(), predicates.clone(), *priority);
                if let Some(other) = self.taken.get(&demanded) {
                    let what = format!("route `{route}` never matches here, as `{other}` matches the same");
                    translate.problem(*at, what, "remove one of the two");
                    continue;
                }
                self.taken.insert(demanded, route.to_owned());
                rules.push(Rule { host: host.clone(), path: path.clone(), predicates: predicates.clone(), rank: 0 });
            }
        }
        rules
    }
}

/// Ranks are places in the order of closeness; of two that are equally close, the earlier in the file has the higher.
fn rank(routes: &mut [Route]) {
    let mut rules: Vec<(u32, &mut Rule)> = Vec::new();
    for route in routes.iter_mut().rev() {
        rules.extend(route.rules.iter_mut().rev().map(|rule| (route.priority, rule)));
    }
    rules.sort_by_cached_key(|(priority, rule)| closeness(*priority, rule));
    for (rank, (_, rule)) in (0..).zip(rules) {
        rule.rank = rank;
    }
}

fn closeness(priority: u32, rule: &Rule) -> impl Ord + use<> {
    let host = match &rule.host {
        HostRule::Any => (0, 0),
        HostRule::Suffix(suffix) => (1, suffix.len()),
        HostRule::Exact(_) => (2, 0),
    };
    let path = match &rule.path {
        PathRule::Prefix(prefix) => (0, prefix.len(), 0),
        PathRule::Regex(pattern) => (0, pattern.literal().len(), 1),
        PathRule::Exact(_) => (1, 0, 0),
    };
    let count = |is: fn(&Predicate) -> bool| rule.predicates.iter().filter(|predicate| is(predicate)).count();
    let methods = count(|predicate| matches!(predicate, Predicate::Method(_)));
    let fields = count(|predicate| matches!(predicate, Predicate::Header(_) | Predicate::Cookie(_)));
    let parameters = count(|predicate| matches!(predicate, Predicate::Query(_)));
    (priority, host, path, methods, fields, parameters)
}

/// A longer one was not written by hand, and every segment is a node of the table.
const PATH_BYTES_MAX: usize = 1024;
/// Hosts times paths, over all routes.
const RULES_MAX: usize = 1_000_000;
