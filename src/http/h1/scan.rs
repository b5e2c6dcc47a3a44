//! How far an unfinished head was already looked at.

use super::reader::Stop;
use crate::http::error::HeadError;

/// Remembered between calls so that a head that arrives byte by byte costs linear time. Starts over by itself when a
/// head is complete or refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Bytes looked at.
    looked: usize,
    /// Where the line begins that is not complete yet.
    line: usize,
}

impl Scan {
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the parse: a head that was found or refused leaves nothing to remember.
    pub(super) fn settle(&mut self, result: Result<Option<usize>, HeadError>) -> Result<Option<usize>, HeadError> {
        if result != Ok(None) {
            *self = Self::new();
        }
        result
    }

    /// Has `read` read the head that begins at `begin`, if all of it may be there. Most heads arrive whole: only what
    /// did not is looked at line by line, and read again when it is whole.
    pub(super) fn read_whole(
        &mut self,
        bytes: &[u8],
        begin: usize,
        read: impl FnOnce() -> Result<usize, Stop>,
    ) -> Result<Option<usize>, HeadError> {
        let is_fresh = self.looked == 0;
        if is_fresh || self.advance(bytes, begin)? {
            match read() {
                Ok(len) => return Ok(Some(len)),
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Incomplete) => {}
            }
            self.advance(bytes, begin)?;
        }
        Ok(None)
    }

    /// True while the head's first line, which begins at `begin`, is not complete.
    pub(super) fn is_in_first_line(self, begin: usize) -> bool {
        self.line <= begin
    }

    /// Looks at what is new in `bytes`, whose head begins at `begin`. True when an empty line ends the head.
    pub(super) fn advance(&mut self, bytes: &[u8], begin: usize) -> Result<bool, HeadError> {
        self.looked = self.looked.max(begin);
        self.line = self.line.max(begin);
        while let Some(len) = memchr::memchr(b'\n', &bytes[self.looked..]) {
            let line = &bytes[self.line..self.looked + len];
            self.looked += len + 1;
            self.line = self.looked;
            match line {
                [] | [.., ..=0x0c | 0x0e..] => return Err(HeadError::BareLf),
                [b'\r'] => return Ok(true),
                [..] => {}
            }
        }
        self.looked = bytes.len();
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, expected: Result<bool, HeadError>) {
        assert_eq!(Scan::new().advance(bytes.as_bytes(), 0), expected, "at once: {bytes:?}");
        let mut scan = Scan::new();
        let last =
            (1..=bytes.len()).map(|len| scan.advance(&bytes.as_bytes()[..len], 0)).find(|step| *step != Ok(false));
        assert_eq!(last.unwrap_or(Ok(false)), expected, "byte by byte: {bytes:?}");
    }

    #[test]
    fn an_empty_line_ends_a_head_and_a_bare_lf_is_seen_at_once() {
        check("GET / HTTP/1.1", Ok(false));
        check("GET / HTTP/1.1\r\nA: b\r\n\r", Ok(false));
        check("GET / HTTP/1.1\r\nA: b\r\n\r\n", Ok(true));
        check("GET / HTTP/1.1\n", Err(HeadError::BareLf));
        check("GET / HTTP/1.1\r\nA: b\n", Err(HeadError::BareLf));
        check("GET / HTTP/1.1\r\n\n", Err(HeadError::BareLf));
        check("\n", Err(HeadError::BareLf));
    }
}
