//! Bytes that must lie in one piece, however long: whole bodies.

use super::buffer::Pool;

/// Memory that grows as it is filled and counts as in use; dropping it gives it back.
pub struct Gathered {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Gathered {
    pub fn new(pool: &Pool) -> Self {
        Self { bytes: Vec::new(), pool: pool.clone() }
    }

    /// Counts bytes that lie somewhere already; `None` at the cap.
    pub fn of(pool: &Pool, bytes: Vec<u8>) -> Option<Self> {
        pool.admit_gathered(bytes.capacity()).then(|| Self { bytes, pool: pool.clone() })
    }

    /// Writes `bytes` behind the others; says whether there was memory for them.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let (held, needed) = (self.bytes.capacity(), self.bytes.len() + bytes.len());
        if needed > held {
            let wanted = needed.next_power_of_two().max(GATHERED_BYTES_MIN);
            if !self.pool.admit_gathered(wanted - held) {
                return false;
            }
            self.bytes.reserve_exact(wanted - self.bytes.len());
            // The allocator may give more than it was asked for.
            self.pool.charge_gathered(self.bytes.capacity() - wanted);
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.pool.release_gathered(self.bytes.capacity());
    }
}

/// The first piece of memory, which most bodies that are edited fit into.
const GATHERED_BYTES_MIN: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Class;

    #[test]
    fn what_is_gathered_counts_as_in_use_and_comes_back() {
        let pool = Pool::new(1 << 20);
        let mut gathered = Gathered::new(&pool);
        assert_eq!(pool.bytes_out(), 0);
        for _ in 0..100 {
            assert!(gathered.push(&[7; 1000]));
        }
        assert_eq!((gathered.len(), gathered.bytes()[99_999]), (100_000, 7));
        assert!((100_000..=131_072).contains(&pool.bytes_out()), "{}", pool.bytes_out());
        let other = Gathered::of(&pool, vec![1; 1000]).expect("there is room");
        assert!(pool.bytes_out() >= 101_000);
        drop((gathered, other));
        assert_eq!(pool.bytes_out(), 0);
    }

    #[test]
    fn whole_bodies_leave_half_to_what_is_under_way() {
        let pool = Pool::new(1 << 20);
        let mut gathered = Gathered::new(&pool);
        let pushed = std::iter::repeat_with(|| gathered.push(&[0; 4096])).take_while(|fits| *fits).count();
        assert_eq!(pushed, (1 << 19) / 4096);
        assert!(Gathered::of(&pool, vec![0; 1]).is_none());
        assert!(std::iter::from_fn(|| pool.take(Class::Body)).take(5).count() == 5);
        drop(gathered);
        assert!(Gathered::of(&pool, vec![0; 1]).is_some());
    }
}
