//! The last configuration that was in force, kept on disk: the gateway begins with it when its file cannot be read.
//! Files that it names are not kept, as most of them are secret: they are read anew.
//!
//! ```text
//!   shardgate last good 1 <checksum of the rest>
//!   {"profile": ..., "addresses": {"host:port": [...]}, "keys": {source: ...}, "text": ...}
//! ```
//!
//! It is written beside the old one and then takes its place, so that at every moment there is a whole one; the one
//! before stays as `.previous`. What is torn or not ours is never used.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::snapshot::Snapshot;

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// What is kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LastGood {
    pub profile: Option<String>,
    /// What endpoints' names stood for: when the gateway begins, names may not be known yet.
    pub addresses: BTreeMap<String, Vec<SocketAddr>>,
    /// What issuers of tokens published last, by the ids of its sources: when the gateway begins, they may be down.
    #[serde(default)]
    pub keys: BTreeMap<u64, String>,
    pub text: String,
}

impl LastGood {
    pub fn new(text: &str, profile: Option<&str>, snapshot: &Snapshot, keys: BTreeMap<u64, String>) -> Self {
        let mut addresses: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        for endpoint in snapshot.plan.services.iter().flat_map(|service| &service.endpoints) {
            let known = addresses.entry(endpoint.name.clone()).or_default();
            if !known.contains(&endpoint.address) {
                known.push(endpoint.address);
            }
        }
        Self { profile: profile.map(str::to_owned), addresses, keys, text: text.to_owned() }
    }

    /// What a name stands for now, or stood for then.
    pub fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        super::load::resolve(name).or_else(|error| self.addresses.get(name).cloned().ok_or(error))
    }
}

impl Store {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps it. With an error the one before is still there.
    pub fn keep(&self, last_good: &LastGood) -> io::Result<()> {
        let body = serde_json::to_vec(last_good)?;
        let [path, previous, beside] = [NAME, PREVIOUS, BESIDE].map(|name| self.folder.join(name));
        let written = || {
            let mut file = File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(&beside)?;
            // Hashes of passwords are for nobody else, whatever was left there.
            if file.metadata()?.is_file() {
                file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            }
            writeln!(file, "{MAGIC}{:016x}", checksum(&body))?;
            file.write_all(&body)?;
            file.sync_all()?;
            if path.exists() {
                match fs::remove_file(&previous) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => also(&path, &previous)?,
                }
            }
            fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        written().inspect_err(|_| {
            // Half of it is of no use to anybody, and a full disk has use for the room.
            let _gone = fs::remove_file(&beside);
        })
    }

    /// The last one that is whole, or why there is none.
    pub fn read(&self) -> Result<LastGood, String> {
        let [path, previous] = [NAME, PREVIOUS].map(|name| self.folder.join(name));
        read(&path).or_else(|why| read(&previous).map_err(|_| why))
    }
}

/// Has the file under the other name too. Not every file system has links; a copy that is cut goes.
fn also(path: &Path, previous: &Path) -> io::Result<()> {
    fs::hard_link(path, previous).or_else(|_| {
        let copied = fs::copy(path, previous).and_then(|_| File::open(previous)?.sync_all());
        copied.inspect_err(|_| {
            // Half of it is of no use to anybody, and a full disk has use for the room.
            let _gone = fs::remove_file(previous);
        })
    })
}

fn read(path: &Path) -> Result<LastGood, String> {
    let bytes = fs::read(path).map_err(|error| format!("{} cannot be read ({error})", path.display()))?;
    let torn = || format!("{} is torn, or not ours", path.display());
    let line_end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(torn)?;
    let (head, body) = (&bytes[..line_end], &bytes[line_end + 1..]);
    let sum = head.strip_prefix(MAGIC.as_bytes()).and_then(|sum| std::str::from_utf8(sum).ok()).ok_or_else(torn)?;
    if u64::from_str_radix(sum, 16) != Ok(checksum(body)) {
        return Err(torn());
    }
    serde_json::from_slice(body).map_err(|_| torn())
}

/// FNV-1a. Against accidents: whoever can write the file can write its checksum.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const MAGIC: &str = "shardgate last good 1 ";
const NAME: &str = "last-good";
const PREVIOUS: &str = "last-good.previous";
const BESIDE: &str = "last-good.new";
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("shardgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    fn last_good(text: &str) -> LastGood {
        let addresses = [("host:1".to_owned(), vec!["127.0.0.1:1".parse().expect("an address")])].into();
        let keys = [(7, "{}".into())].into();
        LastGood { profile: Some("staging".to_owned()), addresses, keys, text: text.to_owned() }
    }

    #[test]
    fn what_was_kept_last_is_read() {
        let folder = folder("kept");
        let store = Store::new(&folder);
        assert!(store.read().is_err());
        for text in ["one", "two", "three"] {
            store.keep(&last_good(text)).expect("there is room");
            assert_eq!(store.read(), Ok(last_good(text)));
        }
        assert_eq!(last_good("").resolve("host:1").expect("it is known").len(), 1);
        assert!(last_good("").resolve("nowhere.invalid:1").is_err());
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn where_there_are_no_links_the_one_before_is_copied() {
        let folder = folder("links");
        Store::new(&folder).keep(&last_good("one")).expect("there is room");
        let (path, previous) = (folder.join(NAME), folder.join(PREVIOUS));
        // No link takes the place of what is there.
        fs::write(&previous, "").expect("there is room");
        also(&path, &previous).expect("there is room");
        assert_eq!(read(&previous), Ok(last_good("one")));
        let mode = fs::metadata(&previous).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn a_write_that_is_cut_at_any_byte_leaves_a_whole_one() {
        let folder = folder("cut");
        let store = Store::new(&folder);
        store.keep(&last_good("before")).expect("there is room");
        store.keep(&last_good("last")).expect("there is room");
        let whole = fs::read(folder.join(NAME)).expect("it is there");
        for cut in 0..whole.len() {
            fs::write(folder.join(BESIDE), &whole[..cut]).expect("there is room");
            assert_eq!(store.read(), Ok(last_good("last")), "cut before it took its place");
            fs::write(folder.join(NAME), &whole[..cut]).expect("there is room");
            assert_eq!(store.read(), Ok(last_good("before")), "cut at {cut} of {}", whole.len());
            fs::write(folder.join(NAME), &whole).expect("there is room");
        }
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn what_cannot_be_written_leaves_what_there_was() {
        let folder = folder("full");
        let store = Store::new(&folder);
        store.keep(&last_good("last")).expect("there is room");
        // A device that is always full stands where the new one would be written.
        std::os::unix::fs::symlink("/dev/full", folder.join(BESIDE)).expect("a link can be made");
        let full = store.keep(&last_good("next")).expect_err("there is no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(store.read(), Ok(last_good("last")));
        fs::remove_dir_all(folder).expect("it was made above");
    }
}
