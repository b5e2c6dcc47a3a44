//! The log writer: one thread that may block on a slow disk or pipe, so that no shard ever does.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::sink::Sink;
use crate::telemetry::log_ring::LogDrain;

/// The running thread. It ends by itself when every ring has been dropped and its lines are written.
#[derive(Debug)]
pub struct LogWriter {
    lines_lost: Arc<AtomicU64>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl LogWriter {
    /// It gives way to shards as the control thread does, which starts it: a thread inherits its niceness.
    pub fn spawn(drain: LogDrain, out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines_lost = Arc::new(AtomicU64::new(0));
        let (alive, ended) = bounded(0);
        let mut sink = Sink::new(out, lines_lost.clone());
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _alive: Sender<()> = alive;
            while let Some(buffer) = drain.next() {
                sink.write(buffer.bytes());
                drain.give_back(buffer);
            }
        })?;
        Ok(Self { lines_lost, ended })
    }

    /// Lines that reached the writer and could not be written, since this was last asked.
    pub fn take_lines_lost(&self) -> u64 {
        self.lines_lost.swap(0, Ordering::Relaxed)
    }

    /// Waits until the last line is written, after the rings were dropped, but no longer than `patience`: whoever reads
    /// the log may have stopped, and must not keep the gateway from ending. False when lines were left behind.
    pub fn finish(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience).is_err_and(|error| error.is_disconnected())
    }
}

/// The process's standard output without the lock and the line buffer of `std::io::Stdout`: whole buffers come already.
pub fn stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::stdx::time::Mono;
    use crate::telemetry::log_ring::{LogRing, rings};

    /// Takes one permit for each write, and passes on what is written.
    struct Gate {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(|_| Error::from(ErrorKind::BrokenPipe))?;
            self.written.send(bytes.to_vec()).expect("the test still reads");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn append(ring: &mut LogRing, from: u64, lines: u64) {
        for number in from..from + lines {
            ring.append(Mono::ZERO, |out| writeln!(out, "{number:01000}").expect("a Vec takes everything"));
        }
    }

    #[test]
    fn a_writer_that_blocks_costs_lines_but_never_stops_a_shard() {
        let (permit, permits) = unbounded();
        let (written, output) = unbounded();
        let (mut rings, drain) = rings(1);
        let writer = LogWriter::spawn(drain, Gate { permits, written }).unwrap();
        // Far more than the ring holds, while the writer stands still: this ends only if nothing here waits for it.
        append(&mut rings[0], 0, 5_000);
        let dropped = rings[0].lines_dropped();
        assert!(dropped > 3_000, "{dropped} dropped");
        drop(rings);
        assert!(!writer.finish(Duration::ZERO), "the writer still has lines");
        (0..100).for_each(|_| permit.send(()).unwrap());
        let text: Vec<u8> = output.iter().flatten().collect();
        let numbers: Vec<u64> = text.split(|&byte| byte == b'\n').filter_map(parse).collect();
        assert_eq!(numbers, (0..5_000 - dropped).collect::<Vec<u64>>(), "what was kept is whole and in order");
    }

    fn parse(line: &[u8]) -> Option<u64> {
        std::str::from_utf8(line).ok()?.parse().ok()
    }

    #[test]
    fn the_writer_ends_when_all_rings_have_ended_and_every_line_is_written() {
        let (mut rings, drain) = rings(3);
        let (permit, permits) = unbounded();
        let (written, output) = unbounded();
        (0..100).for_each(|_| permit.send(()).unwrap());
        let writer = LogWriter::spawn(drain, Gate { permits, written }).unwrap();
        rings.iter_mut().for_each(|ring| append(ring, 7, 1));
        drop(rings);
        assert!(writer.finish(Duration::MAX));
        assert_eq!(output.iter().flatten().filter(|&byte| byte == b'\n').count(), 3);
    }

    #[test]
    fn a_reader_that_has_gone_is_counted_and_the_thread_goes_on() {
        let (mut rings, drain) = rings(1);
        let (permit, permits) = unbounded();
        let (written, _output) = unbounded();
        drop(permit);
        let writer = LogWriter::spawn(drain, Gate { permits, written }).unwrap();
        append(&mut rings[0], 0, 200);
        drop(rings);
        assert!(writer.finish(Duration::MAX));
        assert_eq!((writer.take_lines_lost(), writer.take_lines_lost()), (200, 0));
    }
}
