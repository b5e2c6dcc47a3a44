//! Where requests go: which endpoint, over which connection. Decides; others loop.

pub mod service;
