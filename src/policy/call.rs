//! What a policy asks of a thread beside the shards, because the answer takes longer than a shard may be kept busy.

use std::fmt;
use std::time::Duration;

/// A question, and how long its answer is waited for.
#[derive(Debug, Eq, PartialEq)]
pub struct Call {
    pub question: Question,
    pub patience: Duration,
}

/// Everything that may be asked.
#[derive(Debug, Eq, PartialEq)]
pub enum Question {
    /// Whether a password is the one of which this is the hash.
    Password { hash: Box<str>, password: Secret },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Password { is_right: bool },
}

/// What comes of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reply {
    Answered(Answer),
    /// As much is being asked as may be.
    Busy,
    /// No answer came in time.
    Late,
}

/// Bytes that are overwritten when they are of no use any more, and never shown.
#[derive(Eq, PartialEq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // So that the compiler does not leave out what nobody reads.
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
