//! Buffers that the kernel chooses from when bytes arrive, so that a connection which waits for some pins none.
//!
//! ```text
//!   lent (the kernel may write) --a receive chose it--> taken out: the receive's, and counted by the pool
//!     ^                                                   |
//!     +------------ fresh memory for the number <---------+  if the pool is not at its cap; else later
//! ```
//!
//! A window over the pool, not the pool itself: a slow peer pins memory of the pool, never a place here. The kernel
//! goes round it, so a small one stays in the caches; what it has no room for waits in its socket, and looks first once
//! there is room.

use super::ring::Ring;
use crate::runtime::buffer::{Class, Pool, Spare};
use io_uring::types::BufRingEntry;
use rustix::io::Errno;
use std::sync::atomic::{AtomicU16, Ordering, fence};

/// The buffers of one class.
pub struct Window {
    class: Class,
    /// By the buffer's number; absent while the number has no memory.
    spares: Vec<Option<Spare>>,
    /// Numbers without memory.
    empty: Vec<u16>,
    /// Buffers that were taken out and that the pool does not count yet: so many numbers stay empty.
    held: usize,
    /// What the kernel reads: `spares.len()` entries, a power of two.
    pages: Box<[Page]>,
    tail: u16,
}

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE_BYTES]);

impl Window {
    /// Registers `count` buffers, a power of two and at most [`COUNT_MAX`], with the ring. It must be dropped after it.
    pub fn new(ring: &Ring, class: Class, count: u16) -> Result<Self, Errno> {
        assert!(count.is_power_of_two() && count <= COUNT_MAX, "the kernel masks with the count");
        let pages = vec![Page([0; PAGE_BYTES]); 1].into_boxed_slice();
        // SAFETY: the page is aligned, holds COUNT_MAX entries and is on the heap; the driver drops the ring first.
        unsafe { ring.register_buffers(pages.as_ptr() as u64, count, class as u16)? };
        let (spares, empty) = ((0..count).map(|_| None).collect(), (0..count).collect());
        Ok(Self { class, spares, empty, held: 0, pages, tail: 0 })
    }

    pub const fn group(class: Class) -> u16 {
        class as u16
    }

    /// Buffers that the kernel may choose from.
    pub fn lent(&self) -> usize {
        self.spares.len() - self.empty.len()
    }

    /// Gives numbers without memory some.
    pub fn refill(&mut self, pool: &Pool) {
        let before = self.empty.len();
        while self.empty.len() > self.held
            && let Some(number) = self.empty.pop()
        {
            self.lend(number, pool.lend(self.class));
        }
        if self.empty.len() < before {
            self.publish();
        }
    }

    /// A buffer that was taken out is counted by the pool now, or gone.
    pub fn settle(&mut self) {
        self.held -= 1;
    }

    /// The memory that the kernel wrote `count` bytes into. Its number stays empty until the next refill.
    pub fn take(&mut self, number: u16, count: usize) -> Option<Spare> {
        let mut spare = self.spares.get_mut(usize::from(number))?.take()?;
        self.empty.push(number);
        self.held += 1;
        spare.grow(count);
        Some(spare)
    }

    fn lend(&mut self, number: u16, mut spare: Spare) {
        let memory = spare.memory_mut();
        let (address, len) = (memory.as_mut_ptr() as u64, memory.len() as u32);
        let mask = self.spares.len() as u16 - 1;
        let place = usize::from(self.tail & mask);
        let entries = self.pages.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `place` is below the count, whose entries the page holds; the kernel does not read this one before
        // the tail says so.
        let entry = unsafe { &mut *entries.add(place) };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        self.spares[usize::from(number)] = Some(spare);
    }

    fn publish(&self) {
        let entries = self.pages.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the tail lies in the first entry, two bytes that only this thread writes and the kernel reads.
        let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        fence(Ordering::Release);
        tail.store(self.tail, Ordering::Release);
    }
}

/// Entries of 16 bytes in a page.
const COUNT_MAX: u16 = (PAGE_BYTES / 16) as u16;
const PAGE_BYTES: usize = 4096;
