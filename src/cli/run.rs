//! `shardgate run FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::ids::Ids;
use crate::config::last_good::Store;
use crate::control::{self, Source, journal};

/// Runs until it is told to stop. A bad file never starts.
pub fn run(file: &Path, profile: Option<String>, state: Option<&Path>, control: Option<PathBuf>) -> ExitCode {
    let store = state.map(Store::new);
    let source = Source { file: file.to_owned(), profile, ids: Ids::default(), store, control };
    let _last_words = LastWords;
    let ended = control::run(source);
    if let Err(error) = &ended {
        // Problems of a file are many lines, each with its place.
        let text = error.to_string();
        journal::write_text(if text.ends_with('\n') { text } else { format!("shardgate: {text}\n") });
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Waits for what was said to be written, also where a panic ends the process.
struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        journal::finish(LAST_WORDS_PATIENCE);
    }
}

/// How long whoever reads standard error may take for the last lines.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);
