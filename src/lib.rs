//! Shardgate, an API gateway: one pinned shard a core, no lock and nothing counted in common per request.

#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod http;
pub mod proxy;
pub mod route;
pub mod stdx;
pub mod upstream;
