//! Shardgate, an API gateway: one pinned shard a core, no lock and nothing counted in common per request.

#![deny(unsafe_code)]

pub mod stdx;

pub mod telemetry;

pub mod runtime;

pub mod http;

pub mod transport;

pub mod wire;

pub mod route;

pub mod policy;

pub mod upstream;

pub mod proxy;

pub mod config;

pub mod shard;

pub mod cli;
pub mod control;
