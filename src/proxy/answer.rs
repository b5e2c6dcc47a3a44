//! What a route answers of its own: a redirect, or the same words to everyone.

use super::account::Account;
use super::downstream::Downstream;
use super::error::{Failure, reason};
use super::exchange::Next;
use super::plan::Settings;
use super::shared::Shared;
use super::writer::{Unwritten, Writer};
use crate::http::field::Known;
use crate::http::head::{HeadError, Method, RequestHead, Version};
use crate::route::{Action, Asked, Redirect, Respond, Rule};
use crate::runtime::{Buf, Pieces};
use crate::stdx::time::Mono;

/// An answer to be written, and what it depends on.
pub struct OwnAnswer<'a> {
    pub shared: &'a Shared,
    pub settings: &'a Settings,
    pub asked: Asked<'a>,
    pub account: &'a Account,
    /// The rule by which the route was found.
    pub rule: &'a Rule,
    /// The connection ends after it.
    pub close: bool,
}

impl OwnAnswer<'_> {
    /// Answers by `action`, which leads to no service.
    pub async fn send(&self, action: &Action, downstream: &Downstream) -> Result<Next, Failure> {
        let (status, answer) = match action {
            Action::Redirect(redirect) => (redirect.status, self.redirect(redirect)),
            Action::Respond(respond) => (respond.status, self.respond(respond)),
            Action::Service(_) | Action::Split(_) => return Err(Failure::NoRoute),
        };
        let account = self.account;
        let pieces = Pieces::one(answer?);
        account.status.set(status);
        account.sent_bytes.set(account.sent_bytes.get() + pieces.len() as u64);
        let stall_max = self.settings.limits.send_timeout;
        let sent = downstream.connection.stream.send_all(pieces, stall_max, Mono::NEVER).await;
        sent.map_err(|_| Failure::ClientGone)?;
        Ok(if self.close { Next::Linger } else { Next::Request })
    }

    fn respond(&self, respond: &Respond) -> Result<Buf, Failure> {
        let head_only = self.asked.head.method == Method::Head;
        let body = if head_only { b"" } else { &*respond.body };
        self.account.response_body_bytes.set(body.len() as u64);
        let bytes_max = respond.lines.len() + body.len() + HEAD_BYTES_MAX;
        self.write(bytes_max, respond.status, body, |out| {
            out.push(&respond.lines);
            // RFC 9110 §8.6: never in a 204; of a 304 it would be the length of something else.
            if !matches!(respond.status, 204 | 304) {
                out.length(respond.body.len() as u64);
            }
        })
    }

    fn redirect(&self, redirect: &Redirect) -> Result<Buf, Failure> {
        let RequestHead { path, host, query, .. } = self.asked.head;
        let is_absolute = redirect.scheme.is_some() || redirect.host.is_some() || redirect.port.is_some();
        let host = redirect.host.as_deref().unwrap_or(host);
        if is_absolute && host.is_empty() {
            return Err(Failure::RequestHead(HeadError::HostMissing));
        }
        let query = query.map(|query| query.of(self.asked.bytes));
        let edited = redirect.path.as_ref().map(|edit| (edit, &self.rule.path));
        self.shared.with_path(edited, path, self.settings, |path| {
            let bytes_max = path.len() + host.len() + query.map_or(0, <[u8]>::len) + HEAD_BYTES_MAX;
            self.write(bytes_max, redirect.status, b"", |out| {
                out.push(b"Location: ");
                if is_absolute {
                    self.write_authority(redirect, host, out);
                }
                // Two slashes at the beginning would make a host of what follows (RFC 3986 §4.2).
                let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
                out.push(&path[slashes.saturating_sub(1)..]);
                if let Some(query) = query {
                    out.push(b"?");
                    out.push(query);
                }
                out.push(CRLF);
                out.length(0);
            })
        })?
    }

    /// Scheme, host and port of an absolute location. The port is the request's unless the scheme, whose own is implied
    /// then, or the port is given.
    fn write_authority(&self, redirect: &Redirect, host: &[u8], out: &mut Writer<'_>) {
        let Asked { head, bytes } = self.asked;
        let told = head.value(bytes, Known::XForwardedProto).filter(|_| self.account.peer_is_trusted);
        let is_https = told.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
        out.push(redirect.scheme.unwrap_or(if is_https { "https" } else { "http" }).as_bytes());
        out.push(b"://");
        out.push(host);
        match (redirect.port, redirect.scheme) {
            (Some(port), _) => {
                out.push(b":");
                out.number(u64::from(port));
            }
            (None, Some(_)) => {}
            (None, None) => {
                let authority = head.authority.of(bytes);
                let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
                let (before, port) = authority.split_at(authority.len() - digits);
                if before.ends_with(b":") {
                    out.push(b":");
                    out.push(port);
                }
            }
        }
    }

    fn write(
        &self,
        bytes_max: usize,
        status: u16,
        body: &[u8],
        lines: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Buf, Failure> {
        let Asked { head, bytes } = self.asked;
        let written = Writer::head(self.shared.runtime.pool(), bytes_max, |out| {
            out.push(b"HTTP/1.1 ");
            out.number(u64::from(status));
            out.push(b" ");
            out.push(reason(status).as_bytes());
            out.push(CRLF);
            lines(out);
            out.field(b"X-Request-Id", self.account.request_id.bytes(bytes));
            if self.close {
                out.push(b"Connection: close\r\n");
            } else if head.version == Version::Http10 {
                out.push(b"Connection: keep-alive\r\n");
            }
            out.push(CRLF);
            out.push(body);
        });
        written.map_err(|error| match error {
            Unwritten::NoBuffer => Failure::NoBuffer,
            Unwritten::TooLarge => Failure::RewriteInvalid,
        })
    }
}

const CRLF: &[u8] = b"\r\n";
/// Our own lines: status, length, request id, connection, and what of a location is neither host, path nor query.
const HEAD_BYTES_MAX: usize = 512;
