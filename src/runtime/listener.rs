//! A listening socket of this shard.

use super::core::Runtime;
use super::op::{Done, Error, ListenerId, Op};
use super::operation::operation;
use super::tcp::TcpStream;
use crate::stdx::time::Mono;
use std::net::SocketAddr;

/// Dropping it closes the socket, and with it the connections that nobody has accepted.
pub struct TcpListener {
    runtime: Runtime,
    id: ListenerId,
}

impl TcpListener {
    pub fn bind(runtime: &Runtime, address: SocketAddr) -> Result<Self, Error> {
        Ok(Self { runtime: runtime.clone(), id: runtime.listen(address)? })
    }

    /// Where it listens: the address it was bound to, with the port the kernel chose if that was 0.
    pub fn address(&self) -> SocketAddr {
        self.runtime.listener_address(self.id).expect("it is closed only when dropped")
    }

    /// The next connection and its peer. `Error::Exhausted` means that one was turned away for want of a descriptor.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), Error> {
        match operation(&self.runtime, Op::Accept(self.id), Mono::NEVER).await? {
            Done::Accepted(accepted) => {
                accepted.map(|(socket, peer)| (TcpStream::new(self.runtime.clone(), socket), peer))
            }
            other => unreachable!("an accept ended as {other:?}"),
        }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.runtime.close_listener(self.id);
    }
}
