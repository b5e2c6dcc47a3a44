//! The life of a request, from its head to its line in the log.

use super::account::{Account, RequestId};
use super::active::{RouteRecord, Routed};
use super::answer;
use super::attempt;
use super::counted::Counted;
use super::downstream::{Downstream, NoRequest};
use super::error::Failure;
use super::forward::ForwardedRequest;
use super::guard::{Guarded, Notes, Stop, Visit};
use super::origin::Origin;
use super::pause;
use super::plan::Settings;
use super::reply::{Content, Reply};
use super::shared::{Scratch, Shared};
use super::tunnel;
use super::writer::Unwritten;
use crate::http::body::Framing;
use crate::http::field::Known;
use crate::http::head::{Method, RequestHead, ResponseHead, Target, Version};
use crate::policy::Error;
use crate::route::{Asked, Route};
use crate::runtime::{Buf, Gathered, Pieces, TcpStream};
use crate::stdx::time::Mono;
use crate::telemetry::access_log::Record;
use crate::upstream::{Service, Upstream};
use crate::wire::Connection;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// It may bring another request.
    Request,
    /// It ends, and the client has nothing more to say.
    Close,
    /// It ends, while the client may still be sending.
    Linger,
}

/// A request that has a route, and all that its directions share.
pub struct Exchange<'a> {
    pub shared: &'a Shared,
    pub client: Client<'a>,
    pub request: &'a RequestHead,
    /// What `request` points into.
    pub bytes: &'a [u8],
    pub route: &'a Route,
    pub service: &'a Service,
    pub settings: &'a Settings,
    pub account: &'a Account,
    pub guarded: &'a Guarded<'a>,
    /// The whole body, if a policy has asked for it; what goes up is this.
    pub body: Option<Gathered>,
    /// When the whole exchange must be over.
    pub deadline: Mono,
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub stream: &'a TcpStream,
    pub origin: &'a Origin,
    pub is_trusted: bool,
    /// This is the last request that the connection may bring.
    pub is_last: bool,
}

/// Reads one request and answers it.
pub async fn run(shared: &Shared, scratch: &mut Scratch, downstream: &mut Downstream) -> Next {
    let Scratch { request, response, notes } = scratch;
    let began = shared.runtime.now();
    let mut settings = shared.settings();
    // Should this head be refused before its method is read, it has not that of the one before it.
    request.method = Method::Other;
    let head = match downstream.read_head(shared, &settings, request).await {
        Ok(head) => head,
        Err(NoRequest::Silence) => return Next::Close,
        Err(NoRequest::EmptyLine) => return Next::Request,
        Err(NoRequest::Failed(failure)) => {
            let account = Account::new(began, false, RequestId::generate(shared));
            return refuse_head(shared, &settings, downstream, &account, (request.method, failure)).await;
        }
    };
    // What was in force before the head was there is not for it: its route is not of that.
    if !shared.is_in_force(&settings) {
        settings = shared.settings();
    }
    let settings = &*settings;
    let is_trusted = settings.trusts(downstream.peer.ip());
    let (peer, mut client) = (downstream.peer.ip(), downstream.peer.ip());
    if is_trusted {
        client = client_address(settings, peer, request, head.bytes());
        // A load balancer's connections bring requests of one client after another.
        shared.expect_of(client);
    }
    let account = Account::new(began, is_trusted, RequestId::of(shared, request, head.bytes(), is_trusted));
    notes.forget();
    let gate = settings.gate(downstream.listener.entrance);
    let visit = Visit { shared, settings, bytes: head.bytes(), account: &account, notes, peer, client, gate };
    let went = proceed(&visit, request, response, downstream).await;
    let guarded = visit.with(request);
    let next = match went {
        Ok(next) => next,
        Err(Stop::Failed(failure)) => fail(shared, guarded, downstream, failure).await,
        Err(Stop::Answered(response)) => reply(shared, guarded, downstream, Content::Direct(response), false).await,
    };
    downstream.count(shared, &account);
    downstream.expected = notes.expected().unwrap_or(downstream.expected);
    count_policies(shared, notes);
    if shared.logs() {
        log(shared, settings, downstream, &account, Some(guarded));
    }
    next
}

fn count_policies(shared: &Shared, notes: &Notes) {
    let (refusal, identity, would_refuse) = (notes.refusal(), notes.identity(), notes.would_refuse());
    if refusal.is_none() && identity.is_none() && would_refuse.is_none() {
        return;
    }
    let mut counters = shared.counters.borrow_mut();
    let is_proven = identity.is_some_and(|identity| !identity.is_assumed);
    if is_proven || refusal.is_some_and(|refusal| refusal.kind().authenticates()) {
        counters.authentication_attempts += 1;
    }
    if let Some(refusal) = refusal {
        counters.policy_refusals[refusal.index()] += 1;
    }
    if let Some(refusal) = would_refuse {
        counters.policy_would_refuse[refusal.index()] += 1;
    }
}

async fn proceed<'a>(
    visit: &Visit<'a>,
    request: &mut RequestHead,
    response: &mut ResponseHead,
    downstream: &mut Downstream,
) -> Result<Next, Stop<'a>> {
    let Visit { shared, settings, bytes, account, .. } = *visit;
    downstream.begin_body(settings, request, bytes);
    account.request_read.set(matches!(request.framing, Framing::Empty | Framing::Length(0)));
    let _in_flight = shared.enter(settings)?;
    let mut body = None;
    let gate = visit.gate.ok_or(Failure::ListenerGone)?;
    if let Some(chain) = gate.chain.as_deref()
        && let Some(pause) = visit.with(request).pass(Some(chain))?
    {
        pause::resume(visit.with(request), pause, &mut downstream.connection, &mut body).await?;
        if !shared.is_in_force(settings) {
            return Err(Failure::ConfigurationChanged.into());
        }
    }
    let asked = Asked { head: request, bytes, peer_is_trusted: account.peer_is_trusted };
    let Some(routed) = shared.find(&asked, visit.client) else {
        return Err(unrouted(visit, request, &mut downstream.connection, &mut body).await);
    };
    let rewritten = shared.rewrite(&routed, request);
    let Routed { mut record, rule } = routed;
    if record.waits() {
        record = decide(*visit, request, record, &mut downstream.connection, &mut body).await?;
    }
    let RouteRecord { route, service, settings, chain, .. } = &**account.record.get_or_init(|| record);
    let guarded = visit.with(request);
    // Also where there is no path to send on: who may not ask learns nothing of what a route makes of paths.
    if let Some(chain) = chain.as_deref()
        && let Some(pause) = guarded.pass(Some(chain))?
    {
        pause::resume(guarded, pause, &mut downstream.connection, &mut body).await?;
    }
    rewritten?;
    let Some(service) = service.as_ref().filter(|_| guarded.head.forwards_left(bytes) != Some(0)) else {
        return Ok(answer::send(guarded, route, &route.rules[rule], downstream).await?);
    };
    // Of a body that does not say its length, what there is of it was collected before this route's bounds were known.
    guarded.check_length(downstream.connection.reader.payload_total())?;
    let limits = &settings.limits;
    let exchange = Exchange {
        shared,
        client: Client {
            stream: &downstream.connection.stream,
            origin: &downstream.origin,
            is_trusted: account.peer_is_trusted,
            is_last: downstream.requests >= limits.requests_per_connection_max,
        },
        request: guarded.head,
        bytes,
        route,
        service,
        settings,
        account,
        guarded: &guarded,
        body,
        deadline: deadline(service, account),
    };
    let (answered, upstream) = attempt::forward(&exchange, &mut downstream.connection.reader, response).await?;
    if answered.switched {
        tunnel::run(&exchange, &mut downstream.connection.reader, upstream).await;
        return Ok(Next::Close);
    }
    exchange.settle(upstream, answered.upstream_reusable);
    Ok(exchange.next(answered.downstream_reusable, downstream.connection.reader.has_input()))
}

/// How a request ends that no route is for: it meets the policies of all routes nevertheless.
async fn unrouted<'a>(
    visit: &Visit<'a>,
    head: &RequestHead,
    connection: &mut Connection,
    body: &mut Option<Gathered>,
) -> Stop<'a> {
    let guarded = visit.with(head);
    let met = match guarded.pass(visit.settings.chain.as_deref()) {
        Ok(Some(pause)) => pause::resume(guarded, pause, connection, body).await,
        Ok(None) => Ok(()),
        Err(stop) => Err(stop),
    };
    met.err().unwrap_or(Failure::NoRoute.into())
}

/// The record of the arm that a request comes to whose split waits until it is known who asks.
async fn decide<'a>(
    visit: Visit<'a>,
    head: &RequestHead,
    record: Rc<RouteRecord>,
    connection: &mut Connection,
    body: &mut Option<Gathered>,
) -> Result<Rc<RouteRecord>, Stop<'a>> {
    let (undecided, guarded) = (visit.account.undecided.get_or_init(|| record), visit.with(head));
    if let Some(pause) = guarded.pass(undecided.chain.as_deref())? {
        pause::resume(guarded, pause, connection, body).await?;
    }
    let asked = Asked { head, bytes: visit.bytes, peer_is_trusted: visit.account.peer_is_trusted };
    Ok(visit.shared.decide(undecided, &asked, visit.notes.identity().as_deref(), visit.client))
}

/// When an exchange with this service must be over.
pub fn deadline(service: &Service, account: &Account) -> Mono {
    service.timeouts.total.map_or(Mono::NEVER, |total| account.began.mono + total)
}

impl Exchange<'_> {
    /// How the body goes up.
    pub fn framing(&self) -> Framing {
        self.body.as_ref().map_or(self.request.framing, |body| Framing::Length(body.len() as u64))
    }

    /// The client asks to switch protocols and may: then the connection serves no other request.
    pub fn asks_to_switch(&self) -> bool {
        self.request.upgrade.is_some_and(|upgrade| {
            self.route.websocket
                && upgrade.of(self.bytes).eq_ignore_ascii_case(b"websocket")
                && self.request.framing == Framing::Empty
        })
    }

    fn endpoint_name(&self, address: SocketAddr) -> &str {
        let endpoint = self.service.endpoints.iter().find(|endpoint| endpoint.address == address);
        endpoint.map_or("", |endpoint| &endpoint.name)
    }

    /// The request's head for this upstream.
    pub fn forwarded_head(&self, upstream: SocketAddr, expect_continue: bool) -> Result<Buf, Failure> {
        let authority = self.request.authority.of(self.bytes);
        let rewritten = self.route.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_deref());
        let host = match self.route.preserve_host && !authority.is_empty() {
            _ if rewritten.is_some() => rewritten,
            true if self.request.target == Target::Origin => None,
            true => Some(authority),
            false => Some(self.endpoint_name(upstream).as_bytes()),
        };
        let edits = self.guarded.visit.notes.request();
        let head = ForwardedRequest {
            head: self.request,
            bytes: self.bytes,
            framing: self.framing(),
            host,
            upgrade: self.asks_to_switch(),
            expect_continue,
            origin: self.client.origin,
            peer_is_trusted: self.client.is_trusted,
            request_id: self.account.request_id.bytes(self.bytes),
            http: &self.settings.http,
            edits: edits.as_deref(),
        };
        head.write(self.shared.runtime.pool()).map_err(|error| match error {
            Unwritten::NoBuffer => Failure::NoBuffer,
            Unwritten::TooLarge => Failure::ForwardedHeadTooLarge,
        })
    }

    pub fn send_down(&self, pieces: Pieces) -> Counted<'_, impl Fn(u64) + Unpin> {
        let (account, stall_max) = (self.account, self.settings.limits.send_timeout);
        Counted::new(self.client.stream, pieces, stall_max, self.deadline, move |bytes| account.count_sent(bytes))
    }

    pub async fn send_interim(&self, interim: Buf) -> Result<(), Failure> {
        send_interim(self.client.stream, self.account, self.settings, interim, self.deadline).await
    }

    pub fn send_up<'a>(&self, stream: &'a TcpStream, pieces: Pieces) -> Counted<'a, impl Fn(u64) + Unpin> {
        let (shared, stall_max) = (self.shared, self.service.timeouts.idle);
        let count = move |bytes: u64| shared.counters.borrow_mut().upstream_sent_bytes += bytes;
        Counted::new(stream, pieces, stall_max, self.deadline, count)
    }

    /// Adds what this exchange has got from an upstream, however it ended, to what the shard counts.
    pub fn count_received(&self, upstream: &mut Upstream) {
        let received = upstream.connection.reader.take_bytes_received();
        self.shared.counters.borrow_mut().upstream_received_bytes += received;
    }

    /// What becomes of the client's connection, once it has its answer.
    fn next(&self, is_reusable: bool, has_input: bool) -> Next {
        match (is_reusable, self.account.request_read.get()) {
            (true, true) => Next::Request,
            // A client that did not ask for the end may have sent its next request already, and old ones send a line
            // break behind a body: closing on that would reset what they have not read yet (RFC 9112 §9.6).
            (false, true) if !self.request.keep_alive && !has_input && self.request.framing == Framing::Empty => {
                Next::Close
            }
            _ => Next::Linger,
        }
    }

    /// Keeps the upstream connection for another request, or closes it.
    fn settle(&self, mut upstream: Box<Upstream>, reusable: bool) {
        self.count_received(&mut upstream);
        if reusable {
            self.shared.pools.borrow_mut().put(self.service, upstream, self.shared.runtime.now().mono);
        }
    }
}

/// Sends what comes before the response, which has not begun then: if this is cut short, nothing may follow it.
pub async fn send_interim(
    client: &TcpStream,
    account: &Account,
    settings: &Settings,
    interim: Buf,
    deadline: Mono,
) -> Result<(), Failure> {
    account.sending_interim.set(true);
    let bytes = interim.len() as u64;
    let sent = client.send_all(Pieces::one(interim), settings.limits.send_timeout, deadline).await;
    sent.map_err(|_| Failure::ClientGone)?;
    account.count_sent(bytes);
    account.sending_interim.set(false);
    Ok(())
}

/// Answers a request that went wrong, or ends its response visibly if that has begun.
async fn fail(shared: &Shared, guarded: Guarded<'_>, downstream: &mut Downstream, failure: Failure) -> Next {
    let (account, answer) = (guarded.visit.account, failure.answer());
    account.error.set(Some(answer.kind));
    if account.status.get() != 0 || account.sending_interim.get() {
        // Without its last chunk or its last byte the client sees that the response is cut; one that ends with the
        // connection needs a reset for that.
        downstream.connection.stream.reset_on_drop();
        return Next::Close;
    }
    if failure == Failure::ClientGone {
        return Next::Close;
    }
    let is_odd = answer.part == "client" && !matches!(failure, Failure::NoRoute | Failure::Policy(_));
    let is_last = is_odd || failure == Failure::ListenerGone;
    reply(shared, guarded, downstream, Content::Problem(answer), is_last).await
}

/// Answers a request instead of a service. The connection ends with it if that `is_last`.
pub async fn reply(
    shared: &Shared,
    guarded: Guarded<'_>,
    downstream: &mut Downstream,
    content: Content<'_>,
    is_last: bool,
) -> Next {
    let Guarded { visit: Visit { settings, bytes, account, .. }, head: request } = guarded;
    let request_read = account.request_read.get();
    let close = !(request.keep_alive && request_read && request.upgrade.is_none() && !shared.draining.get())
        || downstream.requests >= settings.limits.requests_per_connection_max
        || is_last;
    let reply = Reply {
        content,
        request_id: account.request_id.bytes(bytes),
        head_only: request.method == Method::Head,
        close,
        keep_alive_told: request.version == Version::Http10,
        retry_after_s: content.is_overload().then_some(settings.limits.retry_after_s),
        guarded: Some(guarded),
    };
    if reply.send(shared, settings, &downstream.connection.stream, account).await.is_err() {
        return Next::Close;
    }
    if close { Next::Linger } else { Next::Request }
}

/// Answers what is not a request. Its method, as far as there is one, says whether the answer has content.
async fn refuse_head(
    shared: &Shared,
    settings: &Settings,
    downstream: &mut Downstream,
    account: &Account,
    (method, failure): (Method, Failure),
) -> Next {
    shared.counters.borrow_mut().requests_total += 1;
    let answer = failure.answer();
    account.error.set(Some(answer.kind));
    let content = Content::Problem(answer);
    let reply = Reply {
        content,
        request_id: account.request_id.bytes(b""),
        head_only: method == Method::Head,
        close: true,
        keep_alive_told: false,
        retry_after_s: content.is_overload().then_some(settings.limits.retry_after_s),
        guarded: None,
    };
    let sent = reply.send(shared, settings, &downstream.connection.stream, account).await;
    downstream.count(shared, account);
    if shared.logs() {
        log(shared, settings, downstream, account, None);
    }
    if sent.is_ok() { Next::Linger } else { Next::Close }
}

fn log(shared: &Shared, settings: &Settings, downstream: &Downstream, account: &Account, guarded: Option<Guarded<'_>>) {
    let record = account.found();
    let request = guarded.map(|guarded| (guarded.head, guarded.visit.bytes));
    let refusal = guarded.and_then(|guarded| guarded.visit.notes.refusal());
    let would_refuse = guarded.and_then(|guarded| guarded.visit.notes.would_refuse());
    let identity = guarded.and_then(|guarded| guarded.visit.notes.identity_or_former());
    let edits = guarded.and_then(|guarded| guarded.visit.notes.request());
    let found = guarded.and_then(|guarded| guarded.visit.notes.found());
    let sent_id = found.as_ref().map(|found| found.sent_id.bytes());
    let request_id = account.request_id.bytes(request.map_or(b"", |(_, bytes)| bytes));
    let value = |known| request.and_then(|(head, bytes)| head.value(bytes, known));
    let now = shared.runtime.now();
    let record = Record {
        time: account.began.wall,
        duration: now.mono.since(account.began.mono),
        client: guarded.map_or(downstream.peer.ip(), |guarded| guarded.visit.client),
        peer: downstream.peer,
        listener: &downstream.listener.name,
        route: record.map(|record| &*record.route.name),
        service: record.and_then(|record| Some(&*record.service.as_ref()?.name)),
        upstream: account.upstream.get(),
        method: request.map_or(b"", |(head, bytes)| head.method_span.of(bytes)),
        host: request.map_or(b"", |(head, _)| &head.host),
        path: request.map_or(b"", |(head, _)| &head.path),
        // As it was sent on: a token that policies took out of it is not for a log.
        query: match edits.as_ref().and_then(|edits| edits.query()) {
            Some(edited) => edited,
            None => request.and_then(|(head, bytes)| Some(head.query?.of(bytes))),
        },
        version: match request {
            Some((head, _)) if head.version == Version::Http10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        status: account.status.get(),
        request_id,
        request_id_sent: sent_id.as_deref().filter(|id| !id.is_empty() && *id != request_id),
        request_body_bytes: downstream.connection.reader.payload_total(),
        response_body_bytes: account.response_body_bytes.get(),
        upstream_duration: account.first_byte_after.get(),
        retried: account.retried.get(),
        error: account.error.get(),
        policy: refusal.map(|refusal| refusal.kind().name()),
        reason: refusal.map(Error::reason),
        would_refuse: would_refuse.map(Error::reason),
        consumer: identity.as_ref().and_then(|identity| identity.consumer.as_deref()),
        credential: identity.as_ref().and_then(|identity| identity.credential.as_deref()),
        user_agent: value(Known::UserAgent),
        referer: value(Known::Referer),
    };
    shared.log(&record, &settings.secret_arguments);
}

/// Whom a trusted peer names: the rightmost address of `X-Forwarded-For` that is not a trusted proxy's own.
fn client_address(settings: &Settings, peer: IpAddr, head: &RequestHead, bytes: &[u8]) -> IpAddr {
    let mut client = peer;
    let lines = head.fields().iter().rev().filter(|field| field.known == Known::XForwardedFor);
    for element in lines.flat_map(|field| field.value.of(bytes).rsplit(|byte| *byte == b',')) {
        let Some(address) = std::str::from_utf8(element).ok().and_then(|text| address(text.trim())) else { break };
        client = address;
        if !settings.trusts(address) {
            break;
        }
    }
    client
}

/// Some proxies tell the client's port too, and some put an IPv6 address in brackets also without one.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_any_proxy_writes_it() {
        #[track_caller]
        fn check(text: &str, read: Option<&str>) {
            assert_eq!(address(text), read.map(|read| read.parse().expect("an address")), "{text}");
        }
        check("192.0.2.7", Some("192.0.2.7"));
        check("192.0.2.7:4711", Some("192.0.2.7"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]:4711", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        for text in ["", "unknown", "_hidden", "[192.0.2.7]", "[2001:db8::1", "2001:db8::1]", "[]"] {
            check(text, None);
        }
    }
}
