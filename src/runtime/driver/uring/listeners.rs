//! Listening sockets, and whom they bring.

use super::{ACCEPT, ACCEPTED_MAX, ARRIVAL, Completion, Done, Error, Listener, ListenerId, Stop, Uring, Wait, key};
use crate::runtime::buffer::Pool;
use crate::runtime::listener;
use crate::runtime::op::{Armed, Owner};
use io_uring::{opcode, types};
use rustix::event::PollFlags;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags};
use std::net::SocketAddr;

impl Uring {
    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        self.adopt_listener(listener::bind(address)?).map_err(|(error, _)| error)
    }

    pub fn adopt_listener(&mut self, fd: OwnedFd) -> Result<ListenerId, (Error, OwnedFd)> {
        let listener = Listener::begin(fd)?;
        Ok(ListenerId(self.listeners.insert(listener).to_bits()))
    }

    pub fn stop_listener(&mut self, id: ListenerId, stop: Stop) {
        let Some(listener) = self.listeners.get_mut(key(id.0)) else { return };
        listener.stop = Some(stop);
        let (armed, polled, accept) = (listener.armed, listener.polled, listener.accept);
        self.cancel_listener(id, armed, polled);
        if !armed && !polled {
            self.put_off.extend(accept);
        }
    }

    pub fn listener_address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(key(id.0)).map(|listener| listener.address)
    }

    pub fn close_listener(&mut self, id: ListenerId) {
        if let Some(op) = self.listeners.get(key(id.0)).and_then(|listener| listener.accept) {
            self.cancel(op);
        }
        let Some(listener) = self.listeners.get_mut(key(id.0)) else { return };
        if listener.is_quiet() {
            self.listeners.remove(key(id.0));
            return;
        }
        listener.closing = true;
        let (armed, polled) = (listener.armed, listener.polled);
        self.closing_listeners += 1;
        self.cancel_listener(id, armed, polled);
    }

    fn cancel_listener(&mut self, id: ListenerId, armed: bool, polled: bool) {
        if armed {
            self.cancel_entry(id.0 | ACCEPT);
        }
        if polled {
            self.cancel_entry(id.0 | ARRIVAL);
        }
    }

    pub(super) fn accept(&mut self, id: ListenerId) -> Result<Done, (Armed, Wait)> {
        let Some(listener) = self.listeners.get_mut(key(id.0)) else {
            return Ok(Done::Accepted(Err(Error::Reset)));
        };
        if listener.ready.is_empty() && listener.stop == Some(Stop::Dry) && !listener.armed {
            self.counters.accepts_shed += accept_dry(listener, &mut self.spare);
        }
        let Some(accepted) = listener.ready.pop_front() else {
            if listener.stop.is_some() && !listener.armed {
                listener.accept = None;
                return Ok(Done::Accepted(Err(Error::Stopped)));
            }
            if !listener.armed && !listener.polled {
                listener.armed = true;
                let (fd, flags) = (types::Fd(listener.fd.as_raw_fd()), SocketFlags::CLOEXEC.bits() as i32);
                let entry = if self.quirks.multishot_accept {
                    opcode::AcceptMulti::new(fd).flags(flags).build()
                } else {
                    opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(flags).build()
                };
                self.push(entry, id.0 | ACCEPT);
            }
            return Err((Armed::Accept(id), Wait::Completion));
        };
        listener.accept = None;
        Ok(Done::Accepted(accepted.and_then(|fd| {
            if fd.as_raw_fd() >= self.descriptors_max {
                self.counters.accepts_shed += 1;
                return Err(Error::Exhausted);
            }
            // A connection that was reset meanwhile has no peer any more.
            let peer = net::getpeername(&fd)?.ok_or(Error::Reset)?;
            let peer = SocketAddr::try_from(peer).map_err(|_| Error::Reset)?;
            Ok((self.insert(fd), peer))
        })))
    }

    pub(super) fn accepted(&mut self, bits: u64, completion: Completion, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(listener) = self.listeners.get_mut(key(bits)) else { return };
        listener.armed = completion.more();
        match completion.error() {
            None => {
                // SAFETY: the kernel has just made this descriptor for this completion; nobody else knows it.
                let fd = unsafe { OwnedFd::from_raw_fd(completion.result) };
                listener.ready.push_back(Ok(fd));
            }
            Some(Errno::CANCELED | Errno::AGAIN | Errno::INTR) => {}
            Some(Errno::MFILE | Errno::NFILE) => return self.shed_accept(bits, pool, told),
            Some(errno) => listener.ready.push_back(Err(errno.into())),
        }
        if listener.armed && listener.ready.len() == ACCEPTED_MAX {
            // Nobody asks for as many as come: the rest waits in the kernel.
            self.cancel_entry(bits | ACCEPT);
        }
        self.resume_accept(bits, pool, told);
    }

    /// No descriptor is left: uses the spare one to accept and close, so that the peer is told and the queue moves.
    fn shed_accept(&mut self, bits: u64, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(listener) = self.listeners.get_mut(key(bits)) else { return };
        if listener.stop.is_some() || listener.closing {
            // Who waits there is to be accepted by another process, or is seen to in its end.
            return self.resume_accept(bits, pool, told);
        }
        if !listener::is_ready(&listener.fd) {
            // The kernel looks for a descriptor before it looks for a connection: there is none to turn away yet.
            listener.polled = true;
            let entry = opcode::PollAdd::new(types::Fd(listener.fd.as_raw_fd()), u32::from(PollFlags::IN.bits()));
            return self.push(entry.build(), bits | ARRIVAL);
        }
        self.spare = None;
        let accepted = accept_connection(&listener.fd);
        // Without even the spare one nobody is told; whoever accepts takes a rest then as well.
        self.counters.accepts_shed += u64::from(accepted.is_ok());
        listener.ready.push_back(Err(Error::Exhausted));
        drop(accepted);
        self.spare = crate::runtime::driver::open_spare();
        self.resume_accept(bits, pool, told);
    }

    /// Somebody has arrived whom there may be no descriptor for.
    pub(super) fn arrived(&mut self, bits: u64, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(listener) = self.listeners.get_mut(key(bits)) else { return };
        listener.polled = false;
        self.resume_accept(bits, pool, told);
    }

    /// Goes on with what waits for a connection, and lets go of the listener when nobody does any more.
    fn resume_accept(&mut self, bits: u64, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(listener) = self.listeners.get(key(bits)) else { return };
        let accept = listener.accept;
        if listener.closing && listener.is_quiet() {
            self.listeners.remove(key(bits));
            self.closing_listeners -= 1;
        }
        if let Some(id) = accept {
            self.carry_on(id, pool, told);
        }
    }
}

/// Takes every connection that has arrived. Those for whom there is no descriptor are turned away, so that they are
/// told, and counted in what it returns.
fn accept_dry(listener: &mut Listener, spare: &mut Option<OwnedFd>) -> u64 {
    let mut shed = 0;
    while listener.ready.len() < ACCEPTED_MAX && shed < ACCEPTED_MAX as u64 && listener::is_ready(&listener.fd) {
        match accept_connection(&listener.fd) {
            Ok(fd) => listener.ready.push_back(Ok(fd)),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::MFILE | Errno::NFILE) if spare.take().is_some() => {
                shed += u64::from(accept_connection(&listener.fd).is_ok());
                *spare = crate::runtime::driver::open_spare();
            }
            Err(_) => break,
        }
    }
    shed
}

/// For a moment at most, whatever has become of the connection that was seen to wait.
pub(super) fn accept_connection(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    net::accept_with(listener, SocketFlags::CLOEXEC)
}
