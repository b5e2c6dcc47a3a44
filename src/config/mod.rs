//! From what the operator writes to what a shard runs: text, [`model`], [`ir`], [`snapshot`].
//!
//! ```text
//! YAML --parse--> Model --translate--> Ir --compile--> Snapshot
//! ```
//!
//! Our own file is one front-end; others end in the same [`ir`], which names no product.

mod actions;
pub mod addresses;
mod attach;
pub mod compile;
pub mod consumers;
pub mod diff;
pub mod explain;
mod extent;
pub mod ids;
pub mod ir;
pub mod keyring;
pub mod last_good;
mod limits;
pub mod load;
pub mod matcher;
pub mod model;
pub mod named;
pub mod parse;
mod permissions;
mod predicates;
pub mod problem;
pub mod profile;
mod rules;
pub mod shadow;
pub mod snapshot;
pub mod store;
pub mod suggest;
pub mod tls;
pub mod translate;
mod words;
