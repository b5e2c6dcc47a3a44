//! Where a body ends, and how its payload is taken out of the bytes that carry it.

use thiserror::Error;

use super::head::Underscores;

/// How the end of a body is found. Requests are never `UntilClose`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// A chunk's size and extensions, without the line end.
    pub chunk_line_bytes_max: usize,
    /// All trailer lines with their line ends.
    pub trailer_bytes_max: usize,
    pub trailer_fields_max: usize,
    /// For names in trailers.
    pub underscores: Underscores,
}

/// Turns framed bytes into payload, in place. One decoder serves a connection's messages one after another and keeps the
/// memory it needed for trailers.
#[derive(Debug)]
pub struct Decoder {}

/// What one call of [`Decoder::decode`] did with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Input bytes used; those after belong to the next message.
    pub consumed: usize,
    /// Payload bytes, now at the front of the input.
    pub payload: usize,
    /// The body is complete.
    pub done: bool,
}

impl Decoder {
    /// A decoder that is done until it is reset.
    pub fn new() -> Self {
        unimplemented!()
    }

    /// Begins the body of another message.
    pub fn reset(&mut self, _framing: Framing, _limits: &BodyLimits) {
        unimplemented!()
    }

    /// Moves the payload found in `bytes` to its front. Consumes everything unless the body ends before.
    pub fn decode(&mut self, _bytes: &mut [u8]) -> Result<Decoded, BodyError> {
        unimplemented!()
    }

    /// The stream ended: right for a body that ends with it or is complete, else it was truncated.
    pub fn end(&mut self) -> Result<(), BodyError> {
        unimplemented!()
    }

    pub fn is_done(&self) -> bool {
        unimplemented!()
    }

    /// Payload bytes of this body so far.
    pub fn payload_total(&self) -> u64 {
        unimplemented!()
    }

    /// The trailer fields as they go on (`Name: value` lines with their line ends), those left out that frame, route,
    /// authenticate or belong to one hop (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> &[u8] {
        unimplemented!()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("a chunk's size is not a number of at most 16 hexadecimal digits")]
    ChunkSizeInvalid,
    #[error("a chunk's size line is longer than allowed")]
    ChunkLineTooLong,
    #[error("a chunk extension is invalid")]
    ChunkExtensionInvalid,
    #[error("a chunk does not end in CRLF")]
    ChunkEndInvalid,
    #[error("a line does not end in CRLF")]
    LineEndInvalid,
    #[error("a trailer field is invalid")]
    TrailerInvalid,
    #[error("the trailers are larger than allowed")]
    TrailersTooLarge,
    #[error("more trailer fields than allowed")]
    TooManyTrailers,
    #[error("the stream ended before the body did")]
    Truncated,
}
