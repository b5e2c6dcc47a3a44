//! One shard's event loop: completions and timers in, coroutines polled, events for the shard's records out.

use super::buffer::{Class, Pool};
use super::driver::{Close, Driver, DriverCounters, Parcel, Stop};
use super::executor::{TaskId, Tasks};
use super::op::{Done, Error, ListenerId, Op, OpId, Owner, Pieces, Received, SocketId};
use super::timer::{Entry, Wheel};
use crate::stdx::histogram::Histogram;
use crate::stdx::time::{Mono, Now};
use rustix::fd::OwnedFd;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A handle to one shard's event loop. Never leaves its thread.
#[derive(Clone)]
pub struct Runtime(Rc<Core>);

/// Something happened to a record of the shard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The operation that was armed under this token is over.
    Completed(u64),
    /// The timer that was set under this token for this time fired.
    Timer(u64, Mono),
}

struct Core {
    now: Cell<Now>,
    driver: RefCell<Driver>,
    tasks: RefCell<Tasks>,
    timers: RefCell<Wheel>,
    pool: Pool,
    /// The coroutine that is being polled.
    current: Cell<Option<TaskId>>,
    /// When the coroutine that is being polled wants to be polled again at the latest.
    wake_by: Cell<Mono>,
    panics: Cell<u64>,
    /// Something is done with the driver or the coroutines' table. A panic then is none of a coroutine.
    is_inside: Cell<bool>,
    turns: RefCell<Turns>,
    scratch: RefCell<Scratch>,
}

/// How an event loop spent its time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Turns {
    pub busy: Duration,
    /// Of every turn, from its waking to its next sleep: how late it was for whoever came meanwhile.
    pub lag: Histogram,
}

/// Memory of one turn, kept for the next.
#[derive(Default)]
struct Scratch {
    told: Vec<Owner>,
    fired: Vec<Entry>,
}

impl Turns {
    fn record(&mut self, busy: Duration) {
        self.busy += busy;
        self.lag.record(busy);
    }
}

impl Runtime {
    /// An event loop over `driver` whose buffers in use never exceed `receive_bytes_max`.
    pub fn new(mut driver: Driver, receive_bytes_max: usize) -> Self {
        let now = driver.read_clocks();
        Self(Rc::new(Core {
            now: Cell::new(now),
            driver: RefCell::new(driver),
            tasks: RefCell::default(),
            timers: RefCell::new(Wheel::new(now.mono)),
            pool: Pool::new(receive_bytes_max),
            current: Cell::new(None),
            wake_by: Cell::new(Mono::NEVER),
            panics: Cell::new(0),
            is_inside: Cell::new(false),
            turns: RefCell::default(),
            scratch: RefCell::default(),
        }))
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.0.now.get()
    }

    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.inside(|core| core.tasks.borrow_mut().insert(Box::pin(future)))
    }

    pub fn wake(&self, task: TaskId) {
        self.inside(|core| core.tasks.borrow_mut().wake(task));
    }

    /// The coroutine that is being polled; `None` outside of any.
    pub fn current(&self) -> Option<TaskId> {
        self.0.current.get()
    }

    /// For a future that returns `Pending`: poll me again at `at` at the latest.
    pub fn wake_by(&self, at: Mono) {
        self.0.wake_by.set(self.0.wake_by.get().min(at));
    }

    /// An `Event::Timer` for `token` at `at`. It cannot be taken back: see [`super::timer`].
    pub fn set_timer(&self, at: Mono, token: u64) {
        self.inside(|core| core.timers.borrow_mut().insert(Entry { at, owner: Owner::Token(token) }));
    }

    /// Coroutines that ended in a panic. Their futures were dropped, and with them their connections.
    pub fn panics(&self) -> u64 {
        self.0.panics.get()
    }

    /// How turns went since this was last asked.
    pub fn take_turns(&self) -> Turns {
        std::mem::take(&mut self.0.turns.borrow_mut())
    }

    /// The time at this moment, which passes within a turn: for saying how long something took.
    pub fn read_clocks(&self) -> Now {
        self.0.driver.borrow_mut().read_clocks()
    }

    /// Whether another thread has left something in a mailbox since this was last asked.
    pub fn take_rung(&self) -> bool {
        self.0.driver.borrow().take_rung()
    }

    pub fn tasks(&self) -> usize {
        self.0.tasks.borrow().len()
    }

    pub fn driver_counters(&self) -> DriverCounters {
        self.0.driver.borrow().counters()
    }

    /// Sockets, listeners and operations of the driver, and bytes of buffers, that are in use.
    pub fn leftovers(&self) -> ([usize; 3], usize) {
        (self.0.driver.borrow().leftovers(), self.0.pool.bytes_out())
    }

    /// One turn: sleeps until something happens or `deadline`, says what happened to records, then polls coroutines.
    pub fn turn(&self, deadline: Mono, on_event: &mut dyn FnMut(Event)) -> Result<(), Error> {
        let core = &*self.0;
        let scratch = &mut *core.scratch.borrow_mut();
        let deadline = if core.tasks.borrow().queued() > 0 {
            Mono::ZERO
        } else {
            core.timers.borrow().next().map_or(deadline, |next| next.min(deadline))
        };
        let now = {
            let mut driver = core.driver.borrow_mut();
            let busy = driver.read_clocks().mono.since(core.now.get().mono);
            core.turns.borrow_mut().record(busy);
            driver.turn(deadline, &core.pool, &mut scratch.told)?;
            driver.read_clocks()
        };
        core.now.set(now);
        for owner in scratch.told.drain(..) {
            match owner {
                Owner::Task(task) => core.tasks.borrow_mut().wake(task),
                Owner::Token(token) => on_event(Event::Completed(token)),
            }
        }
        self.fire_timers(now.mono, &mut scratch.fired, on_event);
        self.poll_tasks();
        Ok(())
    }

    /// When the next turn has something to do of its own accord: at once if a coroutine is queued, else at a timer.
    pub fn wakes_at(&self) -> Option<Mono> {
        if self.0.tasks.borrow().queued() > 0 {
            return Some(self.now().mono);
        }
        self.0.timers.borrow().next()
    }

    /// Drops every coroutine, and with them their connections and operations.
    pub fn drop_tasks(&self) {
        let futures = self.0.tasks.borrow_mut().drain();
        drop(futures);
    }

    fn fire_timers(&self, now: Mono, fired: &mut Vec<Entry>, on_event: &mut dyn FnMut(Event)) {
        let core = &*self.0;
        core.timers.borrow_mut().expire(now, fired);
        for entry in fired.drain(..) {
            match entry.owner {
                Owner::Token(token) => on_event(Event::Timer(token, entry.at)),
                Owner::Task(task) => {
                    let later = core.tasks.borrow_mut().timer_fired(task, entry.at, now);
                    if let Some(later) = later {
                        core.timers.borrow_mut().insert(later);
                    }
                }
            }
        }
    }

    /// Polls those coroutines that are queued by now; what they wake waits for the next turn.
    fn poll_tasks(&self) {
        let core = &*self.0;
        let budget = core.tasks.borrow().queued().min(POLLS_MAX);
        for polled in 0..budget {
            let Some((id, mut future)) = core.tasks.borrow_mut().pop() else { break };
            core.current.set(Some(id));
            core.wake_by.set(Mono::NEVER);
            if polled > 0 {
                core.driver.borrow_mut().begin_poll();
            }
            let mut context = Context::from_waker(Waker::noop());
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
            match polled {
                Ok(Poll::Pending) => {
                    let timer = core.tasks.borrow_mut().park(id, future, core.wake_by.get());
                    if let Some(timer) = timer {
                        core.timers.borrow_mut().insert(timer);
                    }
                }
                Ok(Poll::Ready(())) => core.tasks.borrow_mut().remove(id),
                Err(panic) if core.is_inside.get() => resume_unwind(panic),
                Err(_) => {
                    drop(future);
                    core.tasks.borrow_mut().remove(id);
                    core.panics.set(core.panics.get() + 1);
                }
            }
            core.current.set(None);
        }
    }

    /// A panic within leaves the mark: what was half done cannot be gone on with. Whoever closes a connection while it
    /// unwinds leaves the mark as well.
    fn inside<R>(&self, act: impl FnOnce(&Core) -> R) -> R {
        let was = self.0.is_inside.replace(true);
        let result = act(&self.0);
        self.0.is_inside.set(was);
        result
    }

    fn on_driver<R>(&self, act: impl FnOnce(&mut Driver) -> R) -> R {
        self.inside(|core| act(&mut core.driver.borrow_mut()))
    }

    pub(super) fn submit(&self, op: Op, owner: Owner) -> Result<Done, OpId> {
        self.on_driver(|driver| driver.submit(op, owner, &self.0.pool))
    }

    pub(super) fn take(&self, id: OpId) -> Option<Done> {
        self.on_driver(|driver| driver.take(id, &self.0.pool))
    }

    pub(super) fn is_silent(&self, socket: SocketId) -> bool {
        self.0.driver.borrow().is_silent(socket)
    }

    /// Why an operation is not over at its deadline. Whoever has sent what there is no memory for was not late.
    pub(super) fn late(&self, id: OpId) -> Error {
        if self.0.driver.borrow().is_parked(id) { Error::Exhausted } else { Error::Deadline }
    }

    pub(super) fn receive_at_hand(&self, socket: SocketId, class: Class) -> Option<Result<Received, Error>> {
        self.on_driver(|driver| driver.receive_at_hand(socket, class, &self.0.pool))
    }

    pub(super) fn send_at_once(&self, socket: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        self.on_driver(|driver| driver.send_at_once(socket, pieces))
    }

    pub(super) fn cancel(&self, id: OpId) {
        self.on_driver(|driver| driver.cancel(id));
    }

    pub(super) fn set_owner(&self, id: OpId, owner: Owner) {
        self.on_driver(|driver| driver.set_owner(id, owner));
    }

    pub(super) fn shutdown_write(&self, socket: SocketId) {
        self.on_driver(|driver| driver.shutdown_write(socket));
    }

    pub(super) fn close(&self, socket: SocketId, how: Close) {
        self.on_driver(|driver| driver.close(socket, how));
    }

    pub(super) fn listen(&self, address: SocketAddr) -> Result<ListenerId, Error> {
        self.on_driver(|driver| driver.listen(address))
    }

    pub(super) fn adopt_listener(&self, socket: OwnedFd) -> Result<ListenerId, (Error, OwnedFd)> {
        self.on_driver(|driver| driver.adopt_listener(socket))
    }

    pub(super) fn stop_listener(&self, id: ListenerId, stop: Stop) {
        self.on_driver(|driver| driver.stop_listener(id, stop));
    }

    pub(super) fn release(&self, socket: SocketId) -> Option<Parcel> {
        self.on_driver(|driver| driver.release(socket))
    }

    pub(super) fn adopt(&self, parcel: Parcel) -> SocketId {
        self.on_driver(|driver| driver.adopt(parcel))
    }

    pub(super) fn listener_address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.0.driver.borrow().listener_address(id)
    }

    pub(super) fn close_listener(&self, id: ListenerId) {
        self.on_driver(|driver| driver.close_listener(id));
    }
}

/// Coroutines polled in one turn.
const POLLS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::epoll::Epoll;

    #[test]
    fn a_panic_within_the_driver_is_no_coroutines() {
        let driver = Driver::Epoll(Box::new(Epoll::new().expect("epoll is there")));
        let runtime = Runtime::new(driver, 1 << 20);
        let turn = || catch_unwind(AssertUnwindSafe(|| runtime.turn(Mono::ZERO, &mut |_| {}))).is_ok();
        runtime.spawn(async { panic!("as an exchange's defect would") });
        assert!(turn());
        let inner = runtime.clone();
        runtime.spawn(async move { inner.inside(|_| -> () { panic!("as a driver's would") }) });
        assert!(!turn());
        assert_eq!(runtime.panics(), 1);
    }
}
