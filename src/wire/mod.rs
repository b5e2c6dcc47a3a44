//! HTTP/1.1 on a connection: heads and body pieces out of bytes that arrive as they like, and framed pieces back.
//!
//! Both sides of the gateway speak through this: the downstream connection reads requests, the upstream one responses.

mod connection;
mod encoder;

pub use self::connection::{Connection, Piece, ReadError, Reader};
pub use self::encoder::Encoder;
