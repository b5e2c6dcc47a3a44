//! Eight bytes at a time in one machine word: most of what a vector unit gives, on any processor.
//!
//! A word holds the first byte lowest. A property of bytes is a word of marks: the top bit of each byte that has it,
//! and no other bit. Marks are made without carry or borrow from byte to byte, so that they can be combined at will.

/// The top bit of each byte.
const HIGHS: u64 = repeat(0x80);

/// A word of eight times this byte.
pub const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks bytes below `bound`, which is ASCII.
pub const fn below(word: u64, bound: u8) -> u64 {
    !(((word | HIGHS) - repeat(bound)) | word) & HIGHS
}

/// Marks bytes above `bound`, which is ASCII.
pub const fn above(word: u64, bound: u8) -> u64 {
    (((word & !HIGHS) + repeat(0x7f - bound)) | word) & HIGHS
}

/// Marks bytes equal to `byte`.
pub const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ repeat(byte), 1)
}

/// Marks ASCII control bytes, DEL among them.
pub const fn control(word: u64) -> u64 {
    // One further on they are 1 to 32 or, past DEL, 128: what is then below 33 but for its top bit is one of them,
    // unless it had that bit before.
    let next = (word & !HIGHS) + repeat(1);
    !(((next | HIGHS) - repeat(b' ' + 1)) | word) & HIGHS
}

/// Gives the words of `bytes`, the last one filled up with `pad`, to `take`.
#[inline(always)]
pub fn for_each_word(bytes: &[u8], pad: u8, mut take: impl FnMut(u64)) {
    let (whole, rest) = bytes.as_chunks();
    for word in whole {
        take(u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        take(last_word(bytes, rest.len(), pad));
    }
}

/// Where the first byte lies that `marks` marks; `bytes.len()` when there is none.
#[inline(always)]
pub fn find(bytes: &[u8], marks: impl Fn(u64) -> u64) -> usize {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return bytes.len() - rest.len() + lowest(marked);
        }
        rest = after;
    }
    if rest.is_empty() {
        return bytes.len();
    }
    // A mark on the padding, or none at all, is beyond the end.
    let marked = marks(last_word(bytes, rest.len(), 0));
    bytes.len() - rest.len() + lowest(marked).min(rest.len())
}

/// 8 when there is none.
fn lowest(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// A word of the last `len` bytes of `bytes`, 1 to 7, and padding.
#[inline(always)]
fn last_word(bytes: &[u8], len: usize, pad: u8) -> u64 {
    match bytes.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * len) | repeat(pad) << (8 * len),
        None => bytes.iter().rev().fold(repeat(pad), |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    #[test]
    fn marks_are_exact_whatever_lies_beside() {
        #[track_caller]
        fn check(word: u64, marks: u64, has: impl Fn(u8) -> bool) {
            let expected = word.to_le_bytes().map(|byte| if has(byte) { 0x80 } else { 0 });
            assert_eq!(marks.to_le_bytes(), expected, "{:?}", word.to_le_bytes());
        }
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = random_bytes(&mut rng).into_iter().chain([0; 8]).take(8).collect();
            let word = u64::from_le_bytes(bytes.try_into().expect("eight"));
            check(word, control(word), |byte| byte.is_ascii_control());
            for bound in 0..0x80 {
                check(word, below(word, bound), |byte| byte < bound);
                check(word, above(word, bound), |byte| byte > bound);
            }
            for other in 0..=255 {
                check(word, equal(word, other), |byte| byte == other);
            }
        }
    }

    /// Near the bounds more often than not.
    fn random_bytes(rng: &mut Rng) -> Vec<u8> {
        let near = [0, 0x1f, 0x20, 0x21, b'.', b'/', b'0', 0x7e, 0x7f, 0x80, 0xaf, 0xff];
        let mut byte = || if rng.chance(700) { near[rng.below(12) as usize] } else { rng.below(256) as u8 };
        let bytes: Vec<u8> = std::iter::repeat_with(&mut byte).take(40).collect();
        bytes[..rng.below(41) as usize].to_vec()
    }

    #[test]
    fn a_search_finds_what_a_search_byte_by_byte_finds() {
        #[track_caller]
        fn check(bytes: &[u8], marks: impl Fn(u64) -> u64, has: impl Fn(u8) -> bool) {
            let expected = bytes.iter().position(|&byte| has(byte)).unwrap_or(bytes.len());
            assert_eq!(find(bytes, marks), expected, "{}", bytes.escape_ascii());
        }
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let bytes = random_bytes(&mut rng);
            check(&bytes, |word| below(word, 0x20), |byte| byte < 0x20);
            check(&bytes, |word| above(word, 0x7e), |byte| byte > 0x7e);
            check(&bytes, |word| equal(word, b'/'), |byte| byte == b'/');
            check(&bytes, |word| equal(word, 0), |byte| byte == 0);
            let (marks, has) = (|word| below(word, 0x21) | equal(word, 0x7f), |byte| byte < 0x21 || byte == 0x7f);
            check(&bytes, marks, has);
        }
    }

    #[test]
    fn words_hold_all_bytes_in_order_and_end_in_padding() {
        #[track_caller]
        fn check(bytes: &[u8], expected: &[u64]) {
            let mut words = Vec::new();
            for_each_word(bytes, b'p', |word| words.push(word));
            assert_eq!(words, expected);
        }
        check(b"", &[]);
        check(b"a", &[u64::from_le_bytes(*b"appppppp")]);
        check(b"abcdefgh", &[u64::from_le_bytes(*b"abcdefgh")]);
        check(b"abcdefghij", &[u64::from_le_bytes(*b"abcdefgh"), u64::from_le_bytes(*b"ijpppppp")]);
    }
}
