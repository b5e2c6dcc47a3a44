//! One request to one upstream, and a second one where that is safe.

use super::error::{Failure, UpstreamFailure};
use super::exchange::Exchange;
use super::respond::{self, Answered};
use super::upload::{self, Replay, UploadEnd};
use crate::http::body::Framing;
use crate::http::head::ResponseHead;
use crate::runtime::{Class, Error as IoError, Pieces, Received, TcpStream};
use crate::stdx::time::Mono;
use crate::upstream::{Balancer, Place, Upstream};
use crate::wire::{Connection, Reader};
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Sends the request up and its response down. A request that may be sent twice is, once: when the reused connection it
/// went out on turns out to have died before any byte of an answer, and its whole body can be had again.
pub async fn forward(
    exchange: &Exchange<'_>,
    body: &mut Reader,
    response: &mut ResponseHead,
) -> Result<(Answered, Box<Upstream>), Failure> {
    let mut replay = Replay::new(exchange);
    let picked = exchange.shared.balancer.borrow_mut().pick(exchange.service);
    let mut upstream = match take_idle(exchange, picked) {
        Ok(idle) => idle,
        Err(address) => acquire(exchange, picked, address).await?,
    };
    loop {
        match transfer(exchange, &mut upstream, body, response, &mut replay).await {
            Ok(answered) => return Ok((answered, upstream)),
            Err(failure) if may_repeat(exchange, failure, &upstream, &replay) => {
                exchange.account.retried.set(true);
                exchange.shared.counters.borrow_mut().upstream_retries += 1;
                let address = upstream.address;
                // Its place among the service's connections may be the one that the next needs.
                drop(upstream);
                let endpoint = exchange.service.endpoints.iter().position(|endpoint| endpoint.address == address);
                upstream = acquire(exchange, endpoint.unwrap_or(picked), address).await?;
            }
            Err(failure) => {
                exchange.count_received(&mut upstream);
                return Err(failure);
            }
        }
    }
}

fn may_repeat(exchange: &Exchange<'_>, failure: Failure, upstream: &Upstream, replay: &Replay) -> bool {
    upstream.reused
        // Of no response whatever: an interim one, or the first bytes of a head, say that the request was read. That
        // the gateway itself has asked the client for its body says nothing.
        && !upstream.connection.reader.has_received()
        && failure == Failure::Upstream(UpstreamFailure::Closed)
        && exchange.service.retry.enabled
        && exchange.request.method.is_idempotent()
        && !exchange.account.retried.get()
        && exchange.account.status.get() == 0
        && replay.is_at_hand(exchange)
}

/// An idle connection to this endpoint, or else where a new one goes.
fn take_idle(exchange: &Exchange<'_>, endpoint: usize) -> Result<Box<Upstream>, SocketAddr> {
    let (shared, service) = (exchange.shared, exchange.service);
    let address = service.endpoints[endpoint].address;
    let idle = shared.pools.borrow_mut().take(service, address, shared.runtime.now().mono).ok_or(address)?;
    shared.counters.borrow_mut().upstream_reuses += 1;
    exchange.account.upstream.set(Some(address));
    Ok(idle)
}

/// A new connection; if there is none to this endpoint, one to the next, idle or new.
async fn acquire(
    exchange: &Exchange<'_>,
    mut endpoint: usize,
    mut address: SocketAddr,
) -> Result<Box<Upstream>, Failure> {
    let mut tries_left = CONNECTS_MAX.min(exchange.service.endpoints.len());
    loop {
        tries_left -= 1;
        match connect(exchange, address).await {
            // A service that is full has no place for another endpoint either.
            Err(Failure::Upstream(_)) if tries_left > 0 => {
                endpoint = Balancer::behind(exchange.service, endpoint);
                match take_idle(exchange, endpoint) {
                    Ok(idle) => return Ok(idle),
                    Err(next) => address = next,
                }
            }
            outcome => return outcome,
        }
    }
}

async fn connect(exchange: &Exchange<'_>, address: SocketAddr) -> Result<Box<Upstream>, Failure> {
    let runtime = &exchange.shared.runtime;
    exchange.account.upstream.set(Some(address));
    let place = place(exchange)?;
    let deadline = exchange.deadline.min(runtime.now().mono + exchange.service.timeouts.connect);
    let connected = TcpStream::connect(runtime, address, deadline).await;
    let mut counters = exchange.shared.counters.borrow_mut();
    match connected {
        Ok(stream) => {
            counters.upstream_connects += 1;
            Ok(Box::new(Upstream::new(Connection::new(stream), address, place, runtime.now().mono)))
        }
        Err(error) => {
            counters.upstream_connects_failed += 1;
            Err(Failure::connect(error))
        }
    }
}

/// A place for one more connection to the service, that of an idle one to another endpoint if there is no other.
fn place(exchange: &Exchange<'_>) -> Result<Place, Failure> {
    let (shared, service) = (exchange.shared, exchange.service);
    let free = || Place::take(&shared.board, service);
    let place = free().or_else(|| shared.pools.borrow_mut().make_room(service).then(free).flatten());
    place.ok_or_else(|| {
        shared.counters.borrow_mut().upstream_connects_refused += 1;
        Failure::ServiceFull
    })
}

async fn transfer(
    exchange: &Exchange<'_>,
    upstream: &mut Upstream,
    body: &mut Reader,
    response: &mut ResponseHead,
    replay: &mut Replay,
) -> Result<Answered, Failure> {
    let asks = exchange.request.expect_continue
        && !exchange.account.continued.get()
        && !body.has_input()
        && !replay.has_begun()
        && exchange.body.is_none();
    let head = exchange.forwarded_head(upstream.address, asks)?;
    let Connection { stream, reader } = &mut upstream.connection;
    let (watch, runtime) = (Watch::new(exchange), &exchange.shared.runtime);
    let mut down = pin!(respond::respond(exchange, stream, reader, response, &watch));
    if exchange.framing() == Framing::Empty {
        exchange.send_up(stream, Pieces::one(head)).await.map_err(send_failure)?;
        watch.sent.set(Some(runtime.now().mono));
        return attentive(exchange, body, &watch, Mono::NEVER, down).await;
    }
    let answered = {
        let up = pin!(upload::upload(exchange, body, stream, head, replay));
        both(exchange, &watch, up, down.as_mut()).await?
    };
    if let Some(answered) = answered {
        return Ok(answered);
    }
    // Whoever reads the head may have begun before it was known by when it must be there.
    let head_by = runtime.now().mono + exchange.service.timeouts.first_byte;
    attentive(exchange, body, &watch, head_by, down).await
}

/// What the direction up tells the direction down.
pub struct Watch {
    /// When the request had been sent whole, or the upstream took no more of it.
    pub sent: Cell<Option<Mono>>,
    /// All of it was sent: the connection may serve another.
    pub sent_whole: Cell<bool>,
    /// The response's head has arrived.
    pub answered: Cell<bool>,
}

impl Watch {
    fn new(exchange: &Exchange<'_>) -> Self {
        let sent_whole = exchange.framing() == Framing::Empty;
        Self { sent: Cell::new(None), sent_whole: Cell::new(sent_whole), answered: Cell::new(false) }
    }
}

/// Runs both directions until the request has gone up, as far as the upstream takes it, or the response has come down
/// before: then the exchange is over. A request that cannot be read ends it too, but one that cannot be sent does not,
/// as the response may say why.
async fn both(
    exchange: &Exchange<'_>,
    watch: &Watch,
    mut up: Pin<&mut impl Future<Output = Result<(), UploadEnd>>>,
    mut down: Pin<&mut impl Future<Output = Result<Answered, Failure>>>,
) -> Result<Option<Answered>, Failure> {
    poll_fn(|context| match up.as_mut().poll(context) {
        Poll::Pending => down.as_mut().poll(context).map_ok(Some),
        Poll::Ready(Err(UploadEnd::Unreadable(failure))) if !(watch.answered.get() && is_absence(failure)) => {
            Poll::Ready(Err(failure))
        }
        Poll::Ready(sent) => {
            watch.sent_whole.set(sent.is_ok());
            watch.sent.set(Some(exchange.shared.runtime.now().mono));
            Poll::Ready(Ok(None))
        }
    })
    .await
}

/// The client sends nothing more. Whether it still takes an answer that has begun, sending that will tell.
fn is_absence(failure: Failure) -> bool {
    matches!(failure, Failure::ClientGone | Failure::BodyTimeout)
}

/// Runs the direction down, whose head must be there at `head_by`. Of a client that has nothing more to say it looks
/// after a while whether it is still there. One that only ended its own direction is (RFC 9112 §9.6); one that has
/// reset the connection is not.
fn attentive(
    exchange: &Exchange<'_>,
    body: &mut Reader,
    watch: &Watch,
    head_by: Mono,
    mut down: Pin<&mut impl Future<Output = Result<Answered, Failure>>>,
) -> impl Future<Output = Result<Answered, Failure>> {
    let (runtime, client) = (&exchange.shared.runtime, exchange.client.stream);
    let looks_at = runtime.now().mono + ATTENTION_AFTER;
    // What still comes of a body that nobody reads any more is no request.
    let mut attention = if exchange.account.request_read.get() { Attention::Later } else { Attention::Over };
    poll_fn(move |context| {
        if let Poll::Ready(answered) = down.as_mut().poll(context) {
            return Poll::Ready(answered);
        }
        if head_by < Mono::NEVER && !watch.answered.get() {
            if runtime.now().mono >= head_by {
                return Poll::Ready(Err(Failure::Upstream(UpstreamFailure::FirstByteTimeout)));
            }
            runtime.wake_by(head_by);
        }
        let news = match attention {
            _ if body.has_input() => None,
            Attention::Later if runtime.now().mono < looks_at => {
                runtime.wake_by(looks_at);
                None
            }
            Attention::Later => {
                attention = Attention::Now;
                client.watch(Class::Head)
            }
            Attention::Now => client.watched(),
            Attention::Over => None,
        };
        match news {
            None => return Poll::Pending,
            Some(Ok(Received::Data(bytes))) => body.give(bytes),
            Some(Ok(Received::End(_))) => {}
            Some(Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
        }
        attention = Attention::Over;
        Poll::Pending
    })
}

/// Whether the client is looked at while its answer is awaited.
enum Attention {
    Later,
    Now,
    /// It said something, or goodbye, or has not been read to the end.
    Over,
}

fn send_failure(error: IoError) -> Failure {
    Failure::Upstream(match error {
        IoError::Deadline => UpstreamFailure::IdleTimeout,
        _ => UpstreamFailure::Closed,
    })
}

/// How long a client is trusted to wait for its answer without a look.
const ATTENTION_AFTER: Duration = Duration::from_secs(1);
/// Endpoints that are tried in turn when none can be connected to.
const CONNECTS_MAX: usize = 3;
