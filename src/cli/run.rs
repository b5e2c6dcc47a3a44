//! `shardgate run FILE`

use std::path::Path;
use std::process::ExitCode;

use crate::config::ids::Ids;
use crate::config::load::load;
use crate::control::{self, Source};

/// Runs until it is told to stop. A bad file never starts.
pub fn run(file: &Path) -> ExitCode {
    let mut ids = Ids::default();
    let snapshot = match load(file, &mut ids) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            eprint!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    match control::run(snapshot, Source { file: file.to_owned(), ids }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardgate: {error}");
            ExitCode::FAILURE
        }
    }
}
