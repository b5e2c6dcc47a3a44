//! What is known of an exchange so far: for its answer, its counters and its line in the log.

use super::active::RouteRecord;
use super::shared::Shared;
use crate::http::field::{Known, Span};
use crate::http::head::RequestHead;
use crate::stdx::time::Now;
use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Cells, because both directions write to it.
pub struct Account {
    pub began: Now,
    /// Whether the peer is believed about who the client is.
    pub peer_is_trusted: bool,
    pub request_id: RequestId,
    /// The route that was found, and what goes with it.
    pub record: OnceCell<Rc<RouteRecord>>,
    /// That of a split which could not be decided before it was known who asks.
    pub undecided: OnceCell<Rc<RouteRecord>>,
    pub upstream: Cell<Option<SocketAddr>>,
    /// The status that was sent to the client; 0 until then.
    pub status: Cell<u16>,
    /// The request has been read to its end.
    pub request_read: Cell<bool>,
    /// The client has been told to send the body it announced.
    pub continued: Cell<bool>,
    pub response_body_bytes: Cell<u64>,
    /// Bytes sent to the client, framing included.
    pub sent_bytes: Cell<u64>,
    /// A part of an interim response may have gone to the client.
    pub sending_interim: Cell<bool>,
    pub first_byte_after: Cell<Option<Duration>>,
    pub retried: Cell<bool>,
    pub error: Cell<Option<&'static str>>,
}

/// The name under which every log knows the request.
#[derive(Clone, Copy, Debug)]
pub struct RequestId {
    generated: [u8; GENERATED_BYTES],
    /// A trusted peer's own name for it.
    given: Option<Span>,
}

impl Account {
    pub fn count_sent(&self, bytes: u64) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes);
    }

    /// The route as far as it was found.
    pub fn found(&self) -> Option<&Rc<RouteRecord>> {
        self.record.get().or_else(|| self.undecided.get())
    }

    pub fn new(began: Now, peer_is_trusted: bool, request_id: RequestId) -> Self {
        Self {
            began,
            peer_is_trusted,
            request_id,
            record: OnceCell::new(),
            undecided: OnceCell::new(),
            upstream: Cell::new(None),
            status: Cell::new(0),
            request_read: Cell::new(false),
            continued: Cell::new(false),
            response_body_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
            sending_interim: Cell::new(false),
            first_byte_after: Cell::new(None),
            retried: Cell::new(false),
            error: Cell::new(None),
        }
    }
}

impl RequestId {
    pub fn generate(shared: &Shared) -> Self {
        let mut generated = [0; GENERATED_BYTES];
        let mut rng = shared.rng.borrow_mut();
        for half in generated.chunks_exact_mut(16) {
            let word = rng.next_u64();
            half[..8].copy_from_slice(&hex(word as u32));
            half[8..].copy_from_slice(&hex((word >> 32) as u32));
        }
        Self { generated, given: None }
    }

    /// The name that a trusted peer gave it, if that is one, or a new one.
    pub fn of(shared: &Shared, head: &RequestHead, bytes: &[u8], is_trusted: bool) -> Self {
        let mut id = Self::generate(shared);
        if is_trusted {
            let mut fields = head.fields().iter().filter(|field| field.known == Known::XRequestId);
            let given = fields.next().map(|field| field.value);
            id.given = given.filter(|span| is_name(span.of(bytes)) && fields.next().is_none());
        }
        id
    }

    pub fn bytes<'a>(&'a self, head: &'a [u8]) -> &'a [u8] {
        self.given.map_or(&self.generated, |span| span.of(head))
    }
}

/// Eight lower-case digits at once: a nibble a byte, then each byte to its digit.
fn hex(word: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut spread = u64::from(word);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((spread + 6 * ONES) >> 4) & ONES;
    (spread + 0x30 * ONES + letters * 0x27).to_be_bytes()
}

fn is_name(value: &[u8]) -> bool {
    (1..=GIVEN_BYTES_MAX).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

const GENERATED_BYTES: usize = 32;
const GIVEN_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for word in [0, 1, 0x9a, 0x1234_5678, 0x9abc_def0, 0xdead_beef, u32::MAX] {
            assert_eq!(std::str::from_utf8(&hex(word)).unwrap(), format!("{word:08x}"));
        }
    }
}
