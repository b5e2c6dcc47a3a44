//! What a response says of limits: Kong's headers, and those of draft-ietf-httpapi-ratelimit-headers.

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
    /// Kong's lines, before the tokens that are left. Empty where a later limit has the same period: names have one
    /// value.
    own: Box<[u8]>,
    /// Those of the limit that is nearest to its end, before the tokens that are left.
    nearest: Box<[u8]>,
    /// The draft's, before the tokens once more.
    draft: Box<[u8]>,
}

impl Told {
    /// `limits` are the period and the burst of each.
    pub fn new(limits: impl Iterator<Item = (Period, u32)>) -> Self {
        let limits: Box<[_]> = limits.collect();
        let is_last = |place: usize| limits[place + 1..].iter().all(|(other, _)| *other != limits[place].0);
        let last = (0..limits.len()).filter(|place| is_last(*place)).map(|place| limits[place].0);
        let own = last.flat_map(|period| [own("Limit", period), own("Remaining", period)]);
        let names = own.map(|name| FieldName::new(&name).expect("names of ours are tokens"));
        let names = FieldNames::new(names.chain(COMMON.map(FieldName::fixed)));
        let texts = |(place, (period, burst)): (usize, &(Period, u32))| Texts::new(*period, *burst, is_last(place));
        Self { names, limits: limits.iter().enumerate().map(texts).collect() }
    }

    /// Says what each limit has left, by its place.
    pub fn write(&self, left: impl Iterator<Item = (usize, Left)>, response: &mut ResponseView<'_>) {
        response.headers.set_lines(&self.names, |lines| {
            let mut nearest: Option<(usize, Left)> = None;
            for (place, left) in left {
                self.limits[place].write_own(left, lines);
                if nearest.is_none_or(|(_, other)| left.is_nearer_than(other)) {
                    nearest = Some((place, left));
                }
            }
            if let Some((place, left)) = nearest {
                self.limits[place].write_nearest(left, lines);
            }
        });
    }
}

impl Texts {
    fn new(period: Period, burst: u32, is_last: bool) -> Self {
        let Period { name, seconds, .. } = period;
        let bytes = |text: String| text.into_bytes().into_boxed_slice();
        let (limit, remaining) = (own("Limit", period), own("Remaining", period));
        Self {
            own: bytes(if is_last { format!("{limit}: {burst}\r\n{remaining}: ") } else { String::new() }),
            nearest: bytes(format!("RateLimit-Limit: {burst}\r\nRateLimit-Remaining: ")),
            draft: bytes(format!("\r\nRateLimit-Policy: \"{name}\";q={burst};w={seconds}\r\nRateLimit: \"{name}\";r=")),
        }
    }

    fn write_own(&self, left: Left, lines: &mut Vec<u8>) {
        if !self.own.is_empty() {
            lines.extend_from_slice(&self.own);
            lines.extend_from_slice(itoa::Buffer::new().format(left.tokens).as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
    }

    fn write_nearest(&self, left: Left, lines: &mut Vec<u8>) {
        let (mut tokens, mut reset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (tokens, reset) = (tokens.format(left.tokens).as_bytes(), reset.format(seconds(left.full_in)).as_bytes());
        for part in
            [&self.nearest, tokens, b"\r\nRateLimit-Reset: ", reset, &self.draft, tokens, b";t=", reset, b"\r\n"]
        {
            lines.extend_from_slice(part);
        }
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
