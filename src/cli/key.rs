//! `shardgate key`: gives consumers keys, replaces them and takes them away, in the file itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use crate::config::keyring::{CHANCE_BYTES, Given, Ring};
use crate::config::load::read;

/// What is done to keys.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Give a consumer one more key, and print it: it is shown only once
    New {
        consumer: String,
        /// Seconds after which the key is good no more
        #[arg(long)]
        expires_in_s: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Give a consumer one more key, and let those that it has expire
    Rotate {
        consumer: String,
        /// Seconds for which those that it has stay good
        #[arg(long, default_value_t = GRACE_S)]
        grace_s: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Take a key away
    Revoke {
        /// The beginning of the key, as the file, the log and the metrics show it
        prefix: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, clap::Args)]
pub struct Place {
    /// The configuration
    #[arg(long, env = "SHARDGATE_FILE", default_value = "shardgate.yaml")]
    file: PathBuf,
}

pub fn key(task: &Task) -> ExitCode {
    match run(task) {
        Ok(Some(key)) => {
            println!("{key}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("shardgate key: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The key that is new.
fn run(task: &Task) -> Result<Option<String>, String> {
    let (Task::New { place, .. } | Task::Rotate { place, .. } | Task::Revoke { place, .. }) = task;
    // What a link stands for is replaced, not the link.
    let path = fs::canonicalize(&place.file).map_err(|error| format!("{}: {error}", place.file.display()))?;
    let text = read(&path).map_err(|problems| problems.to_string())?;
    let file = path.display().to_string();
    let ring = Ring { file: &file, text: &text };
    let given = match task {
        Task::New { consumer, expires_in_s, .. } => {
            let until_s = expires_in_s.map(|seconds| now_s().saturating_add(seconds));
            ring.give(consumer, &chance()?, until_s)
        }
        Task::Rotate { consumer, grace_s, .. } => ring.rotate(consumer, &chance()?, now_s().saturating_add(*grace_s)),
        Task::Revoke { prefix, .. } => {
            replace(&path, &ring.revoke(prefix)?)?;
            return Ok(None);
        }
    };
    let Given { text, key } = given?;
    replace(&path, &text)?;
    Ok(Some(key))
}

fn chance() -> Result<[u8; CHANCE_BYTES], String> {
    let mut chance = [0; CHANCE_BYTES];
    aws_lc_rs::rand::fill(&mut chance).map_err(|_| "the system has no chance to give")?;
    Ok(chance)
}

#[expect(clippy::disallowed_methods, reason = "the command line is where time enters")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// At every moment there is a whole file, which belongs to whom it did.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let beside = path.with_extension("shardgate-key");
    let written = || {
        let before = fs::metadata(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(before.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().map_err(|error: io::Error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            let beside = beside.display();
            return format!("{beside} is there: another `shardgate key` is at work, or was stopped; then remove it");
        }
        let _gone = fs::remove_file(&beside);
        format!("{} cannot be written ({error})", path.display())
    })
}

/// A week.
const GRACE_S: u64 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_who_may_read_it() {
        let folder = std::env::temp_dir().join(format!("shardgate-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("f.yaml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        fs::write(path.with_extension("shardgate-key"), "").unwrap();
        assert!(replace(&path, "newer").unwrap_err().contains("another `shardgate key`"));
        assert_eq!((fs::read_to_string(&path).unwrap(), fs::read_dir(&folder).unwrap().count()), ("new".into(), 2));
        fs::remove_dir_all(&folder).unwrap();
    }
}
