//! What the driver knows of a socket, and what the kernel does with it.
//!
//! ```text
//!   receive:  Idle --armed--> Armed (the kernel chooses the buffer) --+--> early: what nobody has taken yet --> Idle
//!               \----------> Behind (into this buffer) ---------------+
//!   send:     Idle --no room--> Polling --room--> Idle        Connecting --> Idle
//! ```
//!
//! Who cancels a receive gives up what has come and been counted by then. What waits for memory, or comes before the
//! kernel has heard of it, is for the next who asks. A socket that is closed stays until the kernel has let go of it.

use crate::runtime::buffer::{Buf, Class, Spare};
use crate::runtime::driver::{Close, Stop, write};
use crate::runtime::listener;
use crate::runtime::op::{Error, OpId, Pieces};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, SocketAddrAny, sockopt};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

pub struct Socket {
    pub fd: OwnedFd,
    pub rx: Rx,
    pub tx: Tx,
    pub early: Option<Early>,
    /// The last receive left something to read, or found no buffer for it: the next one should look before it waits.
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

    /// Writes once; `None` if there is no room.
    pub fn write(&mut self, pieces: &Pieces) -> Option<Result<usize, Error>> {
        loop {
            match write::once(&self.fd, pieces) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Ok(count) => return Some(Ok(count)),
                // Says only that this direction is over: what the peer sent and ended may still be whole.
                Err(Errno::PIPE) => return Some(Err(Error::Reset)),
                Err(errno) => {
                    self.failed = Some(errno.into());
                    return Some(Err(errno.into()));
                }
            }
        }
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
    /// Has the socket listen. With an error it is given back, and has not begun to.
    pub fn begin(fd: OwnedFd) -> Result<Self, (Error, OwnedFd)> {
        match listen(&fd) {
            Ok(address) => {
                let (ready, accept, stop) = (VecDeque::new(), None, None);
                Ok(Self { fd, address, armed: false, polled: false, ready, accept, stop, closing: false })
            }
            Err(errno) => Err((errno.into(), fd)),
        }
    }

    /// The kernel does nothing with it.
    pub fn is_quiet(&self) -> bool {
        !self.armed && !self.polled
    }
}

/// Says where it listens.
fn listen(fd: &OwnedFd) -> Result<SocketAddr, Errno> {
    // The ring waits itself; of a socket that must not wait it would only report that it would have to.
    rustix::io::ioctl_fionbio(fd, false)?;
    // An accept of our own looks first whether somebody has come. Others may accept on the same socket, and be faster:
    // then it must not wait for the next.
    sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, Some(ACCEPT_WAIT_MAX))?;
    let address = net::getsockname(fd)?.try_into()?;
    listener::listen(fd)?;
    Ok(address)
}

/// How long an accept may wait that found its connection taken.
const ACCEPT_WAIT_MAX: Duration = Duration::from_millis(1);
