//! Large tables that are read here and there: large pages for them, and lines of them that are asked for ahead.
//!
//! Who reads here and there in many megabytes needs to be told of each place where it lies, and of pages of 4 KiB the
//! processor remembers too few: what it asks memory for then is not one line, but several, one after the other. And who
//! asks for a line only when it is needed waits for hundreds of instructions.

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

/// Has the processor fetch the line of the cache where `what` begins, which is wanted soon, and goes on without it.
#[allow(unsafe_code, reason = "what is fetched is told of by where it lies")]
pub fn fetch_ahead<T>(what: &T) {
    let place = std::ptr::from_ref(what);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; nothing is read as far as the program can tell.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint; nothing is read as far as the program can tell.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) place, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _unheeded = place;
}

/// Advice goes by pages; those of every machine that we run on are a multiple of this, and to one of which the advice
/// names only a part the kernel says no.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::ops::Range;

    #[test]
    fn memory_is_there_to_be_written_however_little_there_is() {
        for len in [0, 1, 5_000, 1 << 20] {
            let mut memory = Vec::with_capacity(len);
            prefer_large(memory.spare_capacity_mut());
            memory.extend(0..len);
            assert!(memory.into_iter().eq(0..len), "{len} words");
        }
    }

    #[test]
    fn the_kernel_knows_of_every_page_that_is_to_be_large() {
        let mut memory = Vec::<u64>::with_capacity(1 << 20);
        prefer_large(memory.spare_capacity_mut());
        let start = memory.as_ptr() as usize;
        let end = (start + memory.capacity() * size_of::<u64>()) / PAGE_BYTES * PAGE_BYTES;
        let start = start.next_multiple_of(PAGE_BYTES);
        // A kernel that was built without large pages takes no advice.
        let has_large = fs::exists("/sys/kernel/mm/transparent_hugepage").expect("it can be looked for");
        let expected: Vec<_> = has_large.then_some(start..end).into_iter().collect();
        assert_eq!(advised(start, end), expected);
    }

    /// What lies in mappings that are to be of large pages.
    fn advised(start: usize, end: usize) -> Vec<Range<usize>> {
        let maps = fs::read_to_string("/proc/self/smaps").expect("Linux tells of mappings");
        let mut mapping = 0..0;
        let mut advised = Vec::<Range<usize>>::new();
        for line in maps.lines() {
            let bounds = line.split(' ').next().and_then(|bounds| bounds.split_once('-'));
            let number = |hex| usize::from_str_radix(hex, 16).ok();
            if let Some((from, to)) = bounds.and_then(|(from, to)| number(from).zip(number(to))) {
                mapping = from.max(start)..to.min(end);
            }
            if !mapping.is_empty() && line.strip_prefix("VmFlags:").is_some_and(|flags| flags.contains(" hg")) {
                match advised.last_mut() {
                    Some(last) if last.end == mapping.start => last.end = mapping.end,
                    _ => advised.push(mapping.clone()),
                }
            }
        }
        advised
    }
}
