//! Reads a response head (RFC 9112 §4).

use super::Scan;
use crate::http::head::{HeadError, HeadLimits, ResponseHead};

impl ResponseHead {
    /// As [`RequestHead::parse`](crate::http::head::RequestHead::parse); of the limits, those on bytes and fields hold.
    /// No field is dropped for its name.
    pub fn parse(&mut self, _bytes: &[u8], _limits: &HeadLimits, _scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        unimplemented!()
    }
}
