//! A connection between two hosts of the simulation.
//!
//! ```text
//!   Open --- reset by the peer or the network ---> Reset --+
//!     |                                                    +--- its socket is closed ---> Closed
//!     +----------------------------------------------------+
//! ```
//!
//! A link is gone when both its ends are closed.

use super::pipe::Pipe;
use crate::stdx::slab::Key;
use std::net::SocketAddr;

#[derive(Debug)]
pub struct Link {
    pub ends: [End; 2],
    /// The pipe at a side's index carries what that side receives.
    pub pipes: [Pipe; 2],
    /// How many receives of a thousand bring one byte only.
    pub one_byte_per_mille: u32,
}

/// One end of a link.
#[derive(Debug)]
pub struct End {
    pub host: usize,
    pub address: SocketAddr,
    /// Absent while nobody has accepted the connection.
    pub socket: Option<Key<Socket>>,
    pub state: EndState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndState {
    Open,
    Reset,
    Closed,
}

/// Which end: the index into a link's arrays.
pub type Side = usize;

pub const CONNECTING_SIDE: Side = 0;
pub const ACCEPTING_SIDE: Side = 1;

pub const fn other(side: Side) -> Side {
    1 - side
}

/// A host's socket.
#[derive(Debug)]
pub struct Socket {
    pub state: SocketState,
    pub receive: Option<Waiting>,
    /// A send or a connect.
    pub send: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
pub enum SocketState {
    Connecting { to: SocketAddr, fate: Fate },
    Linked(Key<Link>, Side),
}

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Whatever the listener, if there is one, makes of it.
    Arrives,
    Refused,
    Lost,
}

/// An armed operation of a socket or a listener.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub id: crate::runtime::op::OpId,
    /// An attempt to carry it out is among the host's due ones already.
    pub scheduled: bool,
    /// It has found the pool empty.
    pub parked: bool,
}

impl Socket {
    pub fn new(state: SocketState) -> Self {
        Self { state, receive: None, send: None }
    }
}
