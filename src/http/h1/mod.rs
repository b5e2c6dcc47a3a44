//! HTTP/1 (RFC 9112) on the wire: bytes to heads and payload, and the few bytes of framing that we write.

pub mod encode;
pub mod request;
pub mod response;
pub mod scan;

pub use scan::Scan;
