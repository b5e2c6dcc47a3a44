//! A plain HTTP/1.1 codec for the simulation's clients and origins. It shares no code with the gateway: a mistake in
//! the one must not hide in the other.

use crate::script::Coding;
use shardgate::runtime::op::{Error, Pieces, Received};
use shardgate::runtime::wait::sleep_until;
use shardgate::runtime::{Class, Runtime, TcpStream};
use shardgate::stdx::rng::Rng;
use shardgate::stdx::time::Mono;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// One end of a connection: reading and writing go on side by side.
pub struct Wire {
    pub runtime: Runtime,
    pub stream: TcpStream,
    input: RefCell<Vec<u8>>,
    rng: RefCell<Rng>,
    /// How long it waits for a byte, or for room for one.
    patience: Duration,
    /// Bytes of the input before this are those of messages read already.
    used: Cell<usize>,
}

/// Why a message could not be read or sent whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// The connection ended between two messages.
    Closed,
    /// The connection ended within a message.
    Truncated,
    Failed(Error),
    /// What came is no HTTP.
    Nonsense(&'static str),
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// The first line's three parts.
    pub start: [String; 3],
    pub fields: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Wire {
    pub fn new(runtime: Runtime, stream: TcpStream, seed: u64, patience: Duration) -> Self {
        let rng = RefCell::new(Rng::new(seed));
        Self { runtime, stream, input: RefCell::default(), rng, patience, used: Cell::new(0) }
    }

    /// Sends the bytes, cut as the dice say. A connection that takes no more is reset, so that nobody takes what has
    /// gone out for the whole.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Broken> {
        let most = 1 << self.rng.borrow_mut().between(0, 12);
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = if rest.len() > 4000 { 4096 } else { self.rng.borrow_mut().between(1, most) };
            let (piece, more) = rest.split_at(rest.len().min(count as usize));
            let mut buf = self.runtime.pool().take(Class::Head).expect("this host has memory");
            assert!(buf.push(piece));
            if let Err(error) = self.stream.send_all(Pieces::one(buf), self.patience, Mono::NEVER).await {
                self.stream.reset_on_drop();
                return Err(Broken::Failed(error));
            }
            rest = more;
            if self.rng.borrow_mut().chance(20) {
                self.pause(1).await;
            }
        }
        Ok(())
    }

    pub async fn pause(&self, ms: u64) {
        sleep_until(&self.runtime, self.runtime.now().mono + Duration::from_millis(ms)).await;
    }

    pub async fn head(&self) -> Result<Head, Broken> {
        loop {
            let end = find(&self.input.borrow()[self.used.get()..], b"\r\n\r\n");
            if let Some(end) = end {
                let text = self.take(end + 4);
                return parse_head(&text[..end]);
            }
            if !self.fill().await? {
                let begun = self.input.borrow().len() > self.used.get();
                return Err(if begun { Broken::Truncated } else { Broken::Closed });
            }
        }
    }

    /// Reads a body to its end; what has been read of it is in `body` even if that fails.
    pub async fn body(&self, coding: Coding, length: usize, body: &mut Body) -> Result<(), Broken> {
        match coding {
            Coding::None => Ok(()),
            Coding::Length => self.payload(length, &mut body.bytes).await,
            Coding::Chunked => self.chunks(body).await,
            Coding::UntilClose => {
                while {
                    let rest = self.take(self.input.borrow().len() - self.used.get());
                    body.bytes.extend_from_slice(&rest);
                    self.fill().await?
                } {}
                Ok(())
            }
        }
    }

    async fn payload(&self, length: usize, into: &mut Vec<u8>) -> Result<(), Broken> {
        let mut left = length;
        loop {
            let available = self.input.borrow().len() - self.used.get();
            into.extend_from_slice(&self.take(left.min(available)));
            left -= left.min(available);
            if left == 0 {
                return Ok(());
            }
            if !self.fill().await? {
                return Err(Broken::Truncated);
            }
        }
    }

    async fn chunks(&self, body: &mut Body) -> Result<(), Broken> {
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| Broken::Nonsense("a chunk's size"))?;
            if size == 0 {
                break;
            }
            self.payload(size, &mut body.bytes).await?;
            if !self.line().await?.is_empty() {
                return Err(Broken::Nonsense("the end of a chunk"));
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push(parse_field(&line)?);
        }
    }

    async fn line(&self) -> Result<String, Broken> {
        loop {
            let end = find(&self.input.borrow()[self.used.get()..], b"\r\n");
            if let Some(end) = end {
                let line = self.take(end + 2);
                return String::from_utf8(line[..end].to_vec()).map_err(|_| Broken::Nonsense("a line"));
            }
            if !self.fill().await? {
                return Err(Broken::Truncated);
            }
        }
    }

    /// False when the peer has ended the stream.
    async fn fill(&self) -> Result<bool, Broken> {
        let deadline = self.runtime.now().mono + self.patience;
        let class = if self.rng.borrow_mut().chance(500) { Class::Head } else { Class::Body };
        match self.stream.receive(class, deadline).await {
            Ok(Received::Data(buf)) => {
                let mut input = self.input.borrow_mut();
                input.drain(..self.used.replace(0));
                input.extend_from_slice(buf.bytes());
                Ok(true)
            }
            Ok(Received::End(_)) => Ok(false),
            Err(error) => Err(Broken::Failed(error)),
        }
    }

    fn take(&self, count: usize) -> Vec<u8> {
        let start = self.used.get();
        self.used.set(start + count);
        self.input.borrow()[start..start + count].to_vec()
    }
}

impl Head {
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn lists(&self, name: &str, token: &str) -> bool {
        let lines = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        lines.flat_map(|(_, value)| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }

    /// How the body that follows is framed, and its length if that says so.
    pub fn coding(&self) -> Result<(Coding, usize), Broken> {
        let length = self.value("Content-Length");
        match (self.value("Transfer-Encoding"), length) {
            (Some("chunked"), None) => Ok((Coding::Chunked, 0)),
            (None, Some(length)) => Ok((Coding::Length, length.parse().map_err(|_| Broken::Nonsense("a length"))?)),
            (None, None) => Ok((Coding::None, 0)),
            _ => Err(Broken::Nonsense("two framings")),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|_| Broken::Nonsense("a head"))?;
    let mut lines = text.split("\r\n");
    let mut parts = lines.next().unwrap_or_default().splitn(3, ' ');
    let start = std::array::from_fn(|_| parts.next().unwrap_or_default().to_owned());
    let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok(Head { start, fields })
}

fn parse_field(line: &str) -> Result<(String, String), Broken> {
    let (name, value) = line.split_once(':').ok_or(Broken::Nonsense("a field"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Runs both until the second is over and, if `waits` of its output, the first as well.
pub async fn side_by_side<B>(
    first: impl Future<Output = ()>,
    second: impl Future<Output = B>,
    waits: impl Fn(&B) -> bool,
) -> B {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut first_over, mut output) = (false, None);
    poll_fn(|context| {
        first_over |= !first_over && first.as_mut().poll(context).is_ready();
        if output.is_none() {
            match second.as_mut().poll(context) {
                Poll::Ready(ready) => output = Some(ready),
                Poll::Pending => return Poll::Pending,
            }
        }
        let over = output.as_ref().is_some_and(|output| first_over || !waits(output));
        if over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    output.expect("it was over")
}
