//! HTTP/1 (RFC 9112) on the wire: bytes to heads and payload, and the few bytes of framing that we write.

pub(super) mod chunked;
pub mod encode;
mod fields;
mod reader;
mod refusal;
pub mod request;
pub mod response;
pub mod scan;
mod signals;
mod token;
mod trailers;

pub use scan::Scan;
