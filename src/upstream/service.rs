//! A service: the endpoints that answer for it and how patient the gateway is with them.

use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// Stable over reloads: pools and counters are keyed by it.
    pub id: u32,
    pub name: String,
    /// Never empty.
    pub endpoints: Vec<Endpoint>,
    pub timeouts: Timeouts,
    pub pool: PoolLimits,
    pub retry: Retry,
}

/// One address to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// As the operator wrote it, for logs: never sent to a client.
    pub name: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the request's last byte to the response's first.
    pub first_byte: Duration,
    /// No byte in either direction while a response or a tunnel runs.
    pub idle: Duration,
    /// The whole exchange; `None` leaves a long download or tunnel alone.
    pub total: Option<Duration>,
}

/// Bounds of the connections kept for reuse.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolLimits {
    /// In use and idle, by all shards together; `None` is any number.
    pub connections_max: Option<usize>,
    /// Idle connections kept to one endpoint, by all shards together.
    pub idle_max: usize,
    /// Shorter than common servers' own (nginx: 75 s, Go: none, Node: 5 s), so that we are the one who closes.
    pub idle_timeout: Duration,
    /// A connection older than this serves no further request, so that changes behind a name are noticed.
    pub age_max: Duration,
}

/// One more try for an idempotent request whose reused connection died before any byte of the response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retry {
    pub enabled: bool,
    /// A longer body is not kept, and its request not tried again.
    pub replay_bytes_max: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
        }
    }
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            connections_max: None,
            idle_max: 256,
            idle_timeout: Duration::from_secs(55),
            age_max: Duration::from_secs(3600),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { enabled: true, replay_bytes_max: 64 << 10 }
    }
}
