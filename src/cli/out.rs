//! What a command prints: a reader that has gone, or a full disk, is a failure and no panic.

use std::io::{self, Write};
use std::process::ExitCode;

/// On standard output, whole.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// On standard output, and success if it could be written.
pub fn answer(text: &str) -> ExitCode {
    // Who is gone needs no reason; who has a full disk sees it.
    print(text).map_or_else(|error| complain(&format!("shardgate: standard output: {error}\n")), |()| ExitCode::SUCCESS)
}

/// On standard error, and a failure.
pub fn complain(text: &str) -> ExitCode {
    note(text);
    ExitCode::FAILURE
}

/// On standard error. Nobody is left to be told when it is gone.
pub fn note(text: &str) {
    let _gone = io::stderr().write_all(text.as_bytes());
}
