//! Where a request has a credential. It has one: of two, which a service behind would take is not for a gateway to
//! guess.

use crate::http::view::{ArgumentName, FieldName, RequestView};
use serde::Deserialize;

/// `{ header: NAME }`, `{ query: NAME }` or `{ cookie: NAME }`. In a header, `Bearer` may stand before it, and does in
/// `Authorization`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Header(FieldName),
    Query(ArgumentName),
    Cookie(String),
}

/// Why there is not one credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotOne {
    Missing,
    /// There are two, or the same one twice.
    Several,
}

impl Place {
    /// The request's one credential; an error of the policy's own where there is none, or more than one.
    pub fn credential<'a, E>(
        places: &'a [Self],
        request: &'a RequestView<'_>,
        (missing, several): (E, E),
    ) -> Result<&'a [u8], E> {
        Self::one(places, request).map_err(|not_one| match not_one {
            NotOne::Missing => missing,
            NotOne::Several => several,
        })
    }

    fn one<'a>(places: &'a [Self], request: &'a RequestView<'_>) -> Result<&'a [u8], NotOne> {
        let found = Err(NotOne::Missing);
        places.iter().fold(found, |found, place| match place {
            Self::Header(name) => and(found, in_header(request, name)),
            Self::Query(name) => request.argument(name).map(Ok).fold(found, and),
            Self::Cookie(name) => in_cookies(request, name.as_bytes()).map(Ok).fold(found, and),
        })
    }

    /// Takes credentials away, so that the service does not get to see them. Cookies are sent on whole.
    pub fn hide(places: &[Self], request: &mut RequestView<'_>) {
        for place in places {
            match place {
                Self::Header(name) => request.headers.remove(name),
                Self::Query(name) => request.remove_argument(name),
                Self::Cookie(_) => {}
            }
        }
    }

    /// What one finds there the other finds too.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(name), Self::Header(other)) => name.is(other.text().as_bytes()),
            (one, other) => one == other,
        }
    }

    pub fn argument(&self) -> Option<&ArgumentName> {
        match self {
            Self::Query(name) => Some(name),
            Self::Header(_) | Self::Cookie(_) => None,
        }
    }

    pub fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie(_))
    }
}

/// What was found in two places.
fn and<'a>(one: Result<&'a [u8], NotOne>, other: Result<&'a [u8], NotOne>) -> Result<&'a [u8], NotOne> {
    match (one, other) {
        (Err(NotOne::Missing), found) | (found, Err(NotOne::Missing)) => found,
        _ => Err(NotOne::Several),
    }
}

/// Two lines of one header are two credentials, whatever they are: one of them could be a service's choice.
fn in_header<'a>(request: &'a RequestView<'_>, name: &'a FieldName) -> Result<&'a [u8], NotOne> {
    let mut values = request.headers.values(name);
    let first = values.next().ok_or(NotOne::Missing)?;
    if values.next().is_some() {
        return Err(NotOne::Several);
    }
    match bearer(first) {
        Some(credential) => Ok(credential),
        // Another scheme is another policy's.
        None if name.is(b"Authorization") => Err(NotOne::Missing),
        None => Ok(first),
    }
}

/// What follows the scheme (RFC 6750 §2.1), which has no case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    // As nearly all write it, or in another case.
    if scheme != BEARER && !scheme.eq_ignore_ascii_case(BEARER) {
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
    static COOKIE: FieldName = FieldName::fixed("Cookie");
    let lines = request.headers.values(&COOKIE);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

const BEARER: &[u8] = b"Bearer";
