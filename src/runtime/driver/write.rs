//! The one system call of a send, whichever kernel's interface says when there is room.

use crate::runtime::op::{PIECES_MAX, Pieces};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, IoSlice};
use rustix::net::{self, SendAncillaryBuffer, SendFlags};

/// By the calls for sockets: those for files cost a request a microsecond of their own once caches are cold.
pub fn once(fd: &OwnedFd, pieces: &Pieces) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if let Some(only) = pieces.only() {
        return net::send(fd, only.bytes(), flags);
    }
    let mut slices = [(); PIECES_MAX].map(|()| IoSlice::new(&[]));
    match pieces.gather(&mut slices) {
        [] => Ok(0),
        [only] => net::send(fd, only, flags),
        several => net::sendmsg(fd, several, &mut SendAncillaryBuffer::default(), flags),
    }
}
