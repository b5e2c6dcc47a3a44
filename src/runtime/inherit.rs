//! Listening sockets that whoever started this process left open for it (systemd's socket activation).

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt;

/// Takes `count` descriptors from 3 on, those that are sockets which listen. To be called once, before any other thread
/// is started and any descriptor opened that could be one of them.
#[allow(unsafe_code, reason = "a number becomes the descriptor that it is")]
pub fn listening_sockets(count: usize) -> Vec<OwnedFd> {
    let numbers = (FIRST..).take(count.min(INHERITED_MAX));
    let sockets = numbers.filter_map(|number: RawFd| {
        // SAFETY: it is only asked what it is; a number that is no descriptor is answered with an error.
        let asked = unsafe { BorrowedFd::borrow_raw(number) };
        if !sockopt::socket_acceptconn(asked).unwrap_or(false) {
            return None;
        }
        fcntl_setfd(asked, FdFlags::CLOEXEC).ok()?;
        // SAFETY: by systemd's protocol these numbers are this process's own from its start on, and nobody else's in
        // it: the caller takes them once, before anything else could have.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    });
    sockets.collect()
}

/// `SD_LISTEN_FDS_START`
const FIRST: RawFd = 3;
const INHERITED_MAX: usize = 1024;
