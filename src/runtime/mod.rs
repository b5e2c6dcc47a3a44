//! The event loop of one shard: completions over an interchangeable kernel. Knows no HTTP.
//!
//! ```text
//!   coroutines ---- Operation ----> Driver (uring | epoll | sim)
//!       ^                              |
//!       +---- Runtime::turn <----------+   completions, then timers, then polls
//!                  |
//!                  +--> Event: what happened to a record (an idle connection) that has no coroutine
//! ```

mod core;
mod operation;

pub mod buffer;
pub mod calls;
pub mod driver;
pub mod executor;
pub mod gathered;
pub mod inherit;
pub mod listener;
pub mod mailbox;
pub mod op;
pub mod options;
pub mod pages;
pub mod tcp;
pub mod timer;
pub mod wait;

pub use self::buffer::{Buf, Class, Pool};
pub use self::core::{Event, Runtime, Turns};
pub use self::driver::{Parcel, Stop};
pub use self::gathered::Gathered;
pub use self::listener::TcpListener;
pub use self::op::{Error, Pieces, Received};
pub use self::tcp::TcpStream;
