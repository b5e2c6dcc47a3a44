//! Completions over epoll.
//!
//! One edge-triggered registration a socket's life. The readiness that the kernel reported is kept as bits, so that an
//! operation on a socket that is not ready makes no system call, and one that is ready is carried out at once.

mod listeners;
mod socket;

use self::socket::{Listener, Socket};
use super::alarm::Alarm;
use super::budget::Budget;
use super::clock::Clock;
use super::parked::Parked;
use super::{Close, DriverCounters, descriptors_max, open_spare};
use crate::runtime::buffer::{Class, Pool};
use crate::runtime::mailbox::Bell;
use crate::runtime::op::{
    Armed, Done, Error, Op, OpId, OpTable, Owner, Pieces, Received, Reclaimed, Slot, SocketId, Target,
};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::{Mono, Now};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, sockopt};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// One shard's epoll instance and everything registered with it.
pub struct Epoll {
    epoll: OwnedFd,
    sockets: Slab<Socket>,
    listeners: Slab<Listener>,
    ops: OpTable,
    /// Operations that are ready but were put off because this turn had done enough.
    put_off: VecDeque<OpId>,
    /// Receives that found the pool empty, by the class of buffer that they wait for: heads may have some when bodies
    /// may not.
    parked: [Parked; 2],
    budget: Budget,
    events: Vec<epoll::Event>,
    pub(super) bell: Arc<Bell>,
    alarm: Alarm,
    clock: Clock,
    /// Given up for a moment when descriptors run out, so that a connection can be accepted and closed.
    spare: Option<OwnedFd>,
    descriptors_max: i32,
    counters: DriverCounters,
}

/// Why an operation cannot be carried out now.
enum Wait {
    Readiness,
    Buffer(Class),
}

impl Epoll {
    /// What an idle connection with an armed receive takes here.
    pub const IDLE_BYTES: usize = size_of::<Socket>() + size_of::<Slot>();

    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let alarm = Alarm::new()?;
        for (fd, data) in [(&eventfd, BELL), (alarm.descriptor(), ALARM)] {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self {
            epoll,
            sockets: Slab::new(),
            listeners: Slab::new(),
            ops: OpTable::default(),
            put_off: VecDeque::new(),
            parked: Default::default(),
            budget: Budget::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            bell: Arc::new(Bell::new(eventfd)),
            alarm,
            clock: Clock::new(),
            spare: open_spare(),
            descriptors_max: descriptors_max(),
            counters: DriverCounters::default(),
        })
    }

    /// What other threads ring to end this shard's sleep.
    pub fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    pub fn submit(&mut self, op: Op, owner: Owner, pool: &Pool) -> Result<Done, OpId> {
        let armed = match op {
            Op::Accept(listener) => Armed::Accept(listener),
            Op::Receive(socket, target) => Armed::Receive(socket, target),
            Op::Send(socket, pieces) => Armed::Send(socket, pieces),
            Op::Connect(address) => match self.connect(address) {
                Ok(socket) => Armed::Connect(socket),
                Err(error) => return Ok(Done::Connected(Err(error))),
            },
        };
        if self.budget.is_spent() {
            let id = self.arm(owner, armed);
            self.put_off.push_back(id);
            return Err(id);
        }
        match self.attempt(armed, pool) {
            Ok(done) => {
                self.budget.spend();
                Ok(done)
            }
            Err((armed, wait)) => {
                let id = self.arm(owner, armed);
                self.note_wait(id, &wait);
                Err(id)
            }
        }
    }

    /// A receive whose socket is readable is carried out now, when its owner asks: what it brings is then used while it
    /// is near, and the next one uses the same memory. With many connections that is half of the work.
    pub fn take(&mut self, id: OpId, pool: &Pool) -> Option<Done> {
        let Some(Armed::Receive(socket, target)) = self.ops.armed(id) else { return self.ops.take(id) };
        let socket = self.sockets.get_mut(key(socket.0)).filter(|socket| socket.has_more())?;
        let Target::Fresh(class) = *target else {
            self.carry_on(id, pool);
            return self.ops.take(id);
        };
        match socket.read(Target::Fresh(class), pool) {
            Ok(received) => {
                self.ops.end(id);
                Some(Done::Received(received))
            }
            Err((_, wait)) => {
                self.note_wait(id, &wait);
                None
            }
        }
    }

    pub fn receive_at_hand(&mut self, id: SocketId, class: Class, pool: &Pool) -> Option<Result<Received, Error>> {
        if self.budget.is_spent() {
            return None;
        }
        let socket = self.sockets.get_mut(key(id.0)).filter(|socket| socket.has_more() && socket.receive.is_none())?;
        let received = socket.read(Target::Fresh(class), pool).ok()?;
        self.budget.spend();
        Some(received)
    }

    pub fn send_at_once(&mut self, id: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        if self.budget.is_spent() {
            return None;
        }
        let socket = self.sockets.get_mut(key(id.0))?;
        debug_assert!(socket.send.is_none(), "one send a socket");
        let sent = socket.write(pieces)?;
        self.budget.spend();
        Some(sent)
    }

    /// Nothing is known to wait in the socket: neither bytes nor an end.
    pub fn is_silent(&self, id: SocketId) -> bool {
        self.sockets.get(key(id.0)).is_some_and(|socket| !socket.readable)
    }

    /// The operation is a receive that waits for memory.
    pub fn is_parked(&self, id: OpId) -> bool {
        let Some(Armed::Receive(socket, _)) = self.ops.armed(id) else { return false };
        self.sockets.get(key(socket.0)).is_some_and(|socket| socket.ticket > 0)
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
            Reclaimed::Receive(socket) => {
                if let Some(socket) = self.sockets.get_mut(key(socket.0)) {
                    (socket.receive, socket.ticket) = (None, 0);
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
            told.extend(self.carry_on(id, pool));
        }
        if pool.take_returned() {
            self.retry_parked(pool, told);
        }
        let busy = !told.is_empty() || !self.put_off.is_empty();
        self.wait(if busy { Mono::ZERO } else { deadline })?;
        for batch in 1.. {
            for index in 0..self.events.len() {
                let (data, flags) = (self.events[index].data.u64(), self.events[index].flags);
                self.note_event(data, flags, pool, told);
            }
            // Who goes on without the rest takes an idle connection for quiet on which somebody has spoken long since.
            if self.events.len() < EVENTS_MAX || batch == BATCHES_MAX {
                break;
            }
            self.wait(Mono::ZERO)?;
        }
        self.budget.begin_poll();
        Ok(())
    }

    pub fn release(&mut self, id: SocketId) -> Option<OwnedFd> {
        let unused = |socket: &&Socket| !socket.registered && socket.receive.is_none() && socket.send.is_none();
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
        let Some(socket) = self.sockets.remove(key(id.0)) else { return };
        for op in [socket.receive, socket.send].into_iter().flatten() {
            self.ops.cancel(op);
        }
        if how == Close::Reset {
            // Failing means that the connection is gone already; the peer knows.
            let _gone = sockopt::set_socket_linger(&socket.fd, Some(std::time::Duration::ZERO));
        }
    }

    /// Reads the clocks, and says what they read until they are read again.
    pub fn read_clocks(&mut self) -> Now {
        self.clock.read()
    }

    pub fn counters(&self) -> DriverCounters {
        self.counters
    }

    pub fn leftovers(&self) -> [usize; 3] {
        [self.sockets.len(), self.listeners.len(), self.ops.len()]
    }

    /// Sleeps until something happens, the bell rings or `deadline` passes, and leaves the events in `self.events`.
    fn wait(&mut self, deadline: Mono) -> Result<(), Error> {
        // Whoever calls has just read the clock.
        let sleeps = deadline > self.clock.now().mono && self.bell.fall_asleep();
        if sleeps {
            self.alarm.set(deadline)?;
        }
        self.events.clear();
        let limit = (!sleeps).then_some(&NO_WAIT);
        let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), limit);
        if sleeps {
            self.bell.wake_up();
        }
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn note_event(&mut self, data: u64, flags: EventFlags, pool: &Pool, told: &mut Vec<Owner>) {
        if data == BELL {
            return self.bell.clear();
        }
        if data == ALARM {
            return self.alarm.clear();
        }
        if data & LISTENER != 0 {
            let Some(listener) = self.listeners.get_mut(key(data & !LISTENER)) else { return };
            listener.readable = true;
            let accept = listener.accept;
            told.extend(accept.and_then(|id| self.carry_on(id, pool)));
            return;
        }
        let Some(socket) = self.sockets.get_mut(key(data)) else { return };
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let readable = failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        let writable = failed || flags.intersects(EventFlags::OUT);
        socket.ended |= failed || flags.intersects(EventFlags::RDHUP);
        socket.readable |= readable;
        socket.writable |= writable;
        let receive = socket.receive.filter(|_| readable && socket.ticket == 0);
        let send = socket.send.filter(|_| writable);
        told.extend(receive.and_then(|id| self.ops.owner(id)));
        let Some(id) = send else { return };
        if self.budget.is_spent() {
            self.put_off.push_back(id);
        } else {
            self.budget.spend();
            told.extend(self.carry_on(id, pool));
        }
    }

    /// Tries it again. Says who is to be told if it is over.
    fn carry_on(&mut self, id: OpId, pool: &Pool) -> Option<Owner> {
        let armed = self.ops.run(id)?;
        match self.attempt(armed, pool) {
            Ok(done) => self.ops.finish(id, done),
            Err((armed, wait)) => {
                self.ops.rearm(id, armed);
                self.note_wait(id, &wait);
                None
            }
        }
    }

    /// Gives what has come back to those that wait for it. Where one gets nothing, nobody behind it would.
    fn retry_parked(&mut self, pool: &Pool, told: &mut Vec<Owner>) {
        for class in [Class::Head, Class::Body] {
            while let Some(id) = self.parked[class as usize].pop() {
                told.extend(self.carry_on(id, pool));
                if self.is_parked(id) {
                    break;
                }
            }
        }
    }

    fn note_wait(&mut self, id: OpId, wait: &Wait) {
        if let Wait::Buffer(class) = wait
            && let Some(socket) = receiver(&self.ops, &mut self.sockets, id)
        {
            if socket.ticket == 0 {
                self.counters.receives_parked += 1;
                socket.ticket = self.counters.receives_parked;
            }
            self.parked[*class as usize].push(socket.ticket, id, &self.ops);
        }
    }

    /// Records the operation with its socket, which is registered with the kernel by the first that has to wait.
    fn arm(&mut self, owner: Owner, armed: Armed) -> OpId {
        let target = match &armed {
            Armed::Accept(listener) => {
                let listener = *listener;
                let id = self.ops.arm(owner, armed);
                if let Some(listener) = self.listeners.get_mut(key(listener.0)) {
                    debug_assert!(listener.accept.is_none(), "one accept a listener");
                    listener.accept = Some(id);
                }
                return id;
            }
            Armed::Connect(socket) | Armed::Receive(socket, _) | Armed::Send(socket, _) => *socket,
        };
        let receives = matches!(armed, Armed::Receive(..));
        let id = self.ops.arm(owner, armed);
        if let Some(socket) = self.sockets.get_mut(key(target.0)) {
            let place = if receives { &mut socket.receive } else { &mut socket.send };
            debug_assert!(place.is_none(), "one receive and one send a socket");
            *place = Some(id);
            if !socket.registered {
                socket.registered = true;
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                if epoll::add(&self.epoll, &socket.fd, EventData::new_u64(target.0), flags).is_err() {
                    // Out of watches or memory: nobody will ever say that it is ready.
                    socket.failed = Some(Error::Exhausted);
                    (socket.readable, socket.writable) = (true, true);
                    self.put_off.push_back(id);
                }
            }
        }
        id
    }

    fn attempt(&mut self, armed: Armed, pool: &Pool) -> Result<Done, (Armed, Wait)> {
        match armed {
            Armed::Accept(listener) => self.accept(listener),
            Armed::Connect(socket) => self.connected(socket),
            Armed::Receive(socket, target) => self.receive(socket, target, pool),
            Armed::Send(socket, pieces) => self.send(socket, pieces),
        }
    }

    fn connect(&mut self, address: SocketAddr) -> Result<SocketId, Error> {
        let fd = socket::open(address)?;
        if fd.as_raw_fd() >= self.descriptors_max {
            return Err(Error::Exhausted);
        }
        match net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {
                let id = self.insert(fd);
                if let Some(socket) = self.sockets.get_mut(key(id.0)) {
                    // Until the kernel says so the handshake is not over, however long this operation is put off.
                    socket.writable = false;
                }
                Ok(id)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn connected(&mut self, id: SocketId) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Connected(Err(Error::Reset))) };
        if let Some(failed) = socket.failed {
            self.close(id, Close::Graceful);
            return Ok(Done::Connected(Err(failed)));
        }
        if !socket.writable {
            return Err((Armed::Connect(id), Wait::Readiness));
        }
        socket.send = None;
        let outcome = match sockopt::socket_error(&socket.fd) {
            Ok(Ok(())) => return Ok(Done::Connected(Ok(id))),
            Ok(Err(errno)) | Err(errno) => errno,
        };
        self.close(id, Close::Graceful);
        Ok(Done::Connected(Err(outcome.into())))
    }

    fn receive(&mut self, id: SocketId, target: Target, pool: &Pool) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Received(Err(Error::Reset))) };
        match socket.read(target, pool) {
            Ok(received) => Ok(Done::Received(received)),
            Err((target, wait)) => Err((Armed::Receive(id, target), wait)),
        }
    }

    fn send(&mut self, id: SocketId, pieces: Pieces) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Sent(Err(Error::Reset), pieces)) };
        match socket.write(&pieces) {
            Some(sent) => Ok(Done::Sent(sent, pieces)),
            None => Err((Armed::Send(id, pieces), Wait::Readiness)),
        }
    }

    fn insert(&mut self, fd: OwnedFd) -> SocketId {
        // Heads and last pieces are written whole; waiting for more would only delay them.
        let _unsupported = sockopt::set_tcp_nodelay(&fd, true);
        SocketId(self.sockets.insert(Socket::new(fd)).to_bits())
    }
}

/// The socket that this receive waits for.
fn receiver<'a>(ops: &OpTable, sockets: &'a mut Slab<Socket>, id: OpId) -> Option<&'a mut Socket> {
    let Some(Armed::Receive(socket, _)) = ops.armed(id) else { return None };
    sockets.get_mut(key(socket.0))
}

fn key<T>(bits: u64) -> Key<T> {
    Key::from_bits(bits)
}

/// Marks a listener's key among the event data: the highest bit of its index, which no slab reaches.
const LISTENER: u64 = 1 << 31;
const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
const EVENTS_MAX: usize = 256;
/// Of events, in one turn.
const BATCHES_MAX: usize = 64;
const NO_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::op::Received;
    use rustix::net::SocketFlags;

    #[test]
    fn a_socket_that_cannot_be_watched_fails_and_is_not_waited_for() {
        let (mut driver, pool) = (Epoll::new().expect("epoll is there"), Pool::new(1 << 20));
        let (family, kind) = (net::AddressFamily::UNIX, net::SocketType::STREAM);
        let (near, far) = net::socketpair(family, kind, SocketFlags::NONBLOCK, None).expect("two ends");
        let id = driver.adopt(near);
        let socket = driver.sockets.get(key(id.0)).expect("it was just adopted");
        // The kernel watches a socket once.
        let data = EventData::new_u64(id.0);
        epoll::add(&driver.epoll, &socket.fd, data, EventFlags::empty()).expect("it can be watched");
        rustix::io::write(&far, b"x").expect("there is room");
        for want in [Ok(b"x".as_slice()), Err(Error::Exhausted)] {
            let op = driver.submit(Op::Receive(id, Target::Fresh(Class::Head)), Owner::Token(0), &pool);
            let done = op.or_else(|op| {
                driver.turn(Mono::ZERO, &pool, &mut Vec::new()).expect("a turn never fails");
                driver.take(op, &pool).ok_or(())
            });
            let Ok(Done::Received(received)) = &done else { panic!("it waits: {done:?}") };
            let received = received.as_ref().map_err(|error| *error).map(|received| match received {
                Received::Data(buf) => buf.bytes(),
                Received::End(_) => b"",
            });
            assert_eq!(received, want);
        }
    }

    /// An address where nobody answers: who has come already fills the queue, and the kernel drops the rest.
    fn silence() -> (OwnedFd, Vec<OwnedFd>, SocketAddr) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = socket::open(any).expect("there are sockets");
        net::bind(&listener, &any).expect("there are ports");
        net::listen(&listener, 0).expect("it can listen");
        let address = net::getsockname(&listener).and_then(SocketAddr::try_from).expect("it has an address");
        let come = (0..4).map(|_| socket::open(address).expect("there are sockets"));
        let come: Vec<_> = come.collect();
        for fd in &come {
            let _under_way = net::connect(fd, &address);
        }
        (listener, come, address)
    }

    #[test]
    fn a_connect_that_is_put_off_is_not_over_before_its_handshake() {
        let (mut driver, pool) = (Epoll::new().expect("epoll is there"), Pool::new(1 << 20));
        let (_listener, _come, address) = silence();
        while !driver.budget.is_spent() {
            driver.budget.spend();
        }
        let op = driver.submit(Op::Connect(address), Owner::Token(0), &pool).expect_err("it is put off");
        for _ in 0..3 {
            driver.turn(Mono::ZERO, &pool, &mut Vec::new()).expect("a turn never fails");
            assert!(driver.take(op, &pool).is_none(), "nobody has answered");
        }
        driver.cancel(op);
        assert_eq!(driver.leftovers(), [0; 3]);
    }
}
