//! Consumers of our own file: what the operator writes of them, what is wrong with it, and the table that policies
//! read.

use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::ids::Ids;
use super::ir::{self, Name};
use super::load::without_line_end;
use super::problem::{Origin, Problem};
use super::suggest::nearest;
use super::translate::Translate;
use crate::policy::authorize::{is_role, is_scope};
use crate::policy::consumers::{Consumers, DIGEST_BYTES, Declared, Key, Password, Pepper};
use crate::policy::{self, Invalid, Kind, Order, Policy, Read, basic_auth};
use crate::stdx::base64::{self, Alphabet, Form};
use crate::stdx::date;
use crate::stdx::hash::FixedMap;

/// Somebody who sends requests, a person or a program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Letters, digits, `-`, `_`, `.` and `~`; each consumer has its own.
    pub name: Spanned<String>,
    /// Names of `consumer_groups` that it is in, at most 16. Where two of them differ the earlier counts. Default:
    /// none.
    #[serde(default)]
    pub groups: Vec<Spanned<String>>,
    /// Roles that it has whatever it proves itself with, at most 64. Default: none.
    #[serde(default)]
    pub roles: Vec<Spanned<String>>,
    /// Scopes that it has whatever it proves itself with, at most 64. Default: none.
    #[serde(default)]
    pub scopes: Vec<Spanned<String>>,
    /// For the policy `api_key`, at most 8: while a key is replaced both are good. Default: none.
    #[serde(default)]
    pub keys: Vec<Spanned<ConsumerKey>>,
    /// For the policy `basic_auth`, at most 8. Default: none.
    #[serde(default)]
    pub passwords: Vec<ConsumerPassword>,
    /// What its requests meet in the place of a policy of the same kind of a group, a route, a service or the file, and
    /// in addition where there is none. Only policies that run after those that find out who asks. Default: none.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
}

/// The file does not have the key itself, and nobody who reads the file can use it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerKey {
    /// The beginning of the key, which logs and metrics show; each key has its own.
    pub prefix: Spanned<String>,
    /// HMAC-SHA-256 of the key, as Base64 of the kind for URLs, without `=`.
    pub hash: Spanned<String>,
    /// When it stops to be good, as in `2027-01-31T00:00:00Z`. Default: never.
    pub expires_at: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerPassword {
    /// Without a colon; each password has its own.
    pub username: Spanned<String>,
    /// As argon2 tools write it: `$argon2id$v=19$m=...,t=...,p=...$SALT$HASH`. Its `m`, the memory in KiB, is at most
    /// 65536, `m` times `t` at most 262144: whoever sends a password makes the gateway pay that.
    pub hash: Spanned<String>,
}

/// How consumers' keys are kept.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// A file with a secret of at least 16 bytes, beside this file, that keys are hashed with; a line end after it is
    /// not a part of it. With another one no key is good any more. Default: none, and consumers have no keys.
    pub pepper_file: Option<Spanned<String>>,
}

/// A name that consumers say they belong to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumerGroup {
    /// Letters, digits, `-`, `_`, `.` and `~`; each group has its own.
    pub name: Spanned<String>,
    /// What requests of its consumers meet in the place of a policy of the same kind of a route, a service or the file,
    /// and in addition where there is none. Default: none.
    #[serde(default)]
    pub policies: Vec<Spanned<policy::Config>>,
}

/// From what is written to what every front-end says.
pub(super) fn translate(
    given: Vec<Spanned<Consumer>>,
    order: &Order,
    translate: &mut Translate<'_>,
) -> Vec<ir::Consumer> {
    if given.len() > CONSUMERS_MAX {
        let what = format!("{} consumers", given.len());
        translate.problem(given[CONSUMERS_MAX].referenced, what, format!("write at most {CONSUMERS_MAX}"));
    }
    given.into_iter().map(|given| consumer(given.value, order, translate)).collect()
}

pub(super) fn translate_groups(
    given: Vec<ConsumerGroup>,
    order: &Order,
    translate: &mut Translate<'_>,
) -> Vec<ir::Group> {
    let group = |ConsumerGroup { name, policies }| ir::Group {
        name: translate.name(name),
        policies: overriding(policies, order, translate),
    };
    given.into_iter().map(group).collect()
}

/// Policies that are chosen once it is known who asks.
fn overriding(given: Vec<Spanned<policy::Config>>, order: &Order, translate: &mut Translate<'_>) -> Vec<Arc<Policy>> {
    for Spanned { value: config, referenced, .. } in &given {
        let (kind, name) = (config.kind(), config.kind().name());
        let mut doors = Kind::ALL.iter().filter(|other| other.authenticates());
        if kind.authenticates() {
            let help = "attach it to a route, a service or the whole file";
            translate.problem(*referenced, format!("`{name}` finds out who asks, and here that is known"), help);
        } else if let Some(door) = doors.find(|door| order.runs_before(kind, **door)) {
            let what = format!("`{name}` runs before `{}`, when nobody knows who asks", door.name());
            let help = "attach it to a route, a service or the whole file, or change the order by `policy_order`";
            translate.problem(*referenced, what, help);
        }
    }
    translate.policies(given)
}

fn consumer(given: Consumer, order: &Order, translate: &mut Translate<'_>) -> ir::Consumer {
    let at = given.name.referenced;
    for (what, count, max) in [
        ("groups", given.groups.len(), GROUPS_MAX),
        ("roles", given.roles.len(), WORDS_MAX),
        ("scopes", given.scopes.len(), WORDS_MAX),
        ("keys", given.keys.len(), CREDENTIALS_MAX),
        ("passwords", given.passwords.len(), CREDENTIALS_MAX),
    ] {
        if count > max {
            let what = format!("consumer `{}` has {count} {what}", given.name.value.escape_debug());
            translate.problem(at, what, format!("write at most {max}"));
        }
    }
    ir::Consumer {
        groups: given.groups.into_iter().map(|group| translate.name(group)).collect(),
        roles: words("role", is_role, given.roles, translate),
        scopes: words("scope", is_scope, given.scopes, translate),
        keys: given.keys.into_iter().filter_map(|given| key(given.value, translate)).collect(),
        passwords: given.passwords.into_iter().filter_map(|given| password(given, translate)).collect(),
        policies: overriding(given.policies, order, translate),
        name: translate.name(given.name),
    }
}

/// Names that the policy `authorize` can ask for.
fn words(
    kind: &str,
    is_name: fn(&str) -> bool,
    given: Vec<Spanned<String>>,
    translate: &mut Translate<'_>,
) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for Spanned { value: word, referenced, .. } in given {
        if !is_name(&word) {
            let help = "it is 1 to 128 bytes long, a scope without spaces, quotes and backslashes";
            translate.problem(referenced, format!("`{}` is not a {kind}", word.escape_debug()), help);
        } else if words.contains(&word) {
            translate.problem(referenced, format!("{kind} `{word}` is given twice"), "keep one");
        } else {
            words.push(word);
        }
    }
    words
}

fn key(given: ConsumerKey, translate: &mut Translate<'_>) -> Option<(Key, Origin)> {
    let (prefix, at) = (given.prefix.value, given.prefix.referenced);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if !(1..=PREFIX_BYTES_MAX).contains(&prefix.len()) || !prefix.bytes().all(fits) {
        let help = format!("use 1 to {PREFIX_BYTES_MAX} letters, digits, `-`, `_`, `.` or `~`");
        // It may be all of the key.
        translate.problem(at, "a `prefix` that is not the beginning of a key", help);
        return None;
    }
    let expires_at_s = given.expires_at.and_then(|expires_at| time(expires_at, translate));
    let mut digest = Vec::new();
    let decoded = base64::decode(Alphabet::Url, Form::Canonical, given.hash.value.as_bytes(), &mut digest);
    match <[u8; DIGEST_BYTES]>::try_from(digest) {
        Ok(digest) if decoded.is_ok() => Some((Key { id: 0, prefix, digest, expires_at_s }, translate.origin(at))),
        _ => {
            let help = "write what `shardgate key new` gave, 43 characters";
            translate.problem(given.hash.referenced, format!("key `{prefix}` has a `hash` that is none"), help);
            None
        }
    }
}

/// What keys are hashed with, or why it cannot be had.
pub(super) fn pepper(given: &ApiKeys, read: Read<'_>) -> Result<Option<Pepper>, (Location, String)> {
    let Some(Spanned { value: file, referenced, .. }) = &given.pepper_file else { return Ok(None) };
    let content = read(file).map_err(|error| (*referenced, format!("`{file}` cannot be read ({error})")))?;
    let secret = without_line_end(&content);
    if !(PEPPER_BYTES_MIN..=PEPPER_BYTES_MAX).contains(&secret.len()) {
        return Err((*referenced, format!("`{file}` has {} bytes", secret.len())));
    }
    Ok(Some(Pepper::new(secret)))
}

fn time(given: Spanned<String>, translate: &mut Translate<'_>) -> Option<u64> {
    let seconds = date::parse(&given.value);
    if seconds.is_none() {
        let what = format!("`{}` is not a time", given.value.escape_debug());
        translate.problem(given.referenced, what, "write one as in `2027-01-31T00:00:00Z`");
    }
    seconds
}

fn password(given: ConsumerPassword, translate: &mut Translate<'_>) -> Option<(Password, Origin)> {
    let (username, at) = (given.username.value, given.username.referenced);
    let is_user_id = |character: char| character != ':' && !character.is_control();
    if !(1..=USERNAME_BYTES_MAX).contains(&username.len()) || !username.chars().all(is_user_id) {
        let help = format!("write 1 to {USERNAME_BYTES_MAX} bytes without a colon or a control character");
        // It may have the password behind a colon.
        translate.problem(at, "a `username` that is none", help);
        return None;
    }
    if let Err(Invalid { what, help }) = basic_auth::check_hash(&given.hash.value) {
        translate.problem(given.hash.referenced, format!("the `hash` of user `{username}` {what}"), help);
        return None;
    }
    Some((Password { username, hash: given.hash.value }, translate.origin(at)))
}

/// From what every front-end says to what policies read. What is given twice is a problem.
pub(super) fn compile(ir: &mut ir::Ir, ids: &mut Ids, problems: &mut Vec<Problem>) -> Consumers {
    let mut keys: Vec<_> = ir.consumers.iter_mut().flat_map(|consumer| &mut consumer.keys).collect();
    let key_ids = ids.keys.assign(keys.iter().map(|(key, _)| &*key.prefix));
    keys.iter_mut().zip(key_ids).for_each(|((key, _), id)| key.id = id);
    if let Some((_, at)) = keys.first().filter(|_| ir.pepper.is_none()) {
        let help = "name a file with a secret, as in `api_keys: { pepper_file: pepper }`";
        problems.push(Problem::new(at, "a key, and nothing that it was hashed with", help));
    }
    let group_ids = ids.groups.assign(ir.groups.iter().map(|group| &*group.name.text));
    let groups: FixedMap<&str, u32> = ir.groups.iter().map(|group| &*group.name.text).zip(group_ids).collect();
    let ids = ids.consumers.assign(ir.consumers.iter().map(|consumer| &*consumer.name.text));
    let belongs: Vec<Vec<u32>> =
        ir.consumers.iter().map(|consumer| belonging(&consumer.groups, &groups, problems)).collect();
    let mut once =
        Once { problems, prefixes: FixedMap::default(), digests: FixedMap::default(), users: FixedMap::default() };
    let declared = ir.consumers.iter().zip(ids).zip(&belongs).map(|((consumer, id), groups)| Declared {
        id,
        name: &consumer.name.text,
        groups,
        roles: &consumer.roles,
        scopes: &consumer.scopes,
        keys: consumer.keys.iter().filter(|(key, at)| once.key(key, at)).map(|(key, _)| key).collect(),
        passwords: consumer.passwords.iter().filter(|(it, at)| once.password(it, at)).map(|(it, _)| it).collect(),
    });
    let declared: Vec<_> = declared.collect();
    let named = ir.groups.iter().filter_map(|group| Some((*groups.get(&*group.name.text)?, &*group.name.text)));
    Consumers::new(named, &declared, ir.pepper.clone())
}

fn belonging(names: &[Name], groups: &FixedMap<&str, u32>, problems: &mut Vec<Problem>) -> Vec<u32> {
    let mut belonging = Vec::new();
    for name in names {
        match groups.get(&*name.text) {
            Some(id) if belonging.contains(id) => {
                problems.push(Problem::new(&name.origin, format!("group `{}` is given twice", name.text), "keep one"));
            }
            Some(id) => belonging.push(*id),
            None => {
                let mut known: Vec<&str> = groups.keys().copied().collect();
                known.sort_unstable();
                let help = match nearest(&name.text, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it to `consumer_groups`".to_owned(),
                };
                problems.push(Problem::new(&name.origin, format!("there is no group `{}`", name.text), help));
            }
        }
    }
    belonging
}

/// What only one may have, and who has it.
struct Once<'a, 'p> {
    problems: &'p mut Vec<Problem>,
    prefixes: FixedMap<&'a str, &'a Origin>,
    digests: FixedMap<&'a [u8], &'a Origin>,
    users: FixedMap<&'a str, &'a Origin>,
}

impl<'a> Once<'a, '_> {
    fn key(&mut self, key: &'a Key, at: &'a Origin) -> bool {
        let first = self.prefixes.insert(&key.prefix, at).map(|first| (first, "with this prefix"));
        let same = self.digests.insert(&key.digest, at).map(|first| (first, "with this hash"));
        self.is_first(first.or(same).map(|(first, with)| (first, format!("a key {with}"))), at)
    }

    fn password(&mut self, password: &'a Password, at: &'a Origin) -> bool {
        let first = self.users.insert(&password.username, at);
        self.is_first(first.map(|first| (first, format!("user `{}`", password.username))), at)
    }

    fn is_first(&mut self, first: Option<(&Origin, String)>, at: &Origin) -> bool {
        let Some((first, what)) = first else { return true };
        self.problems.push(Problem::new(at, format!("{what} is there already, at {first}"), "keep one"));
        false
    }
}

/// In one file.
const CONSUMERS_MAX: usize = 100_000;
/// Of one consumer.
const GROUPS_MAX: usize = 16;
/// Roles or scopes of one consumer.
const WORDS_MAX: usize = 64;
/// Keys or passwords of one consumer.
const CREDENTIALS_MAX: usize = 8;
const PREFIX_BYTES_MAX: usize = 32;
const PEPPER_BYTES_MIN: usize = 16;
const PEPPER_BYTES_MAX: usize = 1024;
const USERNAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_profile;
    use crate::config::snapshot::Snapshot;

    fn load(rest: &str, profile: Option<&str>) -> Result<Snapshot, String> {
        let text = format!("version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n{rest}\n{PEPPER}");
        let loaded = load_profile("f.yaml", &text, profile, &mut Ids::default(), &|_| unreachable!());
        loaded.map_err(|problems| problems.list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[track_caller]
    fn check(rest: &str, want: &[&str]) {
        let got = load(rest, None).map(|_| ()).expect_err("it is wrong");
        assert_eq!(got.lines().collect::<Vec<_>>(), want, "{rest}");
    }

    const PEPPER: &str = "api_keys: { pepper_file: config/example.pepper }";
    const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const OTHER: &str = "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const ARGON2: &str = "'$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo'";

    #[test]
    fn a_consumer_has_what_is_written() {
        let text = format!(
            "consumer_groups: [{{ name: gold }}, {{ name: staff }}]
consumers:
  - name: ann
    groups: [staff, gold]
    roles: [editor, head of sales]
    scopes: [read, \"orders:write\"]
    keys:
      - {{ prefix: sg_1, hash: {HASH}, expires_at: \"2027-01-01T00:00:00Z\" }}
      - {{ prefix: sg_2, hash: {OTHER} }}
    passwords: [{{ username: \"ann@a b\", hash: {ARGON2} }}]
  - {{ name: bob }}
profiles:
  staging:
    consumers: [{{ name: ann, roles: [tester] }}, {{ name: eve }}]
"
        );
        let consumers = load(&text, None).unwrap().plan.settings.consumers.clone();
        let ann = consumers.find("ann").unwrap();
        assert_eq!(ann.group_names().collect::<Vec<_>>(), ["staff", "gold"]);
        assert_eq!(ann.roles().collect::<Vec<_>>(), ["editor", "head of sales"]);
        assert_eq!(ann.scopes().collect::<Vec<_>>(), ["read", "orders:write"]);
        let keys: Vec<_> = ann.keys().map(|(key, digest)| (key.prefix, digest[0], key.expires_at_s)).collect();
        assert_eq!(keys, [("sg_1", 0, Some(1_798_761_600)), ("sg_2", 4, None)]);
        let login = consumers.login(b"ann@a b").unwrap();
        assert_eq!((login.consumer.name(), login.hash), ("ann", ARGON2.trim_matches('\'')));
        assert_eq!(consumers.find("bob").unwrap().id(), 1);
        let staged = load(&text, Some("staging")).unwrap().plan.settings.consumers.clone();
        assert_eq!(staged.find("ann").unwrap().roles().collect::<Vec<_>>(), ["tester"]);
        assert!(staged.find("eve").is_some() && staged.login(b"ann@a b").is_none());
    }

    #[test]
    fn nothing_is_given_twice() {
        check(
            "consumer_groups: [{ name: g }, { name: g }]\nconsumers:\n- { name: a, groups: [g, g], roles: [r, r] }\n\
             - { name: a }",
            &[
                "f.yaml:3:40: group `g` is there already, at f.yaml:3:27: give it another name",
                "f.yaml:5:26: group `g` is given twice: keep one",
                "f.yaml:5:41: role `r` is given twice: keep one",
                "f.yaml:6:11: consumer `a` is there already, at f.yaml:5:11: give it another name",
            ],
        );
        check(
            &format!(
                "consumers:\n- {{ name: a, keys: [{{ prefix: k, hash: {HASH} }}, {{ prefix: k, hash: {OTHER} }}] }}\n\
                 - {{ name: b, keys: [{{ prefix: l, hash: {HASH} }}] }}"
            ),
            &[
                "f.yaml:4:97: a key with this prefix is there already, at f.yaml:4:31: keep one",
                "f.yaml:5:31: a key with this hash is there already, at f.yaml:4:31: keep one",
            ],
        );
        check(
            &format!(
                "consumers:\n- {{ name: a, passwords: [{{ username: u, hash: {ARGON2} }}] }}\n\
                 - {{ name: b, passwords: [{{ username: u, hash: {ARGON2} }}] }}"
            ),
            &["f.yaml:5:38: user `u` is there already, at f.yaml:4:38: keep one"],
        );
    }

    #[test]
    fn keys_need_a_pepper_that_is_long_enough() {
        let text = |top: &str| {
            format!(
                "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n{top}\n\
                 consumers: [{{ name: a, keys: [{{ prefix: k, hash: {HASH} }}] }}]"
            )
        };
        let refused = |top: &str| {
            let loaded = load_profile("f.yaml", &text(top), None, &mut Ids::default(), &|_| unreachable!());
            loaded.map(|_| ()).unwrap_err().list.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none = "a key, and nothing that it was hashed with: \
                    name a file with a secret, as in `api_keys: { pepper_file: pepper }`";
        assert_eq!(refused(""), [format!("f.yaml:4:41: {none}")]);
        let help = "write a secret of 16 to 1024 bytes there, which nobody else can read";
        for (file, why) in [
            ("config/none.pepper", "cannot be read (No such file or directory (os error 2))"),
            ("config/limits.yaml", "has"),
        ] {
            let got = refused(&format!("api_keys: {{ pepper_file: {file} }}")).concat();
            assert!(got.contains(&format!("`{file}` {why}")) && got.contains(help), "{got}");
        }
    }

    #[test]
    fn what_makes_no_sense_says_what_to_write() {
        check(
            "consumer_groups: [{ name: gold }]\n\
             consumers: [{ name: a, groups: [glod], scopes: [\"a b\"], roles: [\"a\\tb\"] }]",
            &[
                "f.yaml:4:33: there is no group `glod`: did you mean `gold`?",
                "f.yaml:4:49: `a b` is not a scope: it is 1 to 128 bytes long, a scope without spaces, quotes and \
                 backslashes",
                "f.yaml:4:65: `a\\tb` is not a role: it is 1 to 128 bytes long, a scope without spaces, quotes and \
                 backslashes",
            ],
        );
        check(
            &format!(
                "consumers:\n- {{ name: a, keys: [{{ prefix: \"k k\", hash: {HASH} }}, \
                 {{ prefix: l, hash: {HASH}= }},\n  {{ prefix: m, hash: {HASH}, expires_at: 2027-01-01 }}] }}"
            ),
            &[
                "f.yaml:4:31: a `prefix` that is not the beginning of a key: use 1 to 32 letters, digits, `-`, `_`, \
                 `.` or `~`",
                "f.yaml:4:110: key `l` has a `hash` that is none: write what `shardgate key new` gave, 43 characters",
                "f.yaml:5:79: `2027-01-01` is not a time: write one as in `2027-01-31T00:00:00Z`",
            ],
        );
        let many = (0..9).map(|number| format!("{{ username: u{number}, hash: {ARGON2} }}")).collect::<Vec<_>>();
        check(
            &format!("consumers: [{{ name: a, passwords: [{}] }}]", many.join(", ")),
            &["f.yaml:3:21: consumer `a` has 9 passwords: write at most 8"],
        );
        check(
            "consumers:\n- { name: a, passwords: [{ username: \"a:b\", hash: x }, { username: u, hash: $2b$x }] }",
            &[
                "f.yaml:4:38: a `username` that is none: write 1 to 128 bytes without a colon or a control character",
                "f.yaml:4:77: the `hash` of user `u` is not one of argon2id: write what an argon2 tool gives, as in \
                 `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`",
            ],
        );
        let dear = ARGON2.replace("m=19456", "m=1048576");
        check(
            &format!("consumers:\n- {{ name: a, passwords: [{{ username: u, hash: {dear} }}] }}"),
            &["f.yaml:4:47: the `hash` of user `u` costs too much: m=1048576, t=2, p=1: make one with m of at most \
               65536, m times t of at most 262144 and p of at most 16"],
        );
        check(
            "consumers:\n- { name: a, passwords: [{ username: u, hash: $argon2id$x$y$z$w }] }",
            &["f.yaml:4:47: the `hash` of user `u` is not one of argon2id: write what an argon2 tool gives, as in \
               `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`"],
        );
    }
}
