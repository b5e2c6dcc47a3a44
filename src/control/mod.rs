//! The control plane: starts the shards, listens to the operator, writes the log.

pub mod log;
mod node;

pub use self::node::{StartError, run};
