//! The atomics that the ledger is made of, under one name: `tests/loom` compiles its files with loom's instead.

pub use std::hint::spin_loop;
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
