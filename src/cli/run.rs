//! `shardgate run FILE`

use std::path::Path;
use std::process::ExitCode;

use crate::config::ids::Ids;
use crate::config::load::load;
use crate::control;

/// Runs until it is told to stop. A bad file never starts.
pub fn run(file: &Path) -> ExitCode {
    let snapshot = match load(file, &mut Ids::default()) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            eprint!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    match control::run(snapshot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardgate: {error}");
            ExitCode::FAILURE
        }
    }
}
