//! The heads that the gateway writes: a request's towards the upstream, a response's towards the client.
//!
//! Fields keep their order and case. What belongs to one hop stays behind (RFC 9110 §7.6.1), whatever frames is written
//! anew, and whatever says who asked is either ours or comes from a peer that is trusted to say it.

use super::origin::Origin;
use super::plan::HttpOptions;
use crate::http::body::Framing;
use crate::http::field::{Field, Known};
use crate::http::head::{Method, RequestHead, ResponseHead, Version};
use crate::runtime::{Buf, Class, Pool};

/// A request on its way to an upstream.
pub struct ForwardedRequest<'a> {
    pub head: &'a RequestHead,
    /// What `head` points into.
    pub bytes: &'a [u8],
    pub framing: Framing,
    /// The `Host` to send when the client's is not kept.
    pub host: Option<&'a str>,
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
}

impl ForwardedRequest<'_> {
    /// The head in a buffer of its own; `None` if no buffer holds it or none is left.
    pub fn write(&self, pool: &Pool) -> Option<Buf> {
        let authority = self.head.authority.len as usize;
        Writer::head(pool, self.bytes.len() + 3 * authority + ADDED_BYTES_MAX, |out| self.write_lines(out))
    }

    fn write_lines(&self, out: &mut Writer<'_>) {
        out.push(self.head.method_span.of(self.bytes));
        out.push(b" ");
        out.push(&self.head.path);
        if let Some(query) = self.head.query {
            out.push(b"?");
            out.push(query.of(self.bytes));
        }
        out.push(b" HTTP/1.1\r\nHost: ");
        out.push(self.host.map_or_else(|| self.head.authority.of(self.bytes), str::as_bytes));
        out.push(CRLF);
        out.copy_fields(self.bytes, self.head.fields(), |field| self.passes(field));
        self.write_origin(out);
        self.write_hop(out);
    }

    fn passes(&self, field: &Field) -> bool {
        match field.known {
            Known::Other => !self.head.connection_lists(self.bytes, field.name.of(self.bytes)),
            // Written anew, or meant for this hop.
            Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::ProxyAuthorization
            | Known::Te
            | Known::Upgrade
            | Known::Expect
            | Known::XForwardedFor
            | Known::Forwarded
            | Known::XRequestId => false,
            Known::XForwardedProto | Known::XForwardedHost | Known::XForwardedPort | Known::XRealIp => {
                self.peer_is_trusted
            }
            // What the gateway or an origin decides by is never removed by a client's Connection.
            _ => true,
        }
    }

    /// Who asked, for what and through whom.
    fn write_origin(&self, out: &mut Writer<'_>) {
        let authority = self.head.authority.of(self.bytes);
        if self.peer_is_trusted {
            self.write_trusted_origin(out, authority);
        } else if authority.is_empty() {
            out.push(self.origin.headers());
            out.push(CRLF);
        } else {
            out.push(self.origin.headers());
            // A host may hold characters that a token may not (RFC 7239 §4), so it is always quoted.
            out.push(FORWARDED_HOST);
            out.push(authority);
            out.push(b"\"\r\nX-Forwarded-Host: ");
            out.push(authority);
            out.push(CRLF);
        }
        out.push(b"X-Request-Id: ");
        out.push(self.request_id);
        out.push(CRLF);
        if let Some(via) = &self.http.via {
            out.push(if self.head.version == Version::Http10 { b"Via: 1.0 " } else { b"Via: 1.1 " });
            out.push(via.as_bytes());
            out.push(CRLF);
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
            out.push(FORWARDED_HOST);
            out.push(authority);
            out.push(b"\"");
        }
        out.push(CRLF);
    }

    /// What earlier hops said in a field that lists one element a hop.
    fn write_list(&self, out: &mut Writer<'_>, name: &[u8], known: Known) {
        out.push(name);
        for field in self.head.fields().iter().filter(|field| field.known == known) {
            out.push(field.value.of(self.bytes));
            out.push(b", ");
        }
    }

    /// What this hop needs.
    fn write_hop(&self, out: &mut Writer<'_>) {
        match self.framing {
            Framing::Length(length) => out.length(length),
            Framing::Chunked => out.push(b"Transfer-Encoding: chunked\r\n"),
            Framing::Empty | Framing::UntilClose => {}
        }
        if self.expect_continue {
            out.push(b"Expect: 100-continue\r\n");
        }
        if let Some(upgrade) = self.head.upgrade.filter(|_| self.upgrade) {
            out.push(b"Connection: upgrade\r\n");
            out.field(b"Upgrade", upgrade.of(self.bytes));
        } else if self.head.te_trailers {
            out.push(b"Connection: TE\r\nTE: trailers\r\n");
        }
        out.push(CRLF);
    }
}

impl ForwardedResponse<'_> {
    fn write_status(&self, out: &mut Writer<'_>) {
        let reason_end = usize::from(self.head.reason.start) + usize::from(self.head.reason.len);
        if self.head.version == Version::Http11 && self.head.reason.len > 0 {
            // As we would write it, up to the line's end.
            return out.push(&self.bytes[..reason_end + CRLF.len()]);
        }
        out.push(b"HTTP/1.1 ");
        out.number(u64::from(self.head.status));
        out.push(b" ");
        out.push(self.head.reason.of(self.bytes));
        out.push(CRLF);
    }

    /// The head in a buffer of its own; `None` if no buffer holds it or none is left.
    pub fn write(&self, pool: &Pool) -> Option<Buf> {
        Writer::head(pool, self.bytes.len() + ADDED_BYTES_MAX, |out| {
            self.write_status(out);
            out.copy_fields(self.bytes, self.head.fields(), |field| self.passes(field));
            self.write_hop(out);
        })
    }

    fn passes(&self, field: &Field) -> bool {
        match field.known {
            Known::Other => !self.head.connection_lists(self.bytes, field.name.of(self.bytes)),
            // Of a body that is not sent it tells the length (RFC 9110 §8.6): that is not framing.
            Known::ContentLength => {
                self.framing == Framing::Empty && (self.request_method == Method::Head || self.head.status == 304)
            }
            Known::TransferEncoding
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::Te => false,
            Known::Upgrade => self.switch,
            _ => true,
        }
    }

    fn write_hop(&self, out: &mut Writer<'_>) {
        match self.framing {
            Framing::Length(length) => out.length(length),
            Framing::Chunked => out.push(b"Transfer-Encoding: chunked\r\n"),
            Framing::Empty | Framing::UntilClose => {}
        }
        let interim = self.head.status < 200;
        if self.switch {
            out.push(b"Connection: upgrade\r\n");
        } else if self.close && !interim {
            out.push(b"Connection: close\r\n");
        } else if self.request_version == Version::Http10 && !interim {
            out.push(b"Connection: keep-alive\r\n");
        }
        out.push(CRLF);
    }
}

/// A head in the making.
pub(super) struct Writer<'a> {
    memory: &'a mut [u8],
    length: usize,
    fits: bool,
}

impl Writer<'_> {
    /// A buffer with the head of about `bytes_max` bytes that `write` writes; `None` if it does not fit or no buffer is
    /// left.
    pub(super) fn head(pool: &Pool, bytes_max: usize, write: impl FnOnce(&mut Writer<'_>)) -> Option<Buf> {
        let class = if bytes_max <= Class::Head.payload_bytes() { Class::Head } else { Class::Body };
        let mut buf = pool.take(class)?;
        let mut out = Writer { memory: buf.spare_mut(), length: 0, fits: true };
        write(&mut out);
        let (length, fits) = (out.length, out.fits);
        buf.grow(length);
        fits.then_some(buf)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self.memory.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.fits = false,
        }
    }

    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.push(name);
        self.push(b": ");
        self.push(value);
        self.push(CRLF);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn length(&mut self, length: u64) {
        self.push(b"Content-Length: ");
        self.number(length);
        self.push(CRLF);
    }

    /// Copies the fields that pass; neighbours that are spelt as we would spell them in one go.
    fn copy_fields(&mut self, bytes: &[u8], fields: &[Field], passes: impl Fn(&Field) -> bool) {
        let mut run = 0..0;
        for field in fields {
            if !passes(field) {
                continue;
            }
            let line = line_of(field);
            if !is_plain(bytes, field) {
                self.push(&bytes[std::mem::replace(&mut run, 0..0)]);
                self.field(field.name.of(bytes), field.value.of(bytes));
            } else if line.start == run.end {
                run.end = line.end;
            } else {
                self.push(&bytes[std::mem::replace(&mut run, line)]);
            }
        }
        self.push(&bytes[run]);
    }
}

/// Where the field's line lies if it is plain: `Name: value`, CRLF.
fn line_of(field: &Field) -> std::ops::Range<usize> {
    let value_end = usize::from(field.value.start) + usize::from(field.value.len);
    usize::from(field.name.start)..value_end + CRLF.len()
}

/// One space after the colon and none before the line's end.
fn is_plain(bytes: &[u8], field: &Field) -> bool {
    let line = line_of(field);
    let name_end = line.start + usize::from(field.name.len);
    usize::from(field.value.start) == name_end + 2
        && bytes[name_end + 1] == b' '
        && bytes.get(line.end - 2..line.end) == Some(CRLF)
}

const CRLF: &[u8] = b"\r\n";
const FORWARDED_HOST: &[u8] = b";host=\"";
/// More than everything that is added to a head apart from what is copied of it: names, three addresses, an id, a name.
const ADDED_BYTES_MAX: usize = 768;
