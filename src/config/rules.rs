//! Routes of our own file: each pair of a host and a path is a rule, and the closer match has the higher rank.

use serde_saphyr::{Location, Spanned};

use super::ir::Route;
use super::matcher::{host_rule, path_bytes};
use super::model;
use super::translate::Translate;
use crate::route::{HostRule, PathRule, Rule};
use crate::stdx::hash::FixedMap;
use crate::stdx::number::Bytes;

/// Reads the routes and ranks their rules against each other.
pub(super) fn translate(routes: Vec<model::Route>, merge_slashes: bool, translate: &mut Translate<'_>) -> Vec<Route> {
    let mut rules = Rules { merge_slashes, taken: FixedMap::default() };
    let mut routes: Vec<Route> = routes.into_iter().map(|route| rules.route(route, translate)).collect();
    rank(&mut routes);
    routes
}

struct Rules {
    merge_slashes: bool,
    /// Which route has a pair already.
    taken: FixedMap<(HostRule, PathRule), String>,
}

/// A part of a rule and where it was written.
type Part<T> = (T, Location);

impl Rules {
    fn route(&mut self, route: model::Route, translate: &mut Translate<'_>) -> Route {
        let at = route.name.referenced;
        let name = translate.name(route.name);
        let hosts = hosts(route.hosts, at, translate);
        let paths = self.paths(route.paths, at, translate);
        let rules = if self.taken.len().saturating_add(hosts.len().saturating_mul(paths.len())) > RULES_MAX {
            let what = format!("more than {RULES_MAX} pairs of a host and a path");
            translate.problem(at, what, "split the file over several gateways, or use `*.suffix` and prefixes");
            Vec::new()
        } else {
            self.rules(&name.text, &hosts, &paths, translate)
        };
        Route {
            name,
            service: translate.name(route.service),
            rules,
            preserve_host: route.preserve_host.unwrap_or(true),
            websocket: route.upgrade.contains(&model::Upgrade::Websocket),
            body_bytes_max: route.body_bytes_max.map(Bytes::get),
            policies: translate.policies(route.policies),
        }
    }

    fn paths(
        &self,
        paths: Option<Spanned<Vec<Spanned<model::Path>>>>,
        at: Location,
        translate: &mut Translate<'_>,
    ) -> Vec<Part<PathRule>> {
        let Some(paths) = paths else { return vec![(PathRule::Prefix(b"/".as_slice().into()), at)] };
        if paths.value.is_empty() {
            translate.problem(paths.referenced, "no path", "leave out `paths` to match any");
        }
        let mut read = Vec::new();
        for path in paths.value {
            let (model::Path::Prefix(text) | model::Path::Exact(text)) = &path.value;
            let what = match path_bytes(text, self.merge_slashes) {
                Ok(bytes) if bytes.len() <= PATH_BYTES_MAX => {
                    let rule = match path.value {
                        model::Path::Prefix(_) => PathRule::Prefix(bytes),
                        model::Path::Exact(_) => PathRule::Exact(bytes),
                    };
                    read.push((rule, path.referenced));
                    continue;
                }
                Ok(_) => format!("a path has more than {PATH_BYTES_MAX} bytes"),
                Err(error) => format!("`{}` is not a path, {error}", text.escape_debug()),
            };
            translate.problem(path.referenced, what, "write one as in `/users`");
        }
        read
    }

    /// Every pair, except those that an earlier one shadows.
    fn rules(
        &mut self,
        route: &str,
        hosts: &[Part<HostRule>],
        paths: &[Part<PathRule>],
        translate: &mut Translate<'_>,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (host, _) in hosts {
            for (path, at) in paths {
                let pair = (host.clone(), path.clone());
                if let Some(other) = self.taken.get(&pair) {
                    let what = format!("route `{route}` never matches here, as `{other}` has the same host and path");
                    translate.problem(*at, what, "remove one of the two");
                    continue;
                }
                self.taken.insert(pair, route.to_owned());
                rules.push(Rule { host: host.clone(), path: path.clone(), rank: 0 });
            }
        }
        rules
    }
}

fn hosts(
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
        match host_rule(&host.value) {
            Ok(rule) => read.push((rule, host.referenced)),
            Err(error) => translate.problem(host.referenced, error.to_string(), error.help()),
        }
    }
    read
}

/// Ranks are places in the order of closeness; of two that are equally close, the earlier in the file has the higher.
fn rank(routes: &mut [Route]) {
    let mut rules: Vec<&mut Rule> = routes.iter_mut().flat_map(|route| &mut route.rules).collect();
    rules.reverse();
    rules.sort_by_key(|rule| closeness(rule));
    for (rank, rule) in rules.into_iter().enumerate() {
        rule.rank = rank as u64;
    }
}

fn closeness(rule: &Rule) -> impl Ord + use<> {
    let host = match &rule.host {
        HostRule::Any => (0, 0),
        HostRule::Suffix(suffix) => (1, suffix.len()),
        HostRule::Exact(_) => (2, 0),
    };
    let path = match &rule.path {
        PathRule::Prefix(prefix) => (0, prefix.len()),
        PathRule::Exact(_) => (1, 0),
    };
    (host, path)
}

/// A longer one was not written by hand, and every segment is a node of the table.
const PATH_BYTES_MAX: usize = 1024;
/// Hosts times paths, over all routes.
const RULES_MAX: usize = 1_000_000;
