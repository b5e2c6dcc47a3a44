//! The seam between a shard and the kernel: operations in, completions out.
//!
//! A closed enum instead of a trait: nothing above is generic, and a reader sees every kernel there is.

mod alarm;
mod budget;
pub mod choice;
mod clock;
pub mod epoll;
mod parked;
pub mod sim;
#[allow(unsafe_code, reason = "a ring is memory that the kernel shares")]
pub mod uring;
mod write;

use super::buffer::{Class, Pool};
use super::mailbox::Bell;
use super::op::{Done, Error, ListenerId, Op, OpId, Owner, Pieces, Received, SocketId};
use crate::stdx::time::{Mono, Now};
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::sync::Arc;

/// One shard's kernel.
pub enum Driver {
    Uring(Box<uring::Uring>),
    Epoll(Box<epoll::Epoll>),
    Sim(sim::Node),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// What was sent is still delivered, then the peer sees the end of the stream.
    Graceful,
    /// The peer sees a reset, so that it cannot take what it got for the whole.
    Reset,
}

/// What a listener that is told to stop still brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Every connection that has arrived: nobody else will accept them.
    Dry,
    /// Only those that the kernel has given to this process already: another one listens on the same socket.
    Leave,
}

/// A connection that no operation has used yet, between two drivers of one process. Dropping it ends the connection.
#[derive(Debug)]
pub struct Parcel(Freight);

#[derive(Debug)]
enum Freight {
    Descriptor(OwnedFd),
    /// The simulation's number of it.
    Link(u64),
}

/// What a driver counts about itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DriverCounters {
    /// Connections accepted and closed at once because no descriptor was left.
    pub accepts_shed: u64,
    /// Receives that had to wait for memory, each once however often it was tried again.
    pub receives_parked: u64,
}

impl Driver {
    /// Begins an operation. It may be over at once; else its owner is told by a later `turn`.
    pub fn submit(&mut self, op: Op, owner: Owner, pool: &Pool) -> Result<Done, OpId> {
        match self {
            Self::Epoll(epoll) => epoll.submit(op, owner, pool),
            Self::Uring(uring) => uring.submit(op, owner, pool),
            Self::Sim(node) => node.submit(op, owner, pool),
        }
    }

    /// Whether the operation is over, and with what. Who is told may find that it is not.
    pub fn take(&mut self, id: OpId, pool: &Pool) -> Option<Done> {
        match self {
            Self::Epoll(epoll) => epoll.take(id, pool),
            Self::Uring(uring) => uring.take(id, pool),
            Self::Sim(node) => node.take(id),
        }
    }

    /// What a receive into a fresh buffer would bring at once. Nothing is armed: what is not at hand is not waited for.
    pub fn receive_at_hand(&mut self, socket: SocketId, class: Class, pool: &Pool) -> Option<Result<Received, Error>> {
        match self {
            Self::Epoll(epoll) => epoll.receive_at_hand(socket, class, pool),
            Self::Uring(uring) => uring.receive_at_hand(socket, class, pool),
            Self::Sim(node) => node.receive_at_hand(socket, class, pool),
        }
    }

    /// Nothing is known to wait in the socket: neither bytes nor an end. What nobody has looked at yet may be there.
    pub fn is_silent(&self, socket: SocketId) -> bool {
        match self {
            Self::Epoll(epoll) => epoll.is_silent(socket),
            Self::Uring(uring) => uring.is_silent(socket),
            // Its network tells in the moment in which it delivers.
            Self::Sim(_) => true,
        }
    }

    /// The operation is a receive that waits for memory, not for its peer.
    pub fn is_parked(&self, id: OpId) -> bool {
        match self {
            Self::Epoll(epoll) => epoll.is_parked(id),
            Self::Uring(uring) => uring.is_parked(id),
            Self::Sim(node) => node.is_parked(id),
        }
    }

    /// Sends what there is room for, without an operation: how much went out. `None` if that is nothing for now, or if
    /// this turn has done enough. No other send may be under way.
    pub fn send_at_once(&mut self, socket: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        match self {
            Self::Epoll(epoll) => epoll.send_at_once(socket, pieces),
            Self::Uring(uring) => uring.send_at_once(socket, pieces),
            Self::Sim(node) => node.send_at_once(socket, pieces),
        }
    }

    /// Nobody waits for the operation any more: whatever it holds or still brings is reclaimed by the driver.
    pub fn cancel(&mut self, id: OpId) {
        match self {
            Self::Epoll(epoll) => epoll.cancel(id),
            Self::Uring(uring) => uring.cancel(id),
            Self::Sim(node) => node.cancel(id),
        }
    }

    pub fn set_owner(&mut self, id: OpId, owner: Owner) {
        match self {
            Self::Epoll(epoll) => epoll.set_owner(id, owner),
            Self::Uring(uring) => uring.set_owner(id, owner),
            Self::Sim(node) => node.set_owner(id, owner),
        }
    }

    /// Another coroutine is polled in this turn: what it may have carried out at once is bounded anew.
    pub fn begin_poll(&mut self) {
        match self {
            Self::Epoll(epoll) => epoll.begin_poll(),
            Self::Uring(uring) => uring.begin_poll(),
            // It carries out as many as its faults say.
            Self::Sim(_) => {}
        }
    }

    /// Carries operations forward, sleeping until `deadline` at most, and appends the owners of those that ended. The
    /// first coroutine may be polled then.
    pub fn turn(&mut self, deadline: Mono, pool: &Pool, told: &mut Vec<Owner>) -> Result<(), Error> {
        match self {
            Self::Epoll(epoll) => epoll.turn(deadline, pool, told),
            Self::Uring(uring) => uring.turn(deadline, pool, told),
            Self::Sim(node) => {
                node.turn(pool, told);
                Ok(())
            }
        }
    }

    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        match self {
            Self::Epoll(epoll) => epoll.listen(address),
            Self::Uring(uring) => uring.listen(address),
            Self::Sim(node) => node.listen(address),
        }
    }

    /// Accepts on a socket that is bound, which listens from now on. With an error it is given back as it was.
    pub fn adopt_listener(&mut self, socket: OwnedFd) -> Result<ListenerId, (Error, OwnedFd)> {
        match self {
            Self::Epoll(epoll) => epoll.adopt_listener(socket),
            Self::Uring(uring) => uring.adopt_listener(socket),
            Self::Sim(_) => unreachable!("a simulated host has no descriptors"),
        }
    }

    /// From now on an accept brings what `stop` says, and then fails with `Error::Stopped`.
    pub fn stop_listener(&mut self, id: ListenerId, stop: Stop) {
        match self {
            Self::Epoll(epoll) => epoll.stop_listener(id, stop),
            Self::Uring(uring) => uring.stop_listener(id, stop),
            Self::Sim(node) => node.stop_listener(id, stop),
        }
    }

    pub fn listener_address(&self, id: ListenerId) -> Option<SocketAddr> {
        match self {
            Self::Epoll(epoll) => epoll.listener_address(id),
            Self::Uring(uring) => uring.listener_address(id),
            Self::Sim(node) => node.listener_address(id),
        }
    }

    pub fn close_listener(&mut self, id: ListenerId) {
        match self {
            Self::Epoll(epoll) => epoll.close_listener(id),
            Self::Uring(uring) => uring.close_listener(id),
            Self::Sim(node) => node.close_listener(id),
        }
    }

    /// Takes a connection that no operation has used out of this driver; `None` if one has.
    pub fn release(&mut self, id: SocketId) -> Option<Parcel> {
        match self {
            Self::Epoll(epoll) => epoll.release(id).map(|fd| Parcel(Freight::Descriptor(fd))),
            Self::Uring(uring) => uring.release(id).map(|fd| Parcel(Freight::Descriptor(fd))),
            Self::Sim(node) => node.release(id).map(|link| Parcel(Freight::Link(link))),
        }
    }

    /// Takes in what another driver of the same kind has released.
    pub fn adopt(&mut self, parcel: Parcel) -> SocketId {
        match (self, parcel.0) {
            (Self::Epoll(epoll), Freight::Descriptor(fd)) => epoll.adopt(fd),
            (Self::Uring(uring), Freight::Descriptor(fd)) => uring.adopt(fd),
            (Self::Sim(node), Freight::Link(link)) => node.adopt(link),
            (_, freight) => unreachable!("a parcel of another kind of driver: {freight:?}"),
        }
    }

    /// Tells the peer that no more bytes follow; receiving goes on.
    pub fn shutdown_write(&mut self, id: SocketId) {
        match self {
            Self::Epoll(epoll) => epoll.shutdown_write(id),
            Self::Uring(uring) => uring.shutdown_write(id),
            Self::Sim(node) => node.shutdown_write(id),
        }
    }

    /// Ends the connection once no operation uses it. Its operations must have been taken or cancelled.
    pub fn close(&mut self, id: SocketId, how: Close) {
        match self {
            Self::Epoll(epoll) => epoll.close(id, how),
            Self::Uring(uring) => uring.close(id, how),
            Self::Sim(node) => node.close(id, how),
        }
    }

    /// What other threads ring to end this shard's sleep; the simulation needs none.
    pub fn bell(&self) -> Option<Arc<Bell>> {
        match self {
            Self::Epoll(epoll) => Some(epoll.bell()),
            Self::Uring(uring) => Some(uring.bell()),
            Self::Sim(_) => None,
        }
    }

    /// Whether another thread has left something since this was last asked; in the simulation it may always have.
    pub fn take_rung(&self) -> bool {
        match self {
            Self::Epoll(epoll) => epoll.bell.take_rung(),
            Self::Uring(uring) => uring.bell.take_rung(),
            Self::Sim(_) => true,
        }
    }

    /// Reads the clocks.
    pub fn read_clocks(&mut self) -> Now {
        match self {
            Self::Epoll(epoll) => epoll.read_clocks(),
            Self::Uring(uring) => uring.read_clocks(),
            Self::Sim(node) => node.now(),
        }
    }

    pub fn counters(&self) -> DriverCounters {
        match self {
            Self::Epoll(epoll) => epoll.counters(),
            Self::Uring(uring) => uring.counters(),
            Self::Sim(node) => node.counters(),
        }
    }

    /// Sockets, listeners and operations that are still there; all zero when a shard has ended.
    pub fn leftovers(&self) -> [usize; 3] {
        match self {
            Self::Epoll(epoll) => epoll.leftovers(),
            Self::Uring(uring) => uring.leftovers(),
            Self::Sim(node) => node.leftovers(),
        }
    }
}

/// Descriptors from this number on are not used for connections: whoever is accepted on one is turned away at once, so
/// that all shards can still accept, and so tell those whom they cannot serve.
fn descriptors_max() -> i32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    i32::try_from(limit).unwrap_or(i32::MAX).saturating_sub(DESCRIPTORS_SPARE)
}

/// A descriptor to give up when there is no other.
fn open_spare() -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

const DESCRIPTORS_SPARE: i32 = 8;
