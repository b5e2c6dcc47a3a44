//! `shardgate run FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::ids::Ids;
use crate::config::last_good::Store;
use crate::control::{self, Source};

/// Runs until it is told to stop. A bad file never starts.
pub fn run(file: &Path, profile: Option<String>, state: Option<&Path>, control: Option<PathBuf>) -> ExitCode {
    let store = state.map(Store::new);
    let source = Source { file: file.to_owned(), profile, ids: Ids::default(), store, control };
    match control::run(source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Problems of a file are many lines, each with its place.
            let text = error.to_string();
            if text.ends_with('\n') {
                eprint!("{text}");
            } else {
                eprintln!("shardgate: {text}");
            }
            ExitCode::FAILURE
        }
    }
}
