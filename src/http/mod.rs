//! HTTP as bytes in and results out: no socket, no clock, no task.
//!
//! A head is a table of offsets into the bytes it was read from, whatever protocol carried it; [`h1`] fills it from
//! HTTP/1. Strict by default, because a lenient gateway is a smuggling gadget: what two peers could read in two ways is
//! refused, and what goes on is always framed by us.

pub mod authority;
pub mod body;
pub mod date;
pub mod error;
pub mod field;
pub mod h1;
pub mod head;
pub mod hop;
pub mod method;
pub mod path;
pub mod target;
pub mod view;
