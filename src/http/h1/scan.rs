//! How far an unfinished head was already looked at.

/// Remembered between calls so that a head that arrives byte by byte costs linear time. Starts over by itself when a
/// head is complete or refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {}

impl Scan {
    pub fn new() -> Self {
        Self::default()
    }
}
