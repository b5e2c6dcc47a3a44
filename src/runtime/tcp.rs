//! A TCP connection of this shard.

use super::buffer::{Buf, Class};
use super::core::Runtime;
use super::driver::{Close, Parcel};
use super::op::{Done, Error, Op, OpId, Owner, Pieces, Received, SocketId, Target};
use super::operation::{Operation, operation, resume};
use crate::stdx::time::Mono;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A connection; dropping it cancels its operations and closes it.
pub struct TcpStream {
    runtime: Runtime,
    socket: SocketId,
    /// A receive that was armed while the connection was idle, and becomes the next receive.
    idle_receive: Cell<Option<OpId>>,
    close: Cell<Close>,
}

impl TcpStream {
    pub(super) fn new(runtime: Runtime, socket: SocketId) -> Self {
        Self { runtime, socket, idle_receive: Cell::new(None), close: Cell::new(Close::Graceful) }
    }

    /// Connects, or fails with `Error::Deadline` at `deadline`.
    pub async fn connect(runtime: &Runtime, address: SocketAddr, deadline: Mono) -> Result<Self, Error> {
        match operation(runtime, Op::Connect(address), deadline).await? {
            Done::Connected(socket) => Ok(Self::new(runtime.clone(), socket?)),
            other => unreachable!("a connect ended as {other:?}"),
        }
    }

    /// The next bytes, in a fresh buffer.
    pub fn receive(&self, class: Class, deadline: Mono) -> Receive<'_> {
        Receive(match self.idle_receive.take() {
            Some(id) => resume(&self.runtime, id, deadline),
            None => operation(&self.runtime, Op::Receive(self.socket, Target::Fresh(class)), deadline),
        })
    }

    /// The next bytes if they are here already and there is memory for them; nothing is waited for.
    pub fn receive_at_hand(&self, class: Class) -> Option<Result<Received, Error>> {
        if self.idle_receive.get().is_some() {
            return self.watched();
        }
        self.runtime.receive_at_hand(self.socket, class)
    }

    /// As far as is known the peer has said nothing that was not received. What comes in this moment nobody knows.
    pub fn is_silent(&self) -> bool {
        self.runtime.is_silent(self.socket)
    }

    /// The next bytes, behind those that `buf` holds. It must have spare memory.
    pub fn receive_behind(&self, buf: Buf, deadline: Mono) -> Receive<'_> {
        debug_assert!(buf.spare_len() > 0 && self.idle_receive.get().is_none());
        Receive(operation(&self.runtime, Op::Receive(self.socket, Target::Behind(buf)), deadline))
    }

    /// Sends all of it. Fails with `Error::Deadline` at `deadline`, or when no byte could be sent for `stall_max`.
    pub fn send_all(&self, pieces: Pieces, stall_max: Duration, deadline: Mono) -> SendAll<'_> {
        SendAll { stream: self, stage: Stage::Submit(pieces), stall_max, deadline }
    }

    /// Arms a receive whose completion is an event for `token`, and which becomes the next receive. Returns what it
    /// brought if it was over at once: then nothing is armed.
    pub fn arm_idle(&self, class: Class, token: u64) -> Option<Result<Received, Error>> {
        if let Some(id) = self.idle_receive.get() {
            self.runtime.set_owner(id, Owner::Token(token));
            return self.watched();
        }
        self.arm(class, Owner::Token(token))
    }

    /// Arms a receive on behalf of this coroutine, which asks `watched` what it brought and otherwise does something
    /// else; it becomes the next receive. Returns what it brought if it was over at once.
    pub fn watch(&self, class: Class) -> Option<Result<Received, Error>> {
        if self.idle_receive.get().is_some() {
            return self.watched();
        }
        let task = self.runtime.current().expect("only coroutines watch");
        self.arm(class, Owner::Task(task))
    }

    /// The next bytes, in a fresh buffer, by a receive that stays armed and becomes the next one if this is given up or
    /// is not over by `deadline`.
    pub fn receive_kept(&self, class: Class, deadline: Mono) -> impl Future<Output = Result<Received, Error>> {
        poll_fn(move |_| match self.watch(class) {
            Some(received) => Poll::Ready(received),
            None if self.runtime.now().mono >= deadline => {
                Poll::Ready(Err(self.idle_receive.get().map_or(Error::Deadline, |id| self.runtime.late(id))))
            }
            None => {
                self.runtime.wake_by(deadline);
                Poll::Pending
            }
        })
    }

    /// What the receive that `watch` or `arm_idle` armed has brought, if it is over.
    pub fn watched(&self) -> Option<Result<Received, Error>> {
        let done = self.runtime.take(self.idle_receive.get()?)?;
        self.idle_receive.set(None);
        match done {
            Done::Received(received) => Some(received),
            other => unreachable!("a receive ended as {other:?}"),
        }
    }

    fn arm(&self, class: Class, owner: Owner) -> Option<Result<Received, Error>> {
        debug_assert!(self.idle_receive.get().is_none());
        match self.runtime.submit(Op::Receive(self.socket, Target::Fresh(class)), owner) {
            Ok(Done::Received(received)) => Some(received),
            Ok(other) => unreachable!("a receive ended as {other:?}"),
            Err(id) => {
                self.idle_receive.set(Some(id));
                None
            }
        }
    }

    /// Takes the connection out of this event loop, for another one of this process. Gives it back if it has been used.
    pub fn release(self) -> Result<Parcel, Self> {
        // What is dropped afterwards closes nothing: the socket is no longer this driver's.
        self.runtime.release(self.socket).ok_or(self)
    }

    /// A connection that another event loop of this process has released.
    pub fn adopt(runtime: &Runtime, parcel: Parcel) -> Self {
        Self::new(runtime.clone(), runtime.adopt(parcel))
    }

    /// Tells the peer that no more bytes follow; receiving goes on.
    pub fn shutdown_write(&self) {
        self.runtime.shutdown_write(self.socket);
    }

    /// From now on dropping the connection resets it: the peer must not take what it got for the whole.
    pub fn reset_on_drop(&self) {
        self.close.set(Close::Reset);
    }

    /// The peer has got the whole: dropping the connection ends it well again.
    pub fn end_on_drop(&self) {
        self.close.set(Close::Graceful);
    }
}

/// A receive under way. Dropping it cancels it.
pub struct Receive<'a>(Operation<'a>);

impl Future for Receive<'_> {
    type Output = Result<Received, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(Done::Received(received)) => Poll::Ready(received),
            Ok(other) => unreachable!("a receive ended as {other:?}"),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// A send under way. Dropping it cancels it. By hand, because nearly every send is over at its first poll.
pub struct SendAll<'a> {
    stream: &'a TcpStream,
    stage: Stage,
    stall_max: Duration,
    deadline: Mono,
}

enum Stage {
    Submit(Pieces),
    /// Until this time some byte must go.
    Armed(OpId, Mono),
    Over,
}

impl Future for SendAll<'_> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let runtime = &this.stream.runtime;
        if let Some(over) = this.begin() {
            this.stage = Stage::Over;
            return Poll::Ready(over);
        }
        loop {
            let done = match std::mem::replace(&mut this.stage, Stage::Over) {
                Stage::Submit(pieces) => {
                    let task = runtime.current().expect("sends are awaited inside coroutines");
                    match runtime.submit(Op::Send(this.stream.socket, pieces), Owner::Task(task)) {
                        Ok(done) => done,
                        Err(id) => {
                            this.stage = Stage::Armed(id, this.deadline.min(runtime.now().mono + this.stall_max));
                            continue;
                        }
                    }
                }
                Stage::Armed(id, by) => match runtime.take(id) {
                    Some(done) => done,
                    None if runtime.now().mono >= by => {
                        runtime.cancel(id);
                        return Poll::Ready(Err(Error::Deadline));
                    }
                    None => {
                        this.stage = Stage::Armed(id, by);
                        runtime.wake_by(by);
                        return Poll::Pending;
                    }
                },
                Stage::Over => unreachable!("polled after it was over"),
            };
            let Done::Sent(sent, mut pieces) = done else { unreachable!("a send ended as {done:?}") };
            if let Some(over) = outcome(sent, &mut pieces) {
                return Poll::Ready(over);
            }
            this.stage = Stage::Submit(pieces);
        }
    }
}

impl SendAll<'_> {
    /// Sends what there is room for, unless that was begun before. Says how it went if that is all.
    fn begin(&mut self) -> Option<Result<(), Error>> {
        let Stage::Submit(pieces) = &mut self.stage else { return None };
        if pieces.is_empty() {
            return Some(Ok(()));
        }
        let sent = self.stream.runtime.send_at_once(self.stream.socket, pieces)?;
        outcome(sent, pieces)
    }
}

/// How a send went of which so much went out, if that is all. What is left stays in `pieces`.
fn outcome(sent: Result<usize, Error>, pieces: &mut Pieces) -> Option<Result<(), Error>> {
    match sent {
        Err(error) => Some(Err(error)),
        Ok(sent) if sent == pieces.len() => Some(Ok(())),
        Ok(sent) => {
            pieces.advance(sent);
            pieces.shrink();
            None
        }
    }
}

impl Drop for SendAll<'_> {
    fn drop(&mut self) {
        if let Stage::Armed(id, _) = self.stage {
            self.stream.runtime.cancel(id);
        }
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if let Some(id) = self.idle_receive.take() {
            self.runtime.cancel(id);
        }
        self.runtime.close(self.socket, self.close.get());
    }
}
