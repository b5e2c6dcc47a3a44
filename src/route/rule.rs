//! What a route matches and what it does with the request.

use std::fmt;
use std::sync::Arc;

use super::action::{Action, Rewrite};
use super::asked::{Asked, Scratch};
use super::pattern::Pattern;
use super::predicate::Predicate;

/// One route, as the operator named it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Stable over reloads: counters are keyed by it.
    pub id: u32,
    pub name: String,
    pub action: Action,
    pub rewrite: Option<Box<Rewrite>>,
    /// Every pair of a host and a path, each with its own rank. Never empty.
    pub rules: Vec<Rule>,
    /// What the operator set above closeness; part of each rule's rank already.
    pub priority: u32,
    /// Whether the upstream sees the client's `Host` (else the endpoint's name).
    pub preserve_host: bool,
    /// Whether a `websocket` upgrade may become a tunnel.
    pub websocket: bool,
    /// The route's own bound on a request's body; `None` is the gateway's.
    pub body_bytes_max: Option<u64>,
}

/// A host, a path and more that lead to the route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    pub host: HostRule,
    pub path: PathRule,
    /// All must fit.
    pub predicates: Arc<[Predicate]>,
    /// A total order that the front-end computes: of all rules that match, the highest wins.
    pub rank: u32,
}

/// Hosts are lower-case, without port and trailing dot. Many rules have the same one, and share it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostRule {
    Any,
    Exact(Arc<[u8]>),
    /// `.example.com`, written `*.example.com`: any host that ends so and has at least one label before.
    Suffix(Arc<[u8]>),
}

/// Paths are normalised and begin with `/`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PathRule {
    Exact(Box<[u8]>),
    /// Matches at segment boundaries: `/a` matches `/a` and `/a/b`, not `/ab`; `/a/` matches `/a/` and `/a/b`.
    Prefix(Box<[u8]>),
    /// Of the whole path.
    Regex(Pattern),
}

impl Rule {
    /// The definition that the table must agree with.
    pub fn matches(&self, asked: &Asked<'_>, scratch: &mut Scratch) -> bool {
        self.host.matches(&asked.head.host)
            && self.path.matches(&asked.head.path)
            && self.predicates.iter().all(|predicate| predicate.matches(asked, scratch))
    }

    /// Whether every request that fits `other` fits this one too, as far as that can be told.
    pub fn covers(&self, other: &Self) -> bool {
        let covered = |predicate: &Predicate| other.predicates.iter().any(|narrower| predicate.covers(narrower));
        self.host.covers(&other.host) && self.path.covers(&other.path) && self.predicates.iter().all(covered)
    }
}

impl HostRule {
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Suffix(suffix), Self::Suffix(other)) => other.ends_with(suffix),
            _ => false,
        }
    }
}

impl PathRule {
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => begins(path, prefix),
            Self::Regex(pattern) => path.starts_with(b"/") && pattern.is_match(path),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(path)) => self.matches(path),
            (Self::Prefix(prefix), Self::Prefix(other)) => begins(other, prefix),
            // Its last segment may go on, so the prefix must end before.
            (Self::Prefix(prefix), Self::Regex(pattern)) => begins(folder(pattern.literal()), prefix),
            (Self::Regex(pattern), Self::Regex(other)) => pattern == other,
            _ => false,
        }
    }
}

/// Whether `prefix` ends at a segment's end of `path`.
fn begins(path: &[u8], prefix: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/"),
        None => false,
    }
}

/// Up to the last slash: what lies below it, lies in this folder. Of nothing it is the root, as every path begins so.
pub(super) fn folder(literal: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', literal) {
        Some(slash) => &literal[..=slash],
        None => b"/",
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(&String::from_utf8_lossy(host)),
            Self::Suffix(suffix) => write!(f, "*{}", String::from_utf8_lossy(suffix)),
        }
    }
}

/// An exact path begins with `=`, a regex with `~`.
impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={}", String::from_utf8_lossy(path)),
            Self::Prefix(path) => f.write_str(&String::from_utf8_lossy(path)),
            Self::Regex(pattern) => write!(f, "~{pattern}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.host, self.path)?;
        self.predicates.iter().try_for_each(|predicate| write!(f, " [{predicate}]"))
    }
}
