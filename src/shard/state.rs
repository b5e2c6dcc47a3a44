//! What one shard's acceptors, workers and loop share.

use super::connections::{Connections, Slot};
use super::listeners::{Listening, Refused};
use super::mail::Handoff;
use super::worker;
use crate::proxy::{Downstream, ListenerInfo, Shared};
use crate::runtime::executor::TaskId;
use crate::runtime::mailbox::Outbox;
use crate::runtime::{Class, Event, Received, Stop, TcpStream};
use crate::stdx::slab::Key;
use crate::stdx::time::Mono;
use crate::telemetry::counters::{Counters, Refusal};
use crate::telemetry::report::Gauges;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub struct State {
    pub shared: Shared,
    pub shard: usize,
    /// Where other shards take connections from this one; by their number, and its own is not used.
    peers: Vec<Outbox<Handoff>>,
    pub connections: RefCell<Connections>,
    /// Coroutines that wait for a connection.
    workers: RefCell<Vec<(TaskId, Desk)>>,
    /// The fewest there have been since the last sweep: so many nobody needed.
    workers_unused: Cell<usize>,
    pub listeners: RefCell<Vec<Rc<Listening>>>,
    /// Those that could not be opened, until they can: each is tried again once a second.
    pub refused: RefCell<Vec<Refused>>,
}

/// A connection with something to say, and its place in the table.
pub type Job = (Key<Slot>, Box<Downstream>);

/// Where a worker finds its next connection. Its own, so that no worker can take what another one is woken for.
pub type Desk = Rc<Cell<Order>>;

/// What a worker is to do.
#[derive(Default)]
pub enum Order {
    #[default]
    Wait,
    Serve(Job),
    End,
}

impl State {
    pub fn new(shared: Shared, shard: usize, peers: Vec<Outbox<Handoff>>) -> Self {
        Self {
            connections: RefCell::new(Connections::new(shared.board.clone(), shard)),
            shared,
            shard,
            peers,
            workers: RefCell::default(),
            workers_unused: Cell::new(0),
            listeners: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    pub fn begin(&self) {
        let now = self.shared.runtime.now().mono;
        self.shared.board.beat(self.shard, now);
        self.shared.runtime.set_timer(now + SWEEP_INTERVAL, SWEEP);
    }

    /// Every connection has ended, and none will be accepted.
    pub fn is_empty(&self) -> bool {
        self.listeners.borrow().is_empty() && self.connections.borrow().is_empty()
    }

    pub fn drain(&self, stop: Stop) {
        self.shared.draining.set(true);
        self.refused.borrow_mut().clear();
        self.listeners.borrow().iter().for_each(|listening| listening.listener.stop(stop));
        self.shared.board.close(self.shard);
        // They may be waiting for the last of all shards to say so.
        self.peers.iter().for_each(Outbox::nudge);
    }

    /// The next turn looks into the mailboxes, and does not sleep before.
    pub fn look_again(&self) {
        self.peers[self.shard].nudge();
    }

    /// Closes everything that is left.
    pub fn end(&self) {
        self.shared.runtime.drop_tasks();
        self.workers.borrow_mut().clear();
        let connections = self.connections.borrow_mut().take_all();
        drop(connections);
        self.listeners.borrow_mut().clear();
        self.shared.pools.borrow_mut().clear();
        self.shared.settle();
        self.shared.policies.borrow_mut().limits.settle(self.shared.runtime.now().mono);
    }

    pub fn counters(&self) -> Counters {
        let mut counters = self.shared.counters.borrow().clone();
        counters.connections_active = self.connections.borrow().len() as u64;
        counters.exchange_panics = self.shared.runtime.panics();
        let shed = self.shared.runtime.driver_counters().accepts_shed;
        counters.connections_accepted += shed;
        counters.connections_refused[Refusal::Descriptors as usize] += shed;
        counters.log_lines_dropped = self.shared.log_lines_dropped();
        counters
    }

    pub fn gauges(&self) -> Gauges {
        let runtime = &self.shared.runtime;
        Gauges {
            connections_idle: self.connections.borrow().idle() as u64,
            upstream_idle: self.shared.pools.borrow().len() as u64,
            buffer_bytes: runtime.pool().bytes_out() as u64,
            receives_parked: runtime.driver_counters().receives_parked,
            coroutines: runtime.tasks() as u64,
        }
    }

    pub fn on_event(self: &Rc<Self>, event: Event) {
        match event {
            Event::Completed(token) if token & UPSTREAM_MARK != 0 => self.shared.pools.borrow_mut().completed(token),
            Event::Completed(token) => self.activate(Key::from_bits(token)),
            Event::Timer(SWEEP, _) => {
                let now = self.shared.runtime.now().mono;
                self.shared.board.beat(self.shard, now);
                self.shared.pools.borrow_mut().sweep(now);
                // What was leased for a busy second is no use to a quiet one, and may be to others.
                self.shared.settle();
                self.connections.borrow_mut().settle();
                self.shared.policies.borrow_mut().limits.heed_recall(now);
                self.shared.runtime.pool().trim();
                self.trim_workers();
                self.try_again_to_open();
                self.shared.runtime.set_timer(now + SWEEP_INTERVAL, SWEEP);
            }
            Event::Timer(token, at) => self.idle_timer(Key::from_bits(token), at),
        }
    }

    /// A connection that was accepted here: it goes to the shard that has far fewer, or is served here.
    pub fn arrived(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: &Arc<ListenerInfo>) {
        self.shared.counters.borrow_mut().connections_accepted += 1;
        if let Some(stream) = self.hand_over(stream, peer, listener) {
            self.shared.board.arrive(self.shard);
            self.admit(stream, peer, listener.clone(), self.shared.runtime.now().mono);
        }
    }

    /// A connection that another shard accepted.
    pub fn handed(self: &Rc<Self>, handoff: Handoff) {
        let Handoff { parcel, peer, listener, accepted_at } = handoff;
        self.shared.counters.borrow_mut().handoffs_received += 1;
        self.admit(TcpStream::adopt(&self.shared.runtime, parcel), peer, listener, accepted_at);
    }

    /// Gives the connection back if it is to be served here, because nobody has far fewer or no time to take it.
    fn hand_over(&self, stream: TcpStream, peer: SocketAddr, listener: &Arc<ListenerInfo>) -> Option<TcpStream> {
        let Shared { runtime, board, counters, draining, .. } = &self.shared;
        if draining.get() {
            return Some(stream);
        }
        let Some(other) = board.less_loaded_than(self.shard) else { return Some(stream) };
        let parcel = match stream.release() {
            Ok(parcel) => parcel,
            Err(stream) => return Some(stream),
        };
        board.arrive(other);
        let handoff = Handoff { parcel, peer, listener: listener.clone(), accepted_at: runtime.now().mono };
        match self.peers[other].post(handoff) {
            Ok(()) => {
                counters.borrow_mut().handoffs_sent += 1;
                None
            }
            Err(handoff) => {
                board.depart(other);
                counters.borrow_mut().handoffs_refused += 1;
                Some(TcpStream::adopt(runtime, handoff.parcel))
            }
        }
    }

    /// Takes a new connection in, or closes it when there are too many.
    fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>, accepted_at: Mono) {
        let settings = self.shared.settings();
        // Whose connection it is says the header that a load balancer begins with.
        let client = if listener.is_proxy(peer.ip()) { None } else { Some(peer.ip()) };
        let admitted = self.connections.borrow_mut().admit(client, &settings.limits);
        match admitted {
            Ok(key) => {
                let downstream = Box::new(Downstream::new(stream, peer, listener));
                // What it waited in a mailbox is a part of its time.
                let waited = self.shared.runtime.now().mono.since(accepted_at);
                self.park(key, downstream, settings.limits.header_read_timeout.saturating_sub(waited));
            }
            Err(refusal) => {
                self.shared.board.depart(self.shard);
                self.shared.counters.borrow_mut().count_refusal(refusal);
            }
        }
    }

    /// Reads whose connection it is, from the header that a load balancer begins with. False if it is to be closed.
    pub async fn introduce(&self, key: Key<Slot>, downstream: &mut Downstream) -> bool {
        let Some(client) = downstream.read_proxy_header(&self.shared).await else { return false };
        let settings = self.shared.settings();
        let known = self.connections.borrow_mut().introduce(key, client, &settings.limits);
        if let Err(refusal) = known {
            self.shared.counters.borrow_mut().count_refusal(refusal);
        }
        known.is_ok()
    }

    /// The connection is idle: nothing of it is left but its record and an armed receive.
    pub fn park(self: &Rc<Self>, key: Key<Slot>, mut downstream: Box<Downstream>, patience: Duration) {
        match downstream.connection.stream.arm_idle(Class::Head, key.to_bits()) {
            None => {
                let deadline = self.shared.runtime.now().mono + patience;
                if let Some(at) = self.connections.borrow_mut().park(key, downstream, deadline) {
                    self.shared.runtime.set_timer(at, key.to_bits());
                }
            }
            Some(Ok(Received::Data(bytes))) => {
                downstream.connection.reader.give(bytes);
                self.work(key, downstream);
            }
            Some(Ok(Received::End(_)) | Err(_)) => self.connections.borrow_mut().release(key),
        }
    }

    /// Serves the connection, whose first request may have arrived with what was read of it, or waits for that.
    pub fn resume(self: &Rc<Self>, key: Key<Slot>, downstream: Box<Downstream>) {
        if downstream.connection.reader.has_input() {
            self.work(key, downstream);
        } else {
            self.park(key, downstream, self.shared.settings().limits.header_read_timeout);
        }
    }

    fn activate(self: &Rc<Self>, key: Key<Slot>) {
        let downstream = self.connections.borrow_mut().activate(key);
        if let Some(downstream) = downstream {
            self.work(key, downstream);
        }
    }

    /// Gives the connection to a coroutine.
    fn work(self: &Rc<Self>, key: Key<Slot>, downstream: Box<Downstream>) {
        let order = Order::Serve((key, downstream));
        let worker = {
            let mut workers = self.workers.borrow_mut();
            let worker = workers.pop();
            self.workers_unused.set(self.workers_unused.get().min(workers.len()));
            worker
        };
        match worker {
            Some((worker, desk)) => {
                desk.set(order);
                self.shared.runtime.wake(worker);
            }
            None => {
                self.shared.runtime.spawn(worker::work(self.clone(), Rc::new(Cell::new(order))));
            }
        }
    }

    /// Ends workers that nobody has needed since the last time.
    fn trim_workers(&self) {
        let mut workers = self.workers.borrow_mut();
        let unused = self.workers_unused.get().min(workers.len());
        for (worker, desk) in workers.drain(..unused) {
            desk.set(Order::End);
            self.shared.runtime.wake(worker);
        }
        self.workers_unused.set(workers.len());
    }

    /// Registers a coroutine that waits for a connection; false when there are enough of those.
    pub fn wait_for_job(&self, worker: TaskId, desk: &Desk) -> bool {
        let mut workers = self.workers.borrow_mut();
        if workers.len() >= WORKERS_IDLE_MAX {
            return false;
        }
        workers.push((worker, desk.clone()));
        true
    }

    fn idle_timer(&self, key: Key<Slot>, at: Mono) {
        let now = self.shared.runtime.now().mono;
        let fired = self.connections.borrow_mut().timer_fired(key, at, now);
        match fired {
            Ok(Some(later)) => self.shared.runtime.set_timer(later, key.to_bits()),
            Ok(None) => {}
            Err(overdue) => drop(overdue),
        }
    }
}

/// Marks the tokens of idle upstream connections: the highest bit of a slab key's index, which no slab reaches.
pub const UPSTREAM_MARK: u64 = 1 << 31;
/// The token of the sweep's timer, which is no slab's key.
const SWEEP: u64 = u64::MAX;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Idle coroutines that are kept for the next burst of requests until a sweep finds them unused.
const WORKERS_IDLE_MAX: usize = 1024;
