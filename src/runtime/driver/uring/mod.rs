//! Completions over io_uring.
//!
//! Receives, accepts, connects and waits for room to send are the ring's. A send that finds room is carried out at
//! once: one system call, as it would be on epoll, and a turn less. One ring a shard, used by its thread alone.

mod connections;
mod ending;
mod listeners;
mod quirks;
mod ring;
mod socket;
mod window;

use self::quirks::Quirks;
use self::ring::{Completion, Ring};
use self::socket::{Early, Listener, Rx, Socket, Tx, Wanted};
use self::window::Window;
use super::alarm::Alarm;
use super::budget::Budget;
use super::clock::Clock;
use super::parked::Parked;
use super::{Close, DriverCounters, Stop};
use crate::runtime::buffer::{Class, Pool};
use crate::runtime::mailbox::Bell;
use crate::runtime::op::{Armed, Done, Error, ListenerId, Op, OpId, OpTable, Owner, Reclaimed, Slot, SocketId};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::{Mono, Now};
use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use rustix::event::{EventfdFlags, PollFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net;
use std::collections::VecDeque;
use std::sync::Arc;

/// One shard's ring and everything that goes through it.
pub struct Uring {
    // Dropped first: the windows' memory must outlive it.
    ring: Ring,
    windows: Option<[Window; 2]>,
    quirks: Quirks,
    sockets: Slab<Socket>,
    listeners: Slab<Listener>,
    ops: OpTable,
    /// Operations that are ready but were put off because this turn had done enough.
    put_off: VecDeque<OpId>,
    /// Receives whose bytes are here and wait until the pool may count them, by class.
    uncharged: [Parked; 2],
    /// Receives that found a window empty, by class.
    starved: [Parked; 2],
    /// Receives for which the ring had no room.
    crowded: Parked,
    budget: Budget,
    /// Entries that the kernel has, or will have, and has not completed for good.
    flying: usize,
    /// Sockets that are closed and that the kernel has not let go of.
    closing: usize,
    closing_listeners: usize,
    pub(super) bell: Arc<Bell>,
    alarm: Alarm,
    clock: Clock,
    spare: Option<OwnedFd>,
    descriptors_max: i32,
    /// Why the ring is of no use any more.
    broken: Option<Errno>,
    counters: DriverCounters,
}

/// Why an operation cannot be carried out now.
enum Wait {
    Completion,
    /// That the pool has room for what is in the window's buffer.
    Charge(Class),
    /// That the window has a buffer.
    Window(Class),
    /// That the ring has room.
    Room,
}

impl Uring {
    /// What an idle connection with an armed receive takes here.
    pub const IDLE_BYTES: usize = size_of::<Socket>() + size_of::<Slot>();

    /// Fails where the kernel is too old or does not let us.
    pub fn new() -> Result<Self, Errno> {
        let quirks = Quirks::of_this_kernel().ok_or(Errno::NOSYS)?;
        Self::with(SUBMISSIONS, COMPLETIONS, quirks)
    }

    fn with(submissions: u32, completions: u32, quirks: Quirks) -> Result<Self, Errno> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut uring = Self {
            ring: Ring::new(submissions, completions, quirks)?,
            windows: None,
            quirks,
            sockets: Slab::new(),
            listeners: Slab::new(),
            ops: OpTable::default(),
            put_off: VecDeque::new(),
            uncharged: Default::default(),
            starved: Default::default(),
            crowded: Parked::default(),
            budget: Budget::new(),
            flying: 0,
            closing: 0,
            closing_listeners: 0,
            bell: Arc::new(Bell::new(eventfd)),
            alarm: Alarm::new()?,
            clock: Clock::new(),
            spare: super::open_spare(),
            descriptors_max: super::descriptors_max(),
            broken: None,
            counters: DriverCounters::default(),
        };
        uring.watch(BELL);
        uring.watch(ALARM);
        uring.broken.map_or(Ok(uring), Err)
    }

    /// Whether this kernel is one on which epoll is cheaper.
    pub fn costs_more() -> bool {
        Quirks::of_this_kernel().is_some_and(|quirks| quirks.costs_more)
    }

    /// What other threads ring to end this shard's sleep.
    pub fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    pub fn submit(&mut self, op: Op, owner: Owner, pool: &Pool) -> Result<Done, OpId> {
        let armed = match op {
            Op::Accept(listener) => Armed::Accept(listener),
            Op::Receive(socket, target) if !self.budget.is_spent() => {
                return self.submit_receive(owner, socket, target, pool);
            }
            Op::Receive(socket, target) => Armed::Receive(socket, target),
            Op::Send(socket, pieces) => Armed::Send(socket, pieces),
            Op::Connect(address) => match self.connect(address) {
                Ok(socket) => Armed::Connect(socket),
                Err(errno) => return Ok(Done::Connected(Err(errno.into()))),
            },
        };
        if self.budget.is_spent() {
            let id = self.note_armed(owner, armed);
            self.put_off.push_back(id);
            return Err(id);
        }
        match self.attempt(armed, pool) {
            Ok(done) => {
                self.budget.spend();
                Ok(done)
            }
            Err((armed, wait)) => {
                let id = self.note_armed(owner, armed);
                self.note_wait(id, &wait);
                Err(id)
            }
        }
    }

    /// The kernel waits for its peer: neither bytes nor an end are known to be there.
    pub fn is_silent(&self, id: SocketId) -> bool {
        let is_armed = |socket: &Socket| matches!(socket.rx, Rx::Armed(_)) && socket.early.is_none();
        self.sockets.get(key(id.0)).is_some_and(is_armed)
    }

    /// The operation is a receive that waits for memory, or for room in the ring, and not for its peer.
    pub fn is_parked(&self, id: OpId) -> bool {
        let Some(Armed::Receive(socket, _)) = self.ops.armed(id) else { return false };
        self.sockets.get(key(socket.0)).is_some_and(|socket| socket.ticket > 0 && matches!(socket.rx, Rx::Idle))
    }

    pub fn set_owner(&mut self, id: OpId, owner: Owner) {
        self.ops.set_owner(id, owner);
    }

    pub fn cancel(&mut self, id: OpId) {
        match self.ops.cancel(id) {
            Reclaimed::Nothing => {}
            Reclaimed::Socket(socket) => self.close(socket, Close::Graceful),
            Reclaimed::Accept(listener) => {
                if let Some(listener) = self.listeners.get_mut(key(listener.0)) {
                    listener.accept = None;
                }
            }
            Reclaimed::Receive(id) => {
                if let Some(socket) = self.sockets.get_mut(key(id.0)) {
                    (socket.receive, socket.ticket) = (None, 0);
                    socket.early.take_if(|early| matches!(early, Early::Buf(_)));
                    if let Rx::Behind(_, wanted) = &mut socket.rx {
                        *wanted = Wanted::No;
                    }
                    // Nothing is to come for nobody: it would pin memory for as long as nobody asks.
                    if !matches!(socket.rx, Rx::Idle) {
                        self.cancel_entry(id.0 | RX);
                    }
                }
            }
            Reclaimed::Send(socket) => {
                if let Some(socket) = self.sockets.get_mut(key(socket.0)) {
                    socket.send = None;
                }
            }
        }
    }

    pub fn begin_poll(&mut self) {
        self.budget.begin_poll();
    }

    pub fn turn(&mut self, deadline: Mono, pool: &Pool, told: &mut Vec<Owner>) -> Result<(), Error> {
        self.budget.begin_turn();
        for _ in 0..self.put_off.len() {
            if self.budget.is_spent() {
                break;
            }
            let Some(id) = self.put_off.pop_front() else { break };
            self.budget.spend();
            self.carry_on(id, pool, told);
        }
        if pool.take_returned() {
            self.retry_uncharged(pool, told);
        }
        self.refill(pool)?;
        self.retry_starved(pool, told);
        let busy = !told.is_empty() || !self.put_off.is_empty();
        self.enter(if busy { Mono::ZERO } else { deadline })?;
        let mut seen = 0;
        for _ in 0..LOOKS_MAX {
            while seen < COMPLETIONS_A_TURN_MAX
                && let Some(completion) = self.ring.reap()
            {
                self.note_completion(completion, pool, told);
                seen += 1;
            }
            // Kernels since 6.13 complete one after a sleep, and else some twenty at once. Who goes on without the rest
            // takes an idle connection for silent on which somebody has spoken long since.
            if seen == COMPLETIONS_A_TURN_MAX || !self.ring.has_work() {
                break;
            }
            self.ring.look()?;
        }
        self.budget.begin_poll();
        self.broken.map_or(Ok(()), |errno| Err(errno.into()))
    }

    pub fn release(&mut self, id: SocketId) -> Option<OwnedFd> {
        let unused = |socket: &&Socket| {
            socket.is_quiet() && socket.early.is_none() && socket.receive.is_none() && socket.send.is_none()
        };
        self.sockets.get(key(id.0)).filter(unused)?;
        Some(self.sockets.remove(key(id.0))?.fd)
    }

    pub fn adopt(&mut self, fd: OwnedFd) -> SocketId {
        self.insert(fd)
    }

    pub fn shutdown_write(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get(key(id.0)) {
            // Fails only if the connection is gone already, which the next receive tells.
            let _gone = net::shutdown(&socket.fd, net::Shutdown::Write);
        }
    }

    pub fn close(&mut self, id: SocketId, how: Close) {
        let Some(socket) = self.sockets.get_mut(key(id.0)).filter(|socket| socket.closing.is_none()) else { return };
        let (ops, early) = ([socket.receive.take(), socket.send.take()], socket.early.take());
        let (rx, tx) = (!matches!(socket.rx, Rx::Idle), !matches!(socket.tx, Tx::Idle));
        socket.closing = Some(how);
        self.closing += 1;
        self.forget(early);
        for op in ops.into_iter().flatten() {
            self.ops.cancel(op);
        }
        if rx {
            self.cancel_entry(id.0 | RX);
        }
        if tx {
            self.cancel_entry(id.0 | TX);
        }
        self.let_go(id);
    }

    /// Reads the clocks, and says what they read until they are read again.
    pub fn read_clocks(&mut self) -> Now {
        self.clock.read()
    }

    pub fn counters(&self) -> DriverCounters {
        self.counters
    }

    /// What anybody above still has; what only waits for the kernel is not theirs.
    pub fn leftovers(&self) -> [usize; 3] {
        [self.sockets.len() - self.closing, self.listeners.len() - self.closing_listeners, self.ops.len()]
    }

    /// Sleeps until something completes, the bell rings or `deadline` passes.
    fn enter(&mut self, deadline: Mono) -> Result<(), Error> {
        // Whoever calls has just read the clock.
        let sleeps = deadline > self.clock.now().mono && self.bell.fall_asleep();
        if sleeps {
            self.alarm.set(deadline)?;
        }
        let entered = if sleeps { self.ring.wait() } else { self.ring.look() };
        if sleeps {
            self.bell.wake_up();
        }
        Ok(entered?)
    }

    /// Gives the kernel memory to receive into.
    fn refill(&mut self, pool: &Pool) -> Result<(), Error> {
        if self.windows.is_none() {
            let count = |class: Class, most: u16| {
                let share = pool.bytes_max() / WINDOW_SHARE / class.payload_bytes();
                1 << (share.clamp(WINDOW_MIN, usize::from(most))).ilog2()
            };
            let heads = Window::new(&self.ring, Class::Head, count(Class::Head, WINDOW_HEADS_MAX))?;
            let bodies = Window::new(&self.ring, Class::Body, count(Class::Body, WINDOW_BODIES_MAX))?;
            self.windows = Some([heads, bodies]);
        }
        self.windows.iter_mut().flatten().for_each(|window| window.refill(pool));
        Ok(())
    }

    fn note_completion(&mut self, completion: Completion, pool: &Pool, told: &mut Vec<Owner>) {
        if !completion.more() {
            self.flying -= 1;
        }
        let (kind, bits) = (completion.user_data & KINDS, completion.user_data & !KINDS);
        match kind {
            RX => self.received(bits, completion, pool, told),
            TX => self.sent_or_connected(bits, completion, pool, told),
            ACCEPT => self.accepted(bits, completion, pool, told),
            ARRIVAL => self.arrived(bits, pool, told),
            BELL => self.bell.clear(),
            ALARM => self.alarm.clear(),
            // A cancel says how it went; what it cancelled says so too.
            _ => {}
        }
        if matches!(kind, BELL | ALARM) && !completion.more() {
            self.watch(kind);
        }
    }

    fn carry_on(&mut self, id: OpId, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(armed) = self.ops.run(id) else { return };
        match self.attempt(armed, pool) {
            Ok(done) => told.extend(self.ops.finish(id, done)),
            Err((armed, wait)) => {
                self.ops.rearm(id, armed);
                self.note_wait(id, &wait);
            }
        }
    }

    /// Gives what has come back to the pool to those whose bytes wait for it. Where one gets nothing, nobody behind it
    /// would.
    fn retry_uncharged(&mut self, pool: &Pool, told: &mut Vec<Owner>) {
        for class in [Class::Head, Class::Body] {
            while let Some(id) = self.uncharged[class as usize].pop() {
                self.carry_on(id, pool, told);
                if self.ops.armed(id).is_some() {
                    break;
                }
            }
        }
    }

    /// Has as many receives tried again as find a buffer, and room in the ring.
    fn retry_starved(&mut self, pool: &Pool, told: &mut Vec<Owner>) {
        if self.starved.iter().all(Parked::is_empty) && self.crowded.is_empty() {
            return;
        }
        let lent = self.windows.as_ref().map_or([0; 2], |windows| windows.each_ref().map(Window::lent));
        for (class, mut buffers) in lent.into_iter().enumerate() {
            while buffers > 0
                && let Some(id) = self.starved[class].pop()
            {
                buffers -= usize::from(self.ops.armed(id).is_some());
                self.carry_on(id, pool, told);
            }
        }
        while self.flying < FLYING_MAX
            && let Some(id) = self.crowded.pop()
        {
            self.carry_on(id, pool, told);
        }
    }

    fn note_wait(&mut self, id: OpId, wait: &Wait) {
        let parked = match wait {
            Wait::Completion => return,
            Wait::Charge(class) => &mut self.uncharged[*class as usize],
            Wait::Window(class) => &mut self.starved[*class as usize],
            Wait::Room => &mut self.crowded,
        };
        let Some(Armed::Receive(socket, _)) = self.ops.armed(id) else { return };
        let Some(socket) = self.sockets.get_mut(key(socket.0)) else { return };
        if socket.ticket == 0 {
            self.counters.receives_parked += 1;
            socket.ticket = self.counters.receives_parked;
        }
        parked.push(socket.ticket, id, &self.ops);
    }

    /// Records the operation with its socket or listener.
    fn note_armed(&mut self, owner: Owner, armed: Armed) -> OpId {
        let (listener, receiving, sending) = match &armed {
            Armed::Accept(listener) => (Some(*listener), None, None),
            Armed::Receive(socket, _) => (None, Some(*socket), None),
            Armed::Send(socket, _) | Armed::Connect(socket) => (None, None, Some(*socket)),
        };
        let id = self.ops.arm(owner, armed);
        let place = if let Some(listener) = listener {
            self.listeners.get_mut(key(listener.0)).map(|listener| &mut listener.accept)
        } else if let Some(socket) = receiving {
            self.sockets.get_mut(key(socket.0)).map(|socket| &mut socket.receive)
        } else {
            sending.and_then(|socket| self.sockets.get_mut(key(socket.0))).map(|socket| &mut socket.send)
        };
        if let Some(place) = place {
            debug_assert!(place.is_none(), "one accept a listener, one receive and one send a socket");
            *place = Some(id);
        }
        id
    }

    fn attempt(&mut self, armed: Armed, pool: &Pool) -> Result<Done, (Armed, Wait)> {
        match armed {
            Armed::Accept(listener) => self.accept(listener),
            Armed::Connect(socket) => Err((Armed::Connect(socket), Wait::Completion)),
            Armed::Receive(socket, target) => self.receive(socket, target, pool),
            Armed::Send(socket, pieces) => self.send(socket, pieces),
        }
    }

    /// Queues an entry whose memory stays where it is until its last completion.
    fn push(&mut self, entry: Entry, user_data: u64) {
        let entry = entry.user_data(user_data);
        // SAFETY: an entry of this driver points to nothing, into a socket's boxed address or into the heap memory of
        // a buffer that `Rx::Behind` holds; both stay with the socket, which stays until the kernel has let go of it.
        let mut queued = unsafe { self.ring.push(&entry) };
        if !queued {
            if let Err(errno) = self.ring.look() {
                self.broken = Some(errno);
            }
            // SAFETY: as above.
            queued = unsafe { self.ring.push(&entry) };
        }
        if queued {
            self.flying += 1;
        } else {
            // A queue that does not empty is no queue any more; the next turn says so.
            self.broken = self.broken.or(Some(Errno::BUSY));
        }
    }

    fn cancel_entry(&mut self, user_data: u64) {
        self.push(opcode::AsyncCancel::new(user_data).build(), CANCEL);
    }

    /// Has the bell or the alarm complete whenever it becomes readable.
    fn watch(&mut self, kind: u64) {
        let descriptor = if kind == BELL { self.bell.descriptor() } else { self.alarm.descriptor() };
        let fd = types::Fd(descriptor.as_raw_fd());
        self.push(opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).multi(true).build(), kind);
    }
}

fn key<T>(bits: u64) -> Key<T> {
    Key::from_bits(bits)
}

/// What an entry is for, in the highest bits of its key's index, which no slab reaches.
const KINDS: u64 = 7 << 29;
const RX: u64 = 1 << 29;
const TX: u64 = 2 << 29;
const ACCEPT: u64 = 3 << 29;
const BELL: u64 = 4 << 29;
const CANCEL: u64 = 5 << 29;
const ARRIVAL: u64 = 6 << 29;
const ALARM: u64 = 7 << 29;

const SUBMISSIONS: u32 = 1024;
/// Room for the completions of all that may be under way.
const COMPLETIONS: u32 = 1 << 16;
/// Entries that may be under way: receives beyond wait until some have completed.
const FLYING_MAX: usize = (COMPLETIONS - COMPLETIONS / 8) as usize;
const COMPLETIONS_A_TURN_MAX: usize = 16_384;
/// How often a turn looks for more.
const LOOKS_MAX: usize = 1024;
/// Connections that the kernel has accepted and nobody has asked for.
const ACCEPTED_MAX: usize = 256;
/// The part of a shard's memory for bytes that each window may take beside it.
const WINDOW_SHARE: usize = 64;
const WINDOW_MIN: usize = 4;
/// About what completes in a turn. Receives beyond fail, and are tried again in the order in which they did.
const WINDOW_HEADS_MAX: u16 = 16;
/// Half a megabyte, which a ring that has served bodies keeps.
const WINDOW_BODIES_MAX: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::choice::Choice;
    use crate::runtime::driver::uring::listeners::accept_connection;
    use crate::runtime::listener;
    use crate::runtime::op::Target;
    use crate::runtime::options::EventLoop;
    use std::net::SocketAddr;

    /// A ring, where the kernel has them and lets us use them; else says what there is instead, and why.
    fn allowed() -> Option<Uring> {
        let choice = Choice::make(EventLoop::Uring);
        if choice.event_loop == EventLoop::Epoll {
            eprintln!("not tested here: {}", choice.reason);
            return None;
        }
        Some(Uring::new().expect("it was tried"))
    }

    fn socket_pair() -> (OwnedFd, OwnedFd) {
        let (family, kind) = (net::AddressFamily::UNIX, net::SocketType::STREAM);
        net::socketpair(family, kind, net::SocketFlags::CLOEXEC, None).expect("two ends")
    }

    fn receive_head(socket: SocketId) -> Op {
        Op::Receive(socket, Target::Fresh(Class::Head))
    }

    #[test]
    fn an_accept_whose_connection_another_shard_took_does_not_wait_for_the_next() {
        let Some(mut uring) = allowed() else { return };
        let socket = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let id = uring.adopt_listener(socket).expect("it listens");
        let listener = uring.listeners.get(key(id.0)).expect("it was just adopted");
        assert_eq!(accept_connection(&listener.fd).err(), Some(Errno::AGAIN));
    }

    #[test]
    fn who_found_the_window_empty_comes_before_who_was_served() {
        let Some(mut uring) = allowed() else { return };
        let pool = Pool::new(64 << 20);
        let pairs = usize::from(2 * WINDOW_HEADS_MAX);
        let (mut owners, mut told) = (Vec::new(), Vec::new());
        for token in 0..pairs {
            let (near, far) = socket_pair();
            let socket = uring.adopt(near);
            rustix::io::write(&far, b"x").expect("there is room");
            let op = uring.submit(receive_head(socket), Owner::Token(token as u64), &pool);
            owners.push((socket, far, op.expect_err("the kernel has not looked yet")));
        }
        let mut served = vec![0; pairs];
        while served.contains(&0) {
            uring.turn(Mono::NEVER, &pool, &mut told).expect("a turn never fails");
            for owner in told.drain(..) {
                let Owner::Token(token) = owner else { panic!("they are all tokens") };
                let (socket, far, op) = &mut owners[token as usize];
                assert!(matches!(uring.take(*op, &pool), Some(Done::Received(Ok(_)))));
                served[token as usize] += 1;
                assert!(served[token as usize] <= 2, "{served:?}");
                rustix::io::write(&*far, b"x").expect("there is room");
                let next = uring.submit(receive_head(*socket), owner, &pool);
                *op = next.expect_err("the kernel has not looked yet");
            }
        }
    }

    #[test]
    fn a_receive_that_found_the_ring_full_is_tried_when_something_has_ended_there() {
        let Some(mut uring) = allowed() else { return };
        let pool = Pool::new(1 << 20);
        let (near, far) = socket_pair();
        let socket = uring.adopt(near);
        rustix::io::write(&far, b"x").expect("there is room");
        let flying = std::mem::replace(&mut uring.flying, FLYING_MAX);
        let op = uring.submit(receive_head(socket), Owner::Token(0), &pool);
        let op = op.expect_err("the ring is full");
        uring.turn(Mono::ZERO, &pool, &mut Vec::new()).expect("a turn never fails");
        assert!(uring.take(op, &pool).is_none() && uring.flying == FLYING_MAX);
        uring.flying = flying;
        let mut told = Vec::new();
        while told.is_empty() {
            uring.turn(Mono::NEVER, &pool, &mut told).expect("a turn never fails");
        }
        assert!(matches!(uring.take(op, &pool), Some(Done::Received(Ok(_)))));
        assert_eq!(uring.counters().receives_parked, 1);
    }
}
