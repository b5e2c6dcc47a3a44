//! A client's connection, one request after another.

use super::account::Account;
use super::error::Failure;
use super::exchange::{self, Next};
use super::origin::Origin;
use super::plan::{Entrance, Settings};
use super::shared::{Scratch, Shared};
use crate::http::body::Framing;
use crate::http::h1::Scan;
use crate::http::head::RequestHead;
use crate::policy::rate_limit::Expected;
use crate::runtime::{Buf, Class, Error, Received, TcpStream};
use crate::stdx::cidr::Cidr;
use crate::telemetry::route_stats::Sample;
use crate::transport::proxy_protocol::{self, Header};
use crate::wire::{Connection, ReadError};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub struct Downstream {
    pub connection: Connection,
    pub peer: SocketAddr,
    /// What upstreams are told of it.
    pub origin: Origin,
    pub listener: Arc<ListenerInfo>,
    /// Its first bytes say whose connection it is; until then `peer` is the load balancer.
    pub awaits_proxy_header: bool,
    /// Requests it has brought.
    pub requests: u32,
    /// How many it had brought when a line that belongs to none was dropped last.
    line_dropped_after: u32,
    /// What its last request was charged for.
    pub expected: Expected,
}

/// Where a connection came in.
#[derive(Debug)]
pub struct ListenerInfo {
    /// Stable over reloads.
    pub id: u32,
    pub entrance: Entrance,
    pub name: String,
    pub address: SocketAddr,
    /// Peers that begin with a PROXY header.
    pub proxies: Arc<[Cidr]>,
}

impl ListenerInfo {
    /// Whether a connection from this address begins with a PROXY header.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(peer))
    }
}

/// Why there is no request.
pub enum NoRequest {
    /// The client ended the connection, or never said a word: there is nothing to answer.
    Silence,
    /// An empty line came behind the last request: the next one may come as if it had not.
    EmptyLine,
    Failed(Failure),
}

impl Downstream {
    pub fn new(stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>) -> Self {
        let origin = Origin::new(peer.ip(), listener.address);
        let awaits_proxy_header = listener.is_proxy(peer.ip());
        let (connection, expected) = (Connection::new(stream), Expected::default());
        let (requests, line_dropped_after) = (0, 0);
        Self { connection, peer, origin, listener, awaits_proxy_header, requests, line_dropped_after, expected }
    }

    /// Reads the header that a load balancer begins with. Returns the client's address, or `None` if there is no good
    /// header in time.
    pub async fn read_proxy_header(&mut self, shared: &Shared) -> Option<IpAddr> {
        let deadline = shared.runtime.now().mono + shared.settings().limits.header_read_timeout;
        let Connection { stream, reader } = &mut self.connection;
        let mut header = None;
        let parse = |bytes: &[u8]| {
            let Ok(found) = proxy_protocol::parse(bytes) else { return Ok(Some(0)) };
            header = found.map(|(header, _)| header);
            Ok(found.map(|(_, length)| length))
        };
        let read = reader.head(stream, deadline, parse).await;
        let (Ok(length), Some(header)) = (read, header) else {
            // Load balancers also connect only to see whether anybody listens.
            let is_refused = !matches!(read, Err(ReadError::Closed));
            shared.counters.borrow_mut().proxy_headers_refused += u64::from(is_refused);
            return None;
        };
        reader.skip(length);
        self.awaits_proxy_header = false;
        if let Header::Proxied { source } = header {
            self.peer = source;
            self.origin = Origin::new(source.ip(), self.listener.address);
        }
        Some(self.peer.ip())
    }

    /// Reads a head, and returns its bytes.
    pub async fn read_head(
        &mut self,
        shared: &Shared,
        settings: &Settings,
        head: &mut RequestHead,
    ) -> Result<Buf, NoRequest> {
        match self.requests {
            // Whom a load balancer's connection is for, its head will say.
            0 if !settings.trusts(self.peer.ip()) => shared.expect_of(self.peer.ip()),
            _ => shared.expect(self.expected),
        }
        let deadline = shared.runtime.now().mono + settings.limits.header_read_timeout;
        let (limits, mut scan) = (settings.head_limits(), Scan::default());
        // One behind each request, so that a connection is not kept by nothing else.
        let drops_line = self.requests != self.line_dropped_after;
        let Connection { stream, reader } = &mut self.connection;
        let parse = |bytes: &[u8]| match head.parse(bytes, &limits, &mut scan) {
            Ok(None) if drops_line && bytes == EMPTY_LINE => Ok(Some(0)),
            parsed => parsed,
        };
        let read = reader.head(stream, deadline, parse).await;
        if read == Ok(0) {
            reader.skip(EMPTY_LINE.len());
            self.line_dropped_after = self.requests;
            return Err(NoRequest::EmptyLine);
        }
        match read.and_then(|length| reader.take_head(length)) {
            Ok(bytes) => {
                self.requests += 1;
                shared.counters.borrow_mut().requests_total += 1;
                Ok(bytes)
            }
            Err(ReadError::Closed | ReadError::HeadTruncated) => Err(NoRequest::Silence),
            Err(ReadError::Transport(Error::Deadline)) if reader.has_begun() => {
                Err(NoRequest::Failed(Failure::HeadTimeout))
            }
            Err(ReadError::Transport(_)) => Err(NoRequest::Silence),
            Err(error) => Err(NoRequest::Failed(Failure::downstream(error))),
        }
    }

    /// Begins the body behind a head, whose bytes these are.
    pub fn begin_body(&mut self, settings: &Settings, head: &RequestHead, bytes: &[u8]) {
        let reader = &mut self.connection.reader;
        reader.begin_body(head.framing, &settings.body_limits());
        if head.framing == Framing::Chunked {
            reader.decoder_and_input().0.leave_out(head.connection_options(bytes));
        }
    }

    /// Adds an exchange that is over to what the shard counts.
    pub fn count(&mut self, shared: &Shared, account: &Account) {
        let (received, sent) = (self.connection.reader.take_bytes_received(), account.sent_bytes.get());
        let mut counters = shared.counters.borrow_mut();
        counters.downstream_received_bytes += received;
        counters.downstream_sent_bytes += sent;
        let sample = Sample {
            status: account.status.get(),
            by_service: account.error.get().is_none() && account.first_byte_after.get().is_some(),
            request: shared.runtime.now().mono.since(account.began.mono),
            upstream: account.first_byte_after.get(),
            ingress_bytes: received,
            egress_bytes: sent,
        };
        shared.routes.borrow_mut().record(account.found().map(|record| &record.tally), &sample);
    }
}

/// Answers the requests of a connection as long as they arrive without a pause. Returns the connection when it is idle,
/// or `None` when it has ended.
pub async fn serve(shared: &Shared, scratch: &mut Scratch, mut downstream: Box<Downstream>) -> Option<Box<Downstream>> {
    loop {
        match exchange::run(shared, scratch, &mut downstream).await {
            Next::Request if downstream.connection.reader.has_input() => {
                // A client that pipelines must not keep the others waiting.
                crate::runtime::wait::yield_now(&shared.runtime).await;
            }
            Next::Request => {
                downstream.connection.reader.rest();
                return Some(downstream);
            }
            Next::Close => return None,
            Next::Linger => {
                linger(shared, &downstream.connection.stream).await;
                return None;
            }
        }
    }
}

/// Reads and drops what the client still sends, so that closing does not reset the connection before the client has
/// read its answer (RFC 9112 §9.6).
async fn linger(shared: &Shared, stream: &TcpStream) {
    stream.shutdown_write();
    let deadline = shared.runtime.now().mono + shared.settings().limits.linger_timeout;
    let mut bytes_left = LINGER_BYTES_MAX;
    while let Ok(Received::Data(buf)) = stream.receive(Class::Body, deadline).await {
        if buf.len() >= bytes_left {
            return;
        }
        bytes_left -= buf.len();
    }
}

/// What some clients send behind a body (RFC 9112 §2.2).
const EMPTY_LINE: &[u8] = b"\r\n";
/// What a client may still send after it was refused before the connection is reset.
const LINGER_BYTES_MAX: usize = 4 << 20;
