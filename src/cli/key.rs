//! `shardgate key`: gives consumers keys, replaces them and takes them away, in the file itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::out;
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
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => out::complain(&format!("shardgate key: {why}\n")),
    }
}

fn run(task: &Task) -> Result<(), String> {
    let (Task::New { place, .. } | Task::Rotate { place, .. } | Task::Revoke { place, .. }) = task;
    // What a link stands for is replaced, not the link.
    let path = fs::canonicalize(&place.file).map_err(|error| format!("{}: {error}", place.file.display()))?;
    let edit = Edit::begin(&path)?;
    let file = path.display().to_string();
    let ring = Ring { file: &file, text: &edit.before };
    let given = match task {
        Task::New { consumer, expires_in_s, .. } => {
            let until_s = expires_in_s.map(|seconds| now_s().saturating_add(seconds));
            ring.give(consumer, &chance()?, until_s)
        }
        Task::Rotate { consumer, grace_s, .. } => ring.rotate(consumer, &chance()?, now_s().saturating_add(*grace_s)),
        Task::Revoke { prefix, .. } => {
            let text = ring.revoke(prefix)?;
            return edit.end(&text);
        }
    };
    let Given { text, key } = given?;
    // Before it is in the file: nobody could have it any more who does not have it now.
    out::print(&format!("{key}\n"))
        .map_err(|error| format!("the key cannot be shown ({error}): nothing has changed"))?;
    edit.end(&text).map_err(|why| format!("{why}; the key above is not in it, and good for nothing"))
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

/// A change of a file, from before it is read until it is replaced. At every moment there is a whole file, which
/// belongs to whom it did.
struct Edit<'a> {
    path: &'a Path,
    /// What it said.
    before: String,
    new: New,
}

/// What is to take the file's place. While it is there nobody else begins: a change of what somebody else changes too
/// would be lost.
struct New {
    path: PathBuf,
    file: File,
    is_in_place: bool,
}

impl<'a> Edit<'a> {
    fn begin(path: &'a Path) -> Result<Self, String> {
        let new = New::open(path.with_extension("shardgate-key"))?;
        let before = read(path).map_err(|problems| problems.to_string())?;
        Ok(Self { path, before, new })
    }

    fn end(self, text: &str) -> Result<(), String> {
        let Self { path, before, mut new } = self;
        new.write(path, text).map_err(|error| format!("{} cannot be written ({error})", path.display()))?;
        // An editor asks nobody. What it saves between here and the next line is lost; what it saved before is not.
        if read(path).map_err(|problems| problems.to_string())? != before {
            return Err(format!("{} was changed meanwhile, and stays as it is now: try again", path.display()));
        }
        new.put(path).map_err(|error| format!("{} cannot be replaced ({error})", path.display()))
    }
}

impl New {
    fn open(path: PathBuf) -> Result<Self, String> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { path, file, is_in_place: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = path.display();
                Err(format!("{path} is there: another `shardgate key` is at work, or was stopped; then remove it"))
            }
            Err(error) => Err(format!("{} cannot be written ({error})", path.display())),
        }
    }

    /// For whom `path` is.
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let (before, made) = (fs::metadata(path)?, self.file.metadata()?);
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&self.file, Some(before.uid()), Some(before.gid()))?;
        }
        self.file.set_permissions(before.permissions())?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    fn put(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        // From now on what is there under that name is somebody else's.
        self.is_in_place = true;
        let folder = path.parent().unwrap_or(Path::new("/"));
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            // It is changed all the same, as long as the machine does not fail in this moment.
            out::note(&format!("shardgate key: {} cannot be synced ({error})\n", folder.display()));
        }
        Ok(())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if !self.is_in_place {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// A week.
const GRACE_S: u64 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A file that says "old", in a folder of its own.
    fn file(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("shardgate-key-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("f.yaml");
        fs::write(&path, "old").unwrap();
        path
    }

    /// What the file says in the end, with nothing left beside it.
    #[track_caller]
    fn check_end(path: &Path, want: &str) {
        assert_eq!(fs::read_to_string(path).unwrap(), want);
        let folder = path.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_who_may_read_it() {
        let path = file("whole");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let edit = Edit::begin(&path).unwrap();
        assert_eq!(edit.before, "old");
        edit.end("new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        check_end(&path, "new");
    }

    #[test]
    fn of_two_that_change_a_file_one_begins_when_the_other_has_ended() {
        let path = file("two");
        let first = Edit::begin(&path).unwrap();
        assert!(Edit::begin(&path).map(|_| ()).unwrap_err().contains("another `shardgate key` is at work"));
        first.end("new").unwrap();
        let second = Edit::begin(&path).unwrap();
        assert_eq!(second.before, "new");
        drop(second);
        check_end(&path, "new");
    }

    #[test]
    fn what_an_editor_saves_meanwhile_is_not_lost() {
        let path = file("editor");
        let edit = Edit::begin(&path).unwrap();
        fs::write(&path, "edited").unwrap();
        assert!(edit.end("new").unwrap_err().contains("was changed meanwhile"));
        check_end(&path, "edited");
    }
}
