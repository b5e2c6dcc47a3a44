//! Lines to a writer that may be slow, full, or read by nobody any more.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Where lines go that others wait for in vain rather than wait themselves: a disk, or a pipe with somebody behind it.
#[derive(Debug)]
pub struct Sink<W> {
    out: W,
    lines_lost: Arc<AtomicU64>,
    /// A write failed within a line. The next one begins with a line break, so that only that line is spoilt.
    mid_line: bool,
}

impl<W: Write> Sink<W> {
    /// Lines that cannot be written are counted in `lines_lost`.
    pub fn new(out: W, lines_lost: Arc<AtomicU64>) -> Self {
        Self { out, lines_lost, mid_line: false }
    }

    /// Writes whole lines, or counts those that are lost. A full disk or a reader that has gone may come back: the next
    /// lines are tried again. Says whether all are written.
    pub fn write(&mut self, lines: &[u8]) -> bool {
        if self.mid_line && self.write_all(b"\n") < 1 {
            self.lose(lines);
            return false;
        }
        self.mid_line = false;
        let written = self.write_all(lines);
        if written < lines.len() {
            self.mid_line = written > 0 && lines[written - 1] != b'\n';
            self.lose(&lines[written..]);
        }
        written == lines.len()
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
    use super::*;
    use std::io;

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

    #[track_caller]
    fn check(answers: &[Result<usize, ErrorKind>], buffers: &[&str], want: &str, lost: u64) {
        let script = Script { answers: answers.to_vec(), written: Vec::new() };
        let mut sink = Sink::new(script, Arc::default());
        for lines in buffers {
            sink.write(lines.as_bytes());
        }
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
}
