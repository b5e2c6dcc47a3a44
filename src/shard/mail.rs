//! What the control thread tells a shard.

use std::time::Duration;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mail {
    /// Accept what has arrived and no more, let the exchanges end, and end with the last connection, or when `patience`
    /// is over.
    Drain { patience: Duration },
}
