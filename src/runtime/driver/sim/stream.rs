//! How bytes of the simulation are sent and received.

use super::fault::Fault;
use super::kernel::{Attempt, Kernel, Wait};
use super::link::{EndState, Link, Side, Waiting, other};
use super::network::RESET_EARLY_BYTES;
use super::pipe::Arrival;
use crate::runtime::buffer::Pool;
use crate::runtime::op::{Armed, Done, Error, Owner, Pieces, Received, SocketId, Target};
use crate::stdx::slab::Key;

impl Kernel {
    pub(super) fn receive(&mut self, host: usize, id: SocketId, target: Target, owner: Owner, pool: &Pool) -> Attempt {
        let Some((key, side)) = self.linked(host, id) else { return Ok(Done::Received(Err(Error::Reset))) };
        let link = self.links.get(key).expect("an end that is not closed keeps its link");
        let reset = link.ends[side].state == EndState::Reset;
        let idle = matches!(owner, Owner::Token(_));
        let outcome = match link.pipes[side].arrival(self.now) {
            Arrival::Nothing | Arrival::Frozen if reset => {
                if idle {
                    self.census.count(Fault::ResetIdle);
                }
                Err(Error::Reset)
            }
            Arrival::Nothing => return Err((Armed::Receive(id, target), Wait::Readiness)),
            Arrival::Frozen => {
                self.census.count(Fault::PeerStopsSending);
                return Err((Armed::Receive(id, target), Wait::Readiness));
            }
            Arrival::Later(at) => return Err((Armed::Receive(id, target), Wait::Until(at))),
            Arrival::End => {
                if idle {
                    self.census.count(Fault::EndAtIdle);
                }
                Ok(Received::End(match target {
                    Target::Behind(buf) => Some(buf),
                    Target::Fresh(_) => None,
                }))
            }
            Arrival::Bytes(count) => Ok(self.receive_bytes(id, key, side, count, target, pool)?),
        };
        if let Some(socket) = self.hosts[host].sockets.get_mut(Key::from_bits(id.0)) {
            socket.receive = None;
        }
        Ok(Done::Received(outcome))
    }

    fn receive_bytes(
        &mut self,
        id: SocketId,
        key: Key<Link>,
        side: Side,
        available: usize,
        target: Target,
        pool: &Pool,
    ) -> Result<Received, (Armed, Wait)> {
        let mut buf = match target {
            Target::Behind(buf) => buf,
            Target::Fresh(class) => {
                let again = Armed::Receive(id, Target::Fresh(class));
                match pool.take(class) {
                    Some(_) if self.throws_no_buffer(key, side) => {
                        let at = self.soon();
                        return Err((again, Wait::Until(at)));
                    }
                    Some(buf) => buf,
                    None => {
                        self.census.count(Fault::ReceiveParked);
                        return Err((again, Wait::Buffer));
                    }
                }
            }
        };
        let link = self.links.get_mut(key).expect("an end that is not closed keeps its link");
        let mut count = available.min(buf.spare_len());
        if count > 1 && self.rng.chance(link.one_byte_per_mille) {
            count = 1;
            self.census.count(Fault::OneByteRead);
        }
        let pipe = &mut link.pipes[side];
        if pipe.is_slow() {
            self.census.count(Fault::SlowPeer);
        }
        pipe.pop(&mut buf.spare_mut()[..count], self.now);
        buf.grow(count);
        self.wake_send(key, other(side));
        Ok(Received::Data(buf))
    }

    /// A receive that has waited for a buffer gets the first there is: those behind it must not overtake it.
    fn throws_no_buffer(&mut self, key: Key<Link>, side: Side) -> bool {
        let end = self.links.get(key).map(|link| &link.ends[side]);
        let socket = end.and_then(|end| self.hosts[end.host].sockets.get(end.socket?));
        let parked = socket.and_then(|socket| socket.receive).is_some_and(|waiting| waiting.parked);
        !parked && self.throw(Fault::ReceiveParked)
    }

    pub(super) fn send(&mut self, host: usize, id: SocketId, pieces: Pieces) -> Attempt {
        let outcome = match self.send_bytes(host, id, &pieces) {
            Ok(0) if !pieces.is_empty() => {
                self.count_frozen(host, id);
                return Err((Armed::Send(id, pieces), Wait::Readiness));
            }
            outcome => outcome,
        };
        if let Some(socket) = self.hosts[host].sockets.get_mut(Key::from_bits(id.0)) {
            socket.send = None;
        }
        Ok(Done::Sent(outcome, pieces))
    }

    /// How many bytes the pipe took; none if it is full.
    pub(super) fn send_bytes(&mut self, host: usize, id: SocketId, pieces: &Pieces) -> Result<usize, Error> {
        let (key, side) = self.linked(host, id).ok_or(Error::Reset)?;
        let link = self.links.get(key).expect("an end that is not closed keeps its link");
        let (to, len) = (other(side), pieces.len());
        if link.ends[side].state == EndState::Reset {
            return Err(Error::Reset);
        }
        if link.pipes[to].has_ended() {
            return Err(Error::Reset);
        }
        if link.ends[to].state == EndState::Closed {
            // The bytes leave; what comes back is that nobody is there.
            self.reset_end(key, side);
            return Ok(len);
        }
        let mut count = len.min(link.pipes[to].room());
        if count > 1 && self.throw(Fault::ShortSend) {
            count = self.rng.between(1, count as u64 - 1) as usize;
        }
        let pipe = &mut self.links.get_mut(key).expect("it was just there").pipes[to];
        let mut left = count;
        for piece in pieces.iter() {
            let taken = left.min(piece.len());
            pipe.push(&piece.bytes()[..taken]);
            left -= taken;
        }
        if pipe.resets_now() {
            let early = pipe.entered() <= RESET_EARLY_BYTES;
            self.census.count(if early { Fault::ResetEarly } else { Fault::ResetLate });
            self.reset_link(key);
        } else if count > 0 {
            self.wake_receive(key, to);
        }
        Ok(count)
    }

    /// A send waits for room that a peer which reads no more will not make.
    fn count_frozen(&mut self, host: usize, id: SocketId) {
        let Some((key, side)) = self.linked(host, id) else { return };
        if self.links.get(key).is_some_and(|link| link.pipes[other(side)].is_frozen()) {
            self.census.count(Fault::PeerStopsReading);
        }
    }

    /// Lets the side's receive be tried again soon, if one is under way.
    pub(super) fn wake_receive(&mut self, key: Key<Link>, side: Side) {
        self.wake(key, side, |socket| socket.receive.as_mut());
    }

    /// Lets the side's send be tried again soon, if one is under way.
    pub(super) fn wake_send(&mut self, key: Key<Link>, side: Side) {
        self.wake(key, side, |socket| socket.send.as_mut());
    }

    fn wake(&mut self, key: Key<Link>, side: Side, place: fn(&mut super::link::Socket) -> Option<&mut Waiting>) {
        let Some(end) = self.links.get(key).map(|link| &link.ends[side]) else { return };
        let (host, Some(socket)) = (end.host, end.socket) else { return };
        let Some(waiting) = self.hosts[host].sockets.get_mut(socket).and_then(place) else { return };
        if !std::mem::replace(&mut waiting.scheduled, true) {
            let id = waiting.id;
            let at = self.soon();
            self.schedule(host, id, at);
        }
    }
}
