//! What the gateway says of itself, on standard error: a line each, no less important than `logging.level`.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::telemetry::level::Level;

/// From now on nothing is said that matters less.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// What `say!` calls.
pub fn write(level: Level, words: Arguments<'_>) {
    if level as u8 <= LEVEL.load(Ordering::Relaxed) {
        eprintln!("shardgate: {}{words}", before(level));
    }
}

/// Says something, as in `say!(Warn, "{file} is gone")`.
macro_rules! say {
    ($level:ident, $($words:tt)*) => {
        $crate::control::journal::write($crate::telemetry::level::Level::$level, format_args!($($words)*))
    };
}
pub(super) use say;

fn before(level: Level) -> &'static str {
    match level {
        Level::Error | Level::Info => "",
        Level::Warn => "warning: ",
        Level::Debug => "debug: ",
    }
}

/// One for the process, as standard error is.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
