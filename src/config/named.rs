//! Files that a configuration names: keys, secrets, certificates. They change on their own, when secrets are renewed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use crate::stdx::hash::stable;

/// Which of them were read, and what each held then.
#[derive(Clone, Debug)]
pub struct NamedFiles {
    folder: PathBuf,
    held: RefCell<BTreeMap<PathBuf, Held>>,
}

/// Folders by their own paths, and which each was when somebody looked; none of one that is not there.
pub type Folders = BTreeMap<PathBuf, Option<Inode>>;

/// A device, and a number on it.
pub type Inode = (u64, u64);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    /// Only a hash is kept, as most of it is secret.
    Content(u64),
    Unreadable,
}

impl NamedFiles {
    /// None yet of those that lie beside the configuration's file.
    pub fn beside(file: &Path) -> Self {
        Self { folder: file.parent().unwrap_or(Path::new("")).to_owned(), held: RefCell::default() }
    }

    /// What the file of that name holds; blocks.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let read = read(&path);
        let held = read.as_ref().map_or(Held::Unreadable, |(held, _)| *held);
        // Of a file that changes while several name it, what the first saw is what it no longer is.
        self.held.borrow_mut().entry(path).or_insert(held);
        read.map(|(_, content)| content)
    }

    /// Whether each still holds what it held; blocks.
    pub fn are_unchanged(&self) -> bool {
        self.held.borrow().iter().all(|(path, was)| *was == read(path).map_or(Held::Unreadable, |(held, _)| held))
    }

    /// Where it shows that one of them changes; blocks.
    pub fn folders(&self) -> Folders {
        self.held.borrow().keys().flat_map(|path| folders(path)).collect()
    }
}

/// Where it shows that another file is at a path: the folder that it lies in, and those of all links on the way there,
/// each by its own path; blocks.
pub fn folders(path: &Path) -> Folders {
    let steps = |path: &Path| path.iter().map(OsString::from).rev().collect::<Vec<_>>();
    let mut left = steps(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let (mut at, mut folders, mut links) = (PathBuf::new(), Folders::new(), 0);
    while let Some(step) = left.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                folders.insert(at.clone(), inode(&at));
                left.extend(steps(&target));
            }
            // A target that begins at the root leads there.
            _ => at = next,
        }
    }
    at.pop();
    let inode = inode(&at);
    folders.insert(at, inode);
    folders
}

fn inode(path: &Path) -> Option<Inode> {
    fs::metadata(path).ok().map(|folder| (folder.dev(), folder.ino()))
}

/// What the file at the end of all links holds. It is read again and again, which a pipe cannot be; and whoever opens
/// one to read would wait for somebody who writes.
fn read(path: &Path) -> io::Result<(Held, Vec<u8>)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("more than {BYTES_MAX} bytes")));
    }
    Ok((Held::Content(stable(SEED, &bytes)), bytes))
}

/// Any: nobody gains by two files with one hash.
const SEED: u64 = 0;
/// Keys.
const BYTES_MAX: u64 = 1 << 20;
/// As Linux counts them.
const LINKS_MAX: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};
    use std::os::unix::fs::symlink;

    /// A folder of its own, by its own path.
    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("shardgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder can be made");
        root.canonicalize().expect("it is there")
    }

    fn paths(folders: &Folders) -> Vec<PathBuf> {
        folders.keys().cloned().collect()
    }

    #[test]
    fn a_file_is_unchanged_while_it_holds_the_same_or_still_cannot_be_read() {
        let root = root("named");
        fs::create_dir_all(root.join("keys")).expect("a folder can be made");
        let put = |name: &str, content: &str| fs::write(root.join(name), content).expect("there is room");
        put("keys/one", "1");
        let named = NamedFiles::beside(&root.join("gateway.yaml"));
        assert!(named.are_unchanged(), "nothing is named");
        assert_eq!(named.read("keys/one").expect("it is there"), b"1");
        assert!(named.read("two").is_err());
        assert_eq!(paths(&named.folders()), [root.clone(), root.join("keys")]);
        assert!(named.are_unchanged());
        put("keys/one", "1");
        assert!(named.are_unchanged(), "it was only written again");
        put("keys/one", "2");
        assert!(!named.are_unchanged());
        assert_eq!(named.read("keys/one").expect("it is there"), b"2");
        assert!(!named.are_unchanged(), "who read it first has seen something else");
        put("keys/one", "1");
        put("two", "");
        assert!(!named.are_unchanged(), "another one can be read now");
        put("keys/one", &"1".repeat(BYTES_MAX as usize + 1));
        assert!(named.read("keys/one").is_err());
        fs::remove_dir_all(root).expect("it was made above");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for_and_may_become_one() {
        let root = root("no-file");
        let (pipe, link) = (root.join("pipe"), root.join("link"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
        symlink("pipe", &link).expect("a link can be made");
        let named = NamedFiles::beside(&root.join("gateway.yaml"));
        for name in ["pipe", "link", "/dev/null", "."] {
            assert_eq!(named.read(name).expect_err(name).to_string(), "it is not a regular file");
        }
        assert!(named.are_unchanged());
        fs::remove_file(&pipe).expect("it is there");
        fs::write(&pipe, "key").expect("there is room");
        assert!(!named.are_unchanged());
        assert_eq!(named.read("link").expect("it is there"), b"key");
        fs::remove_dir_all(root).expect("it was made above");
    }

    #[test]
    fn a_change_shows_where_the_file_lies_and_where_each_link_to_it_does() {
        let root = root("links");
        // As a Secret of Kubernetes in a folder that is a link itself.
        fs::create_dir_all(root.join("volumes/secret/..1")).expect("a folder can be made");
        symlink("volumes", root.join("run")).expect("a link can be made");
        symlink("..1", root.join("volumes/secret/..data")).expect("a link can be made");
        symlink("..data/key", root.join("volumes/secret/key")).expect("a link can be made");
        symlink(root.join("run/secret/key"), root.join("key")).expect("a link can be made");
        let [secret, version] = ["volumes/secret", "volumes/secret/..1"].map(|name| root.join(name));
        let through_all = [root.clone(), secret.clone(), version.clone()];
        let found = |path: PathBuf| paths(&folders(&path));
        assert_eq!(found(root.join("run/secret/../secret/key")), through_all);
        assert_eq!(found(root.join("key")), through_all);
        assert_eq!(found(secret.join("key")), [secret.clone(), version.clone()]);
        symlink("round", root.join("round")).expect("a link can be made");
        assert_eq!(found(root.join("round")), [&*root]);
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).expect("it is somewhere");
        assert!(found("gateway.yaml".into()).contains(&here));
        // Another folder in the place of one is another one.
        let was = folders(&version.join("key"));
        fs::rename(&version, root.join("former")).expect("it is there");
        assert_eq!(folders(&version.join("key")), [(version.clone(), None)].into());
        fs::create_dir(&version).expect("a folder can be made");
        assert_ne!(folders(&version.join("key")), was);
        fs::remove_dir_all(root).expect("it was made above");
    }
}
