//! A response whose body policies want to see as a whole: it is held until it is there, or until it turns out to be
//! longer than any of them wants.

use super::error::Failure;
use super::exchange::Exchange;
use super::respond::{Opening, body, client_gone, closes, forwarded};
use super::upload::next_piece;
use crate::http::body::Framing;
use crate::http::head::ResponseHead;
use crate::policy::Body;
use crate::runtime::{Buf, Gathered, TcpStream};
use crate::wire::{Encoder, Piece, Reader};
use std::pin::Pin;

/// Passes on the response whose head is the first `head_bytes` of the input: its body as policies leave it, or as it
/// came and by `framing` if it has more than `bytes_max`. Returns whether the client's connection ends with it.
pub fn pass_on<'a>(
    exchange: &'a Exchange<'_>,
    stream: &'a TcpStream,
    reader: &'a mut Reader,
    (head, head_bytes): (&'a ResponseHead, usize),
    framing: Framing,
    bytes_max: u64,
) -> Pin<Box<dyn Future<Output = Result<bool, Failure>> + 'a>> {
    Box::pin(async move {
        let pool = exchange.shared.runtime.pool();
        let bytes = reader.take_head(head_bytes).map_err(Failure::upstream_body)?;
        let mut gathered = Gathered::new(pool);
        if !collect(exchange, stream, reader, &mut gathered, bytes_max).await? {
            let close = closes(exchange, framing);
            let down = forwarded(exchange, head, bytes.bytes(), framing, close, None)?;
            if framing == Framing::UntilClose {
                exchange.client.stream.reset_on_drop();
            }
            let encoder = Encoder::new(framing);
            send(exchange, &encoder, head.status, down, gathered.bytes()).await?;
            drop(gathered);
            body(exchange, stream, reader, encoder, (head.status, Opening::Begun)).await?;
            return Ok(close);
        }
        let mut shown = Body::new(gathered.bytes());
        let close = closes(exchange, Framing::Length(0));
        let down = forwarded(exchange, head, bytes.bytes(), framing, close, Some(&mut shown))?;
        if let Some(replaced) = shown.into_replaced() {
            gathered = Gathered::of(pool, replaced).ok_or(Failure::NoBuffer)?;
        }
        let encoder = Encoder::new(Framing::Length(gathered.len() as u64));
        send(exchange, &encoder, head.status, down, gathered.bytes()).await?;
        Ok(close)
    })
}

/// Reads the body; false if it goes on after more than `bytes_max`.
async fn collect(
    exchange: &Exchange<'_>,
    stream: &TcpStream,
    reader: &mut Reader,
    gathered: &mut Gathered,
    bytes_max: u64,
) -> Result<bool, Failure> {
    while gathered.len() as u64 <= bytes_max {
        let deadline = exchange.deadline.min(exchange.shared.runtime.now().mono + exchange.service.timeouts.idle);
        match reader.piece(stream, deadline).await.map_err(Failure::upstream_body)? {
            Piece::Data { payload, .. } if !gathered.push(payload.bytes()) => return Err(Failure::NoBuffer),
            Piece::Data { last: false, .. } => {}
            Piece::Data { last: true, .. } | Piece::End => return Ok(true),
        }
    }
    Ok(false)
}

/// Sends the head and what there is of the body.
async fn send(exchange: &Exchange<'_>, encoder: &Encoder, status: u16, head: Buf, bytes: &[u8]) -> Result<(), Failure> {
    let pool = exchange.shared.runtime.pool();
    let (mut before, mut rest) = (Some(head), bytes);
    exchange.account.response_body_bytes.set(bytes.len() as u64);
    while before.is_some() || !rest.is_empty() {
        let payload = next_piece(pool, &mut rest)?;
        let pieces = encoder.encode(pool, before.take(), payload, None).map_err(Failure::upstream_body)?;
        exchange.account.status.set(status);
        exchange.send_down(pieces).await.map_err(client_gone)?;
    }
    Ok(())
}
