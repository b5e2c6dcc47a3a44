//! What a shard runs: immutable, compiled, shared by reference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::proxy::limits::Limits;
use crate::route::{Route, Table};
use crate::stdx::cidr::Cidr;
use crate::upstream::service::Service;

#[derive(Debug)]
pub struct Snapshot {
    pub listeners: Vec<Listener>,
    pub services: Vec<Arc<Service>>,
    pub routes: Vec<Arc<Route>>,
    /// Answers with an index into `routes`.
    pub table: Table,
    pub limits: Limits,
    /// Peers whose `X-Forwarded-*`, `Forwarded`, `X-Real-IP` and `X-Request-Id` are believed.
    pub trust: Vec<Cidr>,
    pub http: HttpOptions,
    pub access_log: AccessLog,
    /// How long a shutdown waits for the exchanges in flight.
    pub drain_timeout: Duration,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Stable over reloads.
    pub id: u32,
    pub name: String,
    pub address: SocketAddr,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpOptions {
    pub merge_slashes: bool,
    /// Whether header names with `_` pass; otherwise they are dropped.
    pub underscores_in_headers: bool,
    /// The gateway's name in `Via`; `None` adds no `Via`.
    pub via: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessLog {
    pub enabled: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { merge_slashes: true, underscores_in_headers: false, via: Some("shardgate".to_owned()) }
    }
}
