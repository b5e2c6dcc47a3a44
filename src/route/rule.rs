//! What a route matches and what it does with the request.

use std::fmt;

/// One route, as the operator named it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Stable over reloads: counters are keyed by it.
    pub id: u32,
    pub name: String,
    /// Index into the snapshot's services.
    pub service: u32,
    /// Every pair of a host and a path, each with its own rank. Never empty.
    pub rules: Vec<Rule>,
    /// Whether the upstream sees the client's `Host` (else the endpoint's name).
    pub preserve_host: bool,
    /// Whether a `websocket` upgrade may become a tunnel.
    pub websocket: bool,
    /// The route's own bound on a request's body; `None` is the gateway's.
    pub body_bytes_max: Option<u64>,
}

/// A host and a path that lead to the route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    pub host: HostRule,
    pub path: PathRule,
    /// A total order that the front-end computes: of all rules that match, the highest wins.
    pub rank: u64,
}

/// Hosts are lower-case, without port and trailing dot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostRule {
    Any,
    Exact(Box<[u8]>),
    /// `.example.com`, written `*.example.com`: any host that ends so and has at least one label before.
    Suffix(Box<[u8]>),
}

/// Paths are normalised and begin with `/`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PathRule {
    Exact(Box<[u8]>),
    /// Matches at segment boundaries: `/a` matches `/a` and `/a/b`, not `/ab`; `/a/` matches `/a/` and `/a/b`.
    Prefix(Box<[u8]>),
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

/// An exact path begins with `=`.
impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={}", String::from_utf8_lossy(path)),
            Self::Prefix(path) => f.write_str(&String::from_utf8_lossy(path)),
        }
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
}

impl PathRule {
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => match path.strip_prefix(&**prefix) {
                Some(rest) => rest.is_empty() || rest[0] == b'/' || prefix.ends_with(b"/"),
                None => false,
            },
        }
    }
}
