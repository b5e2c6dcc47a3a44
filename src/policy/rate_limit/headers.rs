//! What a response says of limits: Kong's headers, and those of draft-ietf-httpapi-ratelimit-headers.

use std::ops::Range;
use std::time::Duration;

use super::config::Period;
use crate::http::view::{FieldName, FieldNames, ResponseView};
use crate::stdx::ledger::Left;

/// All that a policy says of its limits, but for the numbers that change: made when the configuration is read.
#[derive(Debug, Eq, PartialEq)]
pub struct Told {
    names: FieldNames,
    /// Of each limit.
    limits: Box<[Texts]>,
}

/// What stands before each number that changes.
#[derive(Debug, Eq, PartialEq)]
struct Texts {
    /// Kong's lines, before the tokens that are left.
    own: Box<[u8]>,
    /// Those of the limit that is nearest to its end, before the tokens that are left.
    nearest: Box<[u8]>,
    /// The draft's, before the tokens once more.
    draft: Box<[u8]>,
}

impl Told {
    /// `limits` are the period and the burst of each.
    pub fn new(limits: impl Iterator<Item = (Period, u32)> + Clone) -> Self {
        let own = limits.clone().flat_map(|(period, _)| [own("Limit", period), own("Remaining", period)]);
        let names = own.map(|name| FieldName::new(&name).expect("names of ours are tokens"));
        let names = FieldNames::new(names.chain(COMMON.map(FieldName::fixed)));
        Self { names, limits: limits.map(|(period, burst)| Texts::new(period, burst)).collect() }
    }

    /// Says what each limit has left, by its place.
    pub fn write(&self, left: impl Iterator<Item = (usize, Left)>, response: &mut ResponseView<'_>) {
        response.headers.set_lines(&self.names, |lines| {
            let mut nearest: Option<(usize, Left, Range<usize>)> = None;
            for (place, left) in left {
                lines.extend_from_slice(&self.limits[place].own);
                let start = lines.len();
                lines.extend_from_slice(itoa::Buffer::new().format(left.tokens).as_bytes());
                let tokens = start..lines.len();
                lines.extend_from_slice(b"\r\n");
                if nearest.as_ref().is_none_or(|(_, other, _)| left.is_nearer_than(*other)) {
                    nearest = Some((place, left, tokens));
                }
            }
            if let Some((place, left, tokens)) = nearest {
                self.limits[place].write_nearest(left, tokens, lines);
            }
        });
    }
}

impl Texts {
    fn new(period: Period, burst: u32) -> Self {
        let Period { name, seconds, .. } = period;
        let bytes = |text: String| text.into_bytes().into_boxed_slice();
        let (limit, remaining) = (own("Limit", period), own("Remaining", period));
        Self {
            own: bytes(format!("{limit}: {burst}\r\n{remaining}: ")),
            nearest: bytes(format!("RateLimit-Limit: {burst}\r\nRateLimit-Remaining: ")),
            draft: bytes(format!("\r\nRateLimit-Policy: \"{name}\";q={burst};w={seconds}\r\nRateLimit: \"{name}\";r=")),
        }
    }

    /// `tokens` is where the lines say already how many are left.
    fn write_nearest(&self, left: Left, tokens: Range<usize>, lines: &mut Vec<u8>) {
        let mut reset = itoa::Buffer::new();
        let reset = reset.format(seconds(left.full_in)).as_bytes();
        lines.extend_from_slice(&self.nearest);
        lines.extend_from_within(tokens.clone());
        lines.extend_from_slice(b"\r\nRateLimit-Reset: ");
        lines.extend_from_slice(reset);
        lines.extend_from_slice(&self.draft);
        lines.extend_from_within(tokens);
        lines.extend_from_slice(b";t=");
        lines.extend_from_slice(reset);
        lines.extend_from_slice(b"\r\n");
    }
}

/// RFC 9110 §10.2.3.
pub fn retry_after(wait: Duration, response: &mut ResponseView<'_>) {
    let wait = seconds(wait).clamp(1, RETRY_AFTER_S_MAX);
    response.headers.set(&RETRY_AFTER, itoa::Buffer::new().format(wait).as_bytes());
}

/// The name of a header of Kong's.
fn own(what: &str, period: Period) -> String {
    format!("X-RateLimit-{what}-{}", period.title)
}

/// Rounded up: who comes back then is not refused.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// What the lines are called that are of one limit only.
const COMMON: [&str; 5] =
    ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "RateLimit"];
static RETRY_AFTER: FieldName = FieldName::fixed("Retry-After");
/// A client that can never be admitted comes back tomorrow.
const RETRY_AFTER_S_MAX: u64 = 86_400;
