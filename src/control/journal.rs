//! What the gateway says of itself, on standard error: a line each, no less important than `logging.level`.
//!
//! Standard error may be full, or a pipe whose reader has stopped or gone. A thread of its own writes there, so that
//! nobody who says something waits for it, or ends with it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::sink::Sink;
use crate::telemetry::level::Level;

/// From now on a thread writes what is said.
pub fn begin() -> io::Result<()> {
    let out: File = io::stderr().as_fd().try_clone_to_owned()?.into();
    let (journal, entries) = Journal::new();
    thread::Builder::new().name(THREAD.to_owned()).spawn(move || write_all(&entries, out))?;
    // One that is there already goes on, and the new one's thread ends with it.
    let _before = JOURNAL.set(journal);
    panic::set_hook(Box::new(|panic| {
        let (thread, backtrace) = (thread::current(), Backtrace::capture());
        let name = thread.name().unwrap_or_default();
        let trace =
            if backtrace.status() == BacktraceStatus::Captured { format!("\n{backtrace}") } else { String::new() };
        if name == THREAD {
            return drop(io::stderr().write_all(format!("{panic}{trace}\n").as_bytes()));
        }
        write(Level::Error, format_args!("thread {name}: {panic}{trace}"));
        // The process may end before anybody else has a turn.
        finish(PANIC_PATIENCE);
    }));
    Ok(())
}

/// Waits until all that was said is written, but no longer than twice `patience`: for room, and for the rest.
pub fn finish(patience: Duration) {
    if let Some(journal) = JOURNAL.get() {
        journal.finish(patience);
    }
}

/// From now on nothing is said that matters less.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// What `say!` calls.
pub fn write(level: Level, words: Arguments<'_>) {
    if level as u8 <= LEVEL.load(Ordering::Relaxed) {
        write_text(format!("shardgate: {}{words}\n", before(level)));
    }
}

/// Lines that are whole already, such as problems of a file with their places.
pub fn write_text(text: String) {
    match JOURNAL.get() {
        Some(journal) => journal.put(text),
        // Nothing runs yet that could be held up. Whoever reads it may have gone.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Says something, as in `say!(Warn, "{file} is gone")`.
macro_rules! say {
    ($level:ident, $($words:tt)*) => {
        $crate::control::journal::write($crate::telemetry::level::Level::$level, format_args!($($words)*))
    };
}
pub(super) use say;

struct Journal {
    entries: Sender<Entry>,
    /// Lines for which there was no room since the last for which there was.
    lines_dropped: AtomicU64,
}

enum Entry {
    Text(String),
    /// Answered once all before it is written.
    Mark(Sender<()>),
}

impl Journal {
    fn new() -> (Self, Receiver<Entry>) {
        let (entries, to_write) = bounded(ENTRIES_MAX);
        (Self { entries, lines_dropped: AtomicU64::new(0) }, to_write)
    }

    fn put(&self, text: String) {
        let dropped = self.lines_dropped.swap(0, Ordering::Relaxed);
        let lines = dropped + text.lines().count() as u64;
        let text = if dropped > 0 { missing(dropped) + &text } else { text };
        match self.entries.try_send(Entry::Text(text)) {
            Err(TrySendError::Full(_)) => drop(self.lines_dropped.fetch_add(lines, Ordering::Relaxed)),
            // The thread has ended, and with it what could be waited for.
            Err(TrySendError::Disconnected(Entry::Text(text))) => drop(io::stderr().write_all(text.as_bytes())),
            Err(TrySendError::Disconnected(Entry::Mark(_))) | Ok(()) => {}
        }
    }

    fn finish(&self, patience: Duration) {
        if self.lines_dropped.load(Ordering::Relaxed) > 0 {
            self.put(String::new());
        }
        let (mark, reached) = bounded(1);
        if self.entries.send_timeout(Entry::Mark(mark), patience).is_ok() {
            let _late = reached.recv_timeout(patience);
        }
    }
}

/// Says how many lines are missing before the first that can be written again.
fn write_all(entries: &Receiver<Entry>, out: impl Write) {
    let lines_lost = Arc::<AtomicU64>::default();
    let mut sink = Sink::new(out, lines_lost.clone());
    for entry in entries {
        let text = match entry {
            Entry::Text(text) => text,
            Entry::Mark(reached) => {
                let _waits_no_more = reached.send(());
                continue;
            }
        };
        let lost = lines_lost.swap(0, Ordering::Relaxed);
        if lost > 0 && !sink.write(missing(lost).as_bytes()) {
            // That line was counted too, and is none of them.
            lines_lost.fetch_add(lost - 1, Ordering::Relaxed);
        }
        sink.write(text.as_bytes());
    }
}

fn missing(lines: u64) -> String {
    format!("shardgate: warning: {lines} lines before this one could not be written\n")
}

fn before(level: Level) -> &'static str {
    match level {
        Level::Error | Level::Info => "",
        Level::Warn => "warning: ",
        Level::Debug => "debug: ",
    }
}

/// One for the process, as standard error is.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static JOURNAL: OnceLock<Journal> = OnceLock::new();
/// What waits to be written. What is said beyond is lost, and counted.
const ENTRIES_MAX: usize = 256;
const THREAD: &str = "journal";
const PANIC_PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as often as it is to, then takes everything.
    struct Flaky {
        failures: usize,
        written: Vec<u8>,
    }

    impl Write for &mut Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[track_caller]
    fn check(failures: usize, texts: usize, want: &str) {
        let (journal, entries) = Journal::new();
        (1..=texts).for_each(|number| journal.put(format!("{number}\n")));
        let mut out = Flaky { failures, written: Vec::new() };
        drop(journal);
        write_all(&entries, &mut out);
        assert_eq!(String::from_utf8(out.written).unwrap(), want);
    }

    #[test]
    fn lines_that_could_not_be_written_are_told_before_the_next_that_is() {
        check(0, 2, "1\n2\n");
        check(1, 2, "shardgate: warning: 1 lines before this one could not be written\n2\n");
        // The second line, and what was to be said of the first.
        check(3, 3, "shardgate: warning: 2 lines before this one could not be written\n3\n");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_has_stopped() {
        let (journal, entries) = Journal::new();
        (0..2 * ENTRIES_MAX).for_each(|number| journal.put(format!("{number}\n")));
        assert_eq!(journal.lines_dropped.load(Ordering::Relaxed), ENTRIES_MAX as u64);
        journal.finish(Duration::ZERO);
        assert_eq!(entries.len(), ENTRIES_MAX);
        // Where they are missing, once there is room.
        drop(entries.recv());
        journal.put("last\n".to_owned());
        let texts: Vec<String> = entries
            .try_iter()
            .filter_map(|entry| if let Entry::Text(text) = entry { Some(text) } else { None })
            .collect();
        assert_eq!(texts.first().map(String::as_str), Some("1\n"));
        assert_eq!(texts.last(), Some(&(missing(ENTRIES_MAX as u64) + "last\n")));
    }
}
