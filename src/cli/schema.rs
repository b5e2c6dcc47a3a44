//! `shardgate schema`

use std::process::ExitCode;

use super::out;

/// Of the file, made of the comments of `config::model`.
const SCHEMA: &str = include_str!("../../docs/shardgate.schema.json");

/// The schema on standard output.
pub fn schema() -> ExitCode {
    out::answer(SCHEMA)
}
