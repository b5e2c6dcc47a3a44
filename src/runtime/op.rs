//! Operations: what a shard asks of a driver, and what comes back.
//!
//! An operation owns its memory from `submit` to its completion, whatever becomes of who asked for it.
//!
//! ```text
//!   submit --> Armed --> Done --> taken by its owner
//!                |         |
//!                +---------+--> cancelled: the driver reclaims buffers, sockets and accepted connections
//! ```

use super::buffer::{Buf, Class};
use super::executor::TaskId;
use crate::stdx::slab::{Key, Slab};
use rustix::io::{Errno, IoSlice};
use std::net::SocketAddr;

/// Names an operation until its completion is taken or it is cancelled.
pub type OpId = Key<Slot>;

/// A connected socket of one driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketId(pub(super) u64);

/// A listening socket of one driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenerId(pub(super) u64);

/// A request to a driver. At most one receive and one send are under way on a socket.
#[derive(Debug)]
pub enum Op {
    Accept(ListenerId),
    Connect(SocketAddr),
    Receive(SocketId, Target),
    Send(SocketId, Pieces),
}

/// Where received bytes go.
#[derive(Debug)]
pub enum Target {
    /// A buffer that the driver takes from the pool once there is something to put into it.
    Fresh(Class),
    /// The spare memory of this buffer.
    Behind(Buf),
}

/// What a send writes, in order; gathered into one call.
#[derive(Debug, Default)]
pub struct Pieces {
    first: Option<Buf>,
    /// Nearly always nothing, which takes no memory.
    rest: Vec<Buf>,
}

/// The end of an operation.
#[derive(Debug)]
pub enum Done {
    /// A new connection and the address it came from.
    Accepted(Result<(SocketId, SocketAddr), Error>),
    Connected(Result<SocketId, Error>),
    Received(Result<Received, Error>),
    /// How many bytes went out, at least one; fewer than asked is usual. The pieces come back as they were.
    Sent(Result<usize, Error>, Pieces),
}

/// What a receive brought.
#[derive(Debug)]
pub enum Received {
    Data(Buf),
    /// The peer will send no more. An end of stream uses no buffer: only what the receive came with is returned.
    End(Option<Buf>),
}

/// Why an operation failed, as far as anyone above cares.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("connection reset by peer")]
    Reset,
    #[error("connection refused")]
    Refused,
    #[error("host or network unreachable")]
    Unreachable,
    #[error("no answer from the peer")]
    TimedOut,
    /// The time that the caller gave is over; the operation was cancelled.
    #[error("deadline passed")]
    Deadline,
    #[error("out of descriptors, memory or ports")]
    Exhausted,
    /// The listener was told to stop, and has brought what it had to bring.
    #[error("the listener has stopped")]
    Stopped,
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Other(i32),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Self::Reset,
            Errno::CONNREFUSED => Self::Refused,
            Errno::HOSTUNREACH | Errno::NETUNREACH => Self::Unreachable,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => Self::Exhausted,
            other => Self::Other(other.raw_os_error()),
        }
    }
}

/// Who is told of a completion or a timer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// A coroutine, which is polled again.
    Task(TaskId),
    /// A record of the shard, which finds it by this number.
    Token(u64),
}

/// The operations under way on one driver.
#[derive(Debug, Default)]
pub struct OpTable {
    slots: Slab<Slot>,
}

#[derive(Debug)]
pub struct Slot {
    owner: Owner,
    state: State,
}

#[derive(Debug)]
enum State {
    Armed(Armed),
    Done(Done),
    /// Its operation is being carried out at this moment.
    Running,
}

/// An operation that a driver has begun and not finished.
#[derive(Debug)]
pub(super) enum Armed {
    Accept(ListenerId),
    Connect(SocketId),
    Receive(SocketId, Target),
    Send(SocketId, Pieces),
}

/// What a cancelled operation held, for the driver to reclaim. Buffers have gone back to the pool.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Reclaimed {
    Nothing,
    Accept(ListenerId),
    Receive(SocketId),
    Send(SocketId),
    /// One that nobody has, or that is not connected yet.
    Socket(SocketId),
}

impl OpTable {
    /// Operations whose completion has not been taken.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn arm(&mut self, owner: Owner, armed: Armed) -> OpId {
        self.slots.insert(Slot { owner, state: State::Armed(armed) })
    }

    /// Takes an armed operation out to carry it out; `finish` or `rearm` follows.
    pub(super) fn run(&mut self, id: OpId) -> Option<Armed> {
        let slot = self.slots.get_mut(id)?;
        match std::mem::replace(&mut slot.state, State::Running) {
            State::Armed(armed) => Some(armed),
            other => {
                slot.state = other;
                None
            }
        }
    }

    pub(super) fn rearm(&mut self, id: OpId, armed: Armed) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.state = State::Armed(armed);
        }
    }

    /// Stores the completion and says who is to be told.
    pub(super) fn finish(&mut self, id: OpId, done: Done) -> Option<Owner> {
        let slot = self.slots.get_mut(id)?;
        slot.state = State::Done(done);
        Some(slot.owner)
    }

    /// The completion, if it is there; the operation is over then.
    pub fn take(&mut self, id: OpId) -> Option<Done> {
        if !matches!(self.slots.get(id)?.state, State::Done(_)) {
            return None;
        }
        match self.slots.remove(id)?.state {
            State::Done(done) => Some(done),
            State::Armed(_) | State::Running => None,
        }
    }

    /// The operation is over, and whoever asks has its completion.
    pub(super) fn end(&mut self, id: OpId) {
        self.slots.delete(id);
    }

    pub(super) fn owner(&self, id: OpId) -> Option<Owner> {
        self.slots.get(id).map(|slot| slot.owner)
    }

    /// The operation, if it is there and not over.
    pub(super) fn armed(&self, id: OpId) -> Option<&Armed> {
        match &self.slots.get(id)?.state {
            State::Armed(armed) => Some(armed),
            State::Done(_) | State::Running => None,
        }
    }

    /// A receive that anything may be handed to.
    pub(super) fn is_for_fresh(&self, id: OpId) -> bool {
        matches!(self.armed(id), Some(Armed::Receive(_, Target::Fresh(_))))
    }

    pub fn set_owner(&mut self, id: OpId, owner: Owner) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.owner = owner;
        }
    }

    pub(super) fn cancel(&mut self, id: OpId) -> Reclaimed {
        let Some(slot) = self.slots.remove(id) else { return Reclaimed::Nothing };
        match slot.state {
            State::Armed(Armed::Accept(listener)) => Reclaimed::Accept(listener),
            State::Armed(Armed::Receive(socket, _)) => Reclaimed::Receive(socket),
            State::Armed(Armed::Send(socket, _)) => Reclaimed::Send(socket),
            State::Armed(Armed::Connect(socket))
            | State::Done(Done::Connected(Ok(socket)) | Done::Accepted(Ok((socket, _)))) => Reclaimed::Socket(socket),
            State::Done(_) | State::Running => Reclaimed::Nothing,
        }
    }
}

impl Pieces {
    /// Those that there are of them.
    pub fn new<const COUNT: usize>(pieces: [Option<Buf>; COUNT]) -> Self {
        const { assert!(COUNT <= PIECES_MAX) };
        let mut pieces = pieces.into_iter().flatten();
        Self { first: pieces.next(), rest: pieces.collect() }
    }

    pub fn one(piece: Buf) -> Self {
        Self { first: Some(piece), rest: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.iter().map(Buf::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.iter().all(Buf::is_empty)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Buf> {
        self.first.iter().chain(&self.rest)
    }

    /// The only one there is.
    pub(super) fn only(&self) -> Option<&Buf> {
        self.first.as_ref().filter(|_| self.rest.is_empty())
    }

    /// Those that hold something, as one vectored write takes them.
    pub(super) fn gather<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>; PIECES_MAX]) -> &'b [IoSlice<'a>] {
        let mut count = 0;
        for buf in self.iter().filter(|buf| !buf.is_empty()) {
            slices[count] = IoSlice::new(buf.bytes());
            count += 1;
        }
        &slices[..count]
    }

    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// How many more there is room for.
    pub fn room(&self) -> usize {
        PIECES_MAX - self.count()
    }

    /// Puts others behind these. There must be room for them.
    pub fn extend(&mut self, others: Self) {
        for piece in others.first.into_iter().chain(others.rest) {
            assert!(self.room() > 0, "the caller has looked for room");
            match self.first {
                None => self.first = Some(piece),
                Some(_) => self.rest.push(piece),
            }
        }
    }

    /// Drops the first `count` bytes, and each piece whose bytes are all gone.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(first) = &mut self.first {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.first = if self.rest.is_empty() { None } else { Some(self.rest.remove(0)) };
        }
    }

    /// Moves what is left to small buffers where it fits them.
    pub fn shrink(&mut self) {
        self.first = self.first.take().map(Buf::shrink);
        self.rest = std::mem::take(&mut self.rest).into_iter().map(Buf::shrink).collect();
    }
}

/// A head, a piece of a body, and what ends it; or several pieces, and what ends them.
pub const PIECES_MAX: usize = 12;
