//! How connections come, go, and carry bytes.

use super::{Close, Completion, Done, Early, Error, Rx, Socket, SocketId, TX, Tx, Uring, Wait, Wanted, Window, key};
use crate::runtime::buffer::{Buf, Class, Pool, Spare};
use crate::runtime::driver::uring::RX;
use crate::runtime::op::{Armed, OpId, Owner, Pieces, Received, Target};
use io_uring::{opcode, squeue, types};
use rustix::event::PollFlags;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;
use std::time::Duration;

impl Uring {
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
            Tx::Polling | Tx::Idle if self.budget.is_spent() => self.put_off.push_back(id),
            Tx::Polling | Tx::Idle => {
                self.budget.spend();
                self.carry_on(id, pool, told);
            }
        }
    }

    /// The usual operation, without the detours of the others.
    pub(super) fn submit_receive(
        &mut self,
        owner: Owner,
        id: SocketId,
        target: Target,
        pool: &Pool,
    ) -> Result<Done, OpId> {
        match self.hand_over(id, target, pool) {
            Ok(received) => {
                self.budget.spend();
                Ok(Done::Received(received))
            }
            Err((target, wait)) => {
                let op = self.ops.arm(owner, Armed::Receive(id, target));
                if let Some(socket) = self.sockets.get_mut(key(id.0)) {
                    debug_assert!(socket.receive.is_none(), "one receive a socket");
                    socket.receive = Some(op);
                }
                self.note_wait(op, &wait);
                Err(op)
            }
        }
    }

    /// What a receive brought lies with its socket until its owner asks.
    pub fn take(&mut self, id: OpId, pool: &Pool) -> Option<Done> {
        let Some(&Armed::Receive(socket, Target::Fresh(class))) = self.ops.armed(id) else {
            return self.ops.take(id);
        };
        self.sockets.get(key(socket.0)).filter(|socket| socket.has_early())?;
        match self.hand_over(socket, Target::Fresh(class), pool) {
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

    /// What the last receive left is read by a system call of its own, which is less than a turn for it.
    pub fn receive_at_hand(&mut self, id: SocketId, class: Class, pool: &Pool) -> Option<Result<Received, Error>> {
        if self.budget.is_spent() {
            return None;
        }
        let socket = self.sockets.get_mut(key(id.0)).filter(|socket| socket.receive.is_none())?;
        if socket.early.is_some() {
            return self.hand_over(id, Target::Fresh(class), pool).ok();
        }
        if !socket.nonempty || !matches!(socket.rx, Rx::Idle) {
            return None;
        }
        self.budget.spend();
        let mut buf = pool.take(class)?;
        match net::recv(&socket.fd, buf.spare_mut(), RecvFlags::DONTWAIT).map(|(_, count)| count) {
            Ok(0) => Some(socket.failed.map_or(Ok(Received::End(None)), Err)),
            Ok(count) => {
                socket.nonempty = count == buf.spare_len();
                buf.grow(count);
                Some(Ok(Received::Data(buf)))
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                socket.nonempty = false;
                None
            }
            Err(errno) => {
                socket.failed = Some(errno.into());
                Some(Err(errno.into()))
            }
        }
    }

    pub(super) fn receive(&mut self, id: SocketId, target: Target, pool: &Pool) -> Result<Done, (Armed, Wait)> {
        let handed = self.hand_over(id, target, pool);
        handed.map(Done::Received).map_err(|(target, wait)| (Armed::Receive(id, target), wait))
    }

    /// What the socket has received already; has the kernel receive if that is nothing.
    pub(super) fn hand_over(
        &mut self,
        id: SocketId,
        target: Target,
        pool: &Pool,
    ) -> Result<Result<Received, Error>, (Target, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Err(Error::Reset)) };
        let Some(early) = socket.early.take() else { return Err(self.arm_receive(id, target)) };
        let ticket = std::mem::take(&mut socket.ticket);
        let receive = socket.receive.take();
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
                        (socket.early, socket.ticket, socket.receive) = (Some(Early::Spare(spare)), ticket, receive);
                        return Err((Target::Fresh(class), Wait::Charge(group)));
                    }
                }
            }
            (Early::Buf(mut bytes), Target::Behind(mut buf)) => {
                let count = bytes.len().min(buf.spare_len());
                let fits = buf.push(&bytes.bytes()[..count]);
                debug_assert!(fits, "as much as there is room for");
                bytes.advance(count);
                socket.early = (!bytes.is_empty()).then_some(Early::Buf(bytes));
                Ok(Received::Data(buf))
            }
            (Early::Buf(buf), Target::Fresh(_)) => Ok(Received::Data(buf)),
            (Early::End(None), Target::Behind(buf)) => Ok(Received::End(Some(buf))),
            (Early::End(buf), _) => Ok(Received::End(buf)),
            (Early::Failed(error), _) => Err(error),
        };
        Ok(outcome)
    }

    /// Has the kernel receive, unless it does.
    fn arm_receive(&mut self, id: SocketId, target: Target) -> (Target, Wait) {
        let flying = self.flying;
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return (target, Wait::Completion) };
        if !matches!(socket.rx, Rx::Idle) {
            return (target, Wait::Completion);
        }
        if flying >= super::FLYING_MAX {
            return (target, Wait::Room);
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
        (target, Wait::Completion)
    }

    pub(super) fn received(&mut self, bits: u64, completion: Completion, pool: &Pool, told: &mut Vec<Owner>) {
        let mut taken = completion.buffer().and_then(|number| self.take_buffer(bits, number, completion.result));
        if completion.result <= 0 {
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
        let (receive, parked) = (socket.receive, socket.ticket > 0);
        let taken = match taken {
            Some(Early::Spare(spare)) if !parked && receive.is_none_or(|id| self.ops.is_for_fresh(id)) => {
                let Err(spare) = self.deliver(bits, spare, pool) else {
                    return told.extend(receive.and_then(|id| self.ops.owner(id)));
                };
                Some(Early::Spare(spare))
            }
            taken => taken,
        };
        let Some(socket) = self.sockets.get_mut(key(bits)) else { return self.forget(taken) };
        let behind = match rx {
            Rx::Behind(buf, Wanted::Yes) => Some(buf),
            Rx::Behind(_, Wanted::No) | Rx::Armed(_) | Rx::Idle => None,
        };
        let mut wait = Wait::Completion;
        let mut again = None;
        let early = match (completion.error(), taken, behind) {
            (None, None, Some(buf)) if completion.result > 0 => Some(grown(buf, completion.result)),
            (None, Some(spare), _) => Some(spare),
            (None, None, behind) => {
                let failed = socket.failed;
                // What was received for a buffer that is gone is lost with it, and says nothing of an end.
                let ended = completion.result == 0;
                ended.then(|| failed.map_or(Early::End(behind), Early::Failed))
            }
            (Some(Errno::NOBUFS), ..) if let Some(class) = window => {
                wait = Wait::Window(class);
                // What it came for is here still: it looks before those who only begin to wait.
                socket.nonempty = true;
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

    /// The usual end of a receive: its bytes count as in use at once, so that the window has its place back however
    /// late somebody comes for them, and lie here until then.
    fn deliver(&mut self, bits: u64, spare: Spare, pool: &Pool) -> Result<(), Spare> {
        let class = spare.class();
        let buf = pool.charge(spare)?;
        if let Some(socket) = self.sockets.get_mut(key(bits)) {
            socket.early = Some(Early::Buf(buf));
        }
        self.settle(class);
        Ok(())
    }

    pub fn send_at_once(&mut self, id: SocketId, pieces: &Pieces) -> Option<Result<usize, Error>> {
        if self.budget.is_spent() {
            return None;
        }
        let socket = self.sockets.get_mut(key(id.0)).filter(|socket| matches!(socket.tx, Tx::Idle))?;
        debug_assert!(socket.send.is_none(), "one send a socket");
        let Some(sent) = socket.write(pieces) else {
            self.wait_for_room(id);
            return None;
        };
        self.budget.spend();
        Some(sent)
    }

    pub(super) fn send(&mut self, id: SocketId, pieces: Pieces) -> Result<Done, (Armed, Wait)> {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return Ok(Done::Sent(Err(Error::Reset), pieces)) };
        if matches!(socket.tx, Tx::Polling) {
            return Err((Armed::Send(id, pieces), Wait::Completion));
        }
        let Some(outcome) = socket.write(&pieces) else {
            self.wait_for_room(id);
            return Err((Armed::Send(id, pieces), Wait::Completion));
        };
        socket.send = None;
        Ok(Done::Sent(outcome, pieces))
    }

    fn wait_for_room(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(key(id.0)) else { return };
        socket.tx = Tx::Polling;
        let fd = types::Fd(socket.fd.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, u32::from(PollFlags::OUT.bits())).build();
        self.push(entry, id.0 | TX);
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

/// `IORING_RECVSEND_POLL_FIRST`
const POLL_FIRST: u16 = 1;
