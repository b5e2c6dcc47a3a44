//! What every front-end says in the same words. Names are not yet resolved, so each object carries its origin.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::problem::Origin;
use super::store::Store;
use crate::policy::consumers::{Key, Password, Pepper};
use crate::policy::{Order, Policy, Role};
use crate::proxy::HttpOptions;
use crate::proxy::limits::Limits;
use crate::route::{Predicate, Redirect, Respond, Rewrite, Rule, Sticky};
use crate::runtime::options::RuntimeOptions;
use crate::stdx::cidr::Cidr;
use crate::telemetry::level::Level;
use crate::upstream::service::{PoolLimits, Retry, Timeouts};

#[derive(Debug)]
pub struct Ir {
    pub listeners: Vec<Listener>,
    pub services: Vec<Service>,
    pub routes: Vec<Route>,
    pub consumers: Vec<Consumer>,
    pub groups: Vec<Group>,
    /// What keys of consumers are hashed with.
    pub pepper: Option<Pepper>,
    /// Of each list of policies, no two are of one kind.
    pub policies: Vec<Arc<Policy>>,
    pub order: Order,
    /// No two have one name.
    pub roles: Vec<(Name, Role)>,
    /// Clients on this machine need not say who they are.
    pub bypass_local: bool,
    /// Where limits are counted that nodes share.
    pub store: Option<Store>,
    pub limits: Limits,
    pub trust: Vec<Cidr>,
    pub http: HttpOptions,
    pub access_log: bool,
    pub log_level: Level,
    /// Where status is told; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// Where that was written, if it was.
    pub admin_origin: Option<Origin>,
    pub runtime: RuntimeOptions,
    /// As the operator set it.
    pub shutdown_delay: Option<Duration>,
    pub drain_timeout: Duration,
}

/// A name and where it was written.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: String,
    pub origin: Origin,
}

#[derive(Debug)]
pub struct Listener {
    pub name: Name,
    pub address: SocketAddr,
    pub address_origin: Origin,
    pub proxies: Vec<Cidr>,
    pub policies: Vec<Arc<Policy>>,
}

#[derive(Debug)]
pub struct Service {
    pub name: Name,
    /// `host:port` each, not yet looked up. Never empty.
    pub endpoints: Vec<Name>,
    pub timeouts: Timeouts,
    pub pool: PoolLimits,
    pub retry: Retry,
    pub policies: Vec<Arc<Policy>>,
}

#[derive(Debug)]
pub struct Route {
    pub name: Name,
    pub action: Action,
    pub rewrite: Option<Rewrite>,
    /// Each with a rank that no other rule of any route has.
    pub rules: Vec<Rule>,
    /// Part of the rules' ranks already.
    pub priority: u32,
    pub preserve_host: bool,
    pub websocket: bool,
    pub body_bytes_max: Option<u64>,
    pub policies: Vec<Arc<Policy>>,
}

#[derive(Debug)]
pub struct Consumer {
    pub name: Name,
    /// Names of groups.
    pub groups: Vec<Name>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub keys: Vec<(Key, Origin)>,
    pub passwords: Vec<(Password, Origin)>,
    pub policies: Vec<Arc<Policy>>,
}

/// Consumers that have something in common.
#[derive(Debug)]
pub struct Group {
    pub name: Name,
    pub policies: Vec<Arc<Policy>>,
}

#[derive(Debug)]
pub enum Action {
    Service(Name),
    Split {
        arms: Vec<Arm>,
        sticky: Sticky,
    },
    Redirect(Redirect),
    Respond(Respond),
    /// Of a route that cannot be read.
    Nothing,
}

#[derive(Debug)]
pub struct Arm {
    pub service: Name,
    pub share: u32,
    pub forced_by: Option<Predicate>,
    /// The name of a group of consumers.
    pub forced_by_group: Option<Name>,
}
