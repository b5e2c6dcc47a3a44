//! What a shard runs: immutable, compiled, shared by reference.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::store::Store;
use crate::policy::{Order, Policy, Role};
use crate::proxy::{Entrance, Plan};
use crate::runtime::options::RuntimeOptions;
use crate::stdx::cidr::Cidr;
use crate::telemetry::level::Level;

#[derive(Debug)]
pub struct Snapshot {
    pub listeners: Vec<Listener>,
    /// What requests meet.
    pub plan: Arc<Plan>,
    /// Every policy and what it was attached to.
    pub attached: Vec<(String, Arc<Policy>)>,
    pub order: Order,
    /// What each stands for beside itself.
    pub roles: BTreeMap<String, Role>,
    pub log_level: Level,
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

impl Listener {
    /// The socket that it is, whatever its name.
    pub fn entrance(&self) -> Entrance {
        Entrance::new(self.address, self.id)
    }
}
