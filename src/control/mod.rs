//! The control plane: starts the shards, listens to the operator, writes the log.

mod cpus;
mod listeners;
pub mod log;
mod node;
mod workers;

pub use self::node::{Source, StartError, run};
