//! Connections to upstreams that wait for their next request.
//!
//! ```text
//!   connect -> in use -> idle (a receive is armed) -> in use -> ...
//!                |          |
//!                v          +--> the receive ends: whatever it brought, nobody asked for it: closed
//!              closed       +--> idle too long, too old, too many: closed
//! ```

use super::place::Place;
use super::service::{PoolLimits, Service};
use crate::runtime::Class;
use crate::stdx::hash::FixedMap;
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::Mono;
use crate::wire::Connection;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection to an endpoint, in use.
pub struct Upstream {
    pub connection: Connection,
    pub address: SocketAddr,
    connected_at: Mono,
    _place: Place,
    /// It served a request before this one: it may have died meanwhile.
    pub reused: bool,
}

/// One shard's idle upstream connections.
pub struct Pools {
    /// By the service's id, as long as something was kept of late.
    services: FixedMap<u32, Vec<EndpointPool>>,
    idle: Slab<Idle>,
    /// What the shard adds to a connection's key, so that it knows whose event it is.
    token_mark: u64,
    /// Which of how many shards these are the pools of: they divide the idle connections of a service among them.
    share: (usize, usize),
}

/// Idle connections to one endpoint, used last in, first out: the oldest become too old.
struct EndpointPool {
    address: SocketAddr,
    idle: VecDeque<Key<Idle>>,
    idle_timeout: Duration,
    /// When a connection was last kept here.
    kept_at: Mono,
}

struct Idle {
    upstream: Box<Upstream>,
    service: u32,
    since: Mono,
}

impl Upstream {
    pub fn new(connection: Connection, address: SocketAddr, place: Place, now: Mono) -> Self {
        Self { connection, address, connected_at: now, _place: place, reused: false }
    }
}

impl Pools {
    /// Pools of `shard` of `shards`, whose idle connections report events under their key with `token_mark` set.
    pub fn new(token_mark: u64, (shard, shards): (usize, usize)) -> Self {
        Self { services: FixedMap::default(), idle: Slab::new(), token_mark, share: (shard, shards) }
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// The connection to this endpoint that was used last.
    pub fn take(&mut self, service: &Service, address: SocketAddr, now: Mono) -> Option<Box<Upstream>> {
        let pool = self.services.get_mut(&service.id)?.iter_mut().find(|pool| pool.address == address)?;
        while let Some(key) = pool.idle.pop_back() {
            let Some(idle) = self.idle.remove(key) else { continue };
            let is_young =
                now < idle.since + service.pool.idle_timeout && now < idle.upstream.connected_at + service.pool.age_max;
            // What an upstream says unasked would pass for the answer to the next request.
            if is_young && idle.upstream.connection.stream.is_silent() {
                let mut upstream = idle.upstream;
                upstream.reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection on which the last exchange came to a clean end. Closes it, or the one idle longest, if that
    /// is one too many.
    pub fn put(&mut self, service: &Service, mut upstream: Box<Upstream>, now: Mono) {
        let idle_max = self.idle_max(&service.pool);
        if idle_max == 0 || now >= upstream.connected_at + service.pool.age_max {
            return;
        }
        upstream.connection.reader.rest();
        let address = upstream.address;
        let pools = self.services.entry(service.id).or_default();
        let place = pools.iter().position(|pool| pool.address == address).unwrap_or_else(|| {
            pools.push(EndpointPool { address, idle: VecDeque::new(), idle_timeout: Duration::ZERO, kept_at: now });
            pools.len() - 1
        });
        let pool = &mut pools[place];
        (pool.idle_timeout, pool.kept_at) = (service.pool.idle_timeout, now);
        if pool.idle.len() >= idle_max
            && let Some(oldest) = pool.idle.pop_front()
        {
            self.idle.remove(oldest);
        }
        let key = self.idle.insert(Idle { upstream, service: service.id, since: now });
        let armed = self.idle.get(key).expect("it was just inserted");
        if armed.upstream.connection.stream.arm_idle(Class::Head, key.to_bits() | self.token_mark).is_some() {
            // It said something that nobody asked for, or goodbye.
            self.idle.remove(key);
            return;
        }
        pool.idle.push_back(key);
    }

    /// Closes the connection of this service that has been idle longest, so that another may take its place; false if
    /// none is idle here.
    pub fn make_room(&mut self, service: &Service) -> bool {
        let Some(pools) = self.services.get_mut(&service.id) else { return false };
        let oldest = |pool: &EndpointPool| Some((self.idle.get(*pool.idle.front()?)?.since, pool.address));
        let Some((_, address)) = pools.iter().filter_map(oldest).min() else { return false };
        let pool = pools.iter_mut().find(|pool| pool.address == address);
        pool.and_then(|pool| pool.idle.pop_front()).and_then(|key| self.idle.remove(key)).is_some()
    }

    /// Idle connections that this shard keeps to one endpoint. Of a service that may have few, the shards together keep
    /// no more than half, so that none of them is left without by the others' idle ones.
    fn idle_max(&self, limits: &PoolLimits) -> usize {
        let of_all = part(limits.idle_max, self.share);
        let (_, shards) = self.share;
        match limits.connections_max {
            Some(max) if shards > 1 => of_all.min(max / (2 * shards)),
            _ => of_all,
        }
    }

    /// The armed receive of an idle connection ended: it is closed.
    pub fn completed(&mut self, token: u64) {
        let key = Key::from_bits(token & !self.token_mark);
        let Some(idle) = self.idle.remove(key) else { return };
        for pool in self.services.get_mut(&idle.service).into_iter().flatten() {
            pool.idle.retain(|other| *other != key);
        }
    }

    /// Closes what has been idle for too long, and forgets endpoints and services that have kept nothing since:
    /// configurations come with other ones again and again.
    pub fn sweep(&mut self, now: Mono) {
        self.services.retain(|_, pools| {
            for pool in pools.iter_mut() {
                while let Some(&key) = pool.idle.front() {
                    if self.idle.get(key).is_some_and(|idle| now.since(idle.since) < pool.idle_timeout) {
                        break;
                    }
                    pool.idle.pop_front();
                    self.idle.remove(key);
                }
            }
            pools.retain(|pool| !pool.idle.is_empty() || now.since(pool.kept_at) < pool.idle_timeout);
            !pools.is_empty()
        });
    }

    /// Closes all of them.
    pub fn clear(&mut self) {
        self.services.clear();
        self.idle = Slab::new();
    }
}

/// What `shard` of `shards` may have, so that all together have `total`.
fn part(total: usize, (shard, shards): (usize, usize)) -> usize {
    total / shards + usize::from(shard < total % shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_divide_what_a_service_allows() {
        for (total, shards) in [(0, 3), (1, 4), (256, 1), (256, 3), (7, 8)] {
            let parts: Vec<_> = (0..shards).map(|shard| part(total, (shard, shards))).collect();
            assert_eq!(parts.iter().sum::<usize>(), total, "{parts:?}");
            assert!(parts.iter().max() <= parts.iter().min().map(|least| least + 1).as_ref(), "{parts:?}");
        }
    }
}
