//! The request target (RFC 9112 §3.2).

/// Which form the target was sent in. CONNECT's authority form is refused with its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Origin,
    Absolute,
    Asterisk,
}
