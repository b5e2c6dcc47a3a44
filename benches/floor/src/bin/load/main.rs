//! The load generator. It counts a request's latency from when it was meant to be sent, so that a stalled proxy cannot
//! hide the requests it kept from being sent, and it fails when one answer is wrong.
//!
//! It speaks in lines, so that a script can measure between them: `ready` when all connections are open and have had
//! one answer, then (with `--gate`, after a line on stdin) the run, then one line of JSON. With `--gate`, and when it
//! holds connections, it stays until stdin closes.

mod client;
mod download;
mod hold;
mod options;
mod run;

use bench_kit::sys;
use options::{Mode, Options};
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// Why a run is no result.
pub enum Failure {
    Io(std::io::Error),
    /// An answer that is not the one asked for.
    Wrong(&'static str),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = Options::parse(&words) else {
        eprint!("{}", options::USAGE);
        return ExitCode::from(2);
    };
    let outcome = sys::raise_file_limit().and_then(|()| sys::sharpen_timers()).map_err(Failure::from);
    let outcome = outcome.and_then(|()| match options.mode {
        Mode::Open { .. } | Mode::Closed { .. } => run::run(&options),
        Mode::Idle | Mode::SlowReaders | Mode::SlowWriters => hold::hold(&options),
        Mode::Download { ref path } => download::download(&options, path),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Io(error)) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Wrong(what)) => {
            eprintln!("load: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Says a line to the script that listens.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Says `ready` and, when gated, waits for the script's line.
fn gate(options: &Options) -> std::io::Result<()> {
    say("ready")?;
    if options.gate {
        std::io::stdin().lock().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Keeps all connections open until the script closes stdin.
fn stay() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(drop)
}
