//! What the driver knows of a socket, and what the kernel does with it.
//!
//! ```text
//!   receive:  Idle --armed--> Armed (the kernel chooses the buffer) --+--> early: what nobody has taken yet --> Idle
//!               \----------> Behind (into this buffer) ---------------+
//!   send:     Idle --no room--> Polling --room--> Idle        Connecting --> Idle
//! ```
//!
//! What a socket receives belongs to the socket: who asked may have gone meanwhile, and the next who asks gets it. A
//! socket that is closed stays until the kernel has let go of it.

use crate::runtime::buffer::{Buf, Class, Spare};
use crate::runtime::driver::{Close, Stop};
use crate::runtime::op::{Error, OpId};
use rustix::fd::OwnedFd;
use rustix::net::SocketAddrAny;
use std::collections::VecDeque;
use std::net::SocketAddr;

pub struct Socket {
    pub fd: OwnedFd,
    pub rx: Rx,
    pub tx: Tx,
    pub early: Option<Early>,
    /// The last receive left something to read: the next one should look before it waits.
    pub nonempty: bool,
    /// Not 0 once a receive had to wait for memory, until one has brought something: its place among those that wait.
    pub ticket: u64,
    /// How the connection failed. The kernel tells it once, then tells of an end, which would pass for a clean one.
    pub failed: Option<Error>,
    pub receive: Option<OpId>,
    /// A send or a connect.
    pub send: Option<OpId>,
    /// It is closed as far as anybody above knows, and in this way once the kernel has let go of it.
    pub closing: Option<Close>,
}

/// The receive that the kernel carries out.
pub enum Rx {
    Idle,
    /// From the window of this class.
    Armed(Class),
    /// Whoever gave the buffer may have gone: then what comes is dropped with it.
    Behind(Buf, Wanted),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    Yes,
    No,
}

/// What the kernel does for a send or a connect.
pub enum Tx {
    Idle,
    Polling,
    /// The address lies where the kernel reads it.
    Connecting(Box<SocketAddrAny>),
}

/// The end of a receive.
pub enum Early {
    /// In memory that the pool does not count yet.
    Spare(Spare),
    Buf(Buf),
    End(Option<Buf>),
    Failed(Error),
}

impl Socket {
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            rx: Rx::Idle,
            tx: Tx::Idle,
            early: None,
            nonempty: false,
            ticket: 0,
            failed: None,
            receive: None,
            send: None,
            closing: None,
        }
    }

    /// Something is here for the next who asks, who is not one of those that wait for memory.
    pub fn has_early(&self) -> bool {
        self.early.is_some() && self.ticket == 0
    }

    /// The kernel does nothing with it.
    pub fn is_quiet(&self) -> bool {
        matches!((&self.rx, &self.tx), (Rx::Idle, Tx::Idle))
    }
}

/// A listening socket, and what it has brought.
pub struct Listener {
    pub fd: OwnedFd,
    pub address: SocketAddr,
    /// The kernel accepts.
    pub armed: bool,
    /// The kernel tells when somebody arrives.
    pub polled: bool,
    /// Connections that nobody has asked for yet, or how an accept failed.
    pub ready: VecDeque<Result<OwnedFd, Error>>,
    pub accept: Option<OpId>,
    pub stop: Option<Stop>,
    pub closing: bool,
}

impl Listener {
    /// The kernel does nothing with it.
    pub fn is_quiet(&self) -> bool {
        !self.armed && !self.polled
    }
}
