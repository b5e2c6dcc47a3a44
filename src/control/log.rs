//! The log writer: one thread that may block on a slow disk or pipe, so that no shard ever does.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

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
        let mut sink = Sink { out, lines_lost: lines_lost.clone(), mid_line: false };
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

struct Sink<W> {
    out: W,
    lines_lost: Arc<AtomicU64>,
    /// A write failed within a line. The next one begins with a line break, so that only that line is spoilt.
    mid_line: bool,
}

impl<W: Write> Sink<W> {
    /// Writes whole lines, or counts those that are lost. A full disk or a reader that has gone may come back: the next
    /// lines are tried again.
    fn write(&mut self, lines: &[u8]) {
        if self.mid_line && self.write_all(b"\n") < 1 {
            return self.lose(lines);
        }
        self.mid_line = false;
        let written = self.write_all(lines);
        if written < lines.len() {
            self.mid_line = written > 0 && lines[written - 1] != b'\n';
            self.lose(&lines[written..]);
        }
    }

    /// How much was written before an error, if any.
    fn write_all(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
                Err(_) => break,
            }
        }
        written
    }

    fn lose(&self, lines: &[u8]) {
        let count = memchr::memchr_iter(b'\n', lines).count();
        self.lines_lost.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// For a pipe that somebody else made non-blocking.
#[expect(clippy::disallowed_methods, reason = "this thread is there to wait; lines are dropped meanwhile")]
fn pause() {
    thread::sleep(WOULD_BLOCK_PAUSE);
}

const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::io::Error;

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

    /// Answers each write as the script says: so many bytes, or an error.
    struct Script {
        answers: Vec<Result<usize, ErrorKind>>,
        written: Vec<u8>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = if self.answers.is_empty() { bytes.len() } else { self.answers.remove(0)?.min(bytes.len()) };
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
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

    #[track_caller]
    fn check(answers: &[Result<usize, ErrorKind>], buffers: &[&str], want: &str, lost: u64) {
        let script = Script { answers: answers.to_vec(), written: Vec::new() };
        let mut sink = Sink { out: script, lines_lost: Arc::default(), mid_line: false };
        buffers.iter().for_each(|lines| sink.write(lines.as_bytes()));
        assert_eq!(String::from_utf8(sink.out.written).unwrap(), want);
        assert_eq!(sink.lines_lost.load(Ordering::Relaxed), lost);
    }

    #[test]
    fn short_writes_and_interruptions_lose_nothing() {
        use ErrorKind::{Interrupted, WouldBlock};
        check(&[], &["a\n", "b\n"], "a\nb\n", 0);
        check(&[Ok(1), Err(Interrupted), Ok(2), Err(WouldBlock)], &["aa\nbb\n"], "aa\nbb\n", 0);
    }

    #[test]
    fn a_write_error_costs_its_lines_and_spoils_no_other() {
        use ErrorKind::{BrokenPipe, StorageFull};
        check(&[Err(BrokenPipe)], &["a\nb\n", "c\n"], "c\n", 2);
        check(&[Ok(4), Err(StorageFull)], &["aa\nbb\ncc\n", "dd\n"], "aa\nb\ndd\n", 2);
        check(&[Ok(3), Err(StorageFull)], &["aa\nbb\n", "cc\n"], "aa\ncc\n", 1);
        check(&[Ok(1), Err(StorageFull), Err(StorageFull)], &["aa\n", "bb\n", "cc\n"], "a\ncc\n", 2);
        check(&[Ok(0)], &["a\n", "b\n"], "b\n", 1);
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
