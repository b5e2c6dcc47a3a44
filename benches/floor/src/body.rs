//! The one body that the origin sends and the load generator expects, so that a lost, doubled or moved byte is seen.

/// Length of the answer to any path but `/bytes/N`.
pub const SMALL_BYTES: usize = 1024;

/// The body's bytes repeat with this period: a prime, so that no buffer size of a proxy is a multiple of it.
const PERIOD: usize = 251;

/// The longest piece that `Body::from` returns.
pub const PIECE_BYTES_MAX: usize = PERIOD * 1024;

pub struct Body {
    table: Vec<u8>,
}

impl Body {
    /// The endless body from `offset` on, as a piece of `PIECE_BYTES_MAX` bytes.
    pub fn from(&self, offset: u64) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        &self.table[start..start + PIECE_BYTES_MAX]
    }

    /// Whether `bytes` is what the body holds from `offset` on.
    pub fn matches(&self, mut offset: u64, bytes: &[u8]) -> bool {
        bytes.chunks(PIECE_BYTES_MAX).all(|chunk| {
            let expected = &self.from(offset)[..chunk.len()];
            offset += chunk.len() as u64;
            chunk == expected
        })
    }
}

impl Default for Body {
    fn default() -> Self {
        // The high bit stays clear and control bytes stay out, so that a dump of a wrong answer can be read.
        Self { table: (0..PIECE_BYTES_MAX + PERIOD).map(|at| b' ' + (at % PERIOD % 94) as u8).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(offset: u64, bytes: &[u8], expected: bool) {
        assert_eq!(Body::default().matches(offset, bytes), expected, "at {offset}, {} bytes", bytes.len());
    }

    #[test]
    fn a_moved_or_changed_byte_does_not_match() {
        let body = Body::default();
        let long: Vec<u8> = [body.from(0), body.from(PIECE_BYTES_MAX as u64)].concat();
        check(0, &long, true);
        check(1, &long, false);
        check(PERIOD as u64, &long, true);
        check(7, &body.from(7)[..SMALL_BYTES], true);
        let mut changed = long;
        *changed.last_mut().unwrap() ^= 1;
        check(0, &changed, false);
    }
}
