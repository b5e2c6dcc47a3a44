//! The heads that the gateway writes: a request's towards the upstream, a response's towards the client.
//!
//! Fields keep their order and case. What belongs to one hop stays behind (RFC 9110 §7.6.1), whatever frames is written
//! anew, and whatever says who asked is either ours or comes from a peer that is trusted to say it.

use super::origin::Origin;
use super::plan::HttpOptions;
use super::writer::{Lines, Unwritten, Writer};
use crate::http::body::Framing;
use crate::http::date;
use crate::http::field::{Field, Known};
use crate::http::head::{Method, RequestHead, ResponseHead, Target, Version};
use crate::http::hop::Stops;
use crate::http::view::Edits;
use crate::runtime::{Buf, Pool};
use std::ops::Range;

/// A request on its way to an upstream.
pub struct ForwardedRequest<'a> {
    pub head: &'a RequestHead,
    /// What `head` points into.
    pub bytes: &'a [u8],
    pub framing: Framing,
    /// The `Host` to send when the client's own is not kept as it is.
    pub host: Option<&'a [u8]>,
    /// Ask to switch protocols as the client did.
    pub upgrade: bool,
    /// Ask whether the body is wanted before it is sent.
    pub expect_continue: bool,
    /// What is said of the client's connection, written when it was accepted.
    pub origin: &'a Origin,
    /// The peer's own account of who asked is believed, and continued.
    pub peer_is_trusted: bool,
    pub request_id: &'a [u8],
    pub http: &'a HttpOptions,
    /// What policies changed.
    pub edits: Option<&'a Edits>,
}

/// A response on its way to the client.
pub struct ForwardedResponse<'a> {
    pub head: &'a ResponseHead,
    pub bytes: &'a [u8],
    pub framing: Framing,
    pub request_method: Method,
    pub request_version: Version,
    pub switch: bool,
    /// The connection ends after this response.
    pub close: bool,
    /// How long a body is that is not sent is not known: policies would change it.
    pub length_unknown: bool,
    /// What policies changed.
    pub edits: Option<&'a Edits>,
}

impl ForwardedRequest<'_> {
    /// The head in a buffer of its own.
    pub fn write(&self, pool: &Pool) -> Result<Buf, Unwritten> {
        let authority = self.head.authority.len as usize;
        let more = self.edits.map_or(0, Edits::bytes_more) + ADDED_BYTES_MAX;
        Writer::head(pool, self.bytes.len() + 3 * authority + more, |out| self.write_lines(out))
    }

    fn write_lines(&self, out: &mut Writer<'_>) {
        let mut lines = Lines::new(self.bytes);
        match self.request_line() {
            Some(line) => lines.copy(line, out),
            None => self.write_request_line(out),
        }
        let mut stops = self.head.stops(self.bytes, self.peer_is_trusted);
        if let Some(host) = self.host {
            stops = stops.and(Known::Host);
            lines.flush(out);
            out.field(b"Host", host);
        }
        let forwards_left = self.head.forwards_left(self.bytes);
        if forwards_left.is_some() {
            stops = stops.and(Known::MaxForwards);
        }
        match self.edits {
            None => {
                let fields = self.head.fields().iter();
                let is_kept = |field: &&Field| !self.head.is_stopped(self.bytes, field, stops);
                fields.filter(is_kept).for_each(|field| lines.copy_field(field, out));
                lines.flush(out);
            }
            Some(edits) => {
                let is_written = |field: &Field| match field.known {
                    Known::Host => self.host.is_some(),
                    Known::MaxForwards => forwards_left.is_some(),
                    _ => false,
                };
                write_edited(edits, self.head.fields(), is_written, &mut lines, out);
            }
        }
        if let Some(left) = forwards_left {
            out.push(b"Max-Forwards: ");
            out.number(left.saturating_sub(1));
            out.push(CRLF);
        }
        self.write_origin(out);
        self.write_hop(out);
    }

    /// The client's own request line, if we would write it just so.
    fn request_line(&self) -> Option<Range<usize>> {
        if self.edits.is_some_and(|edits| edits.query().is_some()) {
            return None;
        }
        let RequestHead { path, method_span, target, query, .. } = self.head;
        let start = usize::from(method_span.start);
        let path_start = start + usize::from(method_span.len) + 1;
        let path_end = path_start + path.len();
        let end = query.map_or(path_end, |query| usize::from(query.start) + usize::from(query.len));
        let is_ours = *target == Target::Origin
            && self.bytes.get(path_start..path_end) == Some(path)
            && (query.is_none() || self.bytes[path_end] == b'?')
            && self.bytes.get(end..end + VERSION.len()) == Some(VERSION);
        is_ours.then_some(start..end + VERSION.len())
    }

    fn write_request_line(&self, out: &mut Writer<'_>) {
        out.push(self.head.method_span.of(self.bytes));
        out.push(b" ");
        out.push(&self.head.path);
        let sent = self.head.query.map(|query| query.of(self.bytes));
        if let Some(query) = self.edits.and_then(Edits::query).unwrap_or(sent) {
            out.push(b"?");
            out.push(query);
        }
        out.push(VERSION);
    }

    /// Who asked, for what and through whom. The last line stays open.
    fn write_origin(&self, out: &mut Writer<'_>) {
        let authority = self.head.authority.of(self.bytes);
        if self.peer_is_trusted {
            self.write_trusted_origin(out, authority);
        } else if authority.is_empty() {
            out.push(self.origin.headers());
        } else {
            out.push(self.origin.headers_with_host());
            out.push(authority);
            out.push(b"\"\r\nX-Forwarded-Host: ");
            out.push(authority);
        }
        out.push(b"\r\nX-Request-Id: ");
        out.push(self.request_id);
        if let Some(via) = &self.http.via {
            out.push(if self.head.version == Version::Http10 { b"\r\nVia: 1.0 " } else { b"\r\nVia: 1.1 " });
            out.push(via.as_bytes());
        }
    }

    /// The same where the peer has spoken for others before: its account is continued.
    fn write_trusted_origin(&self, out: &mut Writer<'_>, authority: &[u8]) {
        let told = |known| self.head.value(self.bytes, known).is_some();
        self.write_list(out, b"X-Forwarded-For: ", Known::XForwardedFor);
        out.push(self.origin.address());
        out.push(CRLF);
        if !told(Known::XForwardedProto) {
            out.push(b"X-Forwarded-Proto: http\r\n");
        }
        if !told(Known::XForwardedHost) && !authority.is_empty() {
            out.field(b"X-Forwarded-Host", authority);
        }
        if !told(Known::XForwardedPort) {
            out.field(b"X-Forwarded-Port", self.origin.port());
        }
        self.write_list(out, b"Forwarded: ", Known::Forwarded);
        out.push(self.origin.forwarded());
        if !authority.is_empty() {
            out.push(Origin::HOST);
            out.push(authority);
            out.push(b"\"");
        }
    }

    /// What earlier hops said in a field that lists one element a hop.
    fn write_list(&self, out: &mut Writer<'_>, name: &[u8], known: Known) {
        out.push(name);
        for field in self.head.fields().iter().filter(|field| field.known == known) {
            out.push(field.value.of(self.bytes));
            out.push(b", ");
        }
    }

    /// What this hop needs, behind a line that is still open.
    fn write_hop(&self, out: &mut Writer<'_>) {
        match self.framing {
            Framing::Length(length) => {
                out.push(b"\r\nContent-Length: ");
                out.number(length);
            }
            Framing::Chunked => out.push(b"\r\nTransfer-Encoding: chunked"),
            Framing::Empty | Framing::UntilClose => {}
        }
        if self.expect_continue {
            out.push(b"\r\nExpect: 100-continue");
        }
        if let Some(upgrade) = self.head.upgrade.filter(|_| self.upgrade) {
            out.push(b"\r\nConnection: upgrade\r\nUpgrade: ");
            out.push(upgrade.of(self.bytes));
        } else if self.head.te_trailers {
            out.push(b"\r\nConnection: TE\r\nTE: trailers");
        }
        out.push(b"\r\n\r\n");
    }
}

impl ForwardedResponse<'_> {
    /// The head in a buffer of its own, with this `Date` if it lacks one.
    pub fn write(&self, pool: &Pool, date: Option<&date::Line>) -> Result<Buf, Unwritten> {
        let more = self.edits.map_or(0, Edits::bytes_more) + ADDED_BYTES_MAX;
        Writer::head(pool, self.bytes.len() + more, |out| self.write_lines(date, out))
    }

    /// Whether it does not tell when it was given. Where policies see it, it has been added for them; of an interim
    /// one nobody asks.
    pub fn lacks_date(&self) -> bool {
        self.head.status >= 200 && self.edits.is_none() && !self.head.has_date(self.bytes)
    }

    /// Whether a field is for the upstream's connection only, or is written anew.
    pub fn is_for_one_hop(&self) -> impl Fn(&Field) -> bool {
        let (head, bytes, stops) = (self.head, self.bytes, self.stops());
        move |field| head.is_stopped(bytes, field, stops)
    }

    fn stops(&self) -> Stops {
        let mut stops = self.head.stops(self.bytes);
        if self.switch {
            stops = stops.but(Known::Upgrade);
        }
        let is_unsent = match self.head.status {
            100..=199 | 204 => false,
            304 => true,
            _ => self.request_method == Method::Head,
        };
        if self.framing == Framing::Empty && is_unsent && !self.length_unknown {
            // Of a body that is not sent it tells the length (RFC 9110 §8.6): that is not framing.
            stops = stops.but(Known::ContentLength);
        }
        stops
    }

    fn write_lines(&self, date: Option<&date::Line>, out: &mut Writer<'_>) {
        let mut lines = Lines::new(self.bytes);
        let reason_end = usize::from(self.head.reason.start) + usize::from(self.head.reason.len);
        if self.head.version == Version::Http11 && self.head.reason.len > 0 {
            // As we would write it, up to the line's end.
            lines.copy(0..reason_end + CRLF.len(), out);
        } else {
            out.push(b"HTTP/1.1 ");
            out.number(u64::from(self.head.status));
            out.push(b" ");
            out.push(self.head.reason.of(self.bytes));
            out.push(CRLF);
        }
        match self.edits {
            None => {
                let stops = self.stops();
                let is_kept = |field: &&Field| !self.head.is_stopped(self.bytes, field, stops);
                self.head.fields().iter().filter(is_kept).for_each(|field| lines.copy_field(field, out));
                lines.flush(out);
            }
            Some(edits) => write_edited(edits, self.head.fields(), |_| false, &mut lines, out),
        }
        if let Some(line) = date {
            out.push(line);
        }
        self.write_hop(out);
    }

    fn write_hop(&self, out: &mut Writer<'_>) {
        match self.framing {
            Framing::Length(length) => out.length(length),
            Framing::Chunked => out.push(b"Transfer-Encoding: chunked\r\n"),
            Framing::Empty | Framing::UntilClose => {}
        }
        let interim = self.head.status < 200;
        out.push(if self.switch {
            b"Connection: upgrade\r\n\r\n"
        } else if self.close && !interim {
            b"Connection: close\r\n\r\n"
        } else if self.request_version == Version::Http10 && !interim {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            CRLF
        });
    }
}

/// The fields that policies left and those that they added. What is not to go on was dropped before they saw it.
fn write_edited(
    edits: &Edits,
    fields: &[Field],
    is_written: impl Fn(&Field) -> bool,
    lines: &mut Lines<'_>,
    out: &mut Writer<'_>,
) {
    let kept = fields.iter().enumerate().filter(|(index, field)| !edits.drops(*index) && !is_written(field));
    kept.for_each(|(_, field)| lines.copy_field(field, out));
    lines.flush(out);
    out.push(edits.lines());
}

const VERSION: &[u8] = b" HTTP/1.1\r\n";
const CRLF: &[u8] = b"\r\n";
/// More than everything that is added to a head apart from what is copied of it: names, three addresses, an id, a name.
const ADDED_BYTES_MAX: usize = 768;
