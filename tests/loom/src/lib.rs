//! The files of the ledger, compiled with loom's atomics in place of the standard library's.

#[path = "../../../src/stdx"]
pub mod stdx {
    pub mod atomic {
        pub use loom::hint::spin_loop;
        pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    }
    pub mod hash;
    pub mod ledger;
    pub mod time;
}
