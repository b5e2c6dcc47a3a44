//! A listening socket of this shard.

use super::core::Runtime;
use super::driver::Stop;
use super::op::{Done, Error, ListenerId, Op};
use super::operation::operation;
use super::tcp::TcpStream;
use crate::stdx::time::Mono;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;

/// Where the connections of a listener come from.
#[derive(Debug)]
pub enum Socket {
    /// A socket of its own.
    Bind(SocketAddr),
    /// One that is bound. It may listen already, and does as soon as somebody accepts on it.
    Adopt(OwnedFd),
}

/// Dropping it closes the socket, and with it the connections that nobody has accepted.
pub struct TcpListener {
    runtime: Runtime,
    id: ListenerId,
}

impl TcpListener {
    pub fn bind(runtime: &Runtime, address: SocketAddr) -> Result<Self, Error> {
        Self::new(runtime, Socket::Bind(address)).map_err(|(error, _)| error)
    }

    /// With an error the socket is given back, to be tried again.
    pub fn new(runtime: &Runtime, socket: Socket) -> Result<Self, (Error, Socket)> {
        let id = match socket {
            Socket::Bind(address) => runtime.listen(address).map_err(|error| (error, Socket::Bind(address)))?,
            Socket::Adopt(socket) => {
                runtime.adopt_listener(socket).map_err(|(error, socket)| (error, Socket::Adopt(socket)))?
            }
        };
        Ok(Self { runtime: runtime.clone(), id })
    }

    /// Where it listens: the address it was bound to, with the port the kernel chose if that was 0.
    pub fn address(&self) -> SocketAddr {
        self.runtime.listener_address(self.id).expect("it is closed only when dropped")
    }

    /// From now on `accept` brings what `stop` says and then fails with `Error::Stopped`.
    pub fn stop(&self, stop: Stop) {
        self.runtime.stop_listener(self.id, stop);
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

/// The first socket of an address, which fails if anybody else is bound there. Until it listens the kernel sends nobody
/// there, and nobody else can be bound but by `bind`.
pub fn claim(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    bind_alone(&socket, address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    Ok(socket)
}

/// Another socket that shares its address with others of this process (`SO_REUSEPORT`). Until it listens the kernel
/// sends nobody there.
pub fn bind(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind_alone(&socket, address)?;
    Ok(socket)
}

/// Whether a connection waits to be accepted.
pub fn is_ready(listener: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

fn socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(family, SocketType::STREAM, flags, None)
}

/// Linux lets sockets with `SO_REUSEADDR` be bound to one address as long as none of them listens. It is needed beside
/// connections of an earlier process that linger (TIME_WAIT), so it is set for that alone, and off again until somebody
/// listens.
fn bind_alone(socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    match net::bind(socket, &address) {
        Err(Errno::ADDRINUSE) => {
            sockopt::set_socket_reuseaddr(socket, true)?;
            net::bind(socket, &address)?;
            sockopt::set_socket_reuseaddr(socket, false)
        }
        bound => bound,
    }
}

/// Who connects waits here from now on. One that listens already keeps the backlog that it has.
pub fn listen(socket: &OwnedFd) -> Result<(), Errno> {
    if sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    // Connections inherit it, so that those that linger are no obstacle to the next process.
    sockopt::set_socket_reuseaddr(socket, true)?;
    net::listen(socket, BACKLOG).inspect_err(|_| {
        let _still_claimed = sockopt::set_socket_reuseaddr(socket, false);
    })
}

/// Connections the kernel keeps for us; it is cut to net.core.somaxconn.
const BACKLOG: i32 = 4096;
