//! What is seen of the traffic: plain counters, log lines as bytes, and the ring that carries them off the shard.

pub mod access_log;
pub mod clock;
pub mod counters;
pub mod json;
pub mod level;
pub mod log_ring;
pub mod report;
pub mod route_stats;
