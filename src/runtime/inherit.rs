//! Listening sockets that whoever started this process left open for it (systemd's socket activation).

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes `count` descriptors from 3 on, those that are sockets which listen. To be called before any other thread is
/// started. Who asks again gets nothing: they are somebody's already.
#[allow(unsafe_code, reason = "a number becomes the descriptor that it is")]
pub fn listening_sockets(count: usize) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let numbers = (FIRST..).take(count.min(INHERITED_MAX));
    let sockets = numbers.filter_map(|number: RawFd| {
        // SAFETY: it is only asked what it is; a number that is no descriptor is answered with an error.
        let asked = unsafe { BorrowedFd::borrow_raw(number) };
        // What came through exec does not close on exec. What this process opened does, as everything here opens it,
        // and belongs to whoever opened it.
        let inherited = fcntl_getfd(asked).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC));
        if !inherited || !sockopt::socket_acceptconn(asked).unwrap_or(false) {
            return None;
        }
        fcntl_setfd(asked, FdFlags::CLOEXEC).ok()?;
        // SAFETY: it was open when this process began, so that nobody in it has opened it and owns it, and `TAKEN` says
        // that it is given away here for the first time.
        Some(unsafe { OwnedFd::from_raw_fd(number) })
    });
    sockets.collect()
}

/// `SD_LISTEN_FDS_START`
const FIRST: RawFd = 3;
const INHERITED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;

    #[test]
    fn what_this_process_opened_is_not_taken_and_nothing_twice() {
        let own = crate::runtime::listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        crate::runtime::listener::listen(&own).expect("nobody else listens there");
        let taken = listening_sockets(INHERITED_MAX);
        assert!(taken.iter().all(|socket| socket.as_raw_fd() != own.as_raw_fd()));
        assert!(listening_sockets(INHERITED_MAX).is_empty());
        assert_eq!(sockopt::socket_acceptconn(&own), Ok(true), "it is open still");
    }
}
