//! Large pages for large tables.
//!
//! Who reads here and there in many megabytes needs to be told of each place where it lies, and of pages of 4 KiB the
//! processor remembers too few: what it asks memory for then is not one line, but several, one after the other.

use rustix::mm::{Advice, madvise};
use std::mem::MaybeUninit;

/// Asks the kernel for large pages, for memory to which nobody has written yet. One that has none, or is to give none,
/// leaves it as it is.
#[allow(unsafe_code, reason = "pages are told of by where they lie")]
pub fn prefer_large<T>(memory: &mut [MaybeUninit<T>]) {
    let bytes = size_of_val(memory);
    let start = memory.as_mut_ptr().cast::<u8>();
    let before = start.align_offset(PAGE_BYTES).min(bytes);
    let whole = (bytes - before) / PAGE_BYTES * PAGE_BYTES;
    if whole > 0 {
        // SAFETY: these pages are the caller's memory and nobody else's, and the advice changes no byte of them.
        let _unheeded = unsafe { madvise(start.wrapping_add(before).cast(), whole, Advice::LinuxHugepage) };
    }
}

/// Advice goes by pages; those of every machine that we run on are a multiple of this, and to one of which the advice
/// names only a part the kernel says no.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_there_to_be_written_however_little_there_is() {
        for len in [0, 1, 5_000, 1 << 20] {
            let mut memory = Vec::with_capacity(len);
            prefer_large(memory.spare_capacity_mut());
            memory.extend(0..len);
            assert!(memory.into_iter().eq(0..len), "{len} words");
        }
    }
}
