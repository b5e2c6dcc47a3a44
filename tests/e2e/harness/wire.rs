//! One end of a connection, whose every byte is a test's: what it says and what it hears.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketType};

use super::DEADLINE;
use super::message::{Framing, Message, field, latin1};

pub struct Wire {
    stream: TcpStream,
    /// Received and not yet taken.
    unread: Vec<u8>,
    /// All that was ever received.
    record: Arc<Mutex<Vec<u8>>>,
    /// How the other side ended, once it did.
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// A FIN.
    Closed,
    /// A RST.
    Reset,
}

impl Wire {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}")))
    }

    /// From this address of the machine's own.
    #[track_caller]
    pub fn connect_from(source: &str, address: SocketAddr) -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        net::connect(&socket, &address).unwrap();
        Self::new(TcpStream::from(socket))
    }

    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, unread: Vec::new(), record: Arc::default(), ended: None }
    }

    pub fn record(&self) -> Arc<Mutex<Vec<u8>>> {
        self.record.clone()
    }

    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// False when the other side did not take it all because it closed.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("send: {error}"),
        }
    }

    /// One byte a segment, as far as the kernel lets a sender decide that.
    #[track_caller]
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> bool {
        bytes.as_ref().iter().all(|&byte| {
            std::thread::sleep(pause);
            self.send([byte])
        })
    }

    /// A second writer, for a test that uploads while it reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// The connection will end with a RST, not a FIN.
    pub fn reset_on_close(&self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }

    /// A request with its body; `None` when the other side ended before its first byte, or in its middle (then the
    /// part is in the record only).
    #[track_caller]
    pub fn request(&mut self) -> Option<Message> {
        let mut message = Message::from_head(&self.head()?);
        self.body(&mut message);
        message.complete.then_some(message)
    }

    /// The head of a request only: its body stays unread.
    #[track_caller]
    pub fn request_head(&mut self) -> Option<Message> {
        self.head().map(|head| Message::from_head(&head))
    }

    /// The response to a GET or anything else that is not HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Message {
        self.maybe_response_to(method).unwrap_or_else(|| panic!("no response: {:?}", self.ended))
    }

    /// `None` when the other side ended first.
    #[track_caller]
    pub fn maybe_response(&mut self) -> Option<Message> {
        self.maybe_response_to("GET")
    }

    #[track_caller]
    fn maybe_response_to(&mut self, method: &str) -> Option<Message> {
        let mut message = Message::from_head(&self.head()?);
        if method == "HEAD" || matches!(message.status(), 100..=199 | 204 | 304) {
            return Some(message);
        }
        if message.framing == Framing::None {
            message.framing = Framing::UntilClose;
        }
        self.body(&mut message);
        Some(message)
    }

    /// Exactly `count` bytes.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill(), "ended after {} of {count} bytes: {:?}", self.unread.len(), self.ended);
        }
        self.unread.drain(..count).collect()
    }

    /// All that comes until the other side ends.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// Says back what it hears until the other side ends.
    #[track_caller]
    pub fn echo(&mut self) {
        loop {
            let heard = std::mem::take(&mut self.unread);
            if !(self.send(heard) && self.fill()) {
                return;
            }
        }
    }

    /// Waits for the other side's end and demands that nothing came before it.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "before the end came: {:?}", latin1(&rest[..rest.len().min(500)]));
    }

    /// Demands a FIN, not a RST.
    #[track_caller]
    pub fn expect_closed_cleanly(&mut self) {
        self.expect_closed();
        assert_eq!(self.ended, Some(End::Closed));
    }

    /// Nothing comes, and the connection stays, for this long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut byte = [0];
        let got = self.stream.peek(&mut byte);
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match got {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("expected silence, got {other:?}, unread {:?}", latin1(&self.unread)),
        }
        assert!(self.unread.is_empty(), "expected silence: {:?}", latin1(&self.unread));
    }

    #[track_caller]
    fn head(&mut self) -> Option<Vec<u8>> {
        let mut looked = 0;
        loop {
            let from = usize::saturating_sub(looked, 3);
            if let Some(at) = find(&self.unread[from..], b"\r\n\r\n") {
                return Some(self.unread.drain(..from + at + 4).collect());
            }
            looked = self.unread.len();
            if !self.fill() {
                return None;
            }
        }
    }

    #[track_caller]
    fn body(&mut self, message: &mut Message) {
        message.complete = match message.framing {
            Framing::None => true,
            Framing::Length(length) => {
                while self.unread.len() < length && self.fill() {}
                let length_got = length.min(self.unread.len());
                message.body = self.unread.drain(..length_got).collect();
                length_got == length
            }
            Framing::Chunked => self.chunked(message).is_some(),
            Framing::UntilClose => {
                message.body = self.rest();
                self.ended == Some(End::Closed)
            }
        };
    }

    /// `None` when the end came before the last chunk's.
    #[track_caller]
    fn chunked(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
            if size == 0 {
                break;
            }
            while self.unread.len() < size + 2 && self.fill() {}
            let got = size.min(self.unread.len());
            message.body.extend(self.unread.drain(..got));
            if got < size || self.unread.len() < 2 {
                return None;
            }
            assert_eq!(self.bytes(2), b"\r\n", "after a chunk");
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(());
            }
            message.trailers.push(field(&line));
        }
    }

    #[track_caller]
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                return Some(latin1(&line[..at]));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// More bytes into `unread`; false at the end.
    #[track_caller]
    fn fill(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = Some(End::Closed),
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                self.record.lock().unwrap().extend_from_slice(&buffer[..count]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = Some(End::Reset),
            Err(error) => {
                let unread = latin1(&self.unread[..self.unread.len().min(500)]);
                panic!("nothing came within {DEADLINE:?} ({error}); unread: {unread:?}")
            }
        }
        false
    }
}

pub fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
