//! Files that a configuration names: keys, secrets, certificates. They change on their own, when secrets are renewed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::stdx::hash::stable;

/// Which of them were read, and what each held then. Only a hash of that is kept, as most of it is secret.
#[derive(Clone, Debug)]
pub struct NamedFiles {
    folder: PathBuf,
    /// None of what could not be read.
    hashes: RefCell<BTreeMap<PathBuf, Option<u64>>>,
}

impl NamedFiles {
    /// None yet of those that lie beside the configuration's file.
    pub fn beside(file: &Path) -> Self {
        Self { folder: file.parent().unwrap_or(Path::new("")).to_owned(), hashes: RefCell::default() }
    }

    /// What the file of that name holds; blocks.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let content = read(&path);
        // A pipe holds nothing that could be compared.
        if content.is_err() || fs::metadata(&path).is_ok_and(|file| file.is_file()) {
            // Of a file that changes while several name it, what the first saw is what it no longer is.
            self.hashes.borrow_mut().entry(path).or_insert_with(|| content.as_ref().ok().map(|bytes| hash(bytes)));
        }
        content
    }

    /// Whether each still holds what it held; blocks.
    pub fn are_unchanged(&self) -> bool {
        self.hashes.borrow().iter().all(|(path, was)| {
            let is_file = fs::metadata(path).is_ok_and(|file| file.is_file());
            is_file.then(|| read(path).ok()).flatten().map(|bytes| hash(&bytes)) == *was
        })
    }

    /// Where it shows that one of them changes; blocks.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        self.hashes.borrow().keys().flat_map(|path| folders(path)).collect()
    }
}

/// Where it shows that another file is at a path: the folder that it lies in, and those of all links on the way there,
/// each by its own path; blocks.
pub fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let steps = |path: &Path| path.iter().map(OsString::from).rev().collect::<Vec<_>>();
    let mut left = steps(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let (mut at, mut folders, mut links) = (PathBuf::new(), BTreeSet::new(), 0);
    while let Some(step) = left.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&step);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                folders.insert(at.clone());
                left.extend(steps(&target));
            }
            // A target that begins at the root leads there.
            _ => at = next,
        }
    }
    at.pop();
    folders.insert(at);
    folders
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("more than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> u64 {
    stable(SEED, bytes)
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
    use std::os::unix::fs::symlink;

    /// A folder of its own, by its own path.
    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("shardgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder can be made");
        root.canonicalize().expect("it is there")
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
        assert_eq!(named.folders(), [root.clone(), root.join("keys")].into());
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
        let piped = NamedFiles::beside(Path::new("gateway.yaml"));
        assert_eq!(piped.read("/dev/null").expect("it is there"), b"");
        assert!(piped.are_unchanged() && piped.folders().is_empty(), "what is no file is not read again");
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
        assert_eq!(folders(&root.join("run/secret/../secret/key")), through_all.clone().into());
        assert_eq!(folders(&root.join("key")), through_all.into());
        assert_eq!(folders(&secret.join("key")), [secret, version].into());
        symlink("round", root.join("round")).expect("a link can be made");
        assert_eq!(folders(&root.join("round")), [root.clone()].into());
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).expect("it is somewhere");
        assert!(folders(Path::new("gateway.yaml")).contains(&here));
        fs::remove_dir_all(root).expect("it was made above");
    }
}
