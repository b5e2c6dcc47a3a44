//! A seeded adversarial kernel with a virtual clock and network: whole clusters run in one thread, and a seed replays.
//!
//! ```text
//!   World --- node("gateway") ---> Node: the driver of one Runtime
//!     |  \--- node("client")  ---> Node
//!     |
//!   Kernel: clock, dice, faults, census
//!     +-- hosts: what one node has asked for        (sockets, listeners, operations, what is due when)
//!     +-- links: connections, each two ends and two pipes
//! ```
//!
//! Whoever runs a simulation gives every runtime its turn, in any order, and then lets the clock advance to the next
//! thing that is due in the world or in a runtime. An operation is tried when it can make progress, after a delay that
//! the dice say, or at once inside `submit`; both ways are taken.

mod fault;
mod kernel;
mod link;
mod network;
mod pipe;
mod stream;
mod transcript;

pub use self::fault::{Census, Fault, Faults};
pub use self::transcript::Line;

use self::kernel::Kernel;
use super::{Close, DriverCounters, Stop};
use crate::runtime::buffer::{Class, Pool};
use crate::runtime::op::{Done, Error, ListenerId, Op, OpId, Owner, Pieces, Received, SocketId};
use crate::stdx::time::{Mono, Now};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The kernel and network that the nodes of one simulation share.
#[derive(Clone)]
pub struct World(Rc<RefCell<Kernel>>);

/// One host of a world: the driver of one runtime.
pub struct Node {
    kernel: Rc<RefCell<Kernel>>,
    host: usize,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(RefCell::new(Kernel::new(seed, faults))))
    }

    /// A new host, with an address of its own.
    pub fn node(&self, name: &'static str) -> Node {
        Node { kernel: self.0.clone(), host: self.0.borrow_mut().add_host(name) }
    }

    pub fn now(&self) -> Mono {
        self.0.borrow().now().mono
    }

    /// Lets the clock run to what happens next: here, or at `wakes_at`, the earliest of all runtimes. It runs a little
    /// at least, so that nobody goes round in circles for ever. False if nothing will ever happen.
    pub fn advance(&self, wakes_at: Option<Mono>) -> bool {
        let mut kernel = self.0.borrow_mut();
        let next = [kernel.next_due(), wakes_at].into_iter().flatten().min();
        if let Some(at) = next {
            let least = kernel.now().mono + TURN_TIME;
            let late = kernel.oversleep();
            kernel.advance_to(at.max(least) + late);
        }
        next.is_some()
    }

    /// From now on connections that are made, and everything else that happens, meet these faults.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().set_faults(faults);
    }

    pub fn census(&self) -> Census {
        self.0.borrow().census().clone()
    }

    /// Connections that one side at least has not closed.
    pub fn open_links(&self) -> usize {
        self.0.borrow().open_links()
    }

    /// One number for everything that has happened.
    pub fn transcript_hash(&self) -> u64 {
        self.0.borrow().transcript().hash()
    }

    /// Keeps what happens, line by line, from now on.
    pub fn record_transcript(&self) {
        self.0.borrow_mut().record_transcript();
    }

    /// The last lines that were kept.
    pub fn transcript(&self) -> Vec<Line> {
        self.0.borrow().transcript().lines().copied().collect()
    }
}

impl Node {
    pub fn submit(&mut self, op: Op, owner: Owner, pool: &Pool) -> Result<Done, OpId> {
        self.kernel.borrow_mut().submit(self.host, op, owner, pool)
    }

    pub fn receive_at_hand(&mut self, socket: SocketId, class: Class, pool: &Pool) -> Option<Result<Received, Error>> {
        self.kernel.borrow_mut().receive_at_hand(self.host, socket, class, pool)
    }

    pub fn is_parked(&self, id: OpId) -> bool {
        self.kernel.borrow().is_parked(self.host, id)
    }

    pub fn send_at_once(&mut self, socket: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        self.kernel.borrow_mut().send_at_once(self.host, socket, pieces)
    }

    pub fn take(&mut self, id: OpId) -> Option<Done> {
        self.kernel.borrow_mut().take(self.host, id)
    }

    pub fn cancel(&mut self, id: OpId) {
        self.kernel.borrow_mut().cancel(self.host, id);
    }

    pub fn set_owner(&mut self, id: OpId, owner: Owner) {
        self.kernel.borrow_mut().set_owner(self.host, id, owner);
    }

    pub fn turn(&mut self, pool: &Pool, told: &mut Vec<Owner>) {
        self.kernel.borrow_mut().turn(self.host, pool, told);
    }

    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        self.kernel.borrow_mut().listen(self.host, address)
    }

    pub fn stop_listener(&mut self, id: ListenerId, stop: Stop) {
        self.kernel.borrow_mut().stop_listener(self.host, id, stop);
    }

    pub fn release(&mut self, id: SocketId) -> Option<u64> {
        self.kernel.borrow_mut().release(self.host, id)
    }

    pub fn adopt(&mut self, link: u64) -> SocketId {
        self.kernel.borrow_mut().adopt(self.host, link)
    }

    pub fn listener_address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.kernel.borrow().listener_address(self.host, id)
    }

    pub fn close_listener(&mut self, id: ListenerId) {
        self.kernel.borrow_mut().close_listener(self.host, id);
    }

    pub fn shutdown_write(&mut self, id: SocketId) {
        self.kernel.borrow_mut().shutdown_write(self.host, id);
    }

    pub fn close(&mut self, id: SocketId, how: Close) {
        self.kernel.borrow_mut().close(self.host, id, how);
    }

    pub fn now(&self) -> Now {
        self.kernel.borrow().now()
    }

    pub fn counters(&self) -> DriverCounters {
        self.kernel.borrow().counters(self.host)
    }

    pub fn leftovers(&self) -> [usize; 3] {
        self.kernel.borrow().leftovers(self.host)
    }
}

/// What a turn of everybody takes.
const TURN_TIME: Duration = Duration::from_micros(1);
