//! How connections of the simulation begin and end.

use super::fault::Fault;
use super::kernel::{Attempt, Kernel, Listener, Wait};
use super::link::{ACCEPTING_SIDE, CONNECTING_SIDE, End, EndState, Fate, Link, Side, Socket, SocketState, other};
use super::pipe::{Pipe, Temper};
use crate::runtime::driver::{Close, Stop};
use crate::runtime::op::{Armed, Done, Error, ListenerId, OpId, Owner, SocketId};
use crate::stdx::slab::Key;
use crate::stdx::time::Mono;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

impl Kernel {
    /// Port 0 asks for one that is free. Hosts may share an address: a connect then finds any of them.
    pub fn listen(&mut self, host: usize, mut address: SocketAddr) -> Result<ListenerId, Error> {
        if address.port() == 0 {
            address.set_port(self.take_port(host));
        }
        let listener = Listener { address, backlog: VecDeque::new(), accept: None, stop: None };
        Ok(ListenerId(self.hosts[host].listeners.insert(listener).to_bits()))
    }

    pub fn listener_address(&self, host: usize, id: ListenerId) -> Option<SocketAddr> {
        self.hosts[host].listeners.get(Key::from_bits(id.0)).map(|listener| listener.address)
    }

    pub fn stop_listener(&mut self, host: usize, id: ListenerId, stop: Stop) {
        let Some(listener) = self.hosts[host].listeners.get_mut(Key::from_bits(id.0)) else { return };
        listener.stop = Some(stop);
        if let Some(accept) = &mut listener.accept
            && !std::mem::replace(&mut accept.scheduled, true)
        {
            let accept = accept.id;
            let at = self.soon();
            self.schedule(host, accept, at);
        }
    }

    pub fn release(&mut self, host: usize, id: SocketId) -> Option<u64> {
        let key = Key::from_bits(id.0);
        let socket = self.hosts[host].sockets.get(key)?;
        let SocketState::Linked(link, ACCEPTING_SIDE) = socket.state else { return None };
        if socket.receive.is_some() || socket.send.is_some() {
            return None;
        }
        self.hosts[host].sockets.remove(key);
        let end = &mut self.links.get_mut(link).expect("an end that is not closed keeps its link").ends[ACCEPTING_SIDE];
        end.socket = None;
        self.note(host, "released", id.0, 0);
        Some(link.to_bits())
    }

    pub fn adopt(&mut self, host: usize, link: u64) -> SocketId {
        let link = Key::from_bits(link);
        let socket = self.hosts[host].sockets.insert(Socket::new(SocketState::Linked(link, ACCEPTING_SIDE)));
        let end = &mut self.links.get_mut(link).expect("an end that is not closed keeps its link").ends[ACCEPTING_SIDE];
        (end.host, end.socket) = (host, Some(socket));
        self.note(host, "adopted", socket.to_bits(), 0);
        SocketId(socket.to_bits())
    }

    pub fn close_listener(&mut self, host: usize, id: ListenerId) {
        let accept = self.hosts[host].listeners.get(Key::from_bits(id.0)).and_then(|listener| listener.accept);
        if let Some(accept) = accept {
            self.cancel(host, accept.id);
        }
        let Some(listener) = self.hosts[host].listeners.remove(Key::from_bits(id.0)) else { return };
        for link in listener.backlog {
            self.close_end(link, ACCEPTING_SIDE, Close::Reset);
        }
    }

    pub(super) fn begin_connect(&mut self, host: usize, to: SocketAddr, owner: Owner) -> OpId {
        let fate = if self.throw(Fault::ConnectRefused) {
            Fate::Refused
        } else if self.throw(Fault::ConnectLost) {
            Fate::Lost
        } else {
            Fate::Arrives
        };
        let socket = self.hosts[host].sockets.insert(Socket::new(SocketState::Connecting { to, fate }));
        let id = self.arm(host, owner, Armed::Connect(SocketId(socket.to_bits())), true);
        if fate != Fate::Lost {
            let at = self.soon();
            self.schedule(host, id, at);
        }
        id
    }

    pub(super) fn connect(&mut self, host: usize, id: SocketId) -> Attempt {
        let state = self.hosts[host].sockets.get(Key::from_bits(id.0)).map(|socket| socket.state);
        let Some(SocketState::Connecting { to, fate }) = state else {
            return Ok(Done::Connected(Err(Error::Reset)));
        };
        let found = match fate {
            Fate::Lost => return Err((Armed::Connect(id), Wait::Until(Mono::NEVER))),
            Fate::Refused => None,
            Fate::Arrives => self.find_listener(to),
        };
        let Some((listening_host, listener)) = found else {
            self.hosts[host].sockets.remove(Key::from_bits(id.0));
            return Ok(Done::Connected(Err(Error::Refused)));
        };
        let backlog = &self.hosts[listening_host].listeners.get(listener).expect("it was just found").backlog;
        if backlog.len() >= BACKLOG_MAX {
            return Err((Armed::Connect(id), Wait::Until(self.now + SYN_RETRY)));
        }
        let link = self.establish(host, id, listening_host, to);
        let listener = self.hosts[listening_host].listeners.get_mut(listener).expect("it was just found");
        listener.backlog.push_back(link);
        if let Some(accept) = &mut listener.accept
            && !std::mem::replace(&mut accept.scheduled, true)
        {
            let accept = accept.id;
            let at = self.soon();
            self.schedule(listening_host, accept, at);
        }
        Ok(Done::Connected(Ok(id)))
    }

    fn find_listener(&mut self, to: SocketAddr) -> Option<(usize, Key<Listener>)> {
        let reached = |listener: &Listener| {
            let address = listener.address;
            address.port() == to.port() && (address.ip().is_unspecified() || address.ip() == to.ip())
        };
        let all = self.hosts.iter().enumerate().flat_map(|(host, state)| {
            state.listeners.iter().filter(|(_, listener)| reached(listener)).map(move |(key, _)| (host, key))
        });
        let found: Vec<_> = all.collect();
        if found.is_empty() {
            return None;
        }
        Some(found[self.rng.below(found.len() as u64) as usize])
    }

    fn establish(&mut self, host: usize, id: SocketId, listening_host: usize, to: SocketAddr) -> Key<Link> {
        let port = self.take_port(host);
        let from = SocketAddr::from((Ipv4Addr::new(10, 0, (host >> 8) as u8, host as u8 + 1), port));
        let key = Key::from_bits(id.0);
        let connecting = End { host, address: from, socket: Some(key), state: EndState::Open };
        let accepting = End { host: listening_host, address: to, socket: None, state: EndState::Open };
        let pipes = [self.new_pipe(), self.new_pipe()];
        let one_byte = self.per_mille(Fault::OneByteRead);
        let one_byte_per_mille = [0, one_byte, if one_byte > 0 { 950 } else { 0 }][self.rng.below(3) as usize];
        let link = self.links.insert(Link { ends: [connecting, accepting], pipes, one_byte_per_mille });
        if self.throws(Fault::ResetIdle) {
            let at = self.now + Duration::from_millis(self.rng.below(RESET_WITHIN_MS));
            self.schedule_reset(link, at);
        }
        let socket = self.hosts[host].sockets.get_mut(key).expect("it is connecting");
        socket.send = None;
        socket.state = SocketState::Linked(link, CONNECTING_SIDE);
        link
    }

    fn new_pipe(&mut self) -> Pipe {
        let mut temper = Temper::default();
        let mut capacity = 1 << self.rng.between(12, 18);
        if self.throw(Fault::SmallWindow) {
            capacity = 1 << self.rng.below(8);
        }
        if self.throws(Fault::PeerStopsReading) {
            temper.frozen_after = Some(self.rng.below(1 << 9));
            capacity = 1 << self.rng.below(8);
        } else if self.throws(Fault::PeerStopsSending) {
            let most = 1 << self.rng.below(14);
            temper.frozen_after = Some(self.rng.below(most));
        } else if self.throws(Fault::SlowPeer) {
            temper.slow = true;
            capacity = 1 << self.rng.below(10);
        }
        if self.throws(Fault::ResetEarly) {
            temper.reset_after = Some(self.rng.between(1, RESET_EARLY_BYTES));
        } else if self.throws(Fault::ResetLate) {
            let most = 1 << self.rng.between(11, 16);
            temper.reset_after = Some(self.rng.between(RESET_EARLY_BYTES + 1, most));
        }
        Pipe::new(capacity, temper)
    }

    pub(super) fn accept(&mut self, host: usize, id: ListenerId) -> Attempt {
        let Some(listener) = self.hosts[host].listeners.get_mut(Key::from_bits(id.0)) else {
            return Ok(Done::Accepted(Err(Error::Reset)));
        };
        if listener.stop == Some(Stop::Leave) || listener.stop.is_some() && listener.backlog.is_empty() {
            listener.accept = None;
            return Ok(Done::Accepted(Err(Error::Stopped)));
        }
        let Some(link) = listener.backlog.pop_front() else { return Err((Armed::Accept(id), Wait::Readiness)) };
        listener.accept = None;
        if self.throw(Fault::AcceptExhausted) {
            self.hosts[host].counters.accepts_shed += 1;
            self.close_end(link, ACCEPTING_SIDE, Close::Graceful);
            return Ok(Done::Accepted(Err(Error::Exhausted)));
        }
        let socket = self.hosts[host].sockets.insert(Socket::new(SocketState::Linked(link, ACCEPTING_SIDE)));
        let state = self.links.get_mut(link).expect("an end that is not closed keeps its link");
        state.ends[ACCEPTING_SIDE].socket = Some(socket);
        let peer = state.ends[CONNECTING_SIDE].address;
        Ok(Done::Accepted(Ok((SocketId(socket.to_bits()), peer))))
    }

    pub fn shutdown_write(&mut self, host: usize, id: SocketId) {
        let Some((link, side)) = self.linked(host, id) else { return };
        let state = self.links.get_mut(link).expect("an end that is not closed keeps its link");
        if state.ends[side].state != EndState::Open || state.pipes[other(side)].has_ended() {
            return;
        }
        state.pipes[other(side)].end();
        self.census.count(Fault::HalfClose);
        self.note(host, "shut down", id.0, 0);
        self.wake_receive(link, other(side));
    }

    pub fn close(&mut self, host: usize, id: SocketId, how: Close) {
        let Some(socket) = self.hosts[host].sockets.remove(Key::from_bits(id.0)) else { return };
        self.note(host, if how == Close::Reset { "closed by reset" } else { "closed" }, id.0, 0);
        for waiting in [socket.receive, socket.send].into_iter().flatten() {
            self.hosts[host].ops.cancel(waiting.id);
        }
        if let SocketState::Linked(link, side) = socket.state {
            self.close_end(link, side, how);
        }
    }

    fn close_end(&mut self, key: Key<Link>, side: Side, how: Close) {
        let Some(link) = self.links.get_mut(key) else { return };
        let was_open = link.ends[side].state == EndState::Open;
        // Closing before everything has been read resets the connection (RFC 9293 §3.6.1).
        let resets = how == Close::Reset || !link.pipes[side].is_empty();
        link.ends[side].state = EndState::Closed;
        link.ends[side].socket = None;
        if link.ends[other(side)].state == EndState::Closed {
            self.links.remove(key);
        } else if was_open && resets {
            self.reset_end(key, other(side));
        } else if was_open {
            link.pipes[other(side)].end();
            self.wake_receive(key, other(side));
            self.wake_send(key, other(side));
        }
    }

    /// The network resets both ends.
    pub(super) fn reset_link(&mut self, link: Key<Link>) {
        self.reset_end(link, CONNECTING_SIDE);
        self.reset_end(link, ACCEPTING_SIDE);
    }

    pub(super) fn reset_end(&mut self, key: Key<Link>, side: Side) {
        let Some(link) = self.links.get_mut(key) else { return };
        if link.ends[side].state != EndState::Open {
            return;
        }
        link.ends[side].state = EndState::Reset;
        // A reset may overtake what is on its way; what had arrived before it is still read.
        if self.rng.chance(500) {
            let keep = self.rng.below(link.pipes[side].len() as u64 + 1) as usize;
            link.pipes[side].cut(keep);
        }
        let host = link.ends[side].host;
        self.note(host, "is reset", 0, 0);
        self.wake_receive(key, side);
        self.wake_send(key, side);
    }

    pub(super) fn linked(&self, host: usize, id: SocketId) -> Option<(Key<Link>, Side)> {
        match self.hosts[host].sockets.get(Key::from_bits(id.0))?.state {
            SocketState::Linked(link, side) => Some((link, side)),
            SocketState::Connecting { .. } => None,
        }
    }

    fn take_port(&mut self, host: usize) -> u16 {
        let port = self.hosts[host].port_next;
        self.hosts[host].port_next = port.checked_add(1).unwrap_or(1024);
        port
    }
}

const BACKLOG_MAX: usize = 128;
const SYN_RETRY: Duration = Duration::from_secs(1);
const RESET_WITHIN_MS: u64 = 30_000;
/// A reset within so many bytes meets a head.
pub(super) const RESET_EARLY_BYTES: u64 = 256;
