//! What a shard is told: by the control thread, and by the other shards.

use crate::proxy::{ListenerInfo, Plan};
use crate::runtime::listener::Socket;
use crate::runtime::{Parcel, Stop};
use crate::stdx::cidr::Cidr;
use crate::stdx::time::Mono;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// From the control thread, in order.
#[derive(Debug)]
pub enum Mail {
    /// Accept here too.
    Listen(Listen),
    /// These stay, and for connections to come are otherwise from now on. All in one message: of two that change names
    /// neither may be taken for the other.
    Describe(Arc<[Described]>),
    /// The listener with this id has no place in the configuration any more: accept what has arrived, then close it.
    Unlisten(u32),
    /// Stop accepting, and leave what arrives to another process, or to a later `Listen`.
    Rest,
    /// Stop accepting, let the exchanges end, and end with the last connection, or when `patience` is over.
    Drain { patience: Duration, stop: Stop },
}

/// A listener of one shard.
#[derive(Debug)]
pub struct Listen {
    pub id: u32,
    pub name: String,
    /// As the configuration has it; port 0 is any.
    pub address: SocketAddr,
    /// Peers that begin with a PROXY header.
    pub proxies: Arc<[Cidr]>,
    pub socket: Socket,
}

/// What the listener with the id `was` is from now on.
#[derive(Clone, Debug)]
pub struct Described {
    pub was: u32,
    pub id: u32,
    pub name: String,
    pub proxies: Arc<[Cidr]>,
}

/// The plan from now on. Through a cell in which only the latest lies.
#[derive(Clone, Debug)]
pub struct Publication {
    pub generation: u64,
    pub plan: Arc<Plan>,
}

/// From another shard: a connection that it accepted and that this one serves.
#[derive(Debug)]
pub struct Handoff {
    pub parcel: Parcel,
    pub peer: SocketAddr,
    pub listener: Arc<ListenerInfo>,
    pub accepted_at: Mono,
}
