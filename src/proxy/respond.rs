//! The response on its way down.

use super::attempt::Watch;
use super::error::{Failure, UpstreamFailure};
use super::exchange::Exchange;
use super::forward::ForwardedResponse;
use super::reply;
use super::trim;
use super::whole;
use super::writer::Unwritten;
use crate::http::body::Framing;
use crate::http::error::HeadError;
use crate::http::field::Known;
use crate::http::h1::Scan;
use crate::http::head::{ResponseHead, Version};
use crate::http::view::{Edits, Fields};
use crate::policy::Body;
use crate::runtime::wait::until;
use crate::runtime::{Buf, Error as IoError, Pieces, TcpStream};
use crate::stdx::time::Mono;
use crate::wire::{Encoder, Piece, ReadError, Reader};
use std::cell::Ref;
use std::pin::pin;
use std::time::Duration;

/// How the response ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answered {
    /// The upstream's connection came to a clean end of its exchange.
    pub upstream_reusable: bool,
    /// The client's connection may bring another request, if this one has been read.
    pub downstream_reusable: bool,
    /// Both connections are a tunnel from here on.
    pub switched: bool,
}

/// Passes on the upstream's interim responses, then its final one.
pub async fn respond(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    head: &mut ResponseHead,
    watch: &Watch,
) -> Result<Answered, Failure> {
    let length = final_head(exchange, stream, reader, head, watch).await?;
    watch.answered.set(true);
    if head.status == 101 {
        let down = forwarded(exchange, head, &reader.input()[..length], Framing::Empty, true, None)?;
        reader.skip(length);
        exchange.account.status.set(101);
        // From here on a clean end of either connection would say that all of the tunnel has passed.
        stream.reset_on_drop();
        exchange.client.stream.reset_on_drop();
        exchange.send_down(Pieces::one(down)).await.map_err(client_gone)?;
        return Ok(Answered { upstream_reusable: false, downstream_reusable: false, switched: true });
    }
    let framing = head.framing(exchange.request.method).map_err(|error| failed(UpstreamFailure::Head(error)))?;
    reader.begin_body(framing, &exchange.settings.body_limits());
    if framing == Framing::Chunked {
        let (decoder, input) = reader.decoder_and_input();
        decoder.leave_out(head.connection_options(&input[..length]));
    }
    let down_framing = match (framing, exchange.request.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (other, _) => other,
    };
    let brings_more = announces_body_without_right(head, &reader.input()[..length]);
    let wanted = wanted_whole(exchange, head, &reader.input()[..length], framing);
    let close = match wanted {
        Some(bytes_max) => whole::pass_on(exchange, stream, reader, (head, length), down_framing, bytes_max).await?,
        None => pass_on(exchange, stream, reader, (head, length), down_framing).await?,
    };
    exchange.client.stream.end_on_drop();
    Ok(Answered {
        upstream_reusable: head.keep_alive
            && framing != Framing::UntilClose
            && watch.sent_whole.get()
            && !brings_more
            && !reader.has_input(),
        downstream_reusable: !close,
        switched: false,
    })
}

/// How long a response may be whose body policies want to see as a whole; `None` if they do not, or this is longer.
fn wanted_whole(exchange: &Exchange<'_>, head: &ResponseHead, bytes: &[u8], framing: Framing) -> Option<u64> {
    let fits = |bytes_max: &u64| match framing {
        Framing::Empty => false,
        Framing::Length(length) => length <= *bytes_max,
        Framing::Chunked | Framing::UntilClose => true,
    };
    exchange.guarded.wants_response_body(head.status, Fields::Read(head.fields(), bytes)).filter(fits)
}

/// Passes on the response whose head is the first `length` bytes of the input, each piece of its body as it comes.
/// Returns whether the client's connection ends with it.
async fn pass_on(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    (head, length): (&ResponseHead, usize),
    framing: Framing,
) -> Result<bool, Failure> {
    let close = closes(exchange, framing);
    let opening = opening(exchange, reader, (head, length), framing, close)?;
    if framing == Framing::UntilClose {
        // Whatever cuts this response short, a panic or the shard's end: an end would make it look whole.
        exchange.client.stream.reset_on_drop();
    }
    body(exchange, stream, reader, Encoder::new(framing), (head.status, opening)).await?;
    Ok(close)
}

/// The head that goes down: the one that came, where it lies, unless that is not how we would write it.
fn opening(
    exchange: &Exchange<'_>,
    reader: &mut Reader,
    (head, length): (&ResponseHead, usize),
    framing: Framing,
    close: bool,
) -> Result<Opening, Failure> {
    let bytes = &reader.input()[..length];
    let length_unknown = length_is_unknown(exchange, head, bytes, framing);
    let edits = match exchange.guarded.answers_meet_policies() {
        true => Some(edited(exchange, &forward(exchange, head, bytes, framing, close, length_unknown), None)?),
        false => None,
    };
    let adds_nothing = !close && exchange.request.version == Version::Http11;
    let left_out = if adds_nothing { trim::left_out(head, bytes, framing, edits.as_deref()) } else { None };
    let lacks_date = left_out.is_some() && edits.is_none() && !head.has_date(bytes);
    let date = lacks_date.then(|| exchange.shared.date());
    let more = match &edits {
        Some(edits) => edits.lines(),
        None => date.as_ref().map_or(&[][..], |line| &line[..]),
    };
    match left_out {
        Some(left_out) if more.is_empty() || reader.insert(length - trim::LAST_LINE.len(), more) => {
            let head_bytes = length + more.len();
            let start = left_out.remove_from(&mut reader.input_mut()[..head_bytes]);
            reader.skip(start);
            Ok(Opening::Trimmed { head_bytes: head_bytes - start })
        }
        _ => {
            let response = forward(exchange, head, &reader.input()[..length], framing, close, length_unknown);
            let written = write(exchange, &ForwardedResponse { edits: edits.as_deref(), ..response })?;
            reader.skip(length);
            Ok(Opening::Written(written))
        }
    }
}

/// A 204 has no body (RFC 9112 §6.3). From an upstream that says otherwise one may follow, which the connection's next
/// request would get for its answer.
fn announces_body_without_right(head: &ResponseHead, bytes: &[u8]) -> bool {
    if head.status != 204 {
        return false;
    }
    let length = head.value(bytes, Known::ContentLength);
    head.value(bytes, Known::TransferEncoding).is_some() || length.is_some_and(|length| length != b"0")
}

/// Whether the client's connection ends with this response.
pub(super) fn closes(exchange: &Exchange<'_>, framing: Framing) -> bool {
    !exchange.request.keep_alive
        || exchange.client.is_last
        || exchange.shared.draining.get()
        || framing == Framing::UntilClose
        // What follows an answered request that was not read, or not switched, might be taken for another one.
        || !exchange.account.request_read.get()
        || exchange.asks_to_switch()
}

/// The head that goes down. With a `body` policies see that too, and its length is the framing.
pub(super) fn forwarded(
    exchange: &Exchange<'_>,
    head: &ResponseHead,
    bytes: &[u8],
    framing: Framing,
    close: bool,
    mut body: Option<&mut Body<'_>>,
) -> Result<Buf, Failure> {
    let length_unknown = length_is_unknown(exchange, head, bytes, framing);
    let mut response = forward(exchange, head, bytes, framing, close, length_unknown);
    // Interim ones say nothing of the answer.
    let edits = match head.status >= 200 && exchange.guarded.answers_meet_policies() {
        true => Some(edited(exchange, &response, body.as_deref_mut())?),
        false => None,
    };
    if let Some(body) = body {
        response.framing = Framing::Length(body.bytes().len() as u64);
    }
    response.edits = edits.as_deref();
    write(exchange, &response)
}

/// The response as it would go down without policies.
fn forward<'a>(
    exchange: &Exchange<'a>,
    head: &'a ResponseHead,
    bytes: &'a [u8],
    framing: Framing,
    close: bool,
    length_unknown: bool,
) -> ForwardedResponse<'a> {
    ForwardedResponse {
        head,
        bytes,
        framing,
        request_method: exchange.request.method,
        request_version: exchange.request.version,
        switch: head.status == 101,
        close,
        length_unknown,
        edits: None,
    }
}

/// Nobody has seen the body whose length a HEAD asks for, and policies would change it. It is asked before they edit.
fn length_is_unknown(exchange: &Exchange<'_>, head: &ResponseHead, bytes: &[u8], framing: Framing) -> bool {
    let fields = Fields::Read(head.fields(), bytes);
    framing == Framing::Empty && exchange.guarded.wants_response_body(head.status, fields).is_some()
}

/// What policies make of it.
fn edited<'a>(
    exchange: &Exchange<'a>,
    response: &ForwardedResponse<'_>,
    body: Option<&mut Body<'_>>,
) -> Result<Ref<'a, Edits>, Failure> {
    let ForwardedResponse { head, bytes, .. } = *response;
    let fields = Fields::Read(head.fields(), bytes);
    let edits = exchange.guarded.answer(head.status, fields, response.is_for_one_hop(), body);
    if edits.overflowed() {
        return Err(failed(UpstreamFailure::Head(HeadError::HeadTooLarge)));
    }
    Ok(edits)
}

fn write(exchange: &Exchange<'_>, response: &ForwardedResponse<'_>) -> Result<Buf, Failure> {
    let date = response.lacks_date().then(|| exchange.shared.date());
    response.write(exchange.shared.runtime.pool(), date.as_ref()).map_err(|error| match error {
        Unwritten::NoBuffer => Failure::NoBuffer,
        Unwritten::TooLarge => failed(UpstreamFailure::Head(HeadError::HeadTooLarge)),
    })
}

/// Reads up to the head of the final response, or of the switch that was asked for, and returns its length.
async fn final_head(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    head: &mut ResponseHead,
    watch: &Watch,
) -> Result<usize, Failure> {
    let limits = exchange.settings.response_head_limits();
    let interim_max = exchange.settings.limits.informational_max;
    for interim in 0..=interim_max {
        let mut scan = Scan::default();
        let (deadline, timeout) = head_deadline(exchange, watch);
        let reading = reader.head(stream, deadline, |bytes: &[u8]| head.parse(bytes, &limits, &mut scan));
        let read = if exchange.request.expect_continue && !exchange.account.continued.get() {
            ask_meanwhile(exchange, reading).await?
        } else {
            reading.await
        };
        let length = read.map_err(|error| Failure::upstream_head(error, timeout))?;
        if exchange.account.first_byte_after.get().is_none() {
            let now = exchange.shared.runtime.now().mono;
            exchange.account.first_byte_after.set(Some(now.since(exchange.account.began.mono)));
        }
        match head.status {
            101 if is_asked_for(exchange, head, &reader.input()[..length]) => return Ok(length),
            101 => return Err(failed(UpstreamFailure::UnexpectedSwitch)),
            100 if !exchange.request.expect_continue || exchange.account.continued.get() => {}
            100..=199 if interim == interim_max => break,
            100..=199 => {
                if head.status == 100 {
                    exchange.account.continued.set(true);
                }
                // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
                if exchange.request.version == Version::Http11 {
                    let interim = forwarded(exchange, head, &reader.input()[..length], Framing::Empty, false, None)?;
                    exchange.send_interim(interim).await?;
                }
            }
            _ => return Ok(length),
        }
        reader.skip(length);
    }
    Err(failed(UpstreamFailure::TooManyInformational))
}

/// Whether a 101 switches to what the client has asked for.
fn is_asked_for(exchange: &Exchange<'_>, head: &ResponseHead, bytes: &[u8]) -> bool {
    let wanted = exchange.request.upgrade.map(|upgrade| upgrade.of(exchange.bytes));
    exchange.asks_to_switch() && wanted.is_some_and(|protocol| head.switches_to(bytes, protocol))
}

/// When a head must have arrived, and what it means if it has not.
fn head_deadline(exchange: &Exchange<'_>, watch: &Watch) -> (Mono, UpstreamFailure) {
    // While the request is under way its own pace is the measure; `attempt::attentive` takes over from there.
    let by = watch.sent.get().map_or(Mono::NEVER, |sent| sent + exchange.service.timeouts.first_byte);
    if by < exchange.deadline {
        (by, UpstreamFailure::FirstByteTimeout)
    } else {
        (exchange.deadline, UpstreamFailure::TotalTimeout)
    }
}

/// Waits for a head on behalf of a client that waits to be asked for its body, and asks it after a while, whether or
/// not the upstream knows to ask.
async fn ask_meanwhile<T>(
    exchange: &Exchange<'_>,
    reading: impl Future<Output = Result<T, ReadError>>,
) -> Result<Result<T, ReadError>, Failure> {
    let mut reading = pin!(reading);
    let patience = exchange.shared.runtime.now().mono + CONTINUE_PATIENCE;
    if let Some(head) = until(&exchange.shared.runtime, patience, reading.as_mut()).await {
        return Ok(head);
    }
    if !exchange.account.continued.replace(true) && !exchange.account.request_read.get() {
        exchange.send_interim(reply::continue_(exchange.shared)?).await?;
    }
    Ok(reading.await)
}

/// The head that goes down.
pub(super) enum Opening {
    /// It has gone, and a part of the body with it.
    Begun,
    /// The one that came, where it came: the first bytes of the reader's input.
    Trimmed {
        head_bytes: usize,
    },
    Written(Buf),
}

/// Passes on the body, its first piece together with the head where it has arrived with it.
pub(super) async fn body(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    encoder: Encoder,
    (status, opening): (u16, Opening),
) -> Result<(), Failure> {
    let (mut before, mut next) = match opening {
        Opening::Begun => (None, None),
        Opening::Trimmed { head_bytes } => {
            let (begun, payload_bytes) = reader.decode_behind(head_bytes).map_err(Failure::upstream_body)?;
            exchange.account.response_body_bytes.set(payload_bytes as u64);
            exchange.account.status.set(status);
            exchange.send_down(Pieces::one(begun)).await.map_err(client_gone)?;
            if reader.body_done() {
                return Ok(());
            }
            (None, None)
        }
        Opening::Written(head) if reader.body_done() => (Some(head), Some(Piece::End)),
        Opening::Written(head) => (Some(head), reader.decode_input().map_err(Failure::upstream_body)?),
    };
    loop {
        let mut pieces = framed(exchange, reader, encoder, before.take(), next.take())?;
        let more = behind(exchange, stream, reader, encoder, &mut pieces);
        if !pieces.is_empty() {
            // Not sooner: a body that is malformed from its first byte on can still become an honest 502.
            exchange.account.status.set(status);
            exchange.send_down(pieces).await.map_err(client_gone)?;
        }
        more?;
        if reader.body_done() {
            return Ok(());
        }
        let idle = exchange.shared.runtime.now().mono + exchange.service.timeouts.idle;
        let deadline: Mono = exchange.deadline.min(idle);
        next = Some(reader.piece(stream, deadline).await.map_err(|error: ReadError| Failure::upstream_body(error))?);
    }
}

/// Adds what else is here where a buffer came full. A failure is one of what follows: what came before is sent.
fn behind(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    encoder: Encoder,
    pieces: &mut Pieces,
) -> Result<(), Failure> {
    while reader.may_bring_more(pieces, exchange.shared.runtime.pool())
        && let Some(more) = reader.piece_at_hand(stream).map_err(Failure::upstream_body)?
    {
        pieces.extend(framed(exchange, reader, encoder, None, Some(more))?);
    }
    Ok(())
}

/// A piece as it goes to the client, behind `before`, and counted.
fn framed(
    exchange: &Exchange<'_>,
    reader: &Reader,
    encoder: Encoder,
    before: Option<Buf>,
    piece: Option<Piece>,
) -> Result<Pieces, Failure> {
    let (payload, last) = match piece {
        Some(Piece::Data { payload, last }) => (Some(payload), last),
        Some(Piece::End) => (None, true),
        None => (None, false),
    };
    let payload_bytes = payload.as_ref().map_or(0, Buf::len) as u64;
    let sent_before = exchange.account.response_body_bytes.get();
    exchange.account.response_body_bytes.set(sent_before + payload_bytes);
    let end = last.then(|| reader.trailers());
    encoder.encode(exchange.shared.runtime.pool(), before, payload, end).map_err(Failure::upstream_body)
}

/// A client that cannot be sent to.
pub(super) fn client_gone(_: IoError) -> Failure {
    Failure::ClientGone
}

fn failed(failure: UpstreamFailure) -> Failure {
    Failure::Upstream(failure)
}

/// How long a client waits for `100 Continue` if the upstream says nothing: as long as curl would.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
