//! What happened in a simulation: always as one number, which two runs of a seed must share; at wish line by line.

use crate::stdx::time::Mono;
use std::collections::VecDeque;
use std::fmt;

#[derive(Debug, Default)]
pub struct Transcript {
    hash: u64,
    /// The last ones, if they are kept at all.
    lines: Option<VecDeque<Line>>,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line {
    pub at: Mono,
    pub host: &'static str,
    pub what: &'static str,
    /// Which socket or listener, as its host numbers them.
    pub whom: u64,
    /// Bytes, or another number that belongs to it.
    pub value: u64,
}

impl Transcript {
    /// Keeps the lines from now on.
    pub fn record(&mut self) {
        self.lines = Some(VecDeque::new());
    }

    pub fn note(&mut self, line: Line) {
        for byte in line.what.bytes() {
            self.fold(u64::from(byte));
        }
        for word in [line.at.as_nanos(), line.whom, line.value] {
            self.fold(word);
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().flatten()
    }

    /// FNV-1a over words, turned so that the high bits count too.
    fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, host) = (self.at.as_nanos() / 1000, self.host);
        write!(f, "{at:>12} us  {host:<10} {:<18} #{} {}", self.what, self.whom as u32, self.value)
    }
}

const LINES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(values: &[u64]) -> u64 {
        let mut transcript = Transcript::default();
        for value in values {
            transcript.note(Line { at: Mono::ZERO, host: "a", what: "sent", whom: 0, value: *value });
        }
        transcript.hash()
    }

    #[test]
    fn the_hash_tells_what_happened_and_in_which_order() {
        assert_eq!(hash(&[1, 2]), hash(&[1, 2]));
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[1]), hash(&[1, 0]));
    }
}
