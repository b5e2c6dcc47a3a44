//! The least that a reverse proxy for HTTP/1.1 can do on epoll: one listener, one upstream, one core. It finds where a
//! message ends and passes its bytes on unchanged. No configuration, routes, checks, edits, log or timers; what a
//! gateway costs beyond this program is what its features cost.
//!
//! ```text
//!   downstream  --request-->  upstream     linked by `peer` for one exchange
//!   downstream  <-response--  upstream     then the upstream waits in `pool`
//! ```
//!
//! Four calls a request: receive, send, receive, send. A message that is framed by anything but its length ends both
//! connections.

use bench_kit::head::{self, Framing, Head, Parsed};
use bench_kit::sys::{self, Connect, Epoll, Event, Moved};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// One read: what a gateway would take for a body as well.
const BUFFER_BYTES: usize = 64 * 1024;

/// A head that is not complete after this many bytes ends its connection.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Downstream,
    Upstream,
}

struct Connection {
    fd: OwnedFd,
    side: Side,
    /// The other end of the exchange under way.
    peer: Option<RawFd>,
    /// What is still to be read of the message that this side is sending.
    body_left: u64,
    /// Bytes read that cannot be used yet: part of a head, or the next request.
    stash: Vec<u8>,
    /// Bytes that this side's socket did not take yet; while there are any, the peer is not read.
    unsent: Vec<u8>,
    readable: bool,
    ending: bool,
}

struct Floor {
    epoll: Epoll,
    listener: OwnedFd,
    upstream: SocketAddrV4,
    /// By descriptor.
    connections: Vec<Option<Box<Connection>>>,
    pool: Vec<RawFd>,
}

/// The connection cannot go on, and neither can its peer.
struct Broken;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (Some(listen), Some(upstream)) =
        (arguments.get(1).and_then(|word| word.parse().ok()), arguments.get(2).and_then(|word| word.parse().ok()))
    else {
        eprintln!("usage: floor LISTEN UPSTREAM, as in: floor 127.0.0.1:8080 127.0.0.1:9000");
        return ExitCode::from(2);
    };
    match Floor::new(listen, upstream).and_then(Floor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Floor {
    fn new(listen: SocketAddrV4, upstream: SocketAddrV4) -> std::io::Result<Self> {
        sys::raise_file_limit()?;
        let (epoll, listener) = (Epoll::new()?, sys::listen(listen)?);
        epoll.add(listener.as_raw_fd(), listener.as_raw_fd() as usize)?;
        Ok(Self { epoll, listener, upstream, connections: Vec::new(), pool: Vec::new() })
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            for index in 0..self.epoll.wait()? {
                let event = self.epoll.event(index);
                let fd = event.token() as RawFd;
                if fd == self.listener.as_raw_fd() {
                    self.accept_all();
                } else if self.on_event(fd, event, &mut buffer).is_err() {
                    self.close_pair(fd);
                }
            }
        }
    }

    fn accept_all(&mut self) {
        while let Some(fd) = sys::accept(&self.listener) {
            self.add(fd, Side::Downstream, None);
        }
    }

    fn add(&mut self, fd: OwnedFd, side: Side, peer: Option<RawFd>) -> Option<RawFd> {
        let raw = fd.as_raw_fd();
        self.epoll.add(raw, raw as usize).ok()?;
        if self.connections.len() <= raw as usize {
            self.connections.resize_with(raw as usize + 1, || None);
        }
        let (stash, unsent) = (Vec::new(), Vec::new());
        let connection = Connection { fd, side, peer, body_left: 0, stash, unsent, readable: false, ending: false };
        self.connections[raw as usize] = Some(Box::new(connection));
        Some(raw)
    }

    /// An event of a descriptor that was closed in the same batch finds nobody.
    fn on_event(&mut self, fd: RawFd, event: Event, buffer: &mut [u8]) -> Result<(), Broken> {
        let Some(connection) = self.connections[fd as usize].as_mut() else { return Ok(()) };
        connection.readable |= event.readable();
        connection.ending |= event.ending();
        if event.writable() && !connection.unsent.is_empty() {
            let unsent = std::mem::take(&mut connection.unsent);
            let peer = connection.peer;
            self.send(fd, &unsent)?;
            if let Some(peer) = peer {
                self.pump(peer, buffer)?;
            }
        }
        self.pump(fd, buffer)
    }

    /// Moves what `fd` has to say, until it has no more or the other side takes no more.
    fn pump(&mut self, fd: RawFd, buffer: &mut [u8]) -> Result<(), Broken> {
        while self.may_read(fd) {
            let connection = self.get(fd)?;
            match sys::receive(fd, buffer) {
                Moved::Bytes(count) => {
                    // A short read emptied the socket: the next byte is a new edge, and needs no read to find out.
                    connection.readable = count == buffer.len() || connection.ending;
                    self.take(fd, &buffer[..count])?;
                    if let Some(downstream) = self.finished(fd) {
                        self.next_request(downstream, buffer)?;
                    }
                }
                Moved::NotReady => connection.readable = false,
                Moved::Closed => return Err(Broken),
            }
        }
        Ok(())
    }

    /// A downstream whose request is wholly read waits for its answer before it is read again.
    fn may_read(&self, fd: RawFd) -> bool {
        let Some(connection) = self.connections[fd as usize].as_ref().filter(|it| it.readable) else { return false };
        match connection.peer.and_then(|peer| self.connections[peer as usize].as_ref()) {
            Some(_) if connection.side == Side::Downstream && connection.body_left == 0 => false,
            Some(peer) => peer.unsent.is_empty(),
            None => true,
        }
    }

    fn take(&mut self, fd: RawFd, bytes: &[u8]) -> Result<(), Broken> {
        let connection = self.get(fd)?;
        if connection.body_left > 0 {
            let now = bytes.len().min(usize::try_from(connection.body_left).unwrap_or(usize::MAX));
            connection.body_left -= now as u64;
            connection.stash.extend_from_slice(&bytes[now..]);
            let peer = connection.peer.ok_or(Broken)?;
            return self.send(peer, &bytes[..now]);
        }
        if connection.stash.is_empty() {
            return self.start_message(fd, bytes);
        }
        let mut joined = std::mem::take(&mut connection.stash);
        joined.extend_from_slice(bytes);
        self.start_message(fd, &joined)
    }

    fn start_message(&mut self, fd: RawFd, bytes: &[u8]) -> Result<(), Broken> {
        let message_bytes = match self.get(fd)?.side {
            Side::Downstream => message_bytes(head::request(bytes))?,
            Side::Upstream => message_bytes(head::response(bytes))?,
        };
        let Some(message_bytes) = message_bytes else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(Broken);
            }
            self.get(fd)?.stash.extend_from_slice(bytes);
            return Ok(());
        };
        let (side, peer) = (self.get(fd)?.side, self.get(fd)?.peer);
        let peer = match (side, peer) {
            (_, Some(peer)) => peer,
            (Side::Downstream, None) => self.link(fd)?,
            (Side::Upstream, None) => return Err(Broken),
        };
        let now = bytes.len().min(usize::try_from(message_bytes).unwrap_or(usize::MAX));
        let connection = self.get(fd)?;
        connection.body_left = message_bytes - now as u64;
        connection.stash.extend_from_slice(&bytes[now..]);
        self.send(peer, &bytes[..now])
    }

    fn link(&mut self, downstream: RawFd) -> Result<RawFd, Broken> {
        let upstream = match self.pool.pop() {
            Some(upstream) => upstream,
            None => {
                let fd = sys::connect(self.upstream, Connect::default()).map_err(|_| Broken)?;
                self.add(fd, Side::Upstream, None).ok_or(Broken)?
            }
        };
        self.get(upstream)?.peer = Some(downstream);
        self.get(downstream)?.peer = Some(upstream);
        Ok(upstream)
    }

    /// Ends the exchange when `fd` is an upstream whose response is wholly read; returns its downstream.
    fn finished(&mut self, fd: RawFd) -> Option<RawFd> {
        let connection = self.connections[fd as usize].as_mut()?;
        if connection.side == Side::Downstream || connection.body_left > 0 || !connection.stash.is_empty() {
            return None;
        }
        let downstream = connection.peer.take()?;
        self.pool.push(fd);
        self.connections[downstream as usize].as_mut()?.peer = None;
        Some(downstream)
    }

    /// What the client sent while it waited is its next request.
    fn next_request(&mut self, downstream: RawFd, buffer: &mut [u8]) -> Result<(), Broken> {
        let stash = std::mem::take(&mut self.get(downstream)?.stash);
        let more = if stash.is_empty() { Ok(()) } else { self.start_message(downstream, &stash) };
        if more.and_then(|()| self.pump(downstream, buffer)).is_err() {
            self.close_pair(downstream);
        }
        Ok(())
    }

    fn send(&mut self, to: RawFd, bytes: &[u8]) -> Result<(), Broken> {
        let sent = match sys::send(to, bytes) {
            Moved::Bytes(count) => count,
            Moved::NotReady => 0,
            Moved::Closed => return Err(Broken),
        };
        if sent < bytes.len() {
            self.get(to)?.unsent.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    fn get(&mut self, fd: RawFd) -> Result<&mut Connection, Broken> {
        self.connections[fd as usize].as_deref_mut().ok_or(Broken)
    }

    fn close_pair(&mut self, fd: RawFd) {
        let Some(connection) = self.connections[fd as usize].take() else { return };
        self.pool.retain(|pooled| *pooled != connection.fd.as_raw_fd());
        if let Some(peer) = connection.peer {
            self.connections[peer as usize] = None;
        }
    }
}

/// Head and body together, or nothing yet.
fn message_bytes<T>(head: Head<T>) -> Result<Option<u64>, Broken> {
    match head {
        Head::Complete(Parsed { head_bytes, framing: Framing::Length(length), .. }) => {
            Ok(Some(head_bytes as u64 + length))
        }
        Head::Partial => Ok(None),
        Head::Complete(_) | Head::Invalid => Err(Broken),
    }
}
