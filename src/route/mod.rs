//! Which route a request takes.

mod rule;
mod table;

pub use rule::{HostRule, PathRule, Route, Rule};
pub use table::{HOST_BYTES_MAX, Table};
