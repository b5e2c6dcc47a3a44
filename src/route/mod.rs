//! Which route a request takes.

mod action;
mod asked;
mod paths;
mod pattern;
mod predicate;
mod rule;
mod table;

pub use action::{
    Action, Arm, Asker, Group, OwnField, PathEdit, Piece, RESPOND_FIELDS_MAX, Redirect, Respond, Rewrite, SHARES,
    Split, Sticky,
};
pub use asked::{Asked, Scratch};
pub use pattern::{Caches, Pattern, PatternError, Patterns};
pub use predicate::{Named, Predicate, Test};
pub use rule::{HostRule, PathRule, Route, Rule};
pub use table::{Found, HOST_BYTES_MAX, Table};
