//! A client's connection, one request after another.

use super::account::Account;
use super::error::Failure;
use super::exchange::{self, Next};
use super::origin::Origin;
use super::plan::Settings;
use super::shared::{Scratch, Shared};
use crate::http::h1::Scan;
use crate::http::head::RequestHead;
use crate::runtime::{Buf, Class, Error, Received, TcpStream};
use crate::telemetry::route_stats::{NO_ROUTE, Sample};
use crate::wire::{Connection, ReadError};
use std::net::SocketAddr;
use std::sync::Arc;

pub struct Downstream {
    pub connection: Connection,
    pub peer: SocketAddr,
    /// What upstreams are told of it.
    pub origin: Origin,
    pub listener: Arc<ListenerInfo>,
    /// Requests it has brought.
    pub requests: u32,
}

/// Where a connection came in.
#[derive(Debug)]
pub struct ListenerInfo {
    /// Stable over reloads.
    pub id: u32,
    pub name: String,
    pub address: SocketAddr,
}

/// Why there is no request.
pub enum NoRequest {
    /// The client ended the connection, or never said a word: there is nothing to answer.
    Silence,
    Failed(Failure),
}

impl Downstream {
    pub fn new(stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>) -> Self {
        let origin = Origin::new(peer.ip(), listener.address);
        Self { connection: Connection::new(stream), peer, origin, listener, requests: 0 }
    }

    /// Reads a head, and returns its bytes.
    pub async fn read_head(
        &mut self,
        shared: &Shared,
        settings: &Settings,
        head: &mut RequestHead,
    ) -> Result<Buf, NoRequest> {
        let deadline = shared.runtime.now().mono + settings.limits.header_read_timeout;
        let (limits, mut scan) = (settings.head_limits(), Scan::default());
        let Connection { stream, reader } = &mut self.connection;
        let parse = |bytes: &[u8]| head.parse(bytes, &limits, &mut scan);
        let read = reader.head(stream, deadline, parse).await;
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

    /// Adds an exchange that is over to what the shard counts.
    pub fn count(&mut self, shared: &Shared, account: &Account) {
        let (received, sent) = (self.connection.reader.take_bytes_received(), account.sent_bytes.get());
        let mut counters = shared.counters.borrow_mut();
        counters.downstream_received_bytes += received;
        counters.downstream_sent_bytes += sent;
        counters.count_response(account.status.get());
        shared.routes.borrow_mut().record(&Sample {
            route: account.record.get().map_or(NO_ROUTE, |record| record.route.id),
            status: account.status.get(),
            by_service: account.error.get().is_none() && account.record.get().is_some(),
            request: shared.runtime.now().mono.since(account.began.mono),
            upstream: account.first_byte_after.get(),
            ingress_bytes: received,
            egress_bytes: sent,
        });
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

/// What a client may still send after it was refused before the connection is reset.
const LINGER_BYTES_MAX: usize = 4 << 20;
