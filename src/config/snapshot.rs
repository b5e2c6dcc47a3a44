//! What a shard runs: immutable, compiled, shared by reference.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{Order, Policy};
use crate::proxy::Plan;
use crate::runtime::options::RuntimeOptions;
use crate::stdx::cidr::Cidr;

#[derive(Debug)]
pub struct Snapshot {
    pub listeners: Vec<Listener>,
    /// What requests meet.
    pub plan: Arc<Plan>,
    /// Every policy and what it was attached to.
    pub attached: Vec<(String, Arc<Policy>)>,
    pub order: Order,
    /// Where limits are counted that nodes share.
    pub store: Option<Store>,
    /// Where status is told; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    pub runtime: RuntimeOptions,
    /// How long a shutdown still accepts; `None` is left to where the gateway runs.
    pub shutdown_delay: Option<Duration>,
    /// How long a shutdown waits for the exchanges in flight.
    pub drain_timeout: Duration,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Stable over reloads.
    pub id: u32,
    pub name: String,
    pub address: SocketAddr,
    /// Peers that begin with a PROXY header.
    pub proxies: Arc<[Cidr]>,
}

/// A Redis server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// `host:port`, looked up whenever it is connected to.
    pub address: String,
    pub username: Option<String>,
    pub password: Option<Password>,
    pub database: u64,
    /// What keys begin with.
    pub prefix: String,
    pub on_failure: OnFailure,
}

/// What a node does on its own while the store is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    KeepShare,
    Refuse,
}

/// Shows itself to nobody.
#[derive(Clone, Eq, PartialEq)]
pub struct Password(pub Vec<u8>);

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("...")
    }
}
