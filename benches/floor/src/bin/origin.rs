//! The service behind the proxies: as cheap as it can be, so that it is never what a comparison measures.
//!
//! `/bytes/N` answers N bytes, any other path 1 KiB. A request's body, by length or chunked, is read and forgotten
//! before the answer. Every body is `bench_kit::body`, so that a client can tell a wrong byte.

use bench_kit::body::{Body, SMALL_BYTES};
use bench_kit::head::{self, Framing, Head};
use bench_kit::sys::{self, Epoll, Moved};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

const BUFFER_BYTES: usize = 64 * 1024;

/// A head, or a chunk's line, that is not complete after this many bytes ends its connection.
const LINE_BYTES_MAX: usize = 64 * 1024;

struct Connection {
    fd: OwnedFd,
    /// Bytes read that cannot be used yet.
    stash: Vec<u8>,
    reading: Reading,
    /// Bytes of the body that the request under way asked for.
    wanted: u64,
    answer: Answer,
    readable: bool,
    ending: bool,
}

/// ```text
///   Head --length--> Length --0--> answer, Head
///   Head --chunked--> Size --n--> Data --0--> Size --0--> Trailer --empty line--> answer, Head
/// ```
#[derive(Clone, Copy)]
enum Reading {
    Head,
    Length(u64),
    Size,
    /// With the CRLF behind the data.
    Data(u64),
    Trailer,
}

/// What is still to be sent: the rest of a head, then `left` bytes of the body from `offset` on.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    offset: u64,
    left: u64,
}

struct Origin {
    epoll: Epoll,
    listener: OwnedFd,
    connections: Vec<Option<Box<Connection>>>,
    body: Body,
    small: Vec<u8>,
}

struct Broken;

fn main() -> ExitCode {
    let Some(listen) = std::env::args().nth(1).and_then(|word| word.parse().ok()) else {
        eprintln!("usage: origin LISTEN, as in: origin 127.0.0.1:9000");
        return ExitCode::from(2);
    };
    match Origin::new(listen).and_then(Origin::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("origin: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Origin {
    fn new(listen: SocketAddrV4) -> std::io::Result<Self> {
        sys::raise_file_limit()?;
        let (epoll, listener, body) = (Epoll::new()?, sys::listen(listen)?, Body::default());
        epoll.add(listener.as_raw_fd(), listener.as_raw_fd() as usize)?;
        let small = [head_of(SMALL_BYTES as u64).as_slice(), &body.from(0)[..SMALL_BYTES]].concat();
        Ok(Self { epoll, listener, connections: Vec::new(), body, small })
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            for index in 0..self.epoll.wait()? {
                let event = self.epoll.event(index);
                let fd = event.token() as RawFd;
                if fd == self.listener.as_raw_fd() {
                    self.accept_all()?;
                    continue;
                }
                let Some(connection) = self.connections[fd as usize].as_mut() else { continue };
                connection.readable |= event.readable();
                connection.ending |= event.ending();
                if connection.serve(&mut buffer, &self.body, &self.small).is_err() {
                    self.connections[fd as usize] = None;
                }
            }
        }
    }

    fn accept_all(&mut self) -> std::io::Result<()> {
        while let Some(fd) = sys::accept(&self.listener) {
            let raw = fd.as_raw_fd() as usize;
            self.epoll.add(fd.as_raw_fd(), raw)?;
            if self.connections.len() <= raw {
                self.connections.resize_with(raw + 1, || None);
            }
            self.connections[raw] = Some(Box::new(Connection::new(fd)));
        }
        Ok(())
    }
}

impl Connection {
    fn new(fd: OwnedFd) -> Self {
        let (stash, answer) = (Vec::new(), Answer::default());
        Self { fd, stash, reading: Reading::Head, wanted: 0, answer, readable: false, ending: false }
    }

    /// Sends what is due and reads what has come; a client that takes no answers is not read.
    fn serve(&mut self, buffer: &mut [u8], body: &Body, small: &[u8]) -> Result<(), Broken> {
        while self.flush(body)? && self.readable {
            match sys::receive(self.fd.as_raw_fd(), buffer) {
                Moved::Bytes(count) => {
                    self.readable = count == buffer.len() || self.ending;
                    self.take(&buffer[..count], body, small)?;
                }
                Moved::NotReady => self.readable = false,
                Moved::Closed => return Err(Broken),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], body: &Body, small: &[u8]) -> Result<(), Broken> {
        if self.stash.is_empty() {
            let used = self.parse(bytes, body, small)?;
            self.stash.extend_from_slice(&bytes[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.stash);
            joined.extend_from_slice(bytes);
            let used = self.parse(&joined, body, small)?;
            joined.drain(..used);
            self.stash = joined;
        }
        if self.stash.len() > LINE_BYTES_MAX { Err(Broken) } else { Ok(()) }
    }

    /// Takes whole parts of requests off the front of `bytes`; returns how many bytes they were.
    fn parse(&mut self, bytes: &[u8], body: &Body, small: &[u8]) -> Result<usize, Broken> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.reading {
                Reading::Length(0) => {
                    self.reading = Reading::Head;
                    self.respond(body, small)?;
                }
                _ if rest.is_empty() => return Ok(used),
                Reading::Head => match head::request(rest) {
                    Head::Complete(head) => {
                        used += head.head_bytes;
                        self.wanted = wanted(head.line)?;
                        self.reading = match head.framing {
                            Framing::Length(length) => Reading::Length(length),
                            Framing::Chunked => Reading::Size,
                        };
                    }
                    Head::Partial => return Ok(used),
                    Head::Invalid => return Err(Broken),
                },
                Reading::Length(left) => {
                    let now = left.min(rest.len() as u64);
                    used += now as usize;
                    self.reading = Reading::Length(left - now);
                }
                Reading::Data(left) => {
                    let now = left.min(rest.len() as u64);
                    used += now as usize;
                    self.reading = if left == now { Reading::Size } else { Reading::Data(left - now) };
                }
                Reading::Size | Reading::Trailer => {
                    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(used) };
                    used += end + 2;
                    self.reading = self.reading.after_line(&rest[..end])?;
                }
            }
        }
    }

    fn respond(&mut self, body: &Body, small: &[u8]) -> Result<(), Broken> {
        let unsent = self.answer.left > 0 || !self.answer.head.is_empty();
        if self.wanted != SMALL_BYTES as u64 || unsent {
            if unsent {
                // Two answers at once: a client that pipelines without reading, which no load here does.
                return Err(Broken);
            }
            self.answer = Answer { head: head_of(self.wanted), offset: 0, left: self.wanted };
            return self.flush(body).map(drop);
        }
        match sys::send(self.fd.as_raw_fd(), small) {
            Moved::Bytes(count) if count == small.len() => Ok(()),
            Moved::Bytes(count) => {
                self.answer.head = small[count..].to_vec();
                Ok(())
            }
            Moved::NotReady => {
                self.answer.head = small.to_vec();
                Ok(())
            }
            Moved::Closed => Err(Broken),
        }
    }

    /// Whether nothing is left to send.
    fn flush(&mut self, body: &Body) -> Result<bool, Broken> {
        loop {
            let from_head = !self.answer.head.is_empty();
            let piece = if from_head {
                self.answer.head.as_slice()
            } else {
                let piece = body.from(self.answer.offset);
                &piece[..piece.len().min(usize::try_from(self.answer.left).unwrap_or(usize::MAX))]
            };
            if piece.is_empty() {
                return Ok(true);
            }
            match sys::send(self.fd.as_raw_fd(), piece) {
                Moved::Bytes(count) if from_head => drop(self.answer.head.drain(..count)),
                Moved::Bytes(count) => {
                    self.answer.offset += count as u64;
                    self.answer.left -= count as u64;
                }
                Moved::NotReady => return Ok(false),
                Moved::Closed => return Err(Broken),
            }
        }
    }
}

impl Reading {
    /// The state behind a line of chunked framing.
    fn after_line(self, line: &[u8]) -> Result<Self, Broken> {
        match self {
            Self::Trailer if line.is_empty() => Ok(Self::Length(0)),
            Self::Trailer => Ok(Self::Trailer),
            _ => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits).map_err(|_| Broken)?;
                match u64::from_str_radix(digits.trim(), 16) {
                    Ok(0) => Ok(Self::Trailer),
                    Ok(size) => Ok(Self::Data(size.checked_add(2).ok_or(Broken)?)),
                    Err(_) => Err(Broken),
                }
            }
        }
    }
}

fn wanted(path: &str) -> Result<u64, Broken> {
    match path.strip_prefix("/bytes/") {
        Some(count) => head::number(count.as_bytes()).ok_or(Broken),
        None => Ok(SMALL_BYTES as u64),
    }
}

fn head_of(body_bytes: u64) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes()
}
