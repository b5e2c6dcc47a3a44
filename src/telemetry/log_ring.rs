//! A bounded ring of buffers between each shard and the one log writer. A shard never waits for the writer and never
//! allocates: when all of its buffers are full or under way, the line is dropped and counted.
//!
//! ```text
//! LogRing: current --full or old--> one channel for all shards --> LogDrain
//!             ^------------- one channel a shard, emptied buffers <----'
//! ```

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::access_log::LINE_BYTES_MAX;
use crate::stdx::time::Mono;

/// The shard's side. Dropping it hands over what is left.
#[derive(Debug)]
pub struct LogRing {
    current: Option<Buffer>,
    /// When the current buffer's first line was appended.
    oldest: Mono,
    full: Sender<Buffer>,
    empty: Receiver<Buffer>,
    lines_dropped: u64,
}

/// The writer's side, for all shards.
#[derive(Debug)]
pub struct LogDrain {
    full: Receiver<Buffer>,
    /// Indexed by `Buffer::ring`.
    empty: Vec<Sender<Buffer>>,
}

/// Whole lines of one shard.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    ring: usize,
}

/// One ring a shard, and the drain of all.
pub fn rings(shards: usize) -> (Vec<LogRing>, LogDrain) {
    let (to_drain, full) = bounded(BUFFERS * shards.max(1));
    let mut empties = Vec::with_capacity(shards);
    let rings = (0..shards).map(|ring| {
        let (give_back, empty) = bounded(BUFFERS);
        for _ in 0..BUFFERS {
            let bytes = Vec::with_capacity(BUFFER_BYTES + LINE_BYTES_MAX);
            give_back.send(Buffer { bytes, lines: 0, ring }).expect("the channel holds every buffer of its ring");
        }
        empties.push(give_back);
        LogRing { current: None, oldest: Mono::ZERO, full: to_drain.clone(), empty, lines_dropped: 0 }
    });
    (rings.collect(), LogDrain { full, empty: empties })
}

impl LogRing {
    /// Lets `write` append one line of at most [`LINE_BYTES_MAX`] bytes, or drops the line when no buffer is free.
    pub fn append(&mut self, now: Mono, write: impl FnOnce(&mut Vec<u8>)) {
        if self.current.is_none() {
            self.current = self.empty.try_recv().ok();
            self.oldest = now;
        }
        let Some(buffer) = &mut self.current else {
            self.lines_dropped += 1;
            return;
        };
        write(&mut buffer.bytes);
        buffer.lines += 1;
        if buffer.bytes.len() >= BUFFER_BYTES {
            self.hand_over();
        }
    }

    /// Hands the current buffer over if its oldest line has waited long enough. For a shard about to sleep.
    pub fn flush(&mut self, now: Mono) {
        if self.flush_due().is_some_and(|due| due <= now) {
            self.hand_over();
        }
    }

    /// When `flush` has something to do, at the latest: a shard that sleeps longer keeps its last lines to itself.
    pub fn flush_due(&self) -> Option<Mono> {
        self.current.is_some().then(|| self.oldest + LINE_AGE_MAX)
    }

    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped
    }

    fn hand_over(&mut self) {
        let Some(buffer) = self.current.take() else { return };
        // The channel has room for every buffer there is, so only a writer that has gone refuses one.
        if let Err(TrySendError::Full(buffer) | TrySendError::Disconnected(buffer)) = self.full.try_send(buffer) {
            self.lines_dropped += buffer.lines;
        }
    }
}

impl Drop for LogRing {
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl LogDrain {
    /// Waits for the next buffer; `None` when every ring has been dropped and emptied.
    pub fn next(&self) -> Option<Buffer> {
        self.full.recv().ok()
    }

    /// Gives the buffer back to the ring that it came from.
    pub fn give_back(&self, mut buffer: Buffer) {
        buffer.bytes.clear();
        buffer.lines = 0;
        let ring = buffer.ring;
        // A ring that has gone needs no buffer, and a ring that lives has room for all of its own.
        let _ = self.empty[ring].try_send(buffer);
    }
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Buffers of one shard: 1 MiB of lines, a few seconds of a busy shard's.
const BUFFERS: usize = 16;
/// A buffer that holds this much is handed over. It has room for one more line of any length.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a line may stay with a shard that has little to say.
const LINE_AGE_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = &[b'x'; 1024];
    const LINES_A_BUFFER: u64 = (BUFFER_BYTES / LINE.len()) as u64;

    fn at(millis: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(millis)
    }

    fn append(ring: &mut LogRing, lines: u64) {
        for _ in 0..lines {
            ring.append(Mono::ZERO, |out| out.extend_from_slice(LINE));
        }
    }

    fn one_ring() -> (LogRing, LogDrain) {
        let (mut rings, drain) = rings(1);
        (rings.remove(0), drain)
    }

    #[test]
    fn a_full_buffer_is_handed_over_and_comes_back() {
        let (mut ring, drain) = one_ring();
        for _ in 0..3 * BUFFERS {
            append(&mut ring, LINES_A_BUFFER);
            let buffer = drain.next().unwrap();
            assert_eq!((buffer.bytes().len(), buffer.lines), (BUFFER_BYTES, LINES_A_BUFFER));
            drain.give_back(buffer);
        }
        assert_eq!((ring.lines_dropped(), ring.flush_due()), (0, None));
    }

    #[test]
    fn without_a_free_buffer_lines_are_dropped_and_counted() {
        let (mut ring, drain) = one_ring();
        append(&mut ring, BUFFERS as u64 * LINES_A_BUFFER);
        assert_eq!(ring.lines_dropped(), 0);
        append(&mut ring, 5);
        assert_eq!(ring.lines_dropped(), 5);
        drain.give_back(drain.next().unwrap());
        append(&mut ring, 5);
        assert_eq!(ring.lines_dropped(), 5);
    }

    #[test]
    fn a_line_waits_no_longer_than_its_age_allows() {
        let (mut ring, drain) = one_ring();
        assert_eq!(ring.flush_due(), None);
        ring.append(at(1_000), |out| out.extend_from_slice(b"a\n"));
        ring.append(at(1_050), |out| out.extend_from_slice(b"b\n"));
        assert_eq!(ring.flush_due(), Some(at(1_100)));
        ring.flush(at(1_099));
        assert!(drain.full.is_empty());
        ring.flush(at(1_100));
        assert_eq!(drain.next().unwrap().bytes(), b"a\nb\n");
        assert_eq!(ring.flush_due(), None);
    }

    #[test]
    fn a_ring_that_ends_hands_over_its_last_lines_and_ends_the_drain() {
        let (mut rings, drain) = rings(2);
        rings[1].append(Mono::ZERO, |out| out.extend_from_slice(b"last\n"));
        drop(rings);
        assert_eq!(drain.next().unwrap().bytes(), b"last\n");
        assert!(drain.next().is_none());
    }

    #[test]
    fn buffers_return_to_their_own_ring() {
        let (mut rings, drain) = rings(2);
        append(&mut rings[1], BUFFERS as u64 * LINES_A_BUFFER);
        for _ in 0..BUFFERS {
            drain.give_back(drain.next().unwrap());
        }
        assert_eq!((rings[0].empty.len(), rings[1].empty.len()), (BUFFERS, BUFFERS));
    }

    #[test]
    fn a_writer_that_has_gone_costs_lines_and_nothing_else() {
        let (mut ring, drain) = one_ring();
        drop(drain);
        append(&mut ring, LINES_A_BUFFER * 20);
        assert_eq!(ring.lines_dropped(), LINES_A_BUFFER * 20);
    }

    #[test]
    fn no_line_makes_a_buffer_grow() {
        let (mut ring, drain) = one_ring();
        append(&mut ring, LINES_A_BUFFER - 1);
        ring.append(Mono::ZERO, |out| out.resize(out.len() + LINE_BYTES_MAX, b'y'));
        let buffer = drain.next().unwrap();
        assert_eq!(buffer.bytes.capacity(), BUFFER_BYTES + LINE_BYTES_MAX);
    }
}
