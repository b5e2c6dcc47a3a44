//! What one shard's acceptors, workers and loop share.

use super::connections::{Connections, Slot};
use super::worker;
use crate::proxy::{Downstream, Shared};
use crate::runtime::executor::TaskId;
use crate::runtime::{Class, Event, Received, TcpListener, TcpStream};
use crate::stdx::slab::Key;
use crate::stdx::time::Mono;
use crate::telemetry::counters::{Counters, Refusal};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub struct State {
    pub shared: Shared,
    pub connections: RefCell<Connections>,
    /// Coroutines that wait for a connection.
    workers: RefCell<Vec<(TaskId, Desk)>>,
    /// The fewest there have been since the last sweep: so many nobody needed.
    workers_unused: Cell<usize>,
    acceptors: RefCell<Vec<TaskId>>,
    acceptors_left: Cell<usize>,
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
    pub fn new(shared: Shared, seed: u64) -> Self {
        Self {
            shared,
            connections: RefCell::new(Connections::new(seed)),
            workers: RefCell::default(),
            workers_unused: Cell::new(0),
            acceptors: RefCell::default(),
            acceptors_left: Cell::new(0),
        }
    }

    pub fn begin(&self) {
        self.shared.runtime.set_timer(self.shared.runtime.now().mono + SWEEP_INTERVAL, SWEEP);
    }

    pub fn add_acceptor(self: &Rc<Self>, listener: TcpListener, name: &str) {
        let acceptor = self.shared.runtime.spawn(worker::accept(self.clone(), listener, name.into()));
        self.acceptors.borrow_mut().push(acceptor);
        self.acceptors_left.set(self.acceptors_left.get() + 1);
    }

    pub fn acceptor_ended(&self) {
        self.acceptors_left.set(self.acceptors_left.get() - 1);
    }

    /// Every connection has ended, and none will come.
    pub fn is_empty(&self) -> bool {
        self.acceptors_left.get() == 0 && self.connections.borrow().is_empty()
    }

    pub fn drain(&self) {
        self.shared.draining.set(true);
        for acceptor in self.acceptors.borrow().iter() {
            self.shared.runtime.wake(*acceptor);
        }
    }

    /// Closes everything that is left.
    pub fn end(&self) {
        self.shared.runtime.drop_tasks();
        self.workers.borrow_mut().clear();
        let connections = self.connections.borrow_mut().take_all();
        drop(connections);
        self.shared.pools.borrow_mut().clear();
    }

    pub fn counters(&self) -> Counters {
        let mut counters = self.shared.counters.borrow().clone();
        counters.connections_active = self.connections.borrow().len() as u64;
        counters.exchange_panics = self.shared.runtime.panics();
        counters.connections_refused[Refusal::Descriptors as usize] +=
            self.shared.runtime.driver_counters().accepts_shed;
        counters.log_lines_dropped = self.shared.log_lines_dropped();
        counters
    }

    pub fn on_event(self: &Rc<Self>, event: Event) {
        match event {
            Event::Completed(token) if token & UPSTREAM_MARK != 0 => self.shared.pools.borrow_mut().completed(token),
            Event::Completed(token) => self.activate(Key::from_bits(token)),
            Event::Timer(SWEEP, _) => {
                let now = self.shared.runtime.now().mono;
                self.shared.pools.borrow_mut().sweep(now);
                self.shared.runtime.pool().trim();
                self.trim_workers();
                self.shared.runtime.set_timer(now + SWEEP_INTERVAL, SWEEP);
            }
            Event::Timer(token, at) => self.idle_timer(Key::from_bits(token), at),
        }
    }

    /// Takes a new connection in, or closes it when there are too many.
    pub fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, local: SocketAddr, listener: &Rc<str>) {
        let limits = &self.shared.plan.limits;
        self.shared.counters.borrow_mut().connections_accepted += 1;
        let admitted = self.connections.borrow_mut().admit(peer.ip(), limits);
        match admitted {
            Ok(key) => {
                let downstream = Box::new(Downstream::new(stream, peer, local, listener.clone()));
                self.park(key, downstream, limits.header_read_timeout);
            }
            Err(refusal) => self.shared.counters.borrow_mut().count_refusal(refusal),
        }
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
