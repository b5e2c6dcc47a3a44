//! The control plane: starts the shards, listens to the operator, writes the log.

mod admin;
mod clock;
mod cpus;
mod listeners;
pub mod log;
mod metrics;
mod node;
mod status;
mod status_page;
mod workers;

pub use self::node::{Source, StartError, run};
