//! The bytes of chunked framing that we write (RFC 9112 §7.1).

/// Sixteen digits and a line end.
pub const CHUNK_HEAD_BYTES_MAX: usize = 18;
/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Trailer lines may follow, then [`CHUNK_END`].
pub const LAST_CHUNK: &[u8] = b"0\r\n";
/// The last chunk and no trailers.
pub const LAST_CHUNK_END: &[u8] = b"0\r\n\r\n";

/// Writes `1a2b\r\n` into the last bytes of `into`, right before the payload, and returns how many.
pub fn chunk_head(mut size: usize, into: &mut [u8; CHUNK_HEAD_BYTES_MAX]) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    into[CHUNK_HEAD_BYTES_MAX - 2..].copy_from_slice(b"\r\n");
    let mut start = CHUNK_HEAD_BYTES_MAX - 2;
    loop {
        start -= 1;
        into[start] = DIGITS[size & 15];
        size >>= 4;
        if size == 0 {
            return CHUNK_HEAD_BYTES_MAX - start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_head_is_the_size_in_hexadecimal_at_the_end_of_its_room() {
        #[track_caller]
        fn check(size: usize, expected: &str) {
            let mut room = [b'-'; CHUNK_HEAD_BYTES_MAX];
            let len = chunk_head(size, &mut room);
            assert_eq!(&room[CHUNK_HEAD_BYTES_MAX - len..], expected.as_bytes());
            assert!(room[..CHUNK_HEAD_BYTES_MAX - len].iter().all(|&byte| byte == b'-'));
        }
        check(0, "0\r\n");
        check(9, "9\r\n");
        check(16, "10\r\n");
        check(0x1a2b, "1a2b\r\n");
        check(usize::MAX, "ffffffffffffffff\r\n");
    }
}
