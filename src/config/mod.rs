//! From what the operator writes to what a shard runs: model, then `ir`, then snapshot.

pub mod snapshot;
