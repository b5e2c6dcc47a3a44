//! Where a body ends, and how its payload is taken out of the bytes that carry it.

use thiserror::Error;

use super::h1::chunked::Chunked;
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
    /// All trailer lines, the empty one that ends them included.
    pub trailer_bytes_max: usize,
    pub trailer_fields_max: usize,
    /// For names in trailers.
    pub underscores: Underscores,
}

/// Turns framed bytes into payload, in place. One decoder serves a connection's messages one after another and keeps
/// the memory it needed for trailers.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    chunked: Chunked,
    payload_total: u64,
}

/// ```text
/// reset --> Length(n) | Chunked --the body's last byte--> Done
///       --> UntilClose ----------the stream's end-------> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are to come.
    Length(u64),
    Chunked,
    UntilClose,
    Done,
}

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
        Self { state: State::Done, chunked: Chunked::new(), payload_total: 0 }
    }

    /// Begins the body of another message.
    pub fn reset(&mut self, framing: Framing, limits: &BodyLimits) {
        self.payload_total = 0;
        self.chunked.forget_trailers();
        self.state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => {
                self.chunked.reset(limits);
                State::Chunked
            }
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Of the body that has been begun, trailers of these names do not go on: its head says that they are for this hop.
    pub fn leave_out<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        self.chunked.leave_out(names);
    }

    /// Moves the payload found in `bytes` to its front. Consumes everything unless the body ends before. After an error
    /// nothing more can be made of the stream.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, BodyError> {
        let (consumed, payload) = match self.state {
            State::Done => (0, 0),
            State::UntilClose => (bytes.len(), bytes.len()),
            State::Length(length) => {
                let payload = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
                let left = length - payload as u64;
                self.state = if left == 0 { State::Done } else { State::Length(left) };
                (payload, payload)
            }
            State::Chunked => {
                let (consumed, payload) = self.chunked.decode(bytes)?;
                if self.chunked.is_done() {
                    self.state = State::Done;
                }
                (consumed, payload)
            }
        };
        self.payload_total += payload as u64;
        Ok(Decoded { consumed, payload, done: self.is_done() })
    }

    /// The stream ended: right for a body that ends with it or is complete, else it was truncated.
    pub fn end(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked => Err(BodyError::Truncated),
        }
    }

    /// No other body is near: gives back memory that only a rare one needs.
    pub fn rest(&mut self) {
        self.chunked.forget_trailers();
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Payload bytes of this body so far.
    pub fn payload_total(&self) -> u64 {
        self.payload_total
    }

    /// The trailer fields as they go on (`Name: value` lines with their line ends), those left out that frame, route,
    /// authenticate or belong to one hop (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> &[u8] {
        self.chunked.trailers()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    const LIMITS: BodyLimits = BodyLimits {
        chunk_line_bytes_max: 64,
        trailer_bytes_max: 128,
        trailer_fields_max: 4,
        underscores: Underscores::Drop,
    };

    /// Feeds `wire` in pieces that end at `cuts`. Payload, bytes used and whether the body is complete, or the error.
    fn decode(framing: Framing, wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool, Vec<u8>), BodyError> {
        let mut decoder = Decoder::new();
        decoder.reset(framing, &LIMITS);
        let (mut payload, mut used, mut begin) = (Vec::new(), 0, 0);
        for &end in cuts.iter().chain([&wire.len()]) {
            let mut piece = wire[begin..end].to_vec();
            let decoded = decoder.decode(&mut piece)?;
            assert!(decoded.done || decoded.consumed == piece.len(), "everything is used until the body ends");
            assert_eq!(decoded.done, decoder.is_done());
            payload.extend_from_slice(&piece[..decoded.payload]);
            (used, begin) = (used + decoded.consumed, end);
        }
        assert_eq!(decoder.payload_total(), payload.len() as u64);
        Ok((payload, used, decoder.is_done(), decoder.trailers().to_vec()))
    }

    #[track_caller]
    fn check(framing: Framing, wire: &str, payload: &str, rest: &str, done: bool) {
        let expected = (payload.as_bytes().to_vec(), wire.len() - rest.len(), done, Vec::new());
        assert_eq!(decode(framing, wire.as_bytes(), &[]), Ok(expected), "{wire:?}");
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        check(Framing::Empty, "GET", "", "GET", true);
        check(Framing::Length(0), "GET", "", "GET", true);
        check(Framing::Length(3), "abcGET", "abc", "GET", true);
        check(Framing::Length(3), "ab", "ab", "", false);
        check(Framing::Length(u64::MAX), "abc", "abc", "", false);
        check(Framing::UntilClose, "abc", "abc", "", false);
        check(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET", true);
        check(Framing::Chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n", "abcde", "", false);
    }

    #[test]
    fn the_end_of_the_stream_ends_only_a_body_that_may_end_with_it() {
        #[track_caller]
        fn check(framing: Framing, wire: &str, expected: Result<(), BodyError>) {
            let mut decoder = Decoder::new();
            assert_eq!(decoder.end(), Ok(()));
            decoder.reset(framing, &LIMITS);
            decoder.decode(&mut wire.as_bytes().to_vec()).expect(wire);
            assert_eq!(decoder.end(), expected, "{wire:?}");
            assert_eq!(decoder.is_done(), expected.is_ok());
        }
        check(Framing::Empty, "", Ok(()));
        check(Framing::UntilClose, "ab", Ok(()));
        check(Framing::Length(2), "ab", Ok(()));
        check(Framing::Length(3), "ab", Err(BodyError::Truncated));
        check(Framing::Chunked, "2\r\nab\r\n0\r\n\r\n", Ok(()));
        check(Framing::Chunked, "2\r\nab\r\n0\r\n", Err(BodyError::Truncated));
        check(Framing::Chunked, "", Err(BodyError::Truncated));
    }

    #[test]
    fn a_decoder_that_is_reset_forgets_the_body_before() {
        let mut decoder = Decoder::new();
        decoder.reset(Framing::Chunked, &LIMITS);
        decoder.decode(&mut b"1\r\na\r\n0\r\nA: b\r\n\r\n".to_vec()).expect("valid");
        assert_eq!((decoder.trailers(), decoder.payload_total()), (&b"A: b\r\n"[..], 1));
        decoder.reset(Framing::Chunked, &LIMITS);
        decoder.decode(&mut b"1;a=b".to_vec()).expect("valid so far");
        decoder.reset(Framing::Chunked, &LIMITS);
        let decoded = decoder.decode(&mut b"2\r\nab\r\n0\r\n\r\n".to_vec());
        assert_eq!(decoded, Ok(Decoded { consumed: 12, payload: 2, done: true }));
        assert_eq!((decoder.trailers(), decoder.payload_total()), (&b""[..], 2));
    }

    #[test]
    fn every_split_gives_the_same_result() {
        let mut rng = Rng::new(35);
        let (mut complete, mut refused) = (0, 0);
        for _ in 0..5_000 {
            let wire = random_chunked(&mut rng);
            let at_once = decode(Framing::Chunked, &wire, &[]);
            match &at_once {
                Ok((_, _, done, _)) => complete += usize::from(*done),
                Err(_) => refused += 1,
            }
            let all: Vec<usize> = (1..wire.len()).collect();
            let some: Vec<usize> = all.iter().copied().filter(|_| rng.chance(200)).collect();
            for cuts in [all, some] {
                assert_eq!(decode(Framing::Chunked, &wire, &cuts), at_once, "{} {cuts:?}", wire.escape_ascii());
            }
        }
        assert!(complete > 1_000 && refused > 500, "both kinds must occur: {complete} {refused}");
    }

    /// A chunked body, often with trailers and something after it, at times with a byte changed.
    fn random_chunked(rng: &mut Rng) -> Vec<u8> {
        let extensions = ["", "", ";a", ";a=b", ";a=\"b;\\\"\"", ";a=b;c"];
        let trailers = [
            "A: b\r\n",
            "Host: c\r\n",
            "X_Y: d\r\n",
            "Grpc-Status:0\r\n",
            "Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
        ];
        let mut wire = Vec::new();
        for _ in 0..rng.below(4) {
            let size = rng.between(1, 40) as usize;
            wire.extend_from_slice(format!("{size:x}{}\r\n", extensions[rng.below(6) as usize]).as_bytes());
            wire.extend(std::iter::repeat_with(|| rng.below(256) as u8).take(size));
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n");
        for _ in 0..rng.below(6) {
            wire.extend_from_slice(trailers[rng.below(5) as usize].as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
        if rng.chance(500) {
            wire.extend_from_slice(b"GET / HTTP/1.1\r\n");
        }
        if rng.chance(400) {
            let at = rng.below(wire.len() as u64) as usize;
            wire[at] = b"\r\n;:0 g\"\0"[rng.below(9) as usize];
        }
        wire
    }
}
