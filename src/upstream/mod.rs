//! The gateway's side towards services: which endpoint, and which connection to it. It decides; who asks does the
//! work.

pub mod balancer;
pub mod place;
pub mod pool;
pub mod service;

pub use self::balancer::Balancer;
pub use self::place::Place;
pub use self::pool::{Pools, Upstream};
pub use self::service::Service;
