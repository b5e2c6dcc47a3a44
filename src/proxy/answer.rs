//! What a route answers of its own: a redirect, or the same words to everyone.

use super::downstream::Downstream;
use super::error::Failure;
use super::exchange::{Next, reply};
use super::guard::{Guarded, Visit};
use super::reply::Content;
use super::writer::{Unwritten, Writer};
use crate::http::head::{HeadError, Method};
use crate::http::view::Edits;
use crate::route::{Action, Redirect, Route, Rule};
use crate::runtime::Buf;

/// Answers by the action of a route, which was found by `rule`, a request that goes to no service.
pub async fn send(
    guarded: Guarded<'_>,
    route: &Route,
    rule: &Rule,
    downstream: &mut Downstream,
) -> Result<Next, Failure> {
    let location;
    let content = match &route.action {
        Action::Redirect(redirect) => {
            location = self::location(guarded, redirect, rule)?;
            Content::Redirect { status: redirect.status, location: location.bytes() }
        }
        Action::Respond(respond) => Content::Respond(respond),
        // A question about the way that ends here.
        Action::Service(_) | Action::Split(_) if guarded.head.method == Method::Options => Content::Nothing,
        Action::Service(_) | Action::Split(_) => return Err(Failure::TraceEnds),
    };
    Ok(reply(guarded.visit.shared, guarded, downstream, content, false).await)
}

/// Where a redirect leads to.
fn location(guarded: Guarded<'_>, redirect: &Redirect, rule: &Rule) -> Result<Buf, Failure> {
    let Guarded { head, visit: Visit { shared, settings, bytes, .. } } = guarded;
    let is_absolute = redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some();
    let host = redirect.host.as_deref().unwrap_or(&head.host);
    if is_absolute && host.is_empty() {
        return Err(Failure::RequestHead(HeadError::HostMissing));
    }
    // A credential that policies took out of it is for nobody else, nor for where this leads to.
    let edits = guarded.visit.notes.request();
    let sent = || head.query.map(|query| query.of(bytes));
    let query = edits.as_deref().and_then(Edits::query).unwrap_or_else(sent);
    let edited = redirect.path.as_ref().map(|edit| (edit, &rule.path));
    let written = shared.with_path(edited, &head.path, settings, |path| {
        let bytes_max = path.len() + host.len() + query.map_or(0, <[u8]>::len) + OURS_BYTES_MAX;
        if bytes_max > LOCATION_BYTES_MAX {
            return Err(Unwritten::TooLarge);
        }
        Writer::head(shared.runtime.pool(), bytes_max, |out| {
            if is_absolute {
                write_authority(guarded, redirect, host, out);
            }
            // Two slashes at the beginning would make a host of what follows (RFC 3986 §4.2).
            let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
            out.push(&path[slashes.saturating_sub(1)..]);
            if let Some(query) = query {
                out.push(b"?");
                out.push(query);
            }
        })
    })?;
    written.map_err(|error| match error {
        Unwritten::NoBuffer => Failure::NoBuffer,
        Unwritten::TooLarge => Failure::RewriteInvalid,
    })
}

/// Scheme, host and port of an absolute location. The port is the request's unless the scheme, whose own is implied
/// then, or the port is given.
fn write_authority(guarded: Guarded<'_>, redirect: &Redirect, host: &[u8], out: &mut Writer<'_>) {
    let scheme = redirect.scheme.unwrap_or(if guarded.is_https() { "https" } else { "http" });
    out.push(scheme.as_bytes());
    out.push(b"://");
    out.push(host);
    match (redirect.port, redirect.scheme) {
        (Some(port), _) => {
            out.push(b":");
            out.number(u64::from(port));
        }
        (None, Some(_)) => {}
        (None, None) => {
            let authority = guarded.head.authority.of(guarded.visit.bytes);
            let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let (before, port) = authority.split_at(authority.len() - digits);
            if before.ends_with(b":") {
                out.push(b":");
                out.push(port);
            }
        }
    }
}

/// What of a location is neither host, path nor query.
const OURS_BYTES_MAX: usize = 32;
/// A longer location would not fit into one buffer with what policies may add.
const LOCATION_BYTES_MAX: usize = 32 << 10;
