//! Files that a configuration names: keys, secrets, certificates. They change on their own, when secrets are renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::stdx::hash::stable;

/// Which of them were read, and what each held then. Only a hash of that is kept, as most of it is secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamedFiles {
    /// None of what could not be read.
    hashes: BTreeMap<PathBuf, Option<u64>>,
}

impl NamedFiles {
    /// Reads the file of that name, which lies beside `file`; blocks.
    pub fn read(&mut self, file: &str, name: &str) -> io::Result<Vec<u8>> {
        let path = folder(Path::new(file)).join(name);
        let content = read(&path);
        // Of a file that changes while several name it, what the first saw is what it no longer is.
        self.hashes.entry(path).or_insert_with(|| hash(&content));
        content
    }

    /// Whether each still holds what it held; blocks.
    pub fn are_unchanged(&self) -> bool {
        self.hashes.iter().all(|(path, was)| hash(&read(path)) == *was)
    }

    pub fn folders(&self) -> BTreeSet<PathBuf> {
        self.hashes.keys().map(|path| folder(path).to_owned()).collect()
    }
}

/// Where a file lies.
pub fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("more than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn hash(content: &io::Result<Vec<u8>>) -> Option<u64> {
    content.as_ref().ok().map(|bytes| stable(SEED, bytes))
}

/// Any: nobody gains by two files with one hash.
const SEED: u64 = 0;
/// Keys.
const BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_unchanged_while_it_holds_the_same_or_still_cannot_be_read() {
        let root = std::env::temp_dir().join(format!("shardgate-named-{}", std::process::id()));
        fs::create_dir_all(root.join("keys")).expect("a folder can be made");
        let file = root.join("gateway.yaml").display().to_string();
        let put = |name: &str, content: &str| fs::write(root.join(name), content).expect("there is room");
        put("keys/one", "1");
        let mut named = NamedFiles::default();
        assert!(named.are_unchanged(), "nothing is named");
        assert_eq!(named.read(&file, "keys/one").expect("it is there"), b"1");
        assert!(named.read(&file, "two").is_err());
        assert_eq!(named.folders(), [root.clone(), root.join("keys")].into());
        assert!(named.are_unchanged());
        put("keys/one", "1");
        assert!(named.are_unchanged(), "it was only written again");
        put("keys/one", "2");
        assert!(!named.are_unchanged());
        assert_eq!(named.read(&file, "keys/one").expect("it is there"), b"2");
        assert!(!named.are_unchanged(), "who read it first has seen something else");
        put("keys/one", "1");
        put("two", "");
        assert!(!named.are_unchanged(), "another one can be read now");
        put("keys/one", &"1".repeat(BYTES_MAX as usize + 1));
        assert!(named.read(&file, "keys/one").is_err());
        fs::remove_dir_all(root).expect("it was made above");
    }

    #[test]
    fn a_file_without_a_folder_lies_in_this_one() {
        assert_eq!(folder(Path::new("gateway.yaml")), Path::new("."));
        assert_eq!(folder(Path::new("/gateway.yaml")), Path::new("/"));
        assert_eq!(folder(Path::new("a/gateway.yaml")), Path::new("a"));
    }
}
