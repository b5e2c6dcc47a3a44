//! The request's body on its way up.

use super::error::Failure;
use super::exchange::Exchange;
use super::plan::Settings;
use crate::runtime::{Buf, Class, Error as IoError, Pieces, Pool, Runtime, TcpStream};
use crate::stdx::time::Mono;
use crate::wire::{Encoder, Piece, ReadError, Reader};
use std::time::Duration;

/// Why the upload ended early.
pub enum UploadEnd {
    /// The client's side failed.
    Unreadable(Failure),
    /// The upstream takes no more.
    Unsendable,
}

/// What has been sent of a body that may have to be sent again.
pub struct Replay {
    payload: Option<Buf>,
    begun: bool,
    /// Everything that was read is in `payload`.
    whole: bool,
    bytes_max: usize,
}

impl Replay {
    pub fn new(exchange: &Exchange<'_>) -> Self {
        let wanted = exchange.service.retry.enabled && exchange.request.method.is_idempotent();
        let bytes_max = if wanted { exchange.service.retry.replay_bytes_max } else { 0 };
        Self { payload: None, begun: false, whole: true, bytes_max }
    }

    /// Part of the body has been read.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Another attempt would have the whole body: nothing of it has been read, or all of it, and that is here.
    pub fn is_at_hand(&self, exchange: &Exchange<'_>) -> bool {
        !self.begun || self.whole && exchange.account.request_read.get()
    }

    fn keep(&mut self, payload: &Buf) {
        self.begun = true;
        self.whole = self.whole && self.copy(payload).is_some();
        if !self.whole {
            self.payload = None;
        }
    }

    /// Behind what is kept. A copy is held for as long as its client takes for the rest, so there are some only where
    /// memory is not needed otherwise, and a short one is in a small buffer.
    fn copy(&mut self, payload: &Buf) -> Option<()> {
        let (pool, kept) = (payload.pool(), self.payload.as_ref().map_or(&b""[..], Buf::bytes));
        let bytes = kept.len() + payload.len();
        if bytes > self.bytes_max || pool.bytes_out() > pool.bytes_max() / COPIES_SHARE {
            return None;
        }
        if self.payload.as_ref().is_none_or(|copy| copy.spare_len() < payload.len()) {
            let class = if bytes <= Class::Head.payload_bytes() { Class::Head } else { Class::Body };
            let mut larger = pool.take(class)?;
            let fits = larger.push(kept);
            debug_assert!(fits, "a larger buffer holds what a smaller one did");
            self.payload = Some(larger);
        }
        self.payload.as_mut()?.push(payload.bytes()).then_some(())
    }
}

/// Sends `head` and the body behind it. Ready when all of it has been sent.
pub async fn upload(
    exchange: &Exchange<'_>,
    body: &mut Reader,
    stream: &TcpStream,
    head: Buf,
    replay: &mut Replay,
) -> Result<(), UploadEnd> {
    let encoder = Encoder::new(exchange.framing());
    let pool = exchange.shared.runtime.pool();
    let unsendable = |_: IoError| UploadEnd::Unsendable;
    if let Some(whole) = &exchange.body {
        let (mut before, mut rest) = (Some(head), whole.bytes());
        while before.is_some() || !rest.is_empty() {
            let payload = next_piece(pool, &mut rest).map_err(UploadEnd::Unreadable)?;
            let pieces = encoder.encode(pool, before.take(), payload, None).map_err(malformed)?;
            exchange.send_up(stream, pieces).await.map_err(unsendable)?;
        }
        return Ok(());
    }
    if exchange.account.request_read.get() {
        // Read by the first attempt, and kept; there is no third that would need it.
        let again = replay.payload.take();
        let pieces = encoder.encode(pool, Some(head), again, Some(trailers(exchange, body))).map_err(malformed)?;
        return exchange.send_up(stream, pieces).await.map_err(unsendable);
    }
    let mut before = Some(head);
    let mut pace = Pace::new(exchange.settings, exchange.service.timeouts.idle);
    loop {
        let piece = match (body.decode_input().map_err(malformed)?, before.take()) {
            (Some(piece), head) => {
                before = head;
                piece
            }
            (None, Some(head)) => {
                // Nothing to send with it: the upstream need not wait for what the client has not sent yet.
                let pieces = encoder.encode(pool, Some(head), None, None).map_err(malformed)?;
                exchange.send_up(stream, pieces).await.map_err(unsendable)?;
                continue;
            }
            (None, None) => {
                let (runtime, client) = (&exchange.shared.runtime, exchange.client.stream);
                let received = receive(runtime, client, body, &mut pace, exchange.deadline).await;
                received.map_err(|error| UploadEnd::Unreadable(unreadable(error)))?
            }
        };
        let mut pieces = framed(exchange, body, encoder, replay, (before.take(), piece))?;
        let more = behind(exchange, body, encoder, replay, &mut pieces);
        let sent = if pieces.is_empty() { Ok(()) } else { exchange.send_up(stream, pieces).await };
        // A client whose body cannot be had is the better reason.
        more?;
        sent.map_err(unsendable)?;
        if exchange.account.request_read.get() {
            return Ok(());
        }
    }
}

/// What else is here where a buffer came full, as for responses: see `respond`.
fn behind(
    exchange: &Exchange<'_>,
    body: &mut Reader,
    encoder: Encoder,
    replay: &mut Replay,
    pieces: &mut Pieces,
) -> Result<(), UploadEnd> {
    while body.may_bring_more(pieces, exchange.shared.runtime.pool())
        && let Some(more) = body.piece_at_hand(exchange.client.stream).map_err(malformed)?
    {
        pieces.extend(framed(exchange, body, encoder, replay, (None, more))?);
    }
    Ok(())
}

/// A piece as it goes up, behind `before`; kept, in case that it has to be sent again.
fn framed(
    exchange: &Exchange<'_>,
    body: &Reader,
    encoder: Encoder,
    replay: &mut Replay,
    (before, piece): (Option<Buf>, Piece),
) -> Result<Pieces, UploadEnd> {
    let (payload, last) = match piece {
        Piece::Data { payload, last } => (Some(payload), last),
        Piece::End => (None, true),
    };
    exchange.guarded.check_body(body.payload_total()).map_err(UploadEnd::Unreadable)?;
    if let Some(payload) = &payload {
        replay.keep(payload);
    }
    exchange.account.request_read.set(last);
    let end = last.then(|| trailers(exchange, body));
    encoder.encode(exchange.shared.runtime.pool(), before, payload, end).map_err(malformed)
}

fn malformed(error: ReadError) -> UploadEnd {
    UploadEnd::Unreadable(Failure::downstream(error))
}

/// Behind a head whose fields policies have changed there are none: they would come back here, past every policy, and
/// many a service takes trailers for fields of the head.
fn trailers<'a>(exchange: &Exchange<'_>, body: &'a Reader) -> &'a [u8] {
    let edited = exchange.guarded.visit.notes.request().is_some_and(|edits| edits.edited());
    if edited { b"" } else { body.trailers() }
}

/// The next piece of a body that lies in memory as a whole; none behind the last.
pub fn next_piece(pool: &Pool, rest: &mut &[u8]) -> Result<Option<Buf>, Failure> {
    let (piece, behind) = rest.split_at(rest.len().min(Class::Body.payload_bytes()));
    *rest = behind;
    if piece.is_empty() {
        return Ok(None);
    }
    let class = if piece.len() <= Class::Head.payload_bytes() { Class::Head } else { Class::Body };
    let mut buf = pool.take(class).ok_or(Failure::NoBuffer)?;
    let fits = buf.push(piece);
    debug_assert!(fits, "no piece is longer than a buffer");
    Ok(Some(buf))
}

/// The next piece of a client's body, if it comes in time. For an attempt that fails meanwhile none is lost: what the
/// first has not read is for the second.
pub async fn receive(
    runtime: &Runtime,
    client: &TcpStream,
    body: &mut Reader,
    pace: &mut Pace,
    deadline: Mono,
) -> Result<Piece, ReadError> {
    let asked = runtime.now().mono;
    let deadline = deadline.min(pace.deadline(asked, body.payload_total()));
    let piece = body.kept_piece(client, deadline).await;
    pace.waited += runtime.now().mono.since(asked);
    piece
}

/// Why the client's body cannot be had.
pub fn unreadable(error: ReadError) -> Failure {
    match error {
        ReadError::Transport(IoError::Deadline) => Failure::BodyTimeout,
        other => Failure::downstream(other),
    }
}

/// How fast the client must be. Only the time in which it is waited for counts: a slow upstream is not its fault.
pub struct Pace {
    waited: Duration,
    grace: Duration,
    bytes_per_second_min: u64,
    /// For the next byte, however many came early.
    idle: Duration,
}

impl Pace {
    pub fn new(settings: &Settings, idle: Duration) -> Self {
        let limits = &settings.limits;
        Self { waited: Duration::ZERO, grace: limits.body_rate_grace, bytes_per_second_min: limits.body_rate_min, idle }
    }

    /// When more than `bytes` must have arrived, if the wait for them begins now.
    fn deadline(&self, now: Mono, bytes: u64) -> Mono {
        let Some(earned_ms) = bytes.saturating_mul(1000).checked_div(self.bytes_per_second_min) else {
            return now + self.idle;
        };
        now + (self.grace + Duration::from_millis(earned_ms)).saturating_sub(self.waited).min(self.idle)
    }
}

/// The part of a shard's memory for bytes up to which bodies are copied for a second attempt.
const COPIES_SHARE: usize = 4;
