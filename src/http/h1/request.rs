//! Reads a request head (RFC 9112 §3).

use super::Scan;
use crate::http::head::{HeadError, HeadLimits, RequestHead};

impl RequestHead {
    /// `Ok(None)`: more bytes are needed, and the next call has these again with more behind them. `Ok(Some(n))`: the
    /// head is the first `n` bytes. What can be refused early is.
    pub fn parse(&mut self, _bytes: &[u8], _limits: &HeadLimits, _scan: &mut Scan) -> Result<Option<usize>, HeadError> {
        unimplemented!()
    }
}
