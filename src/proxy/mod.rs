//! The life of a request. Read [`exchange`] first: it tells the story, the others its parts.

pub mod account;
pub mod active;
pub mod answer;
pub mod attempt;
mod counted;
pub mod downstream;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod guard;
pub mod limits;
pub mod origin;
mod pause;
pub mod plan;
pub mod reply;
pub mod respond;
pub mod rewrite;
pub mod shared;
mod trim;
pub mod tunnel;
pub mod upload;
mod whole;
pub mod writer;

pub use self::active::RouteRecord;
pub use self::downstream::{Downstream, ListenerInfo, serve};
pub use self::plan::{Entrance, Gate, HttpOptions, OwnLimits, Plan, Settings, SharedLimits};
pub use self::shared::{Calls, Scratch, Shared};
