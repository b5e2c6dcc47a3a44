//! The control thread and its helpers: what may block, so that no shard ever does.

pub mod log;
