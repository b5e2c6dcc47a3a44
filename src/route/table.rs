//! The compiled table: from a host and a path to a route, without looking at routes that cannot match.
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
//! A front-end that ranks a closer host higher (ours does) makes the first tree that matches the last one looked at.

use std::sync::Arc;

use super::rule::{HostRule, PathRule, Route};
use crate::stdx::hash::FixedMap;

#[derive(Debug, Default)]
pub struct Table {
    exact: FixedMap<Box<[u8]>, Tree>,
    /// Keys begin with their dot.
    suffixes: FixedMap<Box<[u8]>, Tree>,
    any: Option<Tree>,
    nodes: Vec<Node>,
}

/// The paths of one host.
#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u32,
    rank_max: u64,
}

/// A path up to a segment's end. The root is the empty path, before the first slash.
#[derive(Debug, Default)]
struct Node {
    /// The path ends here.
    exact: Option<Hit>,
    /// The path ends here or goes on with a slash: prefix `/a`.
    prefix: Option<Hit>,
    /// The path goes on with a slash: prefix `/a/`.
    prefix_slash: Option<Hit>,
    /// By the next segment, which may be empty.
    children: FixedMap<Box<[u8]>, u32>,
}

/// Ordered by rank first, so that `max` is the decision.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Hit {
    rank: u64,
    route: u32,
}

impl Table {
    /// Answers of the table are indices into `routes`.
    pub fn compile(routes: &[Arc<Route>]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let index = u32::try_from(index).expect("fewer than 2^32 routes");
            for rule in &route.rules {
                let hit = Hit { rank: rule.rank, route: index };
                let root = table.tree(&rule.host, rule.rank);
                table.insert(root, &rule.path, hit);
            }
        }
        table
    }

    /// Index of the route whose rule matches with the highest rank. `host` is lower-case without port and trailing dot,
    /// `path` is normalised.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        let segments = path.strip_prefix(b"/")?;
        if self.exact.is_empty() && self.suffixes.is_empty() {
            let hit = self.descend(self.any?.root, segments)?;
            return Some(hit.route as usize);
        }
        let mut best = None;
        if host.len() <= HOST_BYTES_MAX {
            if !self.exact.is_empty() {
                self.improve(&mut best, self.exact.get(host), segments);
            }
            if !self.suffixes.is_empty() {
                for dot in memchr::memchr_iter(b'.', host).filter(|&dot| dot > 0) {
                    self.improve(&mut best, self.suffixes.get(&host[dot..]), segments);
                }
            }
        }
        self.improve(&mut best, self.any.as_ref(), segments);
        best.map(|hit| hit.route as usize)
    }

    fn improve(&self, best: &mut Option<Hit>, tree: Option<&Tree>, segments: &[u8]) {
        if let Some(tree) = tree
            && best.is_none_or(|hit| hit.rank < tree.rank_max)
        {
            *best = (*best).max(self.descend(tree.root, segments));
        }
    }

    /// Walks as deep as the tree has the path's segments; `segments` is the path after its first slash.
    fn descend(&self, root: u32, mut segments: &[u8]) -> Option<Hit> {
        let mut node = &self.nodes[root as usize];
        let mut best = node.prefix_slash;
        loop {
            if node.children.is_empty() {
                return best;
            }
            let end = memchr::memchr(b'/', segments);
            let Some(&child) = node.children.get(&segments[..end.unwrap_or(segments.len())]) else { return best };
            node = &self.nodes[child as usize];
            best = best.max(node.prefix);
            match end {
                Some(slash) => {
                    best = best.max(node.prefix_slash);
                    segments = &segments[slash + 1..];
                }
                None => return best.max(node.exact),
            }
        }
    }

    /// The root of a host's tree, made when it is the first rule of that host.
    fn tree(&mut self, host: &HostRule, rank: u64) -> u32 {
        let new = Tree { root: self.nodes.len() as u32, rank_max: rank };
        let tree = match host {
            HostRule::Any => self.any.get_or_insert(new),
            HostRule::Exact(host) => self.exact.entry(host.clone()).or_insert(new),
            HostRule::Suffix(suffix) => self.suffixes.entry(suffix.clone()).or_insert(new),
        };
        tree.rank_max = tree.rank_max.max(rank);
        let root = tree.root;
        if root as usize == self.nodes.len() {
            self.nodes.push(Node::default());
        }
        root
    }

    fn insert(&mut self, root: u32, path: &PathRule, hit: Hit) {
        let (PathRule::Exact(bytes) | PathRule::Prefix(bytes)) = path;
        let is_prefix = matches!(path, PathRule::Prefix(_));
        let segments = bytes.strip_prefix(b"/").expect("a rule's path begins with a slash");
        let (segments, ends_in_slash) = match segments.strip_suffix(b"/") {
            _ if !is_prefix => (Some(segments), false),
            Some(rest) => (Some(rest), true),
            None if segments.is_empty() => (None, true),
            None => (Some(segments), false),
        };
        let mut node = root;
        for segment in segments.into_iter().flat_map(|segments| segments.split(|&byte| byte == b'/')) {
            node = self.child(node, segment);
        }
        let node = &mut self.nodes[node as usize];
        let slot = match (is_prefix, ends_in_slash) {
            (false, _) => &mut node.exact,
            (true, false) => &mut node.prefix,
            (true, true) => &mut node.prefix_slash,
        };
        *slot = (*slot).max(Some(hit));
    }

    fn child(&mut self, parent: u32, segment: &[u8]) -> u32 {
        let next = u32::try_from(self.nodes.len()).expect("fewer than 2^32 path segments");
        let child = *self.nodes[parent as usize].children.entry(segment.into()).or_insert(next);
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }
}

/// The longest domain name is 253 bytes (RFC 1035 §2.3.4, less length and root bytes). Rules have no longer host, and
/// a longer one is not worth hashing at each of its dots.
pub const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Rule;
    use crate::stdx::rng::Rng;

    fn host(text: &str) -> HostRule {
        match text.strip_prefix('*') {
            Some("") => HostRule::Any,
            Some(suffix) => HostRule::Suffix(suffix.as_bytes().into()),
            None => HostRule::Exact(text.as_bytes().into()),
        }
    }

    /// `=/a` is the exact path `/a`.
    fn path(text: &str) -> PathRule {
        match text.strip_prefix('=') {
            Some(exact) => PathRule::Exact(exact.as_bytes().into()),
            None => PathRule::Prefix(text.as_bytes().into()),
        }
    }

    fn route(rules: Vec<Rule>) -> Arc<Route> {
        Arc::new(Route {
            id: 0,
            name: "r".into(),
            service: 0,
            rules,
            preserve_host: true,
            websocket: false,
            body_bytes_max: None,
        })
    }

    /// One route a rule, ranked as listed: later is higher.
    #[track_caller]
    fn check(rules: &[(&str, &str)], cases: &[(&str, &str, Option<usize>)]) {
        let rule = |(rank, &(h, p)): (usize, &(&str, &str))| Rule { host: host(h), path: path(p), rank: rank as u64 };
        let routes: Vec<_> = rules.iter().enumerate().map(|pair| route(vec![rule(pair)])).collect();
        let table = Table::compile(&routes);
        for &(host, path, want) in cases {
            assert_eq!(table.find(host.as_bytes(), path.as_bytes()), want, "{host} {path}");
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
    fn a_host_longer_than_any_name_matches_any_host_only() {
        let long = format!("{}.x", "a.".repeat(HOST_BYTES_MAX));
        check(&[("*", "/"), ("*.x", "/")], &[(&long, "/", Some(0)), ("a.x", "/", Some(1))]);
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        check(&[], &[("h", "/", None)]);
    }

    /// The definition that the table must agree with.
    fn naive(routes: &[Arc<Route>], host: &[u8], path: &[u8]) -> Option<usize> {
        let ranked = routes.iter().enumerate().flat_map(|(index, route)| {
            let matching = route.rules.iter().filter(|rule| rule.host.matches(host) && rule.path.matches(path));
            matching.map(move |rule| (rule.rank, index))
        });
        ranked.max().map(|(_, index)| index)
    }

    fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
        from[rng.below(from.len() as u64) as usize]
    }

    /// A few words, so that paths often share segments and hosts labels.
    fn random_path(rng: &mut Rng) -> String {
        let depth = rng.below(5);
        let path: String = (0..depth).map(|_| format!("/{}", pick(rng, &["a", "b", "ab", "", "a%2Fb"]))).collect();
        if path.is_empty() { "/".into() } else { path }
    }

    fn random_host(rng: &mut Rng) -> String {
        let labels: Vec<_> = (0..rng.between(1, 4)).map(|_| pick(rng, &["a", "b", "ab"])).collect();
        labels.join(".")
    }

    fn random_rule(rng: &mut Rng, rank: u64) -> Rule {
        let host_text = match rng.below(3) {
            0 => "*".to_owned(),
            1 => format!("*.{}", random_host(rng)),
            _ => random_host(rng),
        };
        let path_text = if rng.chance(300) { format!("={}", random_path(rng)) } else { random_path(rng) };
        Rule { host: host(&host_text), path: path(&path_text), rank }
    }

    #[test]
    fn the_table_agrees_with_the_definition_on_random_tables() {
        let (mut rng, mut found, mut missed) = (Rng::new(1), 0, 0);
        for _ in 0..500 {
            let mut ranks: Vec<u64> = (0..rng.between(1, 40)).collect();
            for i in (1..ranks.len()).rev() {
                ranks.swap(i, rng.below(i as u64 + 1) as usize);
            }
            let rules = ranks.chunks(2).map(|ranks| ranks.iter().map(|&rank| random_rule(&mut rng, rank)).collect());
            let routes: Vec<_> = rules.map(route).collect();
            let table = Table::compile(&routes);
            for _ in 0..40 {
                let (host, path) = (random_host(&mut rng), random_path(&mut rng));
                let want = naive(&routes, host.as_bytes(), path.as_bytes());
                assert_eq!(table.find(host.as_bytes(), path.as_bytes()), want, "{host} {path} in {routes:#?}");
                if want.is_some() { found += 1 } else { missed += 1 }
            }
        }
        assert!(found > 2_000 && missed > 500, "{found} found, {missed} missed: the generator covers too little");
    }
}
