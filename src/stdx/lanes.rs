//! Sixteen bytes at a time: a handful of instructions where every processor has a vector unit (SSE2 is part of x86-64),
//! and two machine words elsewhere.
//!
//! A property of bytes is a set of [`Marks`], one for each byte that has it.

#[cfg(target_arch = "x86_64")]
pub use self::vector::{Lanes, Marks};
#[cfg(not(target_arch = "x86_64"))]
pub use self::words::{Lanes, Marks};

/// Bytes in one [`Lanes`].
pub const WIDTH: usize = 16;

/// Where the first marked byte lies, from `at` on; `bytes.len()` when there is none.
#[inline(always)]
pub fn find(bytes: &[u8], mut at: usize, marks: impl Fn(Lanes) -> Marks) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let marked = marks(Lanes::of(chunk)).bits();
        if marked != 0 {
            return at + marked.trailing_zeros() as usize;
        }
        at += WIDTH;
    }
    let left = bytes.len().saturating_sub(at);
    let marked = match bytes.last_chunk() {
        // What lies before `at` falls off.
        Some(last) => marks(Lanes::of(last)).bits() >> (WIDTH - left),
        None => {
            let mut padded = [0; WIDTH];
            padded[..left].copy_from_slice(&bytes[bytes.len() - left..]);
            marks(Lanes::of(&padded)).bits()
        }
    };
    // A mark on the padding, or none at all, is beyond the end.
    bytes.len() - left + (marked.trailing_zeros() as usize).min(left)
}

/// Gives `bytes` to `take` in their order, the last ones filled up with `pad`.
#[inline(always)]
pub fn for_each(bytes: &[u8], pad: u8, mut take: impl FnMut(Lanes)) {
    let (whole, rest) = bytes.as_chunks();
    whole.iter().for_each(|chunk| take(Lanes::of(chunk)));
    if !rest.is_empty() {
        let mut last = [pad; WIDTH];
        last[..rest.len()].copy_from_slice(rest);
        take(Lanes::of(&last));
    }
}

/// Marks ASCII control bytes, DEL among them.
#[inline(always)]
pub fn control(lanes: Lanes) -> Marks {
    lanes.below(b' ') | lanes.equal(0x7f)
}

#[cfg(target_arch = "x86_64")]
mod vector {
    use safe_arch::{
        bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, max_u8_m128i, min_u8_m128i, move_mask_i8_m128i,
        set_splat_i8_m128i, sub_i8_m128i,
    };
    use std::ops::BitOr;

    /// Sixteen bytes.
    #[derive(Clone, Copy)]
    pub struct Lanes(m128i);

    /// All ones for each marked byte, zero for the others.
    #[derive(Clone, Copy)]
    pub struct Marks(m128i);

    impl Lanes {
        #[inline(always)]
        pub fn of(bytes: &[u8; super::WIDTH]) -> Self {
            Self(load_unaligned_m128i(bytes))
        }

        /// With the bits of `mask` set in each byte.
        #[inline(always)]
        pub fn with(self, mask: u8) -> Self {
            Self(bitor_m128i(self.0, splat(mask)))
        }

        #[inline(always)]
        pub fn equal(self, byte: u8) -> Marks {
            Marks(cmp_eq_mask_i8_m128i(self.0, splat(byte)))
        }

        /// Marks bytes below `bound`, which is ASCII and not NUL.
        #[inline(always)]
        pub fn below(self, bound: u8) -> Marks {
            Marks(cmp_eq_mask_i8_m128i(min_u8_m128i(self.0, splat(bound - 1)), self.0))
        }

        /// Marks bytes above `bound`, which is ASCII.
        #[inline(always)]
        pub fn above(self, bound: u8) -> Marks {
            Marks(cmp_eq_mask_i8_m128i(max_u8_m128i(self.0, splat(bound + 1)), self.0))
        }

        /// Marks bytes from `first` to `last`, which are ASCII.
        #[inline(always)]
        pub fn between(self, first: u8, last: u8) -> Marks {
            Self(sub_i8_m128i(self.0, splat(first))).below(last - first + 1)
        }
    }

    impl Marks {
        /// A bit for each byte, the first byte's lowest.
        #[inline(always)]
        pub fn bits(self) -> u32 {
            move_mask_i8_m128i(self.0).cast_unsigned()
        }
    }

    impl BitOr for Marks {
        type Output = Self;

        #[inline(always)]
        fn bitor(self, other: Self) -> Self {
            Self(bitor_m128i(self.0, other.0))
        }
    }

    #[inline(always)]
    fn splat(byte: u8) -> m128i {
        set_splat_i8_m128i(byte.cast_signed())
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use std::ops::BitOr;

    /// Sixteen bytes, the first one lowest.
    #[derive(Clone, Copy)]
    pub struct Lanes([u64; 2]);

    /// The top bit of each marked byte, and no other bit. They are made without carry or borrow from byte to byte.
    #[derive(Clone, Copy)]
    pub struct Marks([u64; 2]);

    impl Lanes {
        #[inline(always)]
        pub fn of(bytes: &[u8; super::WIDTH]) -> Self {
            let bits = u128::from_le_bytes(*bytes);
            Self([bits as u64, (bits >> 64) as u64])
        }

        #[inline(always)]
        pub fn with(self, mask: u8) -> Self {
            Self(self.0.map(|word| word | repeat(mask)))
        }

        #[inline(always)]
        pub fn equal(self, byte: u8) -> Marks {
            Marks(self.0.map(|word| below(word ^ repeat(byte), 1)))
        }

        #[inline(always)]
        pub fn below(self, bound: u8) -> Marks {
            Marks(self.0.map(|word| below(word, bound)))
        }

        #[inline(always)]
        pub fn above(self, bound: u8) -> Marks {
            Marks(self.0.map(|word| !below(word, bound + 1) & HIGHS))
        }

        #[inline(always)]
        pub fn between(self, first: u8, last: u8) -> Marks {
            Marks(self.0.map(|word| below(word, last + 1) & !below(word, first)))
        }
    }

    impl Marks {
        #[inline(always)]
        pub fn bits(self) -> u32 {
            // Moves the mark of each byte to its place in the highest one.
            let [low, high] = self.0.map(|marks| (marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56);
            (high << 8 | low) as u32
        }
    }

    impl BitOr for Marks {
        type Output = Self;

        #[inline(always)]
        fn bitor(self, other: Self) -> Self {
            Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
        }
    }

    /// Marks bytes below `bound`, which is at most the first byte beyond ASCII.
    const fn below(word: u64, bound: u8) -> u64 {
        !(((word | HIGHS) - repeat(bound)) | word) & HIGHS
    }

    const fn repeat(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }

    /// The top bit of each byte.
    const HIGHS: u64 = repeat(0x80);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    /// Near the bounds more often than not.
    fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
        let near = [0, 0x1f, 0x20, 0x21, b'.', b'/', b'0', 0x7e, 0x7f, 0x80, 0xaf, 0xff];
        let byte = || if rng.chance(700) { near[rng.below(12) as usize] } else { rng.below(256) as u8 };
        std::iter::repeat_with(byte).take(len).collect()
    }

    #[test]
    fn marks_are_exact_whatever_lies_beside_and_the_same_on_every_processor() {
        #[track_caller]
        fn check(bytes: &[u8; WIDTH], marks: [u32; 2], has: impl Fn(u8) -> bool) {
            let expected = (0..WIDTH).fold(0, |bits, at| bits | u32::from(has(bytes[at])) << at);
            assert_eq!(marks, [expected; 2], "{bytes:?}");
        }
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let bytes: [u8; WIDTH] = random_bytes(&mut rng, WIDTH).try_into().expect("sixteen");
            let (here, there) = (Lanes::of(&bytes), words::Lanes::of(&bytes));
            for bound in 1..0x7f {
                check(&bytes, [here.below(bound).bits(), there.below(bound).bits()], |byte| byte < bound);
                check(&bytes, [here.above(bound).bits(), there.above(bound).bits()], |byte| byte > bound);
                let (first, last) = (bound.min(b'.'), bound.max(b'.'));
                let marks = [here.between(first, last).bits(), there.between(first, last).bits()];
                check(&bytes, marks, |byte| (first..=last).contains(&byte));
            }
            for other in 0..=255 {
                check(&bytes, [here.equal(other).bits(), there.equal(other).bits()], |byte| byte == other);
                let marks = [here.with(other).equal(other).bits(), there.with(other).equal(other).bits()];
                check(&bytes, marks, |byte| byte | other == other);
            }
            let marks = [(here.equal(0x7f) | here.below(1)).bits(), (there.equal(0x7f) | there.below(1)).bits()];
            check(&bytes, marks, |byte| byte == 0x7f || byte == 0);
        }
    }

    #[test]
    fn a_search_finds_what_a_search_byte_by_byte_finds() {
        let mut rng = Rng::new(1);
        for round in 0..20_000 {
            let bytes = random_bytes(&mut rng, round % 50);
            let at = rng.below(bytes.len() as u64 + 1) as usize;
            let expected = bytes[at..].iter().position(u8::is_ascii_control).map_or(bytes.len(), |found| at + found);
            assert_eq!(find(&bytes, at, control), expected, "from {at}: {}", bytes.escape_ascii());
            let nul = bytes[at..].iter().position(|&byte| byte == 0).map_or(bytes.len(), |found| at + found);
            assert_eq!(find(&bytes, at, |lanes| lanes.equal(0)), nul, "from {at}: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn all_bytes_come_in_order_and_end_in_padding() {
        for len in 0..50 {
            let mut marked = Vec::new();
            for_each(&vec![b'a'; len], b'p', |lanes| marked.push([lanes.equal(b'a').bits(), lanes.equal(b'p').bits()]));
            let expected = (0..len).step_by(WIDTH).map(|at| {
                let bytes = !(u32::MAX << WIDTH.min(len - at));
                [bytes, !bytes & 0xffff]
            });
            assert!(marked.into_iter().eq(expected), "{len} bytes");
        }
    }
}
