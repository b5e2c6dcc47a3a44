//! Consumers: those who ask, as far as the file knows them by name, and what they prove themselves with.
//!
//! All shards read one table. It is a few flat pieces of memory however many consumers there are: they are found with a
//! look-up or two, and whoever lets go of the last reference frees as little for ten thousand as for one.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;

use super::{Belonging, Identity};
use crate::stdx::hash::{FixedHash, FixedMap};
use aws_lc_rs::hmac;

/// Every consumer of a configuration. Two that hold the same are equal.
#[derive(Default)]
pub struct Consumers {
    text: String,
    entries: Vec<Entry>,
    /// Ids of groups, those of one consumer behind one another.
    memberships: Vec<u32>,
    groups: Vec<(u32, Span)>,
    keys: Vec<KeyEntry>,
    passwords: Vec<PasswordEntry>,
    by_name: Index,
    by_username: Index,
    by_digest: FixedMap<[u8; DIGEST_BYTES], u32>,
    pepper: Option<Pepper>,
    /// Differs when anything else does.
    fingerprint: u64,
}

/// One of them.
#[derive(Clone, Copy)]
pub struct Consumer<'a> {
    consumers: &'a Consumers,
    entry: &'a Entry,
}

/// A consumer as it goes into the table.
#[derive(Debug, Default, Hash)]
pub struct Declared<'a> {
    /// Stable over reloads, as those of groups are.
    pub id: u32,
    pub name: &'a str,
    pub groups: &'a [u32],
    pub roles: &'a [String],
    pub scopes: &'a [String],
    pub keys: Vec<&'a Key>,
    pub passwords: Vec<&'a Password>,
}

/// A key for the policy `api_key`, which the gateway itself does not know.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// Stable over reloads.
    pub id: u32,
    /// What is shown of it.
    pub prefix: String,
    /// Its HMAC-SHA-256.
    pub digest: [u8; DIGEST_BYTES],
    /// In seconds since 1970; from then on it is none.
    pub expires_at_s: Option<u64>,
}

/// A password for the policy `basic_auth`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Password {
    pub username: String,
    /// As the Password Hashing Competition writes it: `$argon2id$v=19$m=...$SALT$HASH`.
    pub hash: String,
}

/// What keys are hashed with: without it nobody can try whether a key is one. Never shown.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

/// A key and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct HeldKey<'a> {
    pub id: u32,
    pub consumer: Consumer<'a>,
    pub prefix: &'a str,
    pub expires_at_s: Option<u64>,
}

/// Whose password it would have to be, and what verifies it.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub consumer: Consumer<'a>,
    pub hash: &'a str,
}

struct Entry {
    id: u32,
    name: Span,
    /// Words, each with a line end behind it.
    roles: Span,
    scopes: Span,
    groups: Span,
    keys: Span,
    passwords: Span,
}

struct KeyEntry {
    id: u32,
    /// Index of the consumer.
    consumer: u32,
    prefix: Span,
    digest: [u8; DIGEST_BYTES],
    expires_at_s: Option<u64>,
}

struct PasswordEntry {
    username: Span,
    hash: Span,
    /// Index of the consumer.
    consumer: u32,
}

/// A part of one of the table's pieces. A file is too small for more.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// From texts of the table to places, without a copy of the texts.
#[derive(Default)]
struct Index(FixedMap<u64, u32>);

impl Consumers {
    /// Of names, user names and digests none is there twice; names of groups are with their ids. Without a pepper no
    /// key is known.
    pub fn new<'a>(
        groups: impl IntoIterator<Item = (u32, &'a str)>,
        declared: &[Declared<'_>],
        pepper: Option<Pepper>,
    ) -> Self {
        let mut consumers = Self { pepper, ..Self::default() };
        let mut hasher = FixedHash.build_hasher();
        consumers.pepper.as_ref().map(|pepper| pepper.digest(b"")).hash(&mut hasher);
        for (id, name) in groups {
            (id, name).hash(&mut hasher);
            let name = consumers.keep([name], "");
            consumers.groups.push((id, name));
        }
        for (place, declared) in (0..).zip(declared) {
            declared.hash(&mut hasher);
            consumers.add(place, declared);
        }
        consumers.fingerprint = hasher.finish();
        consumers.text.shrink_to_fit();
        consumers.entries.shrink_to_fit();
        consumers.keys.shrink_to_fit();
        consumers.passwords.shrink_to_fit();
        consumers
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Consumer<'_>> {
        self.entries.iter().map(|entry| Consumer { consumers: self, entry })
    }

    pub fn find(&self, name: &str) -> Option<Consumer<'_>> {
        let is = |place: u32| self.text(self.entries[place as usize].name) == name;
        self.by_name.find(name.as_bytes(), is).map(|place| self.at(place))
    }

    /// The id of the group of that name.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(_, other)| self.text(*other) == name).map(|(id, _)| *id)
    }

    /// Who may log in under this name.
    pub fn login(&self, username: &[u8]) -> Option<Login<'_>> {
        let is = |place: u32| self.text(self.passwords[place as usize].username).as_bytes() == username;
        let password = &self.passwords[self.by_username.find(username, is)? as usize];
        Some(Login { consumer: self.at(password.consumer), hash: self.text(password.hash) })
    }

    /// What keys are hashed with, if there are any.
    pub fn pepper(&self) -> Option<&Pepper> {
        self.pepper.as_ref()
    }

    /// The first password's.
    pub fn any_hash(&self) -> Option<&str> {
        self.passwords.first().map(|password| self.text(password.hash))
    }

    /// Whose key was sent. How long that takes says nothing of how near to one it is.
    pub fn key(&self, sent: &[u8]) -> Option<HeldKey<'_>> {
        let place = *self.by_digest.get(&self.pepper.as_ref()?.digest(sent))?;
        let KeyEntry { id, consumer, prefix, expires_at_s, .. } = self.keys[place as usize];
        Some(HeldKey { id, consumer: self.at(consumer), prefix: self.text(prefix), expires_at_s })
    }

    /// Differs when anything that is asked of the table does.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn at(&self, place: u32) -> Consumer<'_> {
        Consumer { consumers: self, entry: &self.entries[place as usize] }
    }

    fn add(&mut self, place: u32, declared: &Declared<'_>) {
        let entry = Entry {
            id: declared.id,
            name: self.keep([declared.name], ""),
            roles: self.keep(declared.roles.iter().map(String::as_str), WORD_END),
            scopes: self.keep(declared.scopes.iter().map(String::as_str), WORD_END),
            groups: Span::added(&self.memberships, declared.groups.len()),
            keys: Span::added(&self.keys, declared.keys.len()),
            passwords: Span::added(&self.passwords, declared.passwords.len()),
        };
        self.memberships.extend(declared.groups);
        for key in &declared.keys {
            let prefix = self.keep([key.prefix.as_str()], "");
            let Key { id, digest, expires_at_s, .. } = **key;
            self.by_digest.insert(digest, self.keys.len() as u32);
            self.keys.push(KeyEntry { id, consumer: place, prefix, digest, expires_at_s });
        }
        for password in &declared.passwords {
            self.by_username.insert(password.username.as_bytes(), self.passwords.len() as u32);
            let (username, hash) = (self.keep([&*password.username], ""), self.keep([&*password.hash], ""));
            self.passwords.push(PasswordEntry { username, hash, consumer: place });
        }
        self.by_name.insert(declared.name.as_bytes(), place);
        self.entries.push(entry);
    }

    fn keep<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>, end: &str) -> Span {
        let start = self.text.len() as u32;
        texts.into_iter().for_each(|text| self.text.extend([text, end]));
        Span { start, end: self.text.len() as u32 }
    }

    fn text(&self, span: Span) -> &str {
        &self.text[span.range()]
    }
}

impl<'a> Consumer<'a> {
    pub fn id(self) -> u32 {
        self.entry.id
    }

    pub fn name(self) -> &'a str {
        self.consumers.text(self.entry.name)
    }

    pub fn roles(self) -> impl Iterator<Item = &'a str> {
        self.consumers.text(self.entry.roles).split_terminator(WORD_END)
    }

    pub fn scopes(self) -> impl Iterator<Item = &'a str> {
        self.consumers.text(self.entry.scopes).split_terminator(WORD_END)
    }

    /// The ids of its groups, the one that counts most first.
    pub fn groups(self) -> &'a [u32] {
        &self.consumers.memberships[self.entry.groups.range()]
    }

    pub fn group_names(self) -> impl Iterator<Item = &'a str> {
        let groups = &self.consumers.groups;
        let name = |id: &u32| groups.iter().find(|(other, _)| other == id).map(|(_, name)| self.consumers.text(*name));
        self.groups().iter().filter_map(name)
    }

    /// Its keys, each with its digest.
    pub fn keys(self) -> impl Iterator<Item = (HeldKey<'a>, &'a [u8; DIGEST_BYTES])> {
        let keys = &self.consumers.keys[self.entry.keys.range()];
        keys.iter().map(move |key| {
            let prefix = self.consumers.text(key.prefix);
            (HeldKey { id: key.id, consumer: self, prefix, expires_at_s: key.expires_at_s }, &key.digest)
        })
    }

    /// User names and hashes.
    pub fn passwords(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let passwords = &self.consumers.passwords[self.entry.passwords.range()];
        passwords.iter().map(|password| (self.consumers.text(password.username), self.consumers.text(password.hash)))
    }

    /// What policies get to know of it, once it has proved itself with this credential.
    pub fn identity(self, credential: Option<&str>) -> Identity {
        let (roles, scopes) = (self.roles().map(Box::from).collect(), self.scopes().map(Box::from).collect());
        let identity = Identity::new(Some(self.name().into()), credential.map(Box::from), roles, scopes);
        identity.of(Belonging { consumer: self.id(), groups: self.groups().into() })
    }
}

impl Consumer<'_> {
    /// Whoever has proved to be this consumer by another's word: it has what it was given beside what that word says.
    pub fn joins(self, identity: Identity) -> Identity {
        let joined = |said: &[Box<str>], given: &mut dyn Iterator<Item = &str>| {
            let more = given.filter(|word| !said.iter().any(|other| **other == **word)).map(Box::from);
            said.iter().cloned().chain(more).collect()
        };
        let roles = joined(&identity.roles, &mut self.roles());
        let scopes = joined(&identity.scopes, &mut self.scopes());
        let joined = Identity::new(identity.consumer, identity.credential, roles, scopes);
        joined.of(Belonging { consumer: self.id(), groups: self.groups().into() })
    }
}

impl Pepper {
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What a key is known by.
    pub fn digest(&self, key: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(hmac::sign(&self.0, key).as_ref());
        digest
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pepper")
    }
}

impl Span {
    /// Of those that are about to be added.
    fn added<T>(to: &[T], count: usize) -> Self {
        Self { start: to.len() as u32, end: (to.len() + count) as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Index {
    /// Texts that hash alike lie behind one another.
    fn insert(&mut self, text: &[u8], place: u32) {
        let mut hash = FixedHash.hash_one(text);
        while self.0.contains_key(&hash) {
            hash = hash.wrapping_add(1);
        }
        self.0.insert(hash, place);
    }

    fn find(&self, text: &[u8], is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut hash = FixedHash.hash_one(text);
        loop {
            let place = *self.0.get(&hash)?;
            if is(place) {
                return Some(place);
            }
            hash = hash.wrapping_add(1);
        }
    }
}

impl PartialEq for Consumers {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Consumers {}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} consumers", self.entries.len())
    }
}

impl fmt::Debug for Consumer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "consumer {}", self.name())
    }
}

/// Of HMAC-SHA-256.
pub const DIGEST_BYTES: usize = 32;
/// No word has it in it.
const WORD_END: &str = "\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn each_of_many_is_found_by_its_names_and_nobody_else_is() {
        let count = 10_000;
        let names: Vec<String> = (0..count).map(|number| format!("consumer-{number}")).collect();
        let password = |name: &String| Password { username: format!("{name}@a"), hash: format!("$argon2id${name}") };
        let passwords: Vec<Password> = names.iter().map(password).collect();
        let (roles, pepper) = (words("editor reader"), Pepper::new(b"pepper"));
        let key = |(id, name): (u32, &String)| {
            let prefix = format!("sg_{id:08}");
            Key { id, digest: pepper.digest(format!("{prefix}_{name}").as_bytes()), prefix, expires_at_s: None }
        };
        let keys: Vec<Key> = (0..).zip(&names).map(key).collect();
        let declared: Vec<_> = (0..)
            .zip(&names)
            .zip(passwords.iter().zip(&keys))
            .map(|((id, name), (password, key))| Declared {
                id,
                name,
                groups: &[7],
                roles: &roles,
                keys: vec![key],
                passwords: vec![password],
                ..Declared::default()
            })
            .collect();
        let consumers = Consumers::new([(7, "gold")], &declared, Some(pepper));
        for (id, name) in (0..).zip(&names) {
            let consumer = consumers.find(name).expect("it is there");
            assert_eq!((consumer.id(), consumer.name(), consumer.groups()), (id, name.as_str(), &[7][..]));
            let login = consumers.login(format!("{name}@a").as_bytes()).expect("it has a password");
            assert_eq!((login.consumer.id(), login.hash), (id, format!("$argon2id${name}").as_str()));
            let key = consumers.key(format!("sg_{id:08}_{name}").as_bytes()).expect("it has a key");
            assert_eq!((key.id, key.consumer.id(), key.prefix), (id, id, format!("sg_{id:08}").as_str()));
        }
        for name in ["", "consumer-", "consumer-10000", "Consumer-1"] {
            assert!(consumers.find(name).is_none() && consumers.login(name.as_bytes()).is_none(), "{name}");
            assert!(consumers.key(name.as_bytes()).is_none(), "{name}");
        }
        let bytes = consumers.text.capacity()
            + consumers.entries.capacity() * size_of::<Entry>()
            + consumers.passwords.capacity() * size_of::<PasswordEntry>()
            + consumers.keys.capacity() * size_of::<KeyEntry>()
            + consumers.by_digest.capacity() * size_of::<([u8; DIGEST_BYTES], u32)>()
            + 4 * consumers.memberships.capacity()
            + (consumers.by_name.0.capacity() + consumers.by_username.0.capacity()) * size_of::<(u64, u32)>();
        assert!(bytes < 400 * count, "{bytes} bytes");
    }

    #[test]
    fn an_identity_has_what_its_consumer_was_given() {
        let (roles, scopes) = (words("editor reader"), words("read"));
        let ann =
            Declared { id: 3, name: "ann", groups: &[9, 7], roles: &roles, scopes: &scopes, ..Declared::default() };
        let bob = Declared { id: 4, name: "bob", ..Declared::default() };
        let consumers = Consumers::new([(7, "gold"), (9, "staff")], &[ann, bob], None);
        let identity = |name: &str| consumers.find(name).unwrap().identity(Some("sg_1"));
        let texts = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect::<Box<[Box<str>]>>();
        let names = (texts(&["editor", "reader"]), texts(&["read"]));
        let want = Identity::new(Some("ann".into()), Some("sg_1".into()), names.0, names.1);
        let want = want.of(Belonging { consumer: 3, groups: [9, 7].into() });
        assert_eq!(identity("ann"), want);
        assert!(identity("bob").roles.is_empty() && identity("bob").scopes.is_empty());
        assert_eq!(consumers.find("ann").unwrap().group_names().collect::<Vec<_>>(), ["staff", "gold"]);
    }

    #[test]
    fn tables_differ_when_anything_in_them_does() {
        let (key, scopes) = (Key { id: 0, prefix: "a".into(), digest: [0; 32], expires_at_s: None }, words("read"));
        let expiring = Key { expires_at_s: Some(9), ..key.clone() };
        let table = |declared: Declared<'_>| Consumers::new([], &[declared], Some(Pepper::new(b"a")));
        let tables = [
            Consumers::default(),
            Consumers::new([], &[Declared { name: "ann", ..Declared::default() }], None),
            table(Declared { name: "ann", ..Declared::default() }),
            table(Declared { name: "bob", ..Declared::default() }),
            table(Declared { name: "ann", id: 1, ..Declared::default() }),
            table(Declared { name: "ann", groups: &[1], ..Declared::default() }),
            table(Declared { name: "ann", roles: &scopes, ..Declared::default() }),
            table(Declared { name: "ann", scopes: &scopes, ..Declared::default() }),
            table(Declared { name: "ann", keys: vec![&key], ..Declared::default() }),
            table(Declared { name: "ann", keys: vec![&expiring], ..Declared::default() }),
        ];
        for (place, table) in tables.iter().enumerate() {
            assert_eq!(tables.iter().position(|other| other == table), Some(place));
        }
    }
}
