//! How connections come, go, and carry bytes.

use super::{
    ACCEPT, ACCEPTED_MAX, ARRIVAL, Close, Completion, Done, Early, Error, Listener, ListenerId, Rx, Socket, SocketId,
    Stop, TX, Tx, Uring, Wait, Wanted, Window, key,
};
use crate::runtime::buffer::{Buf, Class, Pool};
use crate::runtime::driver::uring::RX;
use crate::runtime::op::{Armed, Owner, PIECES_MAX, Pieces, Received, Target};
use io_uring::{opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt,
};
use std::net::SocketAddr;
use std::time::Duration;

impl Uring {
    pub(super) fn accept(&mut self, id: ListenerId) -> Result<Done, (Armed, Wait)> {
        let Some(listener) = self.listeners.get_mut(key(id.0)) else {
            return Ok(Done::Accepted(Err(Error::Reset)));
        };
        if listener.ready.is_empty() && listener.stop == Some(Stop::Dry) && !listener.armed {
            accept_dry(listener);
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
        if !is_ready(&listener.fd) {
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

    pub(super) fn connect(&mut self, address: SocketAddr) -> Result<SocketId, Errno> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if fd.as_raw_fd() >= self.descriptors_max {
            return Err(Errno::MFILE);
        }
        let address = Box::new(SocketAddrAny::from(address));
        let (pointer, len) = (address.as_ptr().cast(), address.addr_len());
        let entry = opcode::Connect::new(types::Fd(fd.as_raw_fd()), pointer, len).build();
        let id = self.insert(fd);
        if let Some(socket) = self.sockets.get_mut(key(id.0)) {
            socket.tx = Tx::Connecting(address);
        }
        self.push(entry, id.0 | TX);
        Ok(id)
    }

    /// A connect has ended, or there is room to send.
    pub(super) fn sent_or_connected(&mut self, bits: u64, completion: Completion, pool: &Pool, told: &mut Vec<Owner>) {
        let Some(socket) = self.sockets.get_mut(key(bits)) else { return };
        let was = std::mem::replace(&mut socket.tx, Tx::Idle);
        if socket.closing.is_some() {
            return self.let_go(SocketId(bits));
        }
        let Some(id) = socket.send else { return };
        match was {
            Tx::Connecting(address) => {
                drop(address);
                socket.send = None;
                let id_of_socket = SocketId(bits);
                let outcome = completion.error().map_or(Ok(id_of_socket), |errno| Err(errno.into()));
                if outcome.is_err() {
                    self.close(id_of_socket, Close::Graceful);
                }
                if self.ops.run(id).is_some() {
                    told.extend(self.ops.finish(id, Done::Connected(outcome)));
                }
            }
            Tx::Polling | Tx::Idle => self.carry_on(id, pool, told),
        }
    }

    pub(super) fn receive(&mut self, id: SocketId, target: Target, pool: &Pool) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Received(Err(Error::Reset))) };
        let Some(early) = socket.early.take() else { return Err(self.arm_receive(id, target)) };
        let outcome = match (early, target) {
            (Early::Spare(mut spare), Target::Behind(mut buf)) => {
                let count = spare.bytes().len().min(buf.spare_len());
                let fits = buf.push(&spare.bytes()[..count]);
                debug_assert!(fits, "as much as there is room for");
                spare.advance(count);
                if spare.bytes().is_empty() {
                    self.forget(Some(Early::Spare(spare)));
                } else {
                    socket.early = Some(Early::Spare(spare));
                }
                Ok(Received::Data(buf))
            }
            (Early::Spare(spare), Target::Fresh(class)) => {
                let group = spare.class();
                match pool.charge(spare) {
                    Ok(buf) => {
                        self.settle(group);
                        Ok(Received::Data(buf))
                    }
                    Err(spare) => {
                        socket.early = Some(Early::Spare(spare));
                        return Err((Armed::Receive(id, Target::Fresh(class)), Wait::Charge(group)));
                    }
                }
            }
            (Early::Buf(buf), _) => Ok(Received::Data(buf)),
            (Early::End(None), Target::Behind(buf)) => Ok(Received::End(Some(buf))),
            (Early::End(buf), _) => Ok(Received::End(buf)),
            (Early::Failed(error), _) => Err(error),
        };
        if let Some(socket) = self.sockets.get_mut(key(id.0)) {
            (socket.receive, socket.ticket) = (None, 0);
        }
        Ok(Done::Received(outcome))
    }

    /// Has the kernel receive, unless it does.
    fn arm_receive(&mut self, id: SocketId, target: Target) -> (Armed, Wait) {
        let flying = self.flying;
        let Some(socket) = self.sockets.get_mut(key(id.0)) else {
            return (Armed::Receive(id, target), Wait::Completion);
        };
        if !matches!(socket.rx, Rx::Idle) {
            return (Armed::Receive(id, target), Wait::Completion);
        }
        if flying >= super::FLYING_MAX {
            return (Armed::Receive(id, target), Wait::Room);
        }
        let fd = types::Fd(socket.fd.as_raw_fd());
        // Looking first would find nothing, unless the last receive left something.
        let look = if std::mem::take(&mut socket.nonempty) { 0 } else { POLL_FIRST };
        let (entry, target) = match target {
            Target::Fresh(class) => {
                socket.rx = Rx::Armed(class);
                let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0).ioprio(look);
                let entry = entry.buf_group(Window::group(class)).build().flags(squeue::Flags::BUFFER_SELECT);
                (entry, Target::Fresh(class))
            }
            Target::Behind(mut buf) => {
                let memory = buf.spare_mut();
                let (pointer, len) = (memory.as_mut_ptr(), memory.len() as u32);
                socket.rx = Rx::Behind(buf, Wanted::Yes);
                (opcode::Recv::new(fd, pointer, len).ioprio(look).build(), Target::Fresh(Class::Head))
            }
        };
        self.push(entry, id.0 | RX);
        (Armed::Receive(id, target), Wait::Completion)
    }

    pub(super) fn received(&mut self, bits: u64, completion: Completion, pool: &Pool, told: &mut Vec<Owner>) {
        let mut taken = completion.buffer().and_then(|number| self.take_buffer(bits, number, completion.result));
        if completion.error().is_some() {
            // Some kernels take a buffer for a receive that then fails.
            self.forget(taken.take());
        }
        let Some(socket) = self.sockets.get_mut(key(bits)) else { return self.forget(taken) };
        let rx = std::mem::replace(&mut socket.rx, Rx::Idle);
        socket.nonempty = completion.nonempty();
        if socket.closing.is_some() {
            self.forget(taken);
            return self.let_go(SocketId(bits));
        }
        let window = if let Rx::Armed(class) = rx { Some(class) } else { None };
        let behind = match rx {
            Rx::Behind(buf, Wanted::Yes) => Some(buf),
            Rx::Behind(_, Wanted::No) | Rx::Armed(_) | Rx::Idle => None,
        };
        let mut wait = Wait::Completion;
        let mut again = None;
        let early = match (completion.error(), taken, behind) {
            (None, None, Some(buf)) if completion.result > 0 => Some(grown(buf, completion.result)),
            (None, Some(Early::Spare(spare)), _) if completion.result > 0 => Some(Early::Spare(spare)),
            (None, taken, behind) => {
                let failed = socket.failed;
                // What was received for a buffer that is gone is lost with it, and says nothing of an end.
                let ended = completion.result == 0;
                self.forget(taken);
                ended.then(|| failed.map_or(Early::End(behind), Early::Failed))
            }
            (Some(Errno::NOBUFS), ..) if let Some(class) = window => {
                wait = Wait::Window(class);
                None
            }
            (Some(Errno::CANCELED | Errno::AGAIN | Errno::INTR), _, behind) => {
                again = behind;
                None
            }
            (Some(errno), ..) => {
                socket.failed = Some(errno.into());
                Some(Early::Failed(errno.into()))
            }
        };
        let Some(socket) = self.sockets.get_mut(key(bits)) else { return };
        socket.early = early;
        let Some(id) = socket.receive else { return };
        if let Some(buf) = again
            && let Some(Armed::Receive(..)) = self.ops.run(id)
        {
            self.ops.rearm(id, Armed::Receive(SocketId(bits), Target::Behind(buf)));
        }
        match wait {
            Wait::Completion => self.carry_on(id, pool, told),
            starved => self.note_wait(id, &starved),
        }
    }

    pub(super) fn send(&mut self, id: SocketId, pieces: Pieces) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Sent(Err(Error::Reset), pieces)) };
        if matches!(socket.tx, Tx::Polling) {
            return Err((Armed::Send(id, pieces), Wait::Completion));
        }
        let outcome = loop {
            match write(&socket.fd, &pieces) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    socket.tx = Tx::Polling;
                    let fd = types::Fd(socket.fd.as_raw_fd());
                    let entry = opcode::PollAdd::new(fd, u32::from(PollFlags::OUT.bits())).build();
                    self.push(entry, id.0 | TX);
                    return Err((Armed::Send(id, pieces), Wait::Completion));
                }
                Ok(count) => break Ok(count),
                // Says only that this direction is over: what the peer sent and ended may still be whole.
                Err(Errno::PIPE) => break Err(Error::Reset),
                Err(errno) => {
                    socket.failed = Some(errno.into());
                    break Err(errno.into());
                }
            }
        };
        socket.send = None;
        Ok(Done::Sent(outcome, pieces))
    }

    pub(super) fn insert(&mut self, fd: OwnedFd) -> SocketId {
        // Heads and last pieces are written whole; waiting for more would only delay them.
        let _unsupported = sockopt::set_tcp_nodelay(&fd, true);
        SocketId(self.sockets.insert(Socket::new(fd)).to_bits())
    }

    /// Closes a socket for good once it is closed above and the kernel does nothing with it.
    pub(super) fn let_go(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(key(id.0)) else { return };
        let Some(how) = socket.closing.filter(|_| socket.is_quiet()) else { return };
        if let Some(socket) = self.sockets.remove(key(id.0)) {
            close(socket.fd, how);
        }
        self.closing -= 1;
    }

    /// Drops what was received for nobody.
    pub(super) fn forget(&mut self, early: Option<Early>) {
        if let Some(Early::Spare(spare)) = early {
            self.settle(spare.class());
        }
    }

    fn settle(&mut self, class: Class) {
        if let Some(windows) = &mut self.windows {
            windows[class as usize].settle();
        }
    }

    /// The buffer that a receive of this socket chose. Which of the windows it is from, the socket's entry told.
    fn take_buffer(&mut self, bits: u64, number: u16, result: i32) -> Option<Early> {
        let Rx::Armed(class) = self.sockets.get(key(bits))?.rx else { return None };
        let window = &mut self.windows.as_mut()?[class as usize];
        window.take(number, usize::try_from(result).unwrap_or(0)).map(Early::Spare)
    }
}

fn grown(mut buf: Buf, count: i32) -> Early {
    buf.grow(count as usize);
    Early::Buf(buf)
}

/// Closes a connection: what its peer sees follows from `how`.
pub(super) fn close(fd: OwnedFd, how: Close) {
    if how == Close::Reset {
        // Failing means that the connection is gone already; the peer knows.
        let _gone = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    }
}

/// Closes a connection that was accepted for nobody.
pub(super) fn reclaim(descriptor: i32) {
    // SAFETY: the kernel has made this descriptor for a completion that nobody else has seen.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

/// Takes every connection that has arrived.
fn accept_dry(listener: &mut Listener) {
    while listener.ready.len() < ACCEPTED_MAX && is_ready(&listener.fd) {
        match accept_connection(&listener.fd) {
            Ok(fd) => listener.ready.push_back(Ok(fd)),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => break,
        }
    }
}

/// For a moment at most, whatever has become of the connection that was seen to wait.
pub(super) fn accept_connection(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    net::accept_with(listener, SocketFlags::CLOEXEC)
}

/// Whether a connection waits; the socket itself would wait for one.
fn is_ready(fd: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

fn write(fd: &OwnedFd, pieces: &Pieces) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if let Some(only) = pieces.only() {
        return net::send(fd, only.bytes(), flags);
    }
    let mut slices = [(); PIECES_MAX].map(|()| IoSlice::new(&[]));
    match pieces.gather(&mut slices) {
        [] => Ok(0),
        [only] => net::send(fd, only, flags),
        several => net::sendmsg(fd, several, &mut SendAncillaryBuffer::default(), flags),
    }
}

/// `IORING_RECVSEND_POLL_FIRST`
const POLL_FIRST: u16 = 1;
