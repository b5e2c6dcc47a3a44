//! Listening sockets, and whom they bring.

use super::socket::Listener;
use super::{Epoll, LISTENER, Wait, key};
use crate::runtime::driver::{Stop, open_spare};
use crate::runtime::listener;
use crate::runtime::op::{Armed, Done, Error, ListenerId};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags};
use std::net::SocketAddr;

impl Epoll {
    pub fn listen(&mut self, address: SocketAddr) -> Result<ListenerId, Error> {
        self.adopt_listener(listener::bind(address)?).map_err(|(error, _)| error)
    }

    pub fn adopt_listener(&mut self, fd: OwnedFd) -> Result<ListenerId, (Error, OwnedFd)> {
        // Whoever had it before may have waited in accept(2) itself.
        let waits_not = rustix::io::ioctl_fionbio(&fd, true);
        let address = match waits_not.and_then(|()| net::getsockname(&fd)).and_then(SocketAddr::try_from) {
            Ok(address) => address,
            Err(errno) => return Err((errno.into(), fd)),
        };
        let id = self.listeners.insert(Listener { fd, address, readable: true, accept: None, stop: None });
        let data = EventData::new_u64(id.to_bits() | LISTENER);
        let fd = &self.listeners.get(id).expect("it was just inserted").fd;
        let added = epoll::add(&self.epoll, fd, data, EventFlags::IN | EventFlags::ET);
        if let Err(errno) = added.and_then(|()| listener::listen(fd)) {
            let Listener { fd, .. } = self.listeners.remove(id).expect("it was just inserted");
            // Others have the same socket, so that giving this descriptor up would not be enough.
            let _never_added = epoll::delete(&self.epoll, &fd);
            return Err((errno.into(), fd));
        }
        Ok(ListenerId(id.to_bits()))
    }

    pub fn listener_address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(key(id.0)).map(|listener| listener.address)
    }

    pub fn stop_listener(&mut self, id: ListenerId, stop: Stop) {
        let Some(listener) = self.listeners.get_mut(key(id.0)) else { return };
        listener.stop = Some(stop);
        listener.readable = true;
        self.put_off.extend(listener.accept);
    }

    pub fn close_listener(&mut self, id: ListenerId) {
        if let Some(op) = self.listeners.get(key(id.0)).and_then(|listener| listener.accept) {
            self.cancel(op);
        }
        if let Some(listener) = self.listeners.remove(key(id.0)) {
            // Another process, or the control thread, may have the same socket: closing this descriptor is not enough.
            let _gone = epoll::delete(&self.epoll, &listener.fd);
        }
    }

    pub(super) fn accept(&mut self, id: ListenerId) -> Result<Done, (Armed, Wait)> {
        let wait = (Armed::Accept(id), Wait::Readiness);
        let Some(listener) = self.listeners.get_mut(key(id.0)) else {
            return Ok(Done::Accepted(Err(Error::Reset)));
        };
        if listener.stop == Some(Stop::Leave) {
            return Ok(listener.stopped());
        }
        if !listener.readable {
            return Err(wait);
        }
        let accepted = match net::acceptfrom_with(&listener.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Err(Errno::AGAIN) if listener.stop.is_some() => return Ok(listener.stopped()),
            Err(Errno::AGAIN) => {
                listener.readable = false;
                return Err(wait);
            }
            other => other,
        };
        if matches!(accepted, Err(Errno::MFILE | Errno::NFILE)) {
            // The kernel looks for a descriptor before it looks for a connection: there may be none to turn away.
            let shed = self.shed_accept(id);
            let listener = self.listeners.get_mut(key(id.0)).expect("it was there");
            // Or somebody else took the spare one: then this one waits still, and nobody will say so again.
            if !shed && !listener::is_ready(&listener.fd) {
                if listener.stop.is_some() {
                    return Ok(listener.stopped());
                }
                listener.readable = false;
                return Err(wait);
            }
            listener.accept = None;
            return Ok(Done::Accepted(Err(Error::Exhausted)));
        }
        listener.accept = None;
        if matches!(&accepted, Ok((fd, _)) if fd.as_raw_fd() >= self.descriptors_max) {
            self.counters.accepts_shed += 1;
            return Ok(Done::Accepted(Err(Error::Exhausted)));
        }
        Ok(Done::Accepted(match accepted {
            Ok((fd, address)) => {
                let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                address.ok_or(Error::Reset).map(|address| (self.insert(fd), address))
            }
            // The connection went away before it was accepted (accept(2), "Error handling").
            Err(errno) => Err(errno.into()),
        }))
    }

    /// No descriptor is left: uses the spare one to accept and close, so that the peer is told and the queue moves.
    /// Says whether there was anybody to tell.
    fn shed_accept(&mut self, id: ListenerId) -> bool {
        self.spare = None;
        let accepted =
            self.listeners.get(key(id.0)).map(|listener| net::accept_with(&listener.fd, SocketFlags::CLOEXEC));
        let shed = matches!(accepted, Some(Ok(_)));
        self.counters.accepts_shed += u64::from(shed);
        drop(accepted);
        self.spare = open_spare();
        shed
    }
}
