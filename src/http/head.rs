//! The heads of a request and of a response: what the gateway reads of them, and where the rest lies.
//!
//! A head holds offsets into the bytes it was read from, and is reused: reading the next one keeps the memory. Names
//! keep their case, fields their order.

use super::body::Framing;
pub use super::error::HeadError;
use super::field::{Field, FieldTable, Known, Span};
pub use super::method::{Method, Version};
pub use super::target::Target;

/// What a head may cost. Nothing in it is trusted beyond these.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// First line, fields and line ends; at most [`HEAD_BYTES_MAX`] counts.
    pub head_bytes_max: usize,
    /// At most [`FIELDS_MAX`] counts.
    pub fields_max: usize,
    /// The request target as sent.
    pub uri_bytes_max: usize,
    pub underscores: Underscores,
    /// `//` in a path is one separator.
    pub merge_slashes: bool,
}

/// What becomes of a request's field whose name holds `_`, which CGI-like backends cannot tell from `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    Drop,
    Allow,
}

/// Offsets are 16 bits wide.
pub const HEAD_BYTES_MAX: usize = u16::MAX as usize;
/// However many are allowed.
pub const FIELDS_MAX: usize = 256;

#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    pub method_span: Span,
    pub version: Version,
    pub target: Target,
    /// Normalised ([`super::path`]): begins with `/`, or is `*`.
    pub path: Vec<u8>,
    /// What follows the first `?`, as sent.
    pub query: Option<Span>,
    /// `host[:port]` as sent, in Host or in an absolute target; empty when an HTTP/1.0 request names none.
    pub authority: Span,
    /// Lower-case, without port and final dot: what routes match.
    pub host: Vec<u8>,
    /// Never [`Framing::UntilClose`].
    pub framing: Framing,
    pub keep_alive: bool,
    pub expect_continue: bool,
    /// The value of Upgrade, when Connection lists it (and the version is 1.1).
    pub upgrade: Option<Span>,
    /// TE lists `trailers`.
    pub te_trailers: bool,
    pub(super) table: FieldTable,
}

impl RequestHead {
    pub fn new() -> Self {
        Self {
            method: Method::Other,
            method_span: Span::EMPTY,
            version: Version::Http11,
            target: Target::Origin,
            path: Vec::new(),
            query: None,
            authority: Span::EMPTY,
            host: Vec::new(),
            framing: Framing::Empty,
            keep_alive: false,
            expect_continue: false,
            upgrade: None,
            te_trailers: false,
            table: FieldTable::new(),
        }
    }

    /// All fields in order, without those that were dropped for an underscore.
    pub fn fields(&self) -> &[Field] {
        self.table.fields()
    }

    /// The value of the first field of that name.
    pub fn value<'a>(&self, bytes: &'a [u8], known: Known) -> Option<&'a [u8]> {
        self.table.value(bytes, known)
    }

    /// Whether Connection names this field as one for this hop. Costs nothing when Connection says no more than
    /// `keep-alive` or `close`, for which this is false.
    pub fn connection_lists(&self, bytes: &[u8], name: &[u8]) -> bool {
        self.table.connection_lists(bytes, name)
    }

    /// What Connection says beyond `keep-alive` and `close`: names of fields and trailers for this hop.
    pub fn connection_options<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.table.connection_options(bytes)
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
pub struct ResponseHead {
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// May be empty.
    pub reason: Span,
    /// What the upstream says; a body that ends with the connection ([`Framing::UntilClose`]) overrules it.
    pub keep_alive: bool,
    /// Upgrade is there and Connection lists it.
    pub upgrade: bool,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) table: FieldTable,
}

impl ResponseHead {
    pub fn new() -> Self {
        Self {
            version: Version::Http11,
            status: 0,
            reason: Span::EMPTY,
            keep_alive: false,
            upgrade: false,
            length: None,
            chunked: false,
            table: FieldTable::new(),
        }
    }

    /// All fields in order.
    pub fn fields(&self) -> &[Field] {
        self.table.fields()
    }

    /// The value of the first field of that name.
    pub fn value<'a>(&self, bytes: &'a [u8], known: Known) -> Option<&'a [u8]> {
        self.table.value(bytes, known)
    }

    /// Whether Connection names this field as one for this hop. Costs nothing when Connection says no more than
    /// `keep-alive` or `close`, for which this is false.
    pub fn connection_lists(&self, bytes: &[u8], name: &[u8]) -> bool {
        self.table.connection_lists(bytes, name)
    }

    /// What Connection says beyond `keep-alive` and `close`: names of fields and trailers for this hop.
    pub fn connection_options<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.table.connection_options(bytes)
    }

    /// Whether behind this head `protocol` is spoken, and nothing else (RFC 9110 §7.8): it names that alone, and no
    /// body, and HTTP/1.0 knows no such thing.
    pub fn switches_to(&self, bytes: &[u8], protocol: &[u8]) -> bool {
        let is_it = |field: &Field| field.value.of(bytes).eq_ignore_ascii_case(protocol);
        let mut named = self.fields().iter().filter(|field| field.known == Known::Upgrade);
        self.upgrade && self.version == Version::Http11 && !self.chunked && self.length.is_none() && named.all(is_it)
    }

    /// How the body of the answer to `request` ends (RFC 9112 §6.3).
    pub fn framing(&self, request: Method) -> Result<Framing, HeadError> {
        if self.chunked && self.length.is_some() {
            return Err(HeadError::LengthAndChunked);
        }
        // RFC 9112 §6.1: in a 1.0 message it is a sign of a broken intermediary.
        if self.chunked && self.version == Version::Http10 {
            return Err(HeadError::CodingInHttp10);
        }
        if request == Method::Head || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Empty);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        })
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}
