//! Where a request has its token. It has one: of two, which a service behind would take is not for a gateway to guess.

use super::Refusal;
use super::config::{Config, Place};
use crate::http::view::{FieldName, RequestView};

/// The request's one token.
pub fn token<'a>(config: &'a Config, request: &'a RequestView<'_>) -> Result<&'a [u8], Refusal> {
    let mut found = Err(Refusal::Missing);
    for place in &config.places {
        let mut keep = |token: Result<&'a [u8], Refusal>| match (found, token) {
            (Err(Refusal::Missing), token) => found = token,
            (_, Err(Refusal::Missing)) => {}
            _ => found = Err(Refusal::Several),
        };
        match place {
            Place::Header(name) => in_header(request, name, &mut keep),
            Place::Query(name) => request.argument(name).for_each(|value| keep(Ok(value))),
            Place::Cookie(name) => in_cookies(request, name.as_bytes()).for_each(|value| keep(Ok(value))),
        }
    }
    found
}

/// Two lines of one header are two tokens, whatever they are: one of them could be a service's choice.
fn in_header<'a>(request: &'a RequestView<'_>, name: &'a FieldName, keep: &mut impl FnMut(Result<&'a [u8], Refusal>)) {
    let is_authorization = name.is(b"Authorization");
    let mut values = request.headers.values(name);
    let Some(first) = values.next() else { return };
    if values.next().is_some() {
        return keep(Err(Refusal::Several));
    }
    keep(match bearer(first) {
        Some(token) => Ok(token),
        // Another scheme is another policy's.
        None if is_authorization => Err(Refusal::Missing),
        None => Ok(first),
    });
}

/// What follows the scheme (RFC 6750 §2.1), which has no case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ') => Some(rest.trim_ascii_start()),
        Some(_) => None,
    }
}

/// The value of each cookie of that name, in all lines (RFC 6265 §4.2).
fn in_cookies<'a>(request: &'a RequestView<'_>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    static COOKIE: std::sync::LazyLock<Option<FieldName>> = std::sync::LazyLock::new(|| FieldName::new("Cookie"));
    let lines = COOKIE.iter().flat_map(|cookie| request.headers.values(cookie));
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

const BEARER: &[u8] = b"Bearer";
