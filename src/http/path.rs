//! The one path: what routes match, policies see, logs show and upstreams get is the same bytes.

use thiserror::Error;

/// Appends nothing but the normalised path to an emptied `out`.
pub fn normalise(_raw: &[u8], _merge_slashes: bool, _out: &mut Vec<u8>) -> Result<(), PathError> {
    unimplemented!()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    #[error("it does not begin with a slash")]
    NotAbsolute,
    #[error("it holds a byte that is not visible ASCII, or a question mark")]
    ByteInvalid,
    #[error("it holds a NUL")]
    Nul,
    #[error("it holds a backslash")]
    Backslash,
    #[error("it holds a fragment")]
    Fragment,
    #[error("a percent sign is not followed by two hexadecimal digits")]
    TripletInvalid,
    #[error("it climbs above the root")]
    AboveRoot,
}
