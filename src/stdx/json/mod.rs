//! JSON as text (RFC 8259): read strictly, and edited where it lies, so that what nobody edits keeps its bytes: the
//! order of members, the digits of numbers, the spelling of strings.

mod edit;
mod path;
mod scan;
mod tree;

pub use edit::{Edited, OPERATIONS_MAX, Operation, Program};
pub use path::{Path, Value};
pub use scan::{JSON_DEPTH_MAX, check};
pub use tree::ELEMENTS_MAX;

/// Why a text cannot be edited.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    #[error("not JSON in UTF-8")]
    NotJson,
    /// More than [`JSON_DEPTH_MAX`] objects and arrays within one another.
    #[error("nested too deeply")]
    TooDeep,
    /// An object has a member twice that the edits name: which of the two a reader takes is anybody's guess.
    #[error("a member that is edited occurs twice")]
    Repeated,
    /// More than [`ELEMENTS_MAX`] members and elements would have to be looked at one by one.
    #[error("too many elements")]
    TooMany,
}
