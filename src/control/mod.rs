//! The control plane: starts the shards, listens to the operator, writes the log.

mod admin;
mod answers;
mod clock;
mod cpus;
mod failure_rate;
mod fetch;
mod handover;
pub mod journal;
mod jwks;
mod listeners;
pub mod log;
mod metrics;
mod node;
mod notify;
mod nursery;
pub mod sharing;
mod signals;
mod sink;
mod sockets;
mod source;
mod start;
mod status;
mod status_page;
mod tls;
mod warnings;
mod watch;
mod workers;

pub use self::node::run;
pub use self::source::Source;
pub use self::start::StartError;
