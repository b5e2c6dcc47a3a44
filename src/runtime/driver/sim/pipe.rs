//! The bytes on their way in one direction of a connection.

use crate::stdx::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// A bounded queue of bytes with an end, and with what may be wrong with the way.
#[derive(Debug)]
pub struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The sender has said that no more follows.
    ended: bool,
    entered: u64,
    left: u64,
    temper: Temper,
    /// A slow pipe gives nothing before.
    open_at: Mono,
}

/// What may be wrong with a direction, decided when the connection is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Temper {
    /// After so many bytes nothing leaves any more, the end neither.
    pub frozen_after: Option<u64>,
    /// The byte whose entry resets the connection.
    pub reset_after: Option<u64>,
    /// One byte a second leaves.
    pub slow: bool,
}

/// What a receiver finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    Bytes(usize),
    End,
    Nothing,
    /// Nothing, and there will never be anything.
    Frozen,
    /// Something, but not before this time.
    Later(Mono),
}

impl Pipe {
    pub fn new(capacity: usize, temper: Temper) -> Self {
        Self { bytes: VecDeque::new(), capacity, ended: false, entered: 0, left: 0, temper, open_at: Mono::ZERO }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes may enter before the pipe is full or resets the connection.
    pub fn room(&self) -> usize {
        let room = self.capacity - self.bytes.len().min(self.capacity);
        let until_reset = self.temper.reset_after.map_or(u64::MAX, |after| after.saturating_sub(self.entered));
        room.min(usize::try_from(until_reset).unwrap_or(usize::MAX))
    }

    /// Bytes that have entered so far.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    pub fn is_slow(&self) -> bool {
        self.temper.slow
    }

    pub fn is_frozen(&self) -> bool {
        self.temper.frozen_after.is_some_and(|after| self.left >= after)
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the byte has entered at which the connection is to be reset.
    pub fn resets_now(&self) -> bool {
        self.temper.reset_after.is_some_and(|after| self.entered >= after)
    }

    pub fn push(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room() && !self.ended);
        self.bytes.extend(bytes);
        self.entered += bytes.len() as u64;
    }

    pub fn end(&mut self) {
        self.ended = true;
    }

    pub fn arrival(&self, now: Mono) -> Arrival {
        if self.is_frozen() {
            return Arrival::Frozen;
        }
        let until_frozen = self.temper.frozen_after.map_or(u64::MAX, |after| after - self.left);
        let most = if self.temper.slow { 1 } else { usize::try_from(until_frozen).unwrap_or(usize::MAX) };
        match self.bytes.len().min(most) {
            0 if self.ended => Arrival::End,
            0 => Arrival::Nothing,
            _ if now < self.open_at => Arrival::Later(self.open_at),
            count => Arrival::Bytes(count),
        }
    }

    /// Moves the first bytes to `into`, as many as it is long.
    pub fn pop(&mut self, into: &mut [u8], now: Mono) {
        let (front, back) = self.bytes.as_slices();
        let first = into.len().min(front.len());
        into[..first].copy_from_slice(&front[..first]);
        let second = into.len() - first;
        into[first..].copy_from_slice(&back[..second]);
        self.discard(into.len(), now);
    }

    /// Loses the first bytes: they went to an operation that nobody waits for.
    pub fn discard(&mut self, count: usize, now: Mono) {
        self.bytes.drain(..count);
        self.left += count as u64;
        if self.temper.slow {
            self.open_at = now + SLOW_INTERVAL;
        }
    }

    /// Loses all but the first bytes, and the end: a reset overtook them.
    pub fn cut(&mut self, keep: usize) {
        self.bytes.truncate(keep);
        self.ended = false;
    }
}

const SLOW_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_enters_leaves_in_order_and_then_the_end() {
        let mut pipe = Pipe::new(4, Temper::default());
        pipe.push(b"abcd");
        assert_eq!(pipe.room(), 0);
        let mut two = [0; 2];
        pipe.pop(&mut two, Mono::ZERO);
        assert_eq!((&two, pipe.room()), (b"ab", 2));
        pipe.push(b"ef");
        pipe.end();
        let mut four = [0; 4];
        assert_eq!(pipe.arrival(Mono::ZERO), Arrival::Bytes(4));
        pipe.pop(&mut four, Mono::ZERO);
        assert_eq!((&four, pipe.arrival(Mono::ZERO)), (b"cdef", Arrival::End));
    }

    #[test]
    fn a_frozen_pipe_withholds_the_rest_and_the_end() {
        let mut pipe = Pipe::new(9, Temper { frozen_after: Some(1), ..Temper::default() });
        pipe.push(b"ab");
        pipe.end();
        assert_eq!(pipe.arrival(Mono::ZERO), Arrival::Bytes(1));
        pipe.discard(1, Mono::ZERO);
        assert_eq!(pipe.arrival(Mono::ZERO), Arrival::Frozen);
    }

    #[test]
    fn a_slow_pipe_gives_a_byte_a_second() {
        let mut pipe = Pipe::new(9, Temper { slow: true, ..Temper::default() });
        pipe.push(b"ab");
        pipe.discard(1, Mono::ZERO);
        let then = Mono::ZERO + SLOW_INTERVAL;
        assert_eq!((pipe.arrival(Mono::ZERO), pipe.arrival(then)), (Arrival::Later(then), Arrival::Bytes(1)));
    }

    #[test]
    fn a_reset_is_due_at_its_byte() {
        let mut pipe = Pipe::new(9, Temper { reset_after: Some(3), ..Temper::default() });
        assert_eq!(pipe.room(), 3);
        pipe.push(b"abc");
        assert!(pipe.resets_now() && pipe.room() == 0);
    }
}
