//! The simulated kernel's operations: when each is tried, in which order, and what a cancelled one leaves.

use super::fault::{Census, Fault, Faults};
use super::link::{Link, Socket, Waiting};
use super::transcript::{Line, Transcript};
use crate::runtime::buffer::{Class, Pool};
use crate::runtime::driver::{Close, DriverCounters, Stop};
use crate::runtime::op::{Armed, Done, Error, Op, OpId, OpTable, Owner, Pieces, Received, Reclaimed, SocketId, Target};
use crate::stdx::rng::Rng;
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::{Mono, Now, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

pub struct Kernel {
    pub(super) rng: Rng,
    faults: Faults,
    pub(super) census: Census,
    pub(super) now: Mono,
    wall: Wall,
    pub(super) hosts: Vec<Host>,
    pub(super) links: Slab<Link>,
    /// Connections that the network resets, and when.
    resets: BTreeMap<(Mono, u64), Key<Link>>,
    /// Tells apart what is due at the same time.
    sequence: u64,
    transcript: Transcript,
}

/// What one node has asked for.
pub(super) struct Host {
    name: &'static str,
    pub ops: OpTable,
    pub sockets: Slab<Socket>,
    pub listeners: Slab<Listener>,
    pub counters: DriverCounters,
    pub port_next: u16,
    /// Operations to be tried, and when.
    due: BTreeMap<(Mono, u64), OpId>,
    /// Receives that found the pool empty, first in, first out.
    parked: VecDeque<OpId>,
    /// Memory of one turn, kept for the next.
    trying: Vec<OpId>,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub address: SocketAddr,
    pub backlog: VecDeque<Key<Link>>,
    pub accept: Option<Waiting>,
    pub stop: Option<Stop>,
}

/// Why an operation cannot be carried out now.
pub(super) enum Wait {
    /// Whoever changes that schedules it.
    Readiness,
    Until(Mono),
    Buffer,
}

pub(super) type Attempt = Result<Done, (Armed, Wait)>;

impl Kernel {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            rng: Rng::new(seed),
            faults,
            census: Census::default(),
            now: Mono::ZERO + START,
            wall: Wall::from_nanos(WALL_START_NANOS),
            hosts: Vec::new(),
            links: Slab::new(),
            resets: BTreeMap::new(),
            sequence: 0,
            transcript: Transcript::default(),
        }
    }

    pub fn add_host(&mut self, name: &'static str) -> usize {
        self.hosts.push(Host {
            name,
            ops: OpTable::default(),
            sockets: Slab::new(),
            listeners: Slab::new(),
            counters: DriverCounters::default(),
            port_next: EPHEMERAL_PORT_FIRST,
            due: BTreeMap::new(),
            parked: VecDeque::new(),
            trying: Vec::new(),
        });
        self.hosts.len() - 1
    }

    pub fn now(&self) -> Now {
        Now { mono: self.now, wall: self.wall }
    }

    pub fn next_due(&mut self) -> Option<Mono> {
        for host in &mut self.hosts {
            // A host that nobody turns any more has nothing to do.
            while let Some(first) = host.due.first_entry()
                && host.ops.armed(*first.get()).is_none()
            {
                first.remove();
            }
        }
        let reset = self.resets.keys().next();
        self.hosts.iter().filter_map(|host| host.due.keys().next()).chain(reset).map(|(at, _)| *at).min()
    }

    pub fn advance_to(&mut self, at: Mono) {
        let passed = at.since(self.now);
        self.now = self.now + passed;
        self.wall = Wall::from_nanos(self.wall.as_nanos() + passed.as_nanos() as u64);
        while let Some(first) = self.resets.first_entry()
            && first.key().0 <= self.now
        {
            let link = first.remove();
            self.reset_link(link);
        }
    }

    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub fn census(&self) -> &Census {
        &self.census
    }

    pub fn open_links(&self) -> usize {
        self.links.len()
    }

    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    pub fn record_transcript(&mut self) {
        self.transcript.record();
    }

    pub fn counters(&self, host: usize) -> DriverCounters {
        self.hosts[host].counters
    }

    pub fn leftovers(&self, host: usize) -> [usize; 3] {
        let host = &self.hosts[host];
        [host.sockets.len(), host.listeners.len(), host.ops.len()]
    }

    pub fn submit(&mut self, host: usize, op: Op, owner: Owner, pool: &Pool) -> Result<Done, OpId> {
        let armed = match op {
            Op::Accept(listener) => Armed::Accept(listener),
            Op::Receive(socket, target) => Armed::Receive(socket, target),
            Op::Send(socket, pieces) => Armed::Send(socket, pieces),
            Op::Connect(address) => return Err(self.begin_connect(host, address, owner)),
        };
        if !self.rng.chance(INLINE_PER_MILLE) {
            let id = self.arm(host, owner, armed, true);
            let at = self.soon();
            self.schedule(host, id, at);
            return Err(id);
        }
        let whom = whom(&armed);
        match self.attempt(host, armed, owner, pool) {
            Ok(done) => {
                self.note_done(host, whom, &done);
                Ok(done)
            }
            Err((armed, wait)) => {
                let id = self.arm(host, owner, armed, !matches!(wait, Wait::Readiness));
                self.note_wait(host, id, &wait);
                Err(id)
            }
        }
    }

    /// Whether it is seen that something is here is up to the kernel, as it is with a receive that is submitted.
    pub fn receive_at_hand(
        &mut self,
        host: usize,
        id: SocketId,
        class: Class,
        pool: &Pool,
    ) -> Option<Result<Received, Error>> {
        let socket = self.hosts[host].sockets.get(Key::from_bits(id.0))?;
        if socket.receive.is_some() || !self.rng.chance(INLINE_PER_MILLE) {
            return None;
        }
        let armed = Armed::Receive(id, Target::Fresh(class));
        let whom = whom(&armed);
        // A coroutine of this moment asks, whichever: the connection is not idle.
        let done = self.attempt(host, armed, Owner::Task(Key::from_bits(0)), pool).ok()?;
        self.note_done(host, whom, &done);
        match done {
            Done::Received(received) => Some(received),
            other => unreachable!("a receive ended as {other:?}"),
        }
    }

    /// Whether it is seen that there is room is up to the kernel, as it is with a send that is submitted.
    pub fn send_at_once(&mut self, host: usize, id: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        if !self.rng.chance(AT_ONCE_PER_MILLE) {
            return None;
        }
        let socket = self.hosts[host].sockets.get(Key::from_bits(id.0));
        assert!(socket.is_none_or(|socket| socket.send.is_none()), "one send a socket");
        let sent = self.send_bytes(host, id, pieces);
        if sent == Ok(0) {
            return None;
        }
        self.note_done(host, id.0, &Done::Sent(sent, Pieces::default()));
        Some(sent)
    }

    pub fn take(&mut self, host: usize, id: OpId) -> Option<Done> {
        self.hosts[host].ops.take(id)
    }

    pub fn set_owner(&mut self, host: usize, id: OpId, owner: Owner) {
        self.hosts[host].ops.set_owner(id, owner);
    }

    pub fn cancel(&mut self, host: usize, id: OpId) {
        let Some(owner) = self.hosts[host].ops.owner(id) else { return };
        let lost = self.hosts[host].ops.armed(id).is_none() || self.cancel_loses(host, id, owner);
        self.census.count(if lost { Fault::CancelLoses } else { Fault::CancelWins });
        self.note(host, if lost { "cancel loses" } else { "cancel wins" }, id.to_bits(), 0);
        let state = &mut self.hosts[host];
        match state.ops.cancel(id) {
            Reclaimed::Nothing => {}
            Reclaimed::Socket(socket) => self.close(host, socket, Close::Graceful),
            Reclaimed::Accept(listener) => {
                if let Some(listener) = state.listeners.get_mut(Key::from_bits(listener.0)) {
                    listener.accept = None;
                }
            }
            Reclaimed::Receive(socket) => {
                if let Some(socket) = state.sockets.get_mut(Key::from_bits(socket.0)) {
                    socket.receive = None;
                }
            }
            Reclaimed::Send(socket) => {
                if let Some(socket) = state.sockets.get_mut(Key::from_bits(socket.0)) {
                    socket.send = None;
                }
            }
        }
    }

    /// Tries what is due on this host, and says whose operations ended.
    pub fn turn(&mut self, host: usize, pool: &Pool, told: &mut Vec<Owner>) {
        if self.throw(Fault::WallClockJump) {
            let jump = self.rng.below(2 * WALL_JUMP_NANOS_MAX);
            self.wall = Wall::from_nanos(self.wall.as_nanos() + jump - WALL_JUMP_NANOS_MAX);
        }
        let mut trying = std::mem::take(&mut self.hosts[host].trying);
        if pool.take_returned() {
            trying.extend(self.hosts[host].parked.drain(..));
        }
        let parked = trying.len();
        while let Some(first) = self.hosts[host].due.first_entry()
            && first.key().0 <= self.now
        {
            trying.push(first.remove());
        }
        self.shuffle(&mut trying[parked..]);
        for id in trying.drain(..) {
            self.carry_on(host, id, pool, told);
        }
        self.hosts[host].trying = trying;
        if self.throws(Fault::SpuriousWake)
            && let Some(owner @ Owner::Task(_)) = self.any_waiting(host)
        {
            self.census.count(Fault::SpuriousWake);
            told.push(owner);
        }
    }

    fn carry_on(&mut self, host: usize, id: OpId, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(owner) = self.hosts[host].ops.owner(id) else { return };
        let Some(armed) = self.hosts[host].ops.run(id) else { return };
        let whom = whom(&armed);
        match self.attempt(host, armed, owner, pool) {
            Ok(done) => {
                self.note_done(host, whom, &done);
                told.extend(self.hosts[host].ops.finish(id, done));
            }
            Err((armed, wait)) => {
                if let Some(waiting) = self.waiting(host, &armed) {
                    waiting.scheduled = !matches!(wait, Wait::Readiness);
                }
                self.hosts[host].ops.rearm(id, armed);
                self.note_wait(host, id, &wait);
            }
        }
    }

    pub(super) fn attempt(&mut self, host: usize, armed: Armed, owner: Owner, pool: &Pool) -> Attempt {
        match armed {
            Armed::Accept(listener) => self.accept(host, listener),
            Armed::Connect(socket) => self.connect(host, socket),
            Armed::Receive(socket, target) => self.receive(host, socket, target, owner, pool),
            Armed::Send(socket, pieces) => self.send(host, socket, pieces),
        }
    }

    /// Whether the cancelled operation had done its work when it was told. What it brought is lost, as it is for a
    /// kernel whose operations complete on their own.
    fn cancel_loses(&mut self, host: usize, id: OpId, owner: Owner) -> bool {
        if !self.throws(Fault::CancelLoses) {
            return false;
        }
        let pool = Pool::new(usize::MAX);
        let Some(armed) = self.hosts[host].ops.run(id) else { return false };
        match self.attempt(host, armed, owner, &pool) {
            Ok(done) => {
                self.hosts[host].ops.finish(id, done);
                true
            }
            Err((armed, _)) => {
                self.hosts[host].ops.rearm(id, armed);
                false
            }
        }
    }

    fn note_wait(&mut self, host: usize, id: OpId, wait: &Wait) {
        match wait {
            Wait::Readiness => {}
            Wait::Until(at) => self.schedule(host, id, *at),
            Wait::Buffer => {
                self.hosts[host].parked.push_back(id);
                if let Some(Armed::Receive(socket, _)) = self.hosts[host].ops.armed(id) {
                    let socket = Key::from_bits(socket.0);
                    let waiting = self.hosts[host].sockets.get_mut(socket).and_then(|socket| socket.receive.as_mut());
                    let again = std::mem::replace(&mut waiting.expect("the receive is armed").parked, true);
                    self.hosts[host].counters.receives_parked += u64::from(!again);
                }
            }
        }
    }

    /// Records the operation with its socket or listener.
    pub(super) fn arm(&mut self, host: usize, owner: Owner, armed: Armed, scheduled: bool) -> OpId {
        let state = &mut self.hosts[host];
        let place = match &armed {
            Armed::Accept(id) => state.listeners.get_mut(Key::from_bits(id.0)).map(|listener| &mut listener.accept),
            Armed::Receive(id, _) => state.sockets.get_mut(Key::from_bits(id.0)).map(|socket| &mut socket.receive),
            Armed::Connect(id) | Armed::Send(id, _) => {
                state.sockets.get_mut(Key::from_bits(id.0)).map(|socket| &mut socket.send)
            }
        };
        let id = state.ops.arm(owner, armed);
        if let Some(place) = place {
            assert!(place.is_none(), "one accept a listener, one receive and one send a socket");
            *place = Some(Waiting { id, scheduled, parked: false });
        }
        id
    }

    pub fn is_parked(&self, host: usize, id: OpId) -> bool {
        let state = &self.hosts[host];
        let Some(Armed::Receive(socket, _)) = state.ops.armed(id) else { return false };
        let socket = state.sockets.get(Key::from_bits(socket.0));
        socket.and_then(|socket| socket.receive.as_ref()).is_some_and(|waiting| waiting.parked)
    }

    fn waiting(&mut self, host: usize, armed: &Armed) -> Option<&mut Waiting> {
        let state = &mut self.hosts[host];
        match armed {
            Armed::Accept(id) => state.listeners.get_mut(Key::from_bits(id.0))?.accept.as_mut(),
            Armed::Receive(id, _) => state.sockets.get_mut(Key::from_bits(id.0))?.receive.as_mut(),
            Armed::Connect(id) | Armed::Send(id, _) => state.sockets.get_mut(Key::from_bits(id.0))?.send.as_mut(),
        }
    }

    pub(super) fn schedule(&mut self, host: usize, id: OpId, at: Mono) {
        self.sequence += 1;
        self.hosts[host].due.insert((at, self.sequence), id);
    }

    pub(super) fn schedule_reset(&mut self, link: Key<Link>, at: Mono) {
        self.sequence += 1;
        self.resets.insert((at, self.sequence), link);
    }

    /// When something that can happen now is seen to.
    pub(super) fn soon(&mut self) -> Mono {
        let delay = if self.throw(Fault::DelayedCompletion) {
            self.rng.between(1_000_000, DELAY_NANOS_MAX)
        } else {
            self.rng.below(SOON_NANOS_MAX)
        };
        self.now + Duration::from_nanos(delay)
    }

    /// By how much everybody wakes up late, so that several things are due at once.
    pub fn oversleep(&mut self) -> Duration {
        let late = if self.rng.chance(OVERSLEEP_PER_MILLE) { self.rng.below(SOON_NANOS_MAX) } else { 0 };
        Duration::from_nanos(late)
    }

    /// Throws the dice for a fault, and counts it if it is to happen.
    pub(super) fn throw(&mut self, fault: Fault) -> bool {
        let happens = self.throws(fault);
        if happens {
            self.census.count(fault);
        }
        happens
    }

    /// Throws the dice for a fault that is counted where it shows.
    pub(super) fn throws(&mut self, fault: Fault) -> bool {
        let per_mille = self.faults.per_mille(fault);
        per_mille > 0 && self.rng.chance(per_mille)
    }

    pub(super) fn per_mille(&self, fault: Fault) -> u32 {
        self.faults.per_mille(fault)
    }

    fn shuffle(&mut self, ids: &mut [OpId]) {
        if ids.len() > 1 && self.throw(Fault::ReorderedCompletion) {
            for index in (1..ids.len()).rev() {
                ids.swap(index, self.rng.below(index as u64 + 1) as usize);
            }
        }
    }

    /// The owner of any receive or send that is under way.
    fn any_waiting(&mut self, host: usize) -> Option<Owner> {
        let state = &self.hosts[host];
        if state.sockets.is_empty() {
            return None;
        }
        let skip = self.rng.below(state.sockets.len() as u64) as usize;
        let socket = state.sockets.iter().nth(skip)?.1;
        state.ops.owner(socket.receive.or(socket.send)?.id)
    }

    fn note_done(&mut self, host: usize, whom: u64, done: &Done) {
        let (what, value) = match done {
            Done::Accepted(Ok(_)) => ("accepted", 0),
            Done::Accepted(Err(_)) => ("accept failed", 0),
            Done::Connected(Ok(_)) => ("connected", 0),
            Done::Connected(Err(_)) => ("connect failed", 0),
            Done::Received(Ok(Received::Data(buf))) => ("received", buf.len() as u64),
            Done::Received(Ok(Received::End(_))) => ("received the end", 0),
            Done::Received(Err(_)) => ("receive failed", 0),
            Done::Sent(Ok(count), _) => ("sent", *count as u64),
            Done::Sent(Err(_), _) => ("send failed", 0),
        };
        self.note(host, what, whom, value);
    }

    pub(super) fn note(&mut self, host: usize, what: &'static str, whom: u64, value: u64) {
        self.transcript.note(Line { at: self.now, host: self.hosts[host].name, what, whom, value });
    }
}

/// The socket or listener of an operation, as its host numbers them.
fn whom(armed: &Armed) -> u64 {
    match armed {
        Armed::Accept(listener) => listener.0,
        Armed::Connect(socket) | Armed::Receive(socket, _) | Armed::Send(socket, _) => socket.0,
    }
}

/// The clock does not begin at zero, nor at a whole tick of anything.
const START: Duration = Duration::from_nanos(7_777_777_777);
/// 14 November 2023.
const WALL_START_NANOS: u64 = 1_700_000_000_000_000_000;
const WALL_JUMP_NANOS_MAX: u64 = 3_600_000_000_000;
/// How many operations of a thousand are tried inside `submit`.
const INLINE_PER_MILLE: u32 = 500;
/// Sends that are not seen to find room are submitted, and may find it then.
const AT_ONCE_PER_MILLE: u32 = 250;
const OVERSLEEP_PER_MILLE: u32 = 300;
const SOON_NANOS_MAX: u64 = 200_000;
const DELAY_NANOS_MAX: u64 = 2_000_000_000;
const EPHEMERAL_PORT_FIRST: u16 = 32_768;
