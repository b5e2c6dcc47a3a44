//! What exchanges go by: the part of a snapshot that the proxy reads.

use super::limits::Limits;
use crate::http::body::BodyLimits;
use crate::http::head::{HeadLimits, Underscores};
use crate::http::view::ArgumentName;
use crate::policy::{Chain, Consumers};
use crate::route::{Route, Table};
use crate::stdx::cidr::Cidr;
use crate::stdx::ledger::Terms;
use crate::upstream::Service;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Compiled and immutable; shards share it by reference.
#[derive(Debug)]
pub struct Plan {
    pub services: Vec<Arc<Service>>,
    pub routes: Vec<Arc<Route>>,
    /// Answers with an index into `routes`.
    pub table: Table,
    /// What the requests of each route meet, by its index: for each service that they may come to, or for none. Those
    /// of a split that waits until it is known who asks have one for none as their last.
    pub chains: Vec<Box<[Option<Arc<Chain>>]>>,
    /// The terms of every rate limit of this node's own, by its number in the ledger. Control puts them in force.
    pub limits: OwnLimits,
    /// Those that nodes share, with what all of them know each by.
    pub shared: SharedLimits,
    pub settings: Settings,
}

/// Limits of this node alone, by their numbers.
pub type OwnLimits = Vec<(u16, Terms)>;
/// Limits that nodes share, by their numbers, and by what all of these nodes know them by.
pub type SharedLimits = Vec<(u16, u64, Terms)>;

/// What holds for every request. Small: each shard has a copy of its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    pub limits: Limits,
    /// Peers whose `X-Forwarded-*`, `Forwarded`, `X-Real-IP` and `X-Request-Id` are believed.
    pub trust: Vec<Cidr>,
    pub http: HttpOptions,
    pub access_log: bool,
    /// Clients on this machine need not say who they are.
    pub bypass_local: bool,
    /// One for each listener there is, be it that nothing stands in it.
    pub gates: Vec<Gate>,
    /// What those meet for which there is no route.
    pub chain: Option<Arc<Chain>>,
    /// Who may be asking.
    pub consumers: Arc<Consumers>,
    /// Arguments in which some requests have their credentials: wherever they come, no log has their values. Of a
    /// `Referer` it has no arguments at all.
    pub secret_arguments: Vec<ArgumentName>,
}

/// What requests meet that come in at a listener, before a route is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gate {
    pub entrance: Entrance,
    pub chain: Option<Arc<Chain>>,
}

/// Which listening socket it is, in one configuration and the next: connections outlive the name of their listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entrance {
    address: SocketAddr,
    /// Of those that take any port, which listener's.
    id: Option<u32>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpOptions {
    pub merge_slashes: bool,
    /// Whether header names with `_` pass; otherwise they are dropped.
    pub underscores_in_headers: bool,
    /// The gateway's name in `Via`; `None` adds no `Via`.
    pub via: Option<String>,
}

impl Settings {
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trust.iter().any(|network| network.contains(peer))
    }

    /// What requests meet that come in there; `None` if nobody is to come in there any more.
    pub fn gate(&self, entrance: Entrance) -> Option<&Gate> {
        self.gates.iter().find(|gate| gate.entrance == entrance)
    }

    pub fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            head_bytes_max: self.limits.head_bytes_max,
            fields_max: self.limits.fields_max,
            uri_bytes_max: self.limits.uri_bytes_max,
            underscores: self.underscores(),
            merge_slashes: self.http.merge_slashes,
        }
    }

    /// For responses: what an upstream names its fields is its own affair.
    pub fn response_head_limits(&self) -> HeadLimits {
        HeadLimits { underscores: Underscores::Allow, ..self.head_limits() }
    }

    pub fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            chunk_line_bytes_max: CHUNK_LINE_BYTES_MAX,
            trailer_bytes_max: self.limits.trailer_bytes_max,
            trailer_fields_max: self.limits.fields_max,
            underscores: self.underscores(),
        }
    }

    fn underscores(&self) -> Underscores {
        if self.http.underscores_in_headers { Underscores::Allow } else { Underscores::Drop }
    }
}

impl Entrance {
    /// `address` is as the configuration has it, `id` the listener's.
    pub fn new(address: SocketAddr, id: u32) -> Self {
        Self { address, id: (address.port() == PORT_ANY).then_some(id) }
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { merge_slashes: true, underscores_in_headers: false, via: Some("shardgate".to_owned()) }
    }
}

/// The kernel chooses another port for each such listener.
const PORT_ANY: u16 = 0;
/// A chunk's size and its extensions, which nobody uses.
const CHUNK_LINE_BYTES_MAX: usize = 256;
