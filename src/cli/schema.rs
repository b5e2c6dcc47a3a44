//! `shardgate schema`

use std::io::Write;
use std::process::ExitCode;

/// Of the file, made of the comments of `config::model`.
const SCHEMA: &str = include_str!("../../docs/shardgate.schema.json");

/// The schema on standard output.
pub fn schema() -> ExitCode {
    match std::io::stdout().write_all(SCHEMA.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has gone.
        Err(_) => ExitCode::FAILURE,
    }
}
