//! The control plane: starts the shards, listens to the operator, writes the log.

mod cpus;
mod log;
mod node;
mod workers;

pub use self::node::{StartError, run};
