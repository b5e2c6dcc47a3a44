//! A TCP connection of this shard.

use super::buffer::{Buf, Class};
use super::core::Runtime;
use super::driver::Close;
use super::op::{Done, Error, Op, OpId, Owner, Pieces, Received, SocketId, Target};
use super::operation::operation;
use crate::stdx::time::Mono;
use std::cell::Cell;
use std::net::SocketAddr;
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
    pub async fn receive(&self, class: Class, deadline: Mono) -> Result<Received, Error> {
        let Some(id) = self.idle_receive.take() else {
            return self.receive_to(Target::Fresh(class), deadline).await;
        };
        match super::operation::resume(&self.runtime, id, deadline).await? {
            Done::Received(received) => received,
            other => unreachable!("a receive ended as {other:?}"),
        }
    }

    /// The next bytes, behind those that `buf` holds. It must have spare memory.
    pub async fn receive_behind(&self, buf: Buf, deadline: Mono) -> Result<Received, Error> {
        debug_assert!(buf.spare_len() > 0 && self.idle_receive.get().is_none());
        self.receive_to(Target::Behind(buf), deadline).await
    }

    async fn receive_to(&self, target: Target, deadline: Mono) -> Result<Received, Error> {
        match operation(&self.runtime, Op::Receive(self.socket, target), deadline).await? {
            Done::Received(received) => received,
            other => unreachable!("a receive ended as {other:?}"),
        }
    }

    /// Sends all of it. Fails with `Error::Deadline` at `deadline`, or when no byte could be sent for `stall_max`.
    pub async fn send_all(&self, mut pieces: Pieces, stall_max: Duration, deadline: Mono) -> Result<(), Error> {
        while !pieces.is_empty() {
            let by = deadline.min(self.runtime.now().mono + stall_max);
            let done = operation(&self.runtime, Op::Send(self.socket, pieces), by).await?;
            let Done::Sent(sent, back) = done else { unreachable!("a send ended as {done:?}") };
            pieces = back;
            pieces.advance(sent?);
            if !pieces.is_empty() {
                pieces.shrink();
            }
        }
        Ok(())
    }

    /// Arms a receive whose completion is an event for `token`, and which becomes the next receive. Returns what it
    /// brought if it was over at once: then nothing is armed.
    pub fn arm_idle(&self, class: Class, token: u64) -> Option<Result<Received, Error>> {
        debug_assert!(self.idle_receive.get().is_none());
        match self.runtime.submit(Op::Receive(self.socket, Target::Fresh(class)), Owner::Token(token)) {
            Ok(Done::Received(received)) => Some(received),
            Ok(other) => unreachable!("a receive ended as {other:?}"),
            Err(id) => {
                self.idle_receive.set(Some(id));
                None
            }
        }
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

impl Drop for TcpStream {
    fn drop(&mut self) {
        if let Some(id) = self.idle_receive.take() {
            self.runtime.cancel(id);
        }
        self.runtime.close(self.socket, self.close.get());
    }
}
