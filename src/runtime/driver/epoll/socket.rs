//! A socket, and what the kernel has said of it.

use super::Wait;
use crate::runtime::buffer::Pool;
use crate::runtime::driver::{Stop, write};
use crate::runtime::op::{Done, Error, OpId, Pieces, Received, Target};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::net::SocketAddr;

pub struct Socket {
    pub fd: OwnedFd,
    pub registered: bool,
    /// Bytes, an end or an error may be waiting.
    pub readable: bool,
    /// The peer has sent its end: a short read is then not the last.
    pub ended: bool,
    pub writable: bool,
    /// How the connection failed. The kernel tells it once, then tells of an end, which would pass for a clean one. Or
    /// it is not watched, and to wait for more would be to wait for ever.
    pub failed: Option<Error>,
    /// Not 0 while the receive waits for a buffer: readiness is no reason to try it, and it must not overtake those
    /// that have waited longer.
    pub ticket: u64,
    pub receive: Option<OpId>,
    /// A send or a connect.
    pub send: Option<OpId>,
}

impl Socket {
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            registered: false,
            readable: false,
            ended: false,
            writable: true,
            failed: None,
            ticket: 0,
            receive: None,
            send: None,
        }
    }

    /// A receive would bring something, and may be tried.
    pub fn has_more(&self) -> bool {
        self.readable && self.ticket == 0
    }

    /// Reads once, if there may be something to read. Memory is taken only then.
    pub fn read(&mut self, target: Target, pool: &Pool) -> Result<Result<Received, Error>, (Target, Wait)> {
        if !self.readable {
            return Err((target, Wait::Readiness));
        }
        let (mut buf, fresh) = match target {
            Target::Behind(buf) => (buf, None),
            Target::Fresh(class) => match pool.take(class) {
                Some(buf) => (buf, Some(class)),
                None => return Err((Target::Fresh(class), Wait::Buffer(class))),
            },
        };
        self.ticket = 0;
        let outcome = loop {
            match net::recv(&self.fd, buf.spare_mut(), RecvFlags::empty()).map(|(_, count)| count) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if let Some(failed) = self.failed => break Err(failed),
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    let target = fresh.map_or_else(|| Target::Behind(buf), Target::Fresh);
                    return Err((target, Wait::Readiness));
                }
                Ok(0) if let Some(failed) = self.failed => break Err(failed),
                Ok(0) => break Ok(Received::End(if fresh.is_some() { None } else { Some(buf) })),
                Ok(count) => {
                    self.readable = self.ended || self.failed.is_some() || count == buf.spare_len();
                    buf.grow(count);
                    break Ok(Received::Data(buf));
                }
                Err(errno) => {
                    self.failed = Some(errno.into());
                    break Err(errno.into());
                }
            }
        };
        self.receive = None;
        Ok(outcome)
    }

    /// Writes once; `None` if the socket has no room.
    pub fn write(&mut self, pieces: &Pieces) -> Option<Result<usize, Error>> {
        if !self.writable {
            return None;
        }
        let outcome = loop {
            match write::once(&self.fd, pieces) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if let Some(failed) = self.failed => break Err(failed),
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return None;
                }
                Ok(count) => {
                    self.writable = self.failed.is_some() || count == pieces.len();
                    break Ok(count);
                }
                // Says only that this direction is over: what the peer sent and ended may still be whole.
                Err(Errno::PIPE) => break Err(Error::Reset),
                Err(errno) => {
                    self.failed = Some(errno.into());
                    break Err(errno.into());
                }
            }
        };
        self.send = None;
        Some(outcome)
    }
}

pub struct Listener {
    pub fd: OwnedFd,
    pub address: SocketAddr,
    pub readable: bool,
    pub accept: Option<OpId>,
    pub stop: Option<Stop>,
}

impl Listener {
    pub fn stopped(&mut self) -> Done {
        self.accept = None;
        Done::Accepted(Err(Error::Stopped))
    }
}

/// A socket to connect to this address with.
pub fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}
