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
            let mut nearest: Option<(usize, Left, Digits)> = None;
            for (place, left) in left {
                let tokens = Digits::of(left.tokens.into());
                self.limits[place].write_own(tokens, lines);
                if nearest.is_none_or(|(_, other, _)| left.is_nearer_than(other)) {
                    nearest = Some((place, left, tokens));
                }
            }
            if let Some((place, left, tokens)) = nearest {
                self.limits[place].write_nearest(tokens, Digits::of(seconds(left.full_in)), lines);
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

    fn write_own(&self, tokens: Digits, lines: &mut Vec<u8>) {
        if !self.own.is_empty() {
            lines.extend_from_slice(&self.own);
            tokens.write(lines);
            lines.extend_from_slice(b"\r\n");
        }
    }

    // One part after the other: what is as long as the compiler knows is written without a call.
    fn write_nearest(&self, tokens: Digits, reset: Digits, lines: &mut Vec<u8>) {
        lines.extend_from_slice(&self.nearest);
        tokens.write(lines);
        lines.extend_from_slice(b"\r\nRateLimit-Reset: ");
        reset.write(lines);
        lines.extend_from_slice(&self.draft);
        tokens.write(lines);
        lines.extend_from_slice(b";t=");
        reset.write(lines);
        lines.extend_from_slice(b"\r\n");
    }
}

/// A number that is written more than once: a copy of it always has one length, and what is too much of it goes again.
#[derive(Clone, Copy)]
struct Digits {
    bytes: [u8; DIGITS_MAX],
    len: usize,
}

impl Digits {
    fn of(number: u64) -> Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        let mut bytes = [0; DIGITS_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, len: text.len() }
    }

    fn write(&self, lines: &mut Vec<u8>) {
        let end = lines.len() + self.len;
        lines.extend_from_slice(&self.bytes);
        lines.truncate(end);
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
/// Of a `u64`.
const DIGITS_MAX: usize = 20;
static RETRY_AFTER: FieldName = FieldName::fixed("Retry-After");
/// A client that can never be admitted comes back tomorrow.
const RETRY_AFTER_S_MAX: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 9, 10, 99, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            let mut lines = b"a: ".to_vec();
            (0..2).for_each(|_| Digits::of(number).write(&mut lines));
            assert_eq!(String::from_utf8(lines).unwrap(), format!("a: {number}{number}"));
        }
    }
}
