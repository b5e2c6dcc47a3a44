//! The table of client connections: who is idle, until when, and how many there are.

use crate::proxy::Downstream;
use crate::proxy::limits::Limits;
use crate::stdx::board::{Board, Lease, client_key};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::Mono;
use crate::telemetry::counters::Refusal;
use std::net::IpAddr;
use std::sync::Arc;

pub struct Connections {
    slots: Slab<Slot>,
    board: Arc<Board>,
    shard: usize,
    places: Lease,
    /// As the configuration last said.
    connections_max: usize,
    /// Those that no coroutine serves.
    idle: usize,
}

/// One connection, from its accept to its end.
pub struct Slot {
    /// Absent while a coroutine serves the connection.
    idle: Option<Box<Downstream>>,
    /// Unknown until a load balancer has said who it is.
    client: Option<u128>,
    /// When an idle connection is closed.
    deadline: Mono,
    /// When its entry of the timer wheel fires; `NEVER` if it has none.
    timer_at: Mono,
}

impl Connections {
    /// Those of `shard`, counted on the board with all others.
    pub fn new(board: Arc<Board>, shard: usize) -> Self {
        Self { slots: Slab::new(), board, shard, places: Lease::default(), connections_max: 0, idle: 0 }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Connections that wait for their next request.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// A place for a connection from this client, whose arrival the board knows. `None` if the client is not known yet.
    pub fn admit(&mut self, client: Option<IpAddr>, limits: &Limits) -> Result<Key<Slot>, Refusal> {
        let client = client.map(client_key);
        self.connections_max = limits.connections_max;
        if !self.places.enter(&self.board.connections, limits.connections_max, self.board.shards()) {
            return Err(Refusal::Total);
        }
        let counts = |client| self.board.connections_per_client.enter(client, limits.connections_per_client_max);
        if !client.is_none_or(counts) {
            self.places.leave(&self.board.connections, limits.connections_max, self.board.shards());
            return Err(Refusal::Client);
        }
        Ok(self.slots.insert(Slot { idle: None, client, deadline: Mono::NEVER, timer_at: Mono::NEVER }))
    }

    /// Says whose connection it is. If that client has too many, it is still nobody's.
    pub fn introduce(&mut self, key: Key<Slot>, client: IpAddr, limits: &Limits) -> Result<(), Refusal> {
        let client = client_key(client);
        let Some(slot) = self.slots.get_mut(key) else { return Ok(()) };
        if !self.board.connections_per_client.enter(client, limits.connections_per_client_max) {
            return Err(Refusal::Client);
        }
        slot.client = Some(client);
        Ok(())
    }

    /// The connection has ended.
    pub fn release(&mut self, key: Key<Slot>) {
        if let Some(slot) = self.slots.remove(key) {
            self.depart(slot.client);
        }
    }

    fn depart(&mut self, client: Option<u128>) {
        self.board.depart(self.shard);
        if let Some(client) = client {
            self.board.connections_per_client.leave(client);
        }
        self.places.leave(&self.board.connections, self.connections_max, self.board.shards());
    }

    /// Keeps an idle connection until `deadline`. Returns when the timer that it needs must fire, if it has none.
    pub fn park(&mut self, key: Key<Slot>, downstream: Box<Downstream>, deadline: Mono) -> Option<Mono> {
        let slot = self.slots.get_mut(key)?;
        slot.idle = Some(downstream);
        self.idle += 1;
        slot.deadline = deadline;
        if deadline >= slot.timer_at {
            return None;
        }
        slot.timer_at = deadline;
        Some(deadline)
    }

    /// The idle connection, to be served.
    pub fn activate(&mut self, key: Key<Slot>) -> Option<Box<Downstream>> {
        let idle = self.slots.get_mut(key)?.idle.take()?;
        self.idle -= 1;
        Some(idle)
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
        self.idle -= 1;
        self.release(key);
        overdue.map_or(Ok(None), Err)
    }

    /// Gives places that are leased and not in use back to all shards.
    pub fn settle(&mut self) {
        self.places.settle(&self.board.connections);
    }

    /// Every connection's place, and the idle connections themselves, for a shard that ends.
    pub fn take_all(&mut self) -> Slab<Slot> {
        let slots = std::mem::take(&mut self.slots);
        slots.iter().for_each(|(_, slot)| self.depart(slot.client));
        self.settle();
        self.idle = 0;
        slots
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
    fn places_are_counted_over_all_shards_in_all_and_for_each_client() {
        let limits = Limits { connections_max: 3, connections_per_client_max: 2, ..Limits::default() };
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let board = Arc::new(Board::new(2, 1, 8));
        let (mut one, mut other) = (Connections::new(board.clone(), 0), Connections::new(board.clone(), 1));
        let admit = |connections: &mut Connections, client| {
            let admitted = connections.admit(Some(client), &limits);
            board.arrive(connections.shard);
            if admitted.is_err() {
                board.depart(connections.shard);
            }
            admitted
        };
        let first = admit(&mut one, a).unwrap();
        assert!(admit(&mut other, a).is_ok());
        assert_eq!(admit(&mut one, a), Err(Refusal::Client));
        assert!(admit(&mut other, b).is_ok());
        assert_eq!(admit(&mut one, b), Err(Refusal::Total));
        let stranger = one.admit(None, &limits).unwrap_err();
        assert_eq!(stranger, Refusal::Total);
        one.release(first);
        one.release(first);
        assert_eq!((one.len(), other.len(), board.connections_of(0), board.connections_of(1)), (0, 2, 0, 2));
        assert!(admit(&mut other, a).is_ok());
        drop(other.take_all());
        board.arrive(0);
        let introduced = one.admit(None, &limits).unwrap();
        assert_eq!(one.introduce(introduced, a, &limits), Ok(()));
        assert_eq!(board.connections_per_client.count(client_key(a)), 1);
        one.release(introduced);
        assert_eq!(board.connections_per_client.count(client_key(a)), 0);
        one.settle();
        assert_eq!((board.connections.taken(), board.connections_of(1)), (0, 0));
    }
}
