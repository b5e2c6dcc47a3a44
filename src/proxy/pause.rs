//! What a policy wants before a request may go on: its whole body, or an answer that takes longer.
//!
//! ```text
//!   guard: chain --Buffer--> collect the body --> the policy's body hook  --Continue--> the chain's next policy ...
//!                --Call----> another thread  ---> the policy's reply hook --Continue-->
//! ```
//!
//! Only such a request comes here, and what it waits in is made for it: one that goes straight through pays nothing.

use super::error::Failure;
use super::exchange::{deadline, send_interim};
use super::guard::{Given, Guarded, Pause, Stop, Visit, Wants};
use super::reply;
use super::shared::Shared;
use super::upload::{self, Pace, receive};
use crate::http::body::{BodyError, Framing};
use crate::policy::{Body, Call, Chain, Error, Reply};
use crate::runtime::Gathered;
use crate::runtime::calls::Unanswered;
use crate::stdx::board::client_key;
use crate::stdx::time::Mono;
use crate::wire::{Connection, Piece, ReadError};
use std::pin::Pin;

/// Gives policies what they want, one after the other, until the request has passed the chain. `body` is what has been
/// collected of it, then and before.
pub fn resume<'a, 'c: 'a>(
    guarded: Guarded<'a>,
    pause: Pause<'c>,
    connection: &'a mut Connection,
    body: &'a mut Option<Gathered>,
) -> Pin<Box<dyn Future<Output = Result<(), Stop<'c>>> + 'a>> {
    Box::pin(async move {
        let mut paused = Some(pause);
        while let Some(Pause { chain, slot, wants }) = paused {
            paused = match wants {
                Wants::Body { bytes_max, too_large } => {
                    if body.is_none() {
                        *body = collect(guarded, connection, bytes_max, too_large).await?;
                    }
                    show(guarded, (chain, slot), body, (bytes_max, too_large))?
                }
                Wants::Answer(call) => {
                    let reply = ask(guarded.visit, *call).await;
                    guarded.resume(chain, slot, Given::Reply(reply))?
                }
            };
        }
        Ok(())
    })
}

/// Shows a body to the policy that wanted it, and keeps what it makes of it.
fn show<'c>(
    guarded: Guarded<'_>,
    (chain, slot): (&'c Chain, usize),
    body: &mut Option<Gathered>,
    (bytes_max, too_large): (u64, Error),
) -> Result<Option<Pause<'c>>, Stop<'c>> {
    let bytes = body.as_ref().map_or(&[][..], Gathered::bytes);
    check(guarded, bytes.len() as u64, bytes_max, too_large)?;
    let mut shown = Body::new(bytes);
    let paused = guarded.resume(chain, slot, Given::Body(&mut shown))?;
    if let Some(replaced) = shown.into_replaced() {
        *body = Some(Gathered::of(guarded.visit.shared.runtime.pool(), replaced).ok_or(Failure::NoBuffer)?);
    }
    Ok(paused)
}

/// What comes of a question. It is asked on behalf of the client, and waited for no longer than the exchange may take.
async fn ask(visit: Visit<'_>, Call { question, patience }: Call) -> Reply {
    let Shared { runtime, calls, .. } = visit.shared;
    let deadline = deadline_of(visit).min(runtime.now().mono + patience);
    let answer = match calls.ask(runtime, client_key(visit.client), question, deadline) {
        Ok(answer) => answer.await,
        Err(unanswered) => Err(unanswered),
    };
    match answer {
        Ok(answer) => Reply::Answered(answer),
        Err(Unanswered::Busy) => Reply::Busy,
        Err(Unanswered::Late) => Reply::Late,
    }
}

/// Reads the whole body; `None` if the request has none.
async fn collect(
    guarded: Guarded<'_>,
    Connection { stream, reader }: &mut Connection,
    bytes_max: u64,
    too_large: Error,
) -> Result<Option<Gathered>, Failure> {
    let Guarded { head, visit: Visit { shared, settings, account, .. } } = guarded;
    match head.framing {
        Framing::Empty => return Ok(None),
        Framing::Length(length) => check(guarded, length, bytes_max, too_large)?,
        Framing::Chunked | Framing::UntilClose => {}
    }
    let deadline = deadline_of(guarded.visit);
    if head.expect_continue && !reader.has_input() && !account.continued.replace(true) {
        send_interim(stream, account, settings, reply::continue_(shared)?, deadline).await?;
    }
    let (mut gathered, mut pace) =
        (Gathered::new(shared.runtime.pool()), Pace::new(settings, settings.limits.idle_timeout));
    loop {
        let piece = receive(&shared.runtime, stream, reader, &mut pace, deadline).await.map_err(unreadable)?;
        check(guarded, reader.payload_total(), bytes_max, too_large)?;
        let last = match piece {
            Piece::Data { payload, last } if gathered.push(payload.bytes()) => last,
            Piece::Data { .. } => return Err(Failure::NoBuffer),
            Piece::End => true,
        };
        if last {
            account.request_read.set(true);
            return Ok(Some(gathered));
        }
    }
}

/// When the exchange must be over, if that is known yet.
fn deadline_of(visit: Visit<'_>) -> Mono {
    let service = visit.account.found().and_then(|record| record.service.as_deref());
    service.map_or(Mono::NEVER, |service| deadline(service, visit.account))
}

/// Whether a body may have so many bytes.
fn check(guarded: Guarded<'_>, bytes: u64, bytes_max: u64, too_large: Error) -> Result<(), Failure> {
    if bytes > bytes_max {
        return Err(guarded.visit.notes.refuse(too_large));
    }
    guarded.check_body(bytes)
}

/// A client that ends its side before its body does may still read why nothing came of it.
fn unreadable(error: ReadError) -> Failure {
    match error {
        ReadError::Body(BodyError::Truncated) => Failure::RequestBody(BodyError::Truncated),
        other => upload::unreadable(other),
    }
}
