//! The table of client connections: who is idle, until when, and how many there are.

use crate::proxy::Downstream;
use crate::proxy::limits::Limits;
use crate::stdx::hash::{KeyedMap, keyed_map};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::Mono;
use crate::telemetry::counters::Refusal;
use std::net::IpAddr;

pub struct Connections {
    slots: Slab<Slot>,
    per_client: KeyedMap<IpAddr, u32>,
}

/// One connection, from its accept to its end.
pub struct Slot {
    /// Absent while a coroutine serves the connection.
    idle: Option<Box<Downstream>>,
    client: IpAddr,
    /// When an idle connection is closed.
    deadline: Mono,
    /// When its entry of the timer wheel fires; `NEVER` if it has none.
    timer_at: Mono,
}

impl Connections {
    /// `seed` keys the hash of client addresses.
    pub fn new(seed: u64) -> Self {
        Self { slots: Slab::new(), per_client: keyed_map(seed) }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A place for a connection from this client.
    pub fn admit(&mut self, client: IpAddr, limits: &Limits) -> Result<Key<Slot>, Refusal> {
        if self.slots.len() >= limits.connections_max {
            return Err(Refusal::Total);
        }
        let client = client_of(client);
        let count = self.per_client.entry(client).or_insert(0);
        if *count as usize >= limits.connections_per_client_max {
            return Err(Refusal::Client);
        }
        *count += 1;
        Ok(self.slots.insert(Slot { idle: None, client, deadline: Mono::NEVER, timer_at: Mono::NEVER }))
    }

    /// The connection has ended.
    pub fn release(&mut self, key: Key<Slot>) {
        let Some(slot) = self.slots.remove(key) else { return };
        if let Some(count) = self.per_client.get_mut(&slot.client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&slot.client);
            }
        }
    }

    /// Keeps an idle connection until `deadline`. Returns when the timer that it needs must fire, if it has none.
    pub fn park(&mut self, key: Key<Slot>, downstream: Box<Downstream>, deadline: Mono) -> Option<Mono> {
        let slot = self.slots.get_mut(key)?;
        slot.idle = Some(downstream);
        slot.deadline = deadline;
        if deadline >= slot.timer_at {
            return None;
        }
        slot.timer_at = deadline;
        Some(deadline)
    }

    /// The idle connection, to be served.
    pub fn activate(&mut self, key: Key<Slot>) -> Option<Box<Downstream>> {
        self.slots.get_mut(key)?.idle.take()
    }

    /// A timer of the connection fired. Returns the timer it needs next, or the connection if it has been idle for too
    /// long.
    pub fn timer_fired(&mut self, key: Key<Slot>, at: Mono, now: Mono) -> Result<Option<Mono>, Box<Downstream>> {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.timer_at == at) else { return Ok(None) };
        slot.timer_at = Mono::NEVER;
        if slot.idle.is_none() {
            return Ok(None);
        }
        if slot.deadline > now {
            slot.timer_at = slot.deadline;
            return Ok(Some(slot.deadline));
        }
        let overdue = slot.idle.take();
        self.release(key);
        overdue.map_or(Ok(None), Err)
    }

    /// Every connection's place, and the idle connections themselves, for a shard that ends.
    pub fn take_all(&mut self) -> Slab<Slot> {
        self.per_client.clear();
        std::mem::take(&mut self.slots)
    }
}

/// Who counts as one client: an IPv4 address or an IPv6 /64, which is what a site hands to one machine.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::epoll::Epoll;

    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<Slot>() + size_of::<Downstream>() + Epoll::IDLE_BYTES;
        assert!(bytes <= 768, "an idle connection takes {bytes} bytes");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limits = Limits { connections_per_client_max: 1, ..Limits::default() };
        let mut connections = Connections::new(1);
        let mut admit = |address: &str| connections.admit(address.parse().unwrap(), &limits).is_ok();
        assert!(admit("2001:db8::1") && !admit("2001:db8::2") && admit("2001:db8:0:1::1"));
        assert!(admit("::ffff:10.0.0.1") && !admit("10.0.0.1"));
    }

    #[test]
    fn places_are_counted_in_all_and_for_each_client() {
        let limits = Limits { connections_max: 3, connections_per_client_max: 2, ..Limits::default() };
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut connections = Connections::new(1);
        let first = connections.admit(a, &limits).unwrap();
        assert!(connections.admit(a, &limits).is_ok());
        assert_eq!(connections.admit(a, &limits), Err(Refusal::Client));
        assert!(connections.admit(b, &limits).is_ok());
        assert_eq!(connections.admit(b, &limits), Err(Refusal::Total));
        connections.release(first);
        connections.release(first);
        assert_eq!(connections.len(), 2);
        assert!(connections.admit(a, &limits).is_ok());
    }
}
