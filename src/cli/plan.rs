//! `shardgate plan OLD NEW`

use std::path::Path;
use std::process::ExitCode;

use super::out;
use crate::config::diff::Diff;
use crate::config::ids::Ids;
use crate::config::load::load;

/// What the new file changes, on standard output. 0 if that is nothing, 3 if it is something: 1 is for a
/// file that is no good, and 2 for a command line that makes no sense.
pub fn plan(old: &Path, new: &Path, profile: Option<&str>) -> ExitCode {
    let mut ids = Ids::default();
    let mut read = |file| load(file, profile, &mut ids).inspect_err(|problems| out::note(&problems.to_string()));
    let (Ok(old), Ok(new)) = (read(old), read(new)) else { return ExitCode::FAILURE };
    let diff = Diff::between(&old, &new);
    let answered = out::answer(&diff.to_string());
    if answered == ExitCode::SUCCESS && !diff.is_empty() { ExitCode::from(CHANGES) } else { answered }
}

const CHANGES: u8 = 3;
