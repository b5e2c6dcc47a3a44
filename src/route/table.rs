//! The compiled table: from a request to a route, without looking at routes that cannot match.
//!
//! Hosts lead to trees of path segments. One host can lead to several trees (its own, those of `*.suffix`, the one for
//! any host), and the rule with the highest rank of all of them wins:
//!
//! ```text
//! api.example.com ----> tree: / -> v1 -> users        exact hosts, by hash
//! .example.com -------> tree: / -> v1                 suffixes, longest first
//! any ----------------> tree: /
//! ```
//!
//! Host and path only narrow: at each end in a tree hangs a list of candidates. One that asks for nothing more is the
//! answer unless a higher one is found; those that do (predicates, or a regex, which hangs where its literal beginning
//! leads) are asked in the order of their ranks once the walk is over, and only if they are above it.
//!
//! A front-end that ranks a closer host higher (ours does) makes the first tree that matches the last one looked at.

use std::sync::Arc;

use super::asked::{Asked, Scratch};
use super::paths::{End, NONE, Paths};
use super::pattern::Pattern;
use super::predicate::Predicate;
use super::rule::{HostRule, PathRule, Route, Rule, folder};
use crate::stdx::hash::FixedMap;

#[derive(Debug, Default)]
pub struct Table {
    exact: FixedMap<Box<[u8]>, Tree>,
    /// Keys begin with their dot.
    suffixes: FixedMap<Box<[u8]>, Tree>,
    any: Option<Tree>,
    paths: Paths,
    candidates: Vec<Candidate>,
    conditions: Vec<Condition>,
}

/// Which rule of which route takes a request: indices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    pub route: usize,
    pub rule: usize,
}

/// The paths of one host.
#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u32,
    rank_max: u32,
}

/// A rule, at the end of its path.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    rank: u32,
    route: u32,
    rule: u32,
    /// What it asks for beyond its place; [`NONE`] is nothing.
    condition: u32,
    /// The one with the next lower rank at the same end.
    next: u32,
}

#[derive(Debug)]
struct Condition {
    path: Option<Pattern>,
    predicates: Arc<[Predicate]>,
}

impl Table {
    /// Answers of the table are indices into `routes` and into their rules.
    pub fn compile(routes: &[Arc<Route>]) -> Self {
        let mut table = Self::default();
        let mut places = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            for (rule_index, rule) in route.rules.iter().enumerate() {
                let root = table.tree(&rule.host, rule.rank);
                let (node, end) = table.place(root, &rule.path);
                places.push((rule.rank, index, rule_index, node, end));
            }
        }
        // Each goes before those that are there, so that the highest is the first.
        places.sort_unstable_by_key(|&(rank, ..)| rank);
        table.candidates.reserve_exact(places.len());
        for (_, index, rule_index, node, end) in places {
            table.hang(node, end, (index, rule_index), &routes[index].rules[rule_index]);
        }
        table.paths.shrink();
        table.conditions.shrink_to_fit();
        table
    }

    /// The rule that matches with the highest rank.
    pub fn find(&self, asked: &Asked<'_>, scratch: &mut Scratch) -> Option<Found> {
        let (host, segments) = (&asked.head.host[..], asked.head.path.strip_prefix(b"/")?);
        scratch.waiting.clear();
        let mut best = NONE;
        if self.exact.is_empty() && self.suffixes.is_empty() {
            self.improve(&mut best, self.any.as_ref(), segments, scratch);
        } else {
            self.trees(host, |tree| self.improve(&mut best, tree, segments, scratch));
        }
        if !scratch.waiting.is_empty() {
            best = self.ask(best, asked, scratch);
        }
        let candidate = self.candidates.get(best as usize)?;
        Some(Found { route: candidate.route as usize, rule: candidate.rule as usize })
    }

    /// Rules above this one that stand where all of its requests come by. `visit` says whether to go on.
    pub fn above(&self, rule: &Rule, mut visit: impl FnMut(Found) -> bool) {
        let host = match &rule.host {
            HostRule::Any => Vec::new(),
            HostRule::Exact(host) => host.to_vec(),
            // No host is `*`, so that this one has the trees of the suffix and no tree of its own.
            HostRule::Suffix(suffix) => [b"*", &**suffix].concat(),
        };
        let path = match &rule.path {
            PathRule::Exact(path) | PathRule::Prefix(path) => path,
            PathRule::Regex(pattern) => folder(pattern.literal()),
        };
        let segments = path.strip_prefix(b"/").unwrap_or(path);
        let mut goes_on = true;
        let mut meet = |mut at: u32| {
            while let Some(candidate) = self.candidates.get(at as usize)
                && candidate.rank > rule.rank
                && goes_on
            {
                goes_on = visit(Found { route: candidate.route as usize, rule: candidate.rule as usize });
                at = candidate.next;
            }
        };
        self.trees(&host, |tree| {
            if let Some(tree) = tree {
                self.paths.descend(tree.root, segments, &mut meet);
            }
        });
    }

    /// The trees that lead on from a host.
    #[inline]
    fn trees<'t>(&'t self, host: &[u8], mut visit: impl FnMut(Option<&'t Tree>)) {
        if host.len() <= HOST_BYTES_MAX {
            if !self.exact.is_empty() {
                visit(self.exact.get(host));
            }
            if !self.suffixes.is_empty() {
                for dot in memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0) {
                    visit(self.suffixes.get(&host[dot..]));
                }
            }
        }
        visit(self.any.as_ref());
    }

    /// Looks for a higher candidate in a tree: the best that asks for nothing, and above it those that must be asked.
    #[inline]
    fn improve(&self, best: &mut u32, tree: Option<&Tree>, segments: &[u8], scratch: &mut Scratch) {
        let rank = |at: u32| self.candidates.get(at as usize).map(|candidate| candidate.rank);
        let Some(tree) = tree.filter(|tree| rank(*best).is_none_or(|rank| rank < tree.rank_max)) else { return };
        self.paths.descend(tree.root, segments, |mut at| {
            while let Some(candidate) = self.candidates.get(at as usize) {
                if rank(*best).is_some_and(|rank| rank >= candidate.rank) {
                    return;
                }
                if candidate.condition == NONE {
                    *best = at;
                    return;
                }
                scratch.waiting.push((candidate.rank, at));
                at = candidate.next;
            }
        });
    }

    /// The first of those that wait whose conditions hold, if it is above the best.
    #[inline(never)]
    fn ask(&self, best: u32, asked: &Asked<'_>, scratch: &mut Scratch) -> u32 {
        let mut waiting = std::mem::take(&mut scratch.waiting);
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        let best_rank = self.candidates.get(best as usize).map(|candidate| candidate.rank);
        let above = waiting.iter().take_while(|(rank, _)| best_rank.is_none_or(|best| *rank > best));
        let holds = |at: u32, scratch: &mut Scratch| {
            let condition = &self.conditions[self.candidates[at as usize].condition as usize];
            condition.path.as_ref().is_none_or(|path| path.is_match(&asked.head.path))
                && condition.predicates.iter().all(|predicate| predicate.matches(asked, scratch))
        };
        let found = above.map(|&(_, at)| at).find(|&at| holds(at, scratch));
        scratch.waiting = waiting;
        found.unwrap_or(best)
    }

    /// The root of a host's tree, made when it is the first rule of that host.
    fn tree(&mut self, host: &HostRule, rank: u32) -> u32 {
        let paths = &mut self.paths;
        let new = || Tree { root: paths.root(), rank_max: rank };
        let tree = match host {
            HostRule::Any => self.any.get_or_insert_with(new),
            HostRule::Exact(host) => self.exact.entry(host[..].into()).or_insert_with(new),
            HostRule::Suffix(suffix) => self.suffixes.entry(suffix[..].into()).or_insert_with(new),
        };
        tree.rank_max = tree.rank_max.max(rank);
        tree.root
    }

    /// Where a path ends in a tree.
    fn place(&mut self, root: u32, path: &PathRule) -> (u32, End) {
        let (bytes, is_prefix) = match path {
            PathRule::Exact(bytes) => (&**bytes, false),
            PathRule::Prefix(bytes) => (&**bytes, true),
            PathRule::Regex(pattern) => (folder(pattern.literal()), true),
        };
        let segments = bytes.strip_prefix(b"/").expect("a rule's path begins with a slash");
        let (segments, end) = match segments.strip_suffix(b"/") {
            _ if !is_prefix => (Some(segments), End::Exact),
            Some(rest) => (Some(rest), End::PrefixSlash),
            None if segments.is_empty() => (None, End::PrefixSlash),
            None => (Some(segments), End::Prefix),
        };
        (self.paths.make(root, segments), end)
    }

    fn hang(&mut self, node: u32, end: End, (route, rule): (usize, usize), of: &Rule) {
        let number = |index: usize| u32::try_from(index).expect("fewer than 2^32 rules");
        let path = match &of.path {
            PathRule::Regex(pattern) => Some(pattern.clone()),
            PathRule::Exact(_) | PathRule::Prefix(_) => None,
        };
        let condition = if path.is_none() && of.predicates.is_empty() {
            NONE
        } else {
            self.conditions.push(Condition { path, predicates: of.predicates.clone() });
            number(self.conditions.len() - 1)
        };
        let first = self.paths.end(node, end);
        let next = std::mem::replace(first, number(self.candidates.len()));
        self.candidates.push(Candidate { rank: of.rank, route: number(route), rule: number(rule), condition, next });
    }
}

/// The longest domain name is 253 bytes (RFC 1035 §2.3.4, less length and root bytes). Rules have no longer host, and
/// a longer one is not worth hashing at each of its dots.
pub const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::super::action::Action;
    use super::super::pattern::Patterns;
    use super::*;
    use crate::http::head::RequestHead;

    fn host(text: &str) -> HostRule {
        match text.strip_prefix('*') {
            Some("") => HostRule::Any,
            Some(suffix) => HostRule::Suffix(suffix.as_bytes().into()),
            None => HostRule::Exact(text.as_bytes().into()),
        }
    }

    /// `=/a` is the exact path `/a`, `~/a.*` a regex.
    fn path(text: &str, patterns: &mut Patterns) -> PathRule {
        match (text.strip_prefix('='), text.strip_prefix('~')) {
            (Some(exact), _) => PathRule::Exact(exact.as_bytes().into()),
            (_, Some(regex)) => PathRule::Regex(patterns.compile(regex).unwrap()),
            _ => PathRule::Prefix(text.as_bytes().into()),
        }
    }

    fn route(rules: Vec<Rule>) -> Arc<Route> {
        Arc::new(Route {
            id: 0,
            name: "r".into(),
            action: Action::Service(0),
            rewrite: None,
            rules,
            priority: 0,
            preserve_host: true,
            websocket: false,
            body_bytes_max: None,
        })
    }

    /// One route a rule, ranked as listed: later is higher.
    #[track_caller]
    fn check(rules: &[(&str, &str)], cases: &[(&str, &str, Option<usize>)]) {
        let mut patterns = Patterns::default();
        let routes = rules.iter().enumerate().map(|(rank, &(h, p))| {
            let (host, path) = (host(h), path(p, &mut patterns));
            route(vec![Rule { host, path, predicates: Arc::default(), rank: rank as u32 }])
        });
        let table = Table::compile(&routes.collect::<Vec<_>>());
        let mut scratch = Scratch::default();
        for &(host, path, want) in cases {
            let mut head = RequestHead::new();
            (head.host, head.path) = (host.into(), path.into());
            let found = table.find(&Asked { head: &head, bytes: b"", peer_is_trusted: false }, &mut scratch);
            assert_eq!(found.map(|found| found.route), want, "{host} {path}");
        }
    }

    #[test]
    fn a_prefix_matches_whole_segments_only() {
        check(
            &[("*", "/a"), ("*", "/b/"), ("*", "/c/d")],
            &[
                ("h", "/a", Some(0)),
                ("h", "/a/", Some(0)),
                ("h", "/a/x/y", Some(0)),
                ("h", "/ab", None),
                ("h", "/", None),
                ("h", "/b", None),
                ("h", "/b/", Some(1)),
                ("h", "/b/x", Some(1)),
                ("h", "/c", None),
                ("h", "/c/d/e", Some(2)),
                ("h", "/A", None),
            ],
        );
    }

    #[test]
    fn an_exact_path_matches_itself_only() {
        let cases = [("h", "/a", Some(0)), ("h", "/a/", Some(1)), ("h", "/", Some(2)), ("h", "/a/b", None)];
        check(&[("*", "=/a"), ("*", "=/a/"), ("*", "=/")], &cases);
    }

    #[test]
    fn the_asterisk_is_no_path() {
        check(&[("*", "/")], &[("h", "*", None), ("h", "/", Some(0)), ("", "/x", Some(0))]);
    }

    #[test]
    fn a_suffix_needs_a_label_before_it() {
        check(
            &[("*.example.com", "/")],
            &[
                ("a.example.com", "/", Some(0)),
                ("a.b.example.com", "/", Some(0)),
                ("example.com", "/", None),
                (".example.com", "/", None),
                ("badexample.com", "/", None),
            ],
        );
    }

    #[test]
    fn rank_decides_even_against_the_closer_host() {
        let cases = [("a.x", "/p", Some(2)), ("a.x", "/q", Some(1)), ("b.x", "/q", Some(0)), ("b.y", "/q", None)];
        check(&[("*.x", "/"), ("a.x", "/"), ("*", "/p")], &cases);
    }

    #[test]
    fn a_regex_is_asked_where_its_beginning_leads_and_gives_way_to_a_higher_rank() {
        check(
            &[("*", "/a"), ("*", "~/a/[0-9]+"), ("*", "=/a/7"), ("*", "~.*[.]png"), ("*", "~/a"), ("*.x", "~/a/.*")],
            &[
                ("h", "/a/5", Some(1)),
                ("h", "/a/x", Some(0)),
                ("h", "/a/7", Some(2)),
                ("h", "/a/7.png", Some(3)),
                ("h", "/a", Some(4)),
                ("h", "/b/5", None),
                ("a.x", "/a/7.png", Some(5)),
                ("h", "*.png", None),
            ],
        );
    }

    #[test]
    fn a_host_longer_than_any_name_matches_any_host_only() {
        let long = format!("{}.x", "a.".repeat(HOST_BYTES_MAX));
        check(&[("*", "/"), ("*.x", "/")], &[(&long, "/", Some(0)), ("a.x", "/", Some(1))]);
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        check(&[], &[("h", "/", None)]);
    }
}
