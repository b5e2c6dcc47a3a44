//! A connection and the bytes of it that have arrived and not been used.

use super::encoder::FRAMED_MAX;
use crate::http::body::{BodyError, BodyLimits, Decoder, Framing};
use crate::http::error::HeadError;
use crate::runtime::tcp::Receive;
use crate::runtime::{Buf, Class, Error, Pieces, Pool, Received, TcpStream};
use crate::stdx::time::Mono;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The two halves progress independently: whoever reads holds the reader, whoever writes the stream.
pub struct Connection {
    pub stream: TcpStream,
    pub reader: Reader,
}

/// The reading half.
pub struct Reader {
    input: Option<Buf>,
    decoder: Decoder,
    bytes_received: u64,
    head_begun: bool,
    /// What was received last filled its buffer.
    brimming: bool,
}

/// The next part of a body.
pub enum Piece {
    /// Payload, never empty; `last` when the body is complete with it.
    Data { payload: Buf, last: bool },
    /// The body was complete already.
    End,
}

/// Why no head or no piece could be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The peer ended the connection before the first byte of a head.
    #[error("connection closed")]
    Closed,
    /// The peer ended the connection within a head.
    #[error("connection closed within a head")]
    HeadTruncated,
    #[error(transparent)]
    Transport(#[from] Error),
    #[error("no buffer left")]
    NoBuffer,
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        let (decoder, bytes_received) = (Decoder::new(), 0);
        Self { stream, reader: Reader { input: None, decoder, bytes_received, head_begun: false, brimming: false } }
    }
}

impl Reader {
    /// Whether bytes have arrived that nobody has used.
    pub fn has_input(&self) -> bool {
        self.input.is_some()
    }

    /// Whether a head has begun to arrive that was not read to its end.
    pub fn has_begun(&self) -> bool {
        self.head_begun
    }

    /// Adds bytes that were received on the connection by other means, while it was idle.
    pub fn give(&mut self, bytes: Buf) {
        debug_assert!(self.input.is_none());
        self.bytes_received += bytes.len() as u64;
        self.brimming = bytes.spare_len() == 0;
        self.input = Some(bytes);
    }

    /// Whether bytes were received since `take_bytes_received` was last asked.
    pub fn has_received(&self) -> bool {
        self.bytes_received > 0
    }

    /// Bytes received since this was last asked, framing included.
    pub fn take_bytes_received(&mut self) -> u64 {
        std::mem::take(&mut self.bytes_received)
    }

    /// Counts bytes that were received on the connection after the end of HTTP.
    pub fn count_received(&mut self, bytes: u64) {
        self.bytes_received += bytes;
    }

    /// Payload bytes of the current body so far.
    pub fn payload_total(&self) -> u64 {
        self.decoder.payload_total()
    }

    /// Whether the current body has been read to its end.
    pub fn body_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// The trailer section of the body that has just ended.
    pub fn trailers(&self) -> &[u8] {
        self.decoder.trailers()
    }

    /// Reads until `parse` finds the end of a head, and returns its length: it is the first bytes of `input`.
    pub fn head<'a, P>(&'a mut self, stream: &'a TcpStream, deadline: Mono, parse: P) -> HeadRead<'a, P>
    where
        P: FnMut(&[u8]) -> Result<Option<usize>, HeadError>,
    {
        HeadRead { reader: self, stream, deadline, parse, receive: None, bytes_before: 0 }
    }

    /// What has arrived and has not been used.
    pub fn input(&self) -> &[u8] {
        self.input.as_ref().map_or(&[], Buf::bytes)
    }

    pub fn input_mut(&mut self) -> &mut [u8] {
        self.input.as_mut().map_or(&mut [], Buf::bytes_mut)
    }

    /// Lets bytes into the input at that place. False if there is no room for them.
    #[must_use]
    pub fn insert(&mut self, at: usize, more: &[u8]) -> bool {
        let Some(input) = self.input.as_mut().filter(|input| input.spare_len() >= more.len()) else { return false };
        let end = input.len();
        input.grow(more.len());
        let bytes = input.bytes_mut();
        bytes.copy_within(at..end, at + more.len());
        bytes[at..at + more.len()].copy_from_slice(more);
        true
    }

    /// Drops the first `length` bytes of the input: a head that nobody needs any more.
    pub fn skip(&mut self, length: usize) {
        if let Some(input) = &mut self.input {
            input.advance(length);
            if input.is_empty() {
                self.input = None;
            }
        }
    }

    /// Takes the head of `length` bytes out of the input.
    pub fn take_head(&mut self, length: usize) -> Result<Buf, ReadError> {
        let mut head = self.input.take().expect("a head was found in it");
        if head.len() > length {
            self.input = Some(copy_of(&head, length)?);
            head.truncate(length);
        }
        Ok(head)
    }

    /// The connection is about to be idle: keeps no more memory than that needs.
    pub fn rest(&mut self) {
        self.decoder.rest();
    }

    /// Begins the body that follows the head read last.
    pub fn begin_body(&mut self, framing: Framing, limits: &BodyLimits) {
        self.decoder.reset(framing, limits);
    }

    /// The decoder of the body that has been begun, and the input, in which its head may still be.
    pub fn decoder_and_input(&mut self) -> (&mut Decoder, &[u8]) {
        (&mut self.decoder, self.input.as_ref().map_or(&[], Buf::bytes))
    }

    /// The next piece of the body, as much as has arrived.
    pub async fn piece(&mut self, stream: &TcpStream, deadline: Mono) -> Result<Piece, ReadError> {
        self.piece_by(|| stream.receive(Class::Body, deadline)).await
    }

    /// The same for who may give up waiting before it comes: no receive is cancelled, which could lose what it brings,
    /// and so that is for the next who asks.
    pub async fn kept_piece(&mut self, stream: &TcpStream, deadline: Mono) -> Result<Piece, ReadError> {
        self.piece_by(|| stream.receive_kept(Class::Body, deadline)).await
    }

    async fn piece_by<F>(&mut self, receive: impl Fn() -> F) -> Result<Piece, ReadError>
    where
        F: Future<Output = Result<Received, Error>>,
    {
        loop {
            if self.decoder.is_done() {
                return Ok(Piece::End);
            }
            if let Some(piece) = self.decode_input()? {
                return Ok(piece);
            }
            match receive().await? {
                Received::Data(buf) => self.give(buf),
                Received::End(_) => self.decoder.end()?,
            }
        }
    }

    /// Whether more of the body should go with `pieces`, if it is here: a buffer that came full is one of several, and
    /// whoever they are sent to wakes once for all. They are held for as long as that takes, so more than two may be a
    /// part of what is free: those who take theirs slowly leave room for others.
    pub fn may_bring_more(&self, pieces: &Pieces, pool: &Pool) -> bool {
        let free = (pool.bytes_max() / 2).saturating_sub(pool.bytes_out());
        let buffer_bytes = Class::Body.payload_bytes();
        self.brimming
            && !self.decoder.is_done()
            && pieces.room() >= FRAMED_MAX
            && free > 0
            && pieces.count() * buffer_bytes <= buffer_bytes.max(free / BATCH_SHARE)
    }

    /// The next piece if its bytes are here already; nothing is waited for.
    pub fn piece_at_hand(&mut self, stream: &TcpStream) -> Result<Option<Piece>, ReadError> {
        if self.input.is_none() {
            match stream.receive_at_hand(Class::Body).transpose()? {
                Some(Received::Data(buf)) => self.give(buf),
                Some(Received::End(_)) => {
                    self.decoder.end()?;
                    return Ok(Some(Piece::End));
                }
                None => return Ok(None),
            }
        }
        self.decode_input()
    }

    /// The piece that has arrived already, if any.
    pub fn decode_input(&mut self) -> Result<Option<Piece>, ReadError> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        let decoded = self.decoder.decode(input.bytes_mut())?;
        if decoded.consumed < input.len() {
            // The next message has begun: it moves to a buffer of its own, as the payload keeps this one.
            self.input = Some(copy_of(&input, decoded.consumed)?);
        }
        input.truncate(decoded.payload);
        Ok(match (input.is_empty(), decoded.done) {
            (false, last) => Some(Piece::Data { payload: input, last }),
            (true, true) => Some(Piece::End),
            (true, false) => None,
        })
    }

    /// Decodes what of a body with a told length lies behind the first `head_bytes` of the input. Returns both in one,
    /// and how much of it is payload.
    pub fn decode_behind(&mut self, head_bytes: usize) -> Result<(Buf, usize), ReadError> {
        let mut input = self.input.take().expect("a head was found in it");
        let decoded = self.decoder.decode(&mut input.bytes_mut()[head_bytes..])?;
        let end = head_bytes + decoded.consumed;
        if end < input.len() {
            self.input = Some(copy_of(&input, end)?);
        }
        input.truncate(head_bytes + decoded.payload);
        Ok((input, decoded.payload))
    }

    /// Takes what was received after the end of HTTP on this connection: a tunnel's first bytes.
    pub fn take_input(&mut self) -> Option<Buf> {
        self.input.take()
    }
}

/// A head being read. By hand, because every exchange waits in it twice.
pub struct HeadRead<'a, P> {
    reader: &'a mut Reader,
    stream: &'a TcpStream,
    deadline: Mono,
    parse: P,
    receive: Option<Receive<'a>>,
    /// What had arrived when the receive was begun.
    bytes_before: usize,
}

impl<P: Unpin> Future for HeadRead<'_, P>
where
    P: FnMut(&[u8]) -> Result<Option<usize>, HeadError>,
{
    type Output = Result<usize, ReadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(receive) = &mut this.receive {
                let received = ready!(Pin::new(receive).poll(context));
                this.receive = None;
                match received? {
                    Received::Data(buf) => {
                        this.reader.bytes_received += (buf.len() - this.bytes_before) as u64;
                        this.reader.brimming = buf.spare_len() == 0;
                        this.reader.input = Some(buf);
                    }
                    Received::End(_) if this.bytes_before == 0 => return Poll::Ready(Err(ReadError::Closed)),
                    Received::End(_) => return Poll::Ready(Err(ReadError::HeadTruncated)),
                }
            }
            if let Some(input) = &this.reader.input
                && let Some(length) = (this.parse)(input.bytes())?
            {
                return Poll::Ready(Ok(length));
            }
            // Empty lines begin nothing (RFC 9112 §2.2): some clients send one behind a body.
            this.reader.head_begun = this.reader.input().iter().any(|byte| !b"\r\n".contains(byte));
            this.bytes_before = this.reader.input().len();
            this.receive = Some(match this.reader.input.take() {
                None => this.stream.receive(Class::Head, this.deadline),
                Some(input) => this.stream.receive_behind(with_room(input)?, this.deadline),
            });
        }
    }
}

/// The bytes of `buf` from `start` on, in a buffer of their own.
fn copy_of(buf: &Buf, start: usize) -> Result<Buf, ReadError> {
    let rest = &buf.bytes()[start..];
    let class = if rest.len() <= Class::Head.payload_bytes() { Class::Head } else { Class::Body };
    let mut copy = buf.pool().take(class).ok_or(ReadError::NoBuffer)?;
    let fits = copy.push(rest);
    debug_assert!(fits, "no buffer holds more than a body buffer's payload");
    Ok(copy)
}

/// The same bytes in a buffer that has room for more. A head is refused by its limit before it fills the larger class.
fn with_room(buf: Buf) -> Result<Buf, ReadError> {
    if buf.spare_len() > 0 {
        return Ok(buf);
    }
    let mut larger = buf.pool().take(Class::Body).ok_or(ReadError::NoBuffer)?;
    let fits = larger.push(buf.bytes());
    if fits && larger.spare_len() > 0 { Ok(larger) } else { Err(ReadError::Head(HeadError::HeadTooLarge)) }
}

/// A batch may take this part of what is free of the half of a shard's memory.
const BATCH_SHARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Underscores;
    use crate::runtime::op::PIECES_MAX;

    const LIMITS: BodyLimits = BodyLimits {
        chunk_line_bytes_max: 0,
        trailer_bytes_max: 0,
        trailer_fields_max: 0,
        underscores: Underscores::Drop,
    };

    fn batch(pool: &Pool, count: usize) -> Pieces {
        let mut pieces = Pieces::default();
        (0..count).for_each(|_| pieces.extend(Pieces::one(pool.take(Class::Body).expect("there is memory"))));
        pieces
    }

    #[test]
    fn a_batch_is_a_part_of_what_is_free_and_two_as_long_as_half_is() {
        let mut reader =
            Reader { input: None, decoder: Decoder::new(), bytes_received: 0, head_begun: false, brimming: true };
        reader.begin_body(Framing::Length(1 << 30), &LIMITS);
        // Half of it is 32 MiB, of which a 64th are eight buffers, as long as nothing is out.
        for (out, count, want) in [
            (0, 1, true),
            (0, 7, true),
            (0, 8, false),
            (200, 4, true),
            (200, 6, false),
            (300, 3, true),
            (300, 4, false),
            (390, 1, true),
            (390, 2, false),
            (600, 1, false),
        ] {
            let pool = Pool::new(64 << 20);
            let _out = batch_of_others(&pool, out);
            let pieces = batch(&pool, count);
            assert_eq!(reader.may_bring_more(&pieces, &pool), want, "{count} with {out} out");
        }
        let pool = Pool::new(256 << 20);
        assert!(reader.may_bring_more(&batch(&pool, PIECES_MAX - FRAMED_MAX), &pool));
        assert!(!reader.may_bring_more(&batch(&pool, PIECES_MAX - FRAMED_MAX + 1), &pool));
        reader.brimming = false;
        assert!(!reader.may_bring_more(&batch(&pool, 1), &pool));
    }

    fn batch_of_others(pool: &Pool, count: usize) -> Vec<Buf> {
        (0..count).map(|_| pool.take(Class::Body).expect("there is memory")).collect()
    }
}
