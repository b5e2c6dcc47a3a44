//! The memory that bytes travel in: two sizes, taken from and given back to one shard's pool.
//!
//! A buffer is owned by whoever holds it, the kernel included: an operation carries its buffers until its completion.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// The two sizes of buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// 4 KiB: heads, and whatever else is short.
    Head,
    /// 64 KiB, with room before and after the payload so that it can be framed where it lies.
    Body,
}

/// A window of bytes in a buffer of the pool; dropping it gives the memory back. One word, and so is the absence of
/// one, because it is moved a lot.
pub struct Buf(ManuallyDrop<Box<Window>>);

struct Window {
    memory: Box<[u8]>,
    start: u32,
    end: u32,
    /// Where the memory for bytes ends and the room for framing begins.
    limit: u32,
    class: Class,
    /// Where it came from; none while it lies there.
    pool: Option<Pool>,
}

/// Memory that a kernel may fill on its own, before anybody knows for whom. It counts as in use from then on only.
pub(super) struct Spare(Box<Window>);

/// One shard's buffers. Cloning it makes another handle to the same pool.
#[derive(Clone)]
pub struct Pool(Rc<Shared>);

struct Shared {
    #[expect(clippy::vec_box, reason = "a buffer moves by its one word, in and out of here too")]
    free: [RefCell<Vec<Box<Window>>>; 2],
    /// The fewest free buffers there have been since the last trim: so many nobody needed.
    unused: [Cell<usize>; 2],
    bytes_out: Cell<usize>,
    /// Those of them that are whole bodies.
    gathered: Cell<usize>,
    bytes_max: usize,
    /// Set when a buffer comes back, so that receives which waited for one are tried again.
    returned: Cell<bool>,
}

impl Class {
    pub const fn payload_bytes(self) -> usize {
        match self {
            Self::Head => 4 << 10,
            Self::Body => 64 << 10,
        }
    }

    const fn headroom_bytes(self) -> usize {
        match self {
            Self::Head => 0,
            Self::Body => HEADROOM_BYTES,
        }
    }

    const fn memory_bytes(self) -> usize {
        match self {
            Self::Head => self.payload_bytes(),
            Self::Body => HEADROOM_BYTES + self.payload_bytes() + TAILROOM_BYTES,
        }
    }

    /// How many free buffers of the class are kept; more go back to the allocator.
    const fn free_max(self) -> usize {
        match self {
            Self::Head => 1024,
            Self::Body => 128,
        }
    }
}

impl Pool {
    /// A pool whose buffers in use never exceed `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self(Rc::new(Shared {
            free: [RefCell::default(), RefCell::default()],
            unused: [Cell::new(0), Cell::new(0)],
            bytes_out: Cell::new(0),
            gathered: Cell::new(0),
            bytes_max,
            returned: Cell::new(false),
        }))
    }

    /// An empty buffer, or nothing at the cap. An eighth of the cap is kept for heads, so that bodies never stop the
    /// gateway from answering.
    pub fn take(&self, class: Class) -> Option<Buf> {
        if !self.admit(class) {
            return None;
        }
        let free = {
            let mut free = self.0.free[class as usize].borrow_mut();
            let window = free.pop();
            let unused = &self.0.unused[class as usize];
            unused.set(unused.get().min(free.len()));
            window
        };
        let mut window = free.unwrap_or_else(|| Window::new(class));
        window.start = class.headroom_bytes() as u32;
        window.end = window.start;
        window.pool = Some(self.clone());
        Some(Buf(ManuallyDrop::new(window)))
    }

    /// Memory for a buffer that is not in use yet, whatever the cap: whoever asks has a bound of its own.
    pub(super) fn lend(&self, class: Class) -> Spare {
        let free = self.0.free[class as usize].borrow_mut().pop();
        let mut window = free.unwrap_or_else(|| Window::new(class));
        window.start = class.headroom_bytes() as u32;
        window.end = window.start;
        Spare(window)
    }

    /// The buffer that `spare` has become, or `spare` itself at the cap.
    pub(super) fn charge(&self, spare: Spare) -> Result<Buf, Spare> {
        if !self.admit(spare.0.class) {
            return Err(spare);
        }
        let mut window = spare.0;
        window.pool = Some(self.clone());
        Ok(Buf(ManuallyDrop::new(window)))
    }

    /// Counts one more buffer as in use, unless that is too much.
    fn admit(&self, class: Class) -> bool {
        let out = self.0.bytes_out.get() + class.memory_bytes();
        let bytes_max = match class {
            Class::Head => self.0.bytes_max,
            Class::Body => self.0.bytes_max - self.0.bytes_max / 8,
        };
        if out > bytes_max {
            return false;
        }
        self.0.bytes_out.set(out);
        true
    }

    /// Counts so many more bytes of whole bodies as in use, unless that is too much: half of the cap is theirs, so that
    /// there are always buffers for bodies to arrive in, and nobody who holds half a body waits for another who does.
    pub(super) fn admit_gathered(&self, bytes: usize) -> bool {
        let (out, gathered) = (self.bytes_out() + bytes, self.0.gathered.get() + bytes);
        let fits = gathered <= self.0.bytes_max / 2 && out <= self.0.bytes_max - self.0.bytes_max / 8;
        if fits {
            self.charge_gathered(bytes);
        }
        fits
    }

    pub(super) fn charge_gathered(&self, bytes: usize) {
        self.0.bytes_out.set(self.bytes_out() + bytes);
        self.0.gathered.set(self.0.gathered.get() + bytes);
    }

    pub(super) fn release_gathered(&self, bytes: usize) {
        self.0.bytes_out.set(self.bytes_out() - bytes);
        self.0.gathered.set(self.0.gathered.get() - bytes);
        self.0.returned.set(true);
    }

    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    /// Bytes of buffers that are in use.
    pub fn bytes_out(&self) -> usize {
        self.0.bytes_out.get()
    }

    /// Gives free buffers back to the allocator that nobody has needed since the last time.
    pub fn trim(&self) {
        for (free, unused) in self.0.free.iter().zip(&self.0.unused) {
            let mut free = free.borrow_mut();
            let kept = free.len() - unused.get().min(free.len());
            free.truncate(kept);
            free.shrink_to(2 * kept);
            unused.set(kept);
        }
    }

    /// Whether a buffer came back since this was last asked.
    pub(super) fn take_returned(&self) -> bool {
        self.0.returned.replace(false)
    }
}

impl Window {
    #[cold]
    fn new(class: Class) -> Box<Self> {
        let memory = vec![0; class.memory_bytes()].into_boxed_slice();
        let limit = (class.headroom_bytes() + class.payload_bytes()) as u32;
        Box::new(Self { memory, start: 0, end: 0, limit, class, pool: None })
    }

    fn write(&mut self, bytes: &[u8], limit: usize) -> bool {
        let (start, end) = (self.end as usize, self.end as usize + bytes.len());
        if end > limit {
            return false;
        }
        self.memory[start..end].copy_from_slice(bytes);
        self.end = end as u32;
        true
    }
}

impl Spare {
    /// Where bytes go, and how many fit. Valid until it is dropped or charged, wherever it is moved.
    pub(super) fn memory_mut(&mut self) -> &mut [u8] {
        let window = &mut *self.0;
        &mut window.memory[window.start as usize..window.limit as usize]
    }

    /// Takes the first `count` bytes as written.
    pub(super) fn grow(&mut self, count: usize) {
        assert!(count <= (self.0.limit - self.0.end) as usize, "grown past the buffer's end");
        self.0.end += count as u32;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.memory[self.0.start as usize..self.0.end as usize]
    }

    /// Drops the first `count` bytes.
    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes().len(), "advanced past the bytes");
        self.0.start += count as u32;
    }

    pub(super) fn class(&self) -> Class {
        self.0.class
    }
}

impl Buf {
    fn window(&self) -> &Window {
        &self.0
    }

    fn window_mut(&mut self) -> &mut Window {
        &mut self.0
    }

    /// Where it came from and where others come from.
    pub fn pool(&self) -> &Pool {
        self.window().pool.as_ref().expect("a buffer in use has a pool")
    }

    pub fn len(&self) -> usize {
        let window = self.window();
        (window.end - window.start) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> &[u8] {
        let window = self.window();
        &window.memory[window.start as usize..window.end as usize]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let window = self.window_mut();
        &mut window.memory[window.start as usize..window.end as usize]
    }

    /// The memory behind the bytes, without the room kept for framing.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let window = self.window_mut();
        let limit = window.limit as usize;
        &mut window.memory[window.end as usize..limit]
    }

    pub fn spare_len(&self) -> usize {
        let window = self.window();
        (window.limit - window.end) as usize
    }

    /// Takes the first `count` bytes of the spare memory as written.
    pub fn grow(&mut self, count: usize) {
        assert!(count <= self.spare_len(), "grown past the buffer's end");
        self.window_mut().end += count as u32;
    }

    /// Drops the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced past the bytes");
        self.window_mut().start += count as u32;
    }

    /// Keeps only the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        assert!(count <= self.len(), "truncated to more than there is");
        let window = self.window_mut();
        window.end = window.start + count as u32;
    }

    /// Writes `bytes` behind the others if there is spare memory for all of them; says whether it did.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let window = self.window_mut();
        let limit = window.limit as usize;
        window.write(bytes, limit)
    }

    /// Whether a chunk's framing fits around the bytes: `push_front` and `push_tail` need it.
    pub fn has_framing_room(&self) -> bool {
        let window = self.window();
        window.start as usize >= HEADROOM_BYTES && window.memory.len() - window.end as usize >= TAILROOM_BYTES
    }

    /// Writes `bytes` before the others, into the room that a fresh body buffer keeps there.
    pub fn push_front(&mut self, bytes: &[u8]) {
        let window = self.window_mut();
        let start = (window.start as usize).checked_sub(bytes.len()).expect("framing fits the headroom");
        window.memory[start..start + bytes.len()].copy_from_slice(bytes);
        window.start = start as u32;
    }

    /// Writes `bytes` behind the others, into the room that every body buffer keeps there.
    pub fn push_tail(&mut self, bytes: &[u8]) {
        let window = self.window_mut();
        let limit = window.memory.len();
        let fits = window.write(bytes, limit);
        assert!(fits, "framing fits the tailroom");
    }

    /// The same bytes in the smallest buffer that holds them, so that what is left of a slow peer's data does not pin a
    /// large one. The buffer itself when it is small already or the pool has no other.
    pub fn shrink(self) -> Self {
        if self.window().class == Class::Head || self.len() > Class::Head.payload_bytes() {
            return self;
        }
        let Some(mut small) = self.pool().take(Class::Head) else { return self };
        let fits = small.push(self.bytes());
        debug_assert!(fits);
        small
    }
}

#[allow(unsafe_code, reason = "what is being dropped moves on without leaving a mark")]
impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: taken once, as nothing is dropped twice, and nobody sees `self.0` afterwards.
        let mut window = unsafe { ManuallyDrop::take(&mut self.0) };
        let Some(Pool(shared)) = window.pool.take() else { return };
        let class = window.class;
        shared.bytes_out.set(shared.bytes_out.get() - class.memory_bytes());
        shared.returned.set(true);
        let mut free = shared.free[class as usize].borrow_mut();
        if free.len() < class.free_max() {
            free.push(window);
        }
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} of {} bytes out)", self.0.bytes_out.get(), self.0.bytes_max)
    }
}

/// Room for a chunk's size line, 16 digits and CRLF, rounded up.
const HEADROOM_BYTES: usize = 32;
/// Room for the CRLF that ends a chunk and the last chunk with its empty trailer section.
const TAILROOM_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = Pool::new(1 << 20);
        let buf = pool.take(Class::Head).unwrap();
        let address = buf.bytes().as_ptr();
        assert_eq!(pool.bytes_out(), 4096);
        drop(buf);
        assert_eq!(pool.bytes_out(), 0);
        assert!(pool.take_returned() && !pool.take_returned());
        assert_eq!(pool.take(Class::Head).unwrap().bytes().as_ptr(), address);
    }

    #[test]
    fn a_trim_keeps_what_was_needed_since_the_last() {
        let pool = Pool::new(1 << 20);
        let burst: Vec<_> = (0..10).map(|_| pool.take(Class::Head).unwrap()).collect();
        drop(burst);
        let free = || pool.0.free[Class::Head as usize].borrow().len();
        pool.trim();
        assert_eq!(free(), 10, "all were needed");
        drop((pool.take(Class::Head), pool.take(Class::Head)));
        drop([pool.take(Class::Head), pool.take(Class::Head)]);
        pool.trim();
        assert_eq!(free(), 2);
        pool.trim();
        assert_eq!(free(), 0);
    }

    #[test]
    fn bodies_leave_an_eighth_to_heads() {
        let pool = Pool::new(1 << 20);
        let bodies: Vec<_> = std::iter::from_fn(|| pool.take(Class::Body)).collect();
        assert_eq!(bodies.len(), (1 << 20) * 7 / 8 / Class::Body.memory_bytes());
        let heads: Vec<_> = std::iter::from_fn(|| pool.take(Class::Head)).collect();
        assert!(heads.len() >= (1 << 17) / 4096);
        assert!(pool.bytes_out() <= 1 << 20);
    }

    #[test]
    fn a_payload_is_framed_where_it_lies() {
        let pool = Pool::new(1 << 20);
        let mut buf = pool.take(Class::Body).unwrap();
        let spare = buf.spare_len();
        assert_eq!(spare, Class::Body.payload_bytes());
        buf.spare_mut().fill(b'x');
        buf.grow(spare);
        buf.push_front(b"10000\r\n");
        buf.push_tail(b"\r\n0\r\n\r\n");
        assert_eq!(buf.len(), spare + 14);
        assert!(buf.bytes().starts_with(b"10000\r\nxx") && buf.bytes().ends_with(b"xx\r\n0\r\n\r\n"));
    }

    #[test]
    fn a_short_rest_moves_to_a_small_buffer() {
        let pool = Pool::new(1 << 20);
        let mut buf = pool.take(Class::Body).unwrap();
        assert!(buf.push(&[7; 5000]));
        buf.advance(4000);
        let buf = buf.shrink();
        assert_eq!((buf.bytes(), pool.bytes_out()), (&[7; 1000][..], 4096));
    }
}
