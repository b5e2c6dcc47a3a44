//! What a response says of limits: Kong's headers, and those of draft-ietf-httpapi-ratelimit-headers.

use std::time::Duration;

use super::config::Period;
use crate::http::view::{FieldName, ResponseView};
use crate::stdx::ledger::Left;

/// The names of one limit's headers, made when the configuration is read.
#[derive(Debug, Eq, PartialEq)]
pub struct Names {
    limit: FieldName,
    remaining: FieldName,
    /// The limit as the draft's `RateLimit-Policy` has it.
    policy: String,
    period: &'static str,
}

/// The names that are the same for all.
#[derive(Debug, Eq, PartialEq)]
pub struct Common {
    limit: FieldName,
    remaining: FieldName,
    reset: FieldName,
    draft: FieldName,
    draft_policy: FieldName,
    retry_after: FieldName,
}

impl Names {
    pub fn new(period: Period, burst: u32) -> Self {
        let name = |what: &str| field(&format!("X-RateLimit-{what}-{}", period.title));
        let policy = format!("\"{}\";q={burst};w={}", period.name, period.seconds);
        Self { limit: name("Limit"), remaining: name("Remaining"), policy, period: period.name }
    }

    /// What Kong says of each limit.
    pub fn write(&self, left: Left, response: &mut ResponseView<'_>) {
        let mut number = itoa::Buffer::new();
        response.headers.set(&self.limit, number.format(left.burst).as_bytes());
        response.headers.set(&self.remaining, number.format(left.tokens).as_bytes());
    }
}

impl Common {
    pub fn new() -> Self {
        Self {
            limit: field("RateLimit-Limit"),
            remaining: field("RateLimit-Remaining"),
            reset: field("RateLimit-Reset"),
            draft: field("RateLimit"),
            draft_policy: field("RateLimit-Policy"),
            retry_after: field("Retry-After"),
        }
    }

    /// What is said of the limit that is nearest to its end.
    pub fn write(&self, names: &Names, left: Left, response: &mut ResponseView<'_>) {
        let headers = &mut response.headers;
        let mut number = itoa::Buffer::new();
        headers.set(&self.limit, number.format(left.burst).as_bytes());
        headers.set(&self.remaining, number.format(left.tokens).as_bytes());
        headers.set(&self.reset, number.format(seconds(left.full_in)).as_bytes());
        headers.set(&self.draft_policy, names.policy.as_bytes());
        let mut text = Text { bytes: [0; TEXT_BYTES_MAX], length: 0 };
        text.push(b"\"");
        text.push(names.period.as_bytes());
        text.push(b"\";r=");
        text.push(number.format(left.tokens).as_bytes());
        text.push(b";t=");
        text.push(number.format(seconds(left.full_in)).as_bytes());
        headers.set(&self.draft, text.bytes());
    }

    /// RFC 9110 §10.2.3.
    pub fn retry_after(&self, wait: Duration, response: &mut ResponseView<'_>) {
        let wait = seconds(wait).clamp(1, RETRY_AFTER_S_MAX);
        response.headers.set(&self.retry_after, itoa::Buffer::new().format(wait).as_bytes());
    }
}

/// A short value, put together without an allocation.
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

impl Text {
    fn push(&mut self, more: &[u8]) {
        self.bytes[self.length..self.length + more.len()].copy_from_slice(more);
        self.length += more.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Rounded up: who comes back then is not refused.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).expect("names of ours are tokens")
}

/// A period's name, a u32, a u64, and what is around them.
const TEXT_BYTES_MAX: usize = 64;
/// A client that can never be admitted comes back tomorrow.
const RETRY_AFTER_S_MAX: u64 = 86_400;
