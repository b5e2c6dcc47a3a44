//! Keys of consumers in the text of a file: given, replaced and taken away, while everything else stays as it was
//! written, comments and all.
//!
//! The text is edited where the parser says that things are, and what comes of it has to differ from the file as
//! loaded in nothing but this consumer. It is loaded under every profile: one may have a consumer of its own in the
//! place of the base's, and under each the key has to be there, or gone. If it is not, the file is left alone.

use std::cmp::Reverse;

use serde_saphyr::{Location, Spanned};

use super::consumers::{Consumer, ConsumerKey};
use super::diff::{Change, Diff};
use super::extent::{block_end, flow_end, line_end, line_start, offset, scalar_end};
use super::ids::Ids;
use super::load::load_profile;
use super::model::{Model, Profiles};
use super::parse::parse;
use super::profile;
use super::snapshot::Snapshot;
use crate::policy::consumers::{Consumer as Held, Pepper};
use crate::stdx::base64;
use crate::stdx::date;

/// A file and its text.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

/// A new text, and the key that is new in it.
#[derive(Debug, Eq, PartialEq)]
pub struct Given {
    pub text: String,
    pub key: String,
}

/// What a file is under a profile, or without one.
type Loaded = (Option<&'static str>, Snapshot);

impl Ring<'_> {
    /// Gives the consumer one more key, made of chance, which is good until then.
    pub fn give(&self, consumer: &str, chance: &[u8; CHANCE_BYTES], until_s: Option<u64>) -> Result<Given, String> {
        let (model, loaded) = self.read()?;
        let (prefix, key) = mint(chance);
        let hash = base64::encode_url(&pepper(&loaded)?.digest(key.as_bytes()));
        let until = until_s.map(|at_s| date::checked_stamp(at_s).ok_or(TOO_LATE)).transpose()?;
        let until = until.map_or(String::new(), |stamp| format!(", expires_at: \"{stamp}\""));
        let entry = format!("{{ prefix: {prefix}, hash: \"{hash}\"{until} }}");
        let by_hand = format!("add `{entry}` to its `keys` by hand; the key, which is shown only now, is `{key}`");
        let has_it = |(_, snapshot): &Loaded| {
            let held = snapshot.plan.settings.consumers.key(key.as_bytes());
            held.is_some_and(|held| held.consumer.name() == consumer)
        };
        let ways = ways_to_add(self.text, find(&model, consumer, &by_hand)?, &entry).into_iter();
        let mut ways = ways.filter_map(|text| Some((self.changed(&text, &[consumer])?, text)));
        let (loaded, text) =
            ways.find(|(loaded, _)| loaded.iter().any(has_it)).ok_or_else(|| odd(consumer, &by_hand))?;
        match loaded.iter().find(|loaded| !has_it(loaded)) {
            None => Ok(Given { text, key }),
            Some((profile, _)) => {
                let help = "write it, and the pepper, in one place for all profiles";
                Err(format!("{} consumer `{consumer}` would not have the key: {help}", under(*profile)))
            }
        }
    }

    /// Gives the consumer one more key; those that it has are good until then and no longer.
    pub fn rotate(&self, consumer: &str, chance: &[u8; CHANCE_BYTES], until_s: u64) -> Result<Given, String> {
        let expiring = self.expire(consumer, until_s)?;
        Ring { text: &expiring, ..*self }.give(consumer, chance, None)
    }

    /// Takes the key with this prefix away, wherever it is written.
    pub fn revoke(&self, prefix: &str) -> Result<String, String> {
        let (model, _) = self.read()?;
        let is_it = |key: &&Spanned<ConsumerKey>| key.value.prefix.value == prefix;
        let written = everywhere(&model).map(|owner| &owner.value);
        let mut written: Vec<_> =
            written.filter_map(|owner| Some((owner, owner.keys.iter().find(is_it)?.referenced))).collect();
        if written.is_empty() {
            return Err(format!("no consumer has a key `{prefix}`"));
        }
        // From the last to the first, so that what is said of those before stays true.
        written.sort_by_key(|(_, at)| Reverse(offset(self.text, *at)));
        let text = written.iter().fold(self.text.to_owned(), |text, (owner, at)| {
            let is_only = owner.keys.len() == 1;
            without(&text, *at, is_only)
        });
        let owners: Vec<&str> = written.iter().map(|(owner, _)| owner.name.value.as_str()).collect();
        let odd = || format!("key `{prefix}` is written in a way that is not understood: take it away by hand");
        let loaded = self.changed(&text, &owners).ok_or_else(odd)?;
        let has_it = |(_, snapshot): &&Loaded| {
            let mut consumers = snapshot.plan.settings.consumers.iter();
            consumers.any(|consumer| consumer.keys().any(|(key, _)| key.prefix == prefix))
        };
        match loaded.iter().find(has_it) {
            None => Ok(text),
            Some((profile, _)) => {
                Err(format!("{} key `{prefix}` would still be there: take it away by hand", under(*profile)))
            }
        }
    }

    fn expire(&self, consumer: &str, until_s: u64) -> Result<String, String> {
        let (model, _) = self.read()?;
        let until = format!("\"{}\"", date::checked_stamp(until_s).ok_or(TOO_LATE)?);
        let by_hand = format!("give its keys `expires_at: {until}` by hand");
        let mut text = self.text.to_owned();
        let keys = &find(&model, consumer, &by_hand)?.value.keys;
        if keys.is_empty() {
            return Err(format!("consumer `{consumer}` has no key: give it one by `shardgate key new {consumer}`"));
        }
        // From the last to the first, so that what is said of those before stays true.
        for key in keys.iter().rev() {
            let ConsumerKey { prefix, expires_at, .. } = &key.value;
            match expires_at {
                Some(at) if date::parse(&at.value).is_some_and(|at_s| at_s <= until_s) => {}
                Some(at) => {
                    let start = offset(&text, at.referenced);
                    text.replace_range(start..scalar_end(&text, start), &until);
                }
                None if text[offset(&text, key.referenced)..].starts_with('{') => {
                    let end = scalar_end(&text, offset(&text, prefix.referenced));
                    text.insert_str(end, &format!(", expires_at: {until}"));
                }
                None => {
                    let end = line_end(&text, offset(&text, prefix.referenced));
                    let indent = " ".repeat(key.referenced.column() as usize - 1);
                    text.insert_str(end, &format!("\n{indent}expires_at: {until}"));
                }
            }
        }
        let all_expire = |(_, snapshot): &Loaded| {
            let consumers = &snapshot.plan.settings.consumers;
            let mut keys = consumers.find(consumer).into_iter().flat_map(Held::keys);
            keys.all(|(key, _)| key.expires_at_s.is_some_and(|at_s| at_s <= until_s))
        };
        if self.changed(&text, &[consumer]).is_some_and(|loaded| loaded.iter().any(all_expire)) {
            return Ok(text);
        }
        Err(odd(consumer, &by_hand))
    }

    fn read(&self) -> Result<(Model, Vec<Loaded>), String> {
        // What is wrong with the file as a whole is told first.
        let loaded = self.load(self.text)?;
        Ok((parse(self.file, self.text).map_err(|problem| problem.to_string())?, loaded))
    }

    /// What `new` is, unless anything but these consumers is otherwise in it under any profile.
    fn changed(&self, new: &str, consumers: &[&str]) -> Option<Vec<Loaded>> {
        let (old, new) = (self.load(self.text).ok()?, self.load(new).ok()?);
        let is_one = |change: &Change| change.kind == "consumer" && consumers.contains(&&*change.name);
        let is_same = old.len() == new.len()
            && old
                .iter()
                .zip(&new)
                .all(|((was, old), (is, new))| was == is && Diff::between(old, new).changes.iter().all(is_one));
        is_same.then_some(new)
    }

    /// As it is under every profile under which it is good. Some files are good under none but their own: with the
    /// first problem if there is none such.
    fn load(&self, text: &str) -> Result<Vec<Loaded>, String> {
        // Where endpoints are is of no interest here.
        let resolve = |_: &str| Ok(vec![std::net::SocketAddr::from(([127, 0, 0, 1], 1))]);
        let (mut loaded, mut problem) = (Vec::new(), None);
        for profile in std::iter::once(None).chain(profile::NAMES.map(Some)) {
            match load_profile(self.file, text, profile, &mut Ids::default(), &resolve) {
                Ok(snapshot) => loaded.push((profile, snapshot)),
                Err(problems) => problem = problem.or_else(|| Some(problems.to_string())),
            }
        }
        problem.filter(|_| loaded.is_empty()).map_or(Ok(loaded), Err)
    }
}

/// What keys are hashed with.
fn pepper(loaded: &[Loaded]) -> Result<&Pepper, String> {
    let help = "name a file with one, as in `api_keys: { pepper_file: pepper }`";
    let peppers = loaded.iter().map(|(profile, snapshot)| {
        let pepper = snapshot.plan.settings.consumers.pepper();
        pepper.ok_or_else(|| format!("there is no pepper {}: {help}", under(*profile)))
    });
    let peppers = peppers.collect::<Result<Vec<_>, _>>()?;
    if peppers.iter().any(|pepper| pepper.digest(b"") != peppers[0].digest(b"")) {
        return Err("profiles have different peppers: write one in one place for all profiles".to_owned());
    }
    Ok(peppers[0])
}

fn odd(consumer: &str, help: &str) -> String {
    format!("consumer `{consumer}` is written in a way that is not understood: {help}")
}

fn find<'m>(model: &'m Model, name: &str, by_hand: &str) -> Result<&'m Spanned<Consumer>, String> {
    let is_it = |consumer: &&Spanned<Consumer>| consumer.value.name.value == name;
    model.consumers.iter().find(is_it).ok_or_else(|| match everywhere(model).find(is_it) {
        Some(_) => format!("consumer `{name}` is in `profiles` only: {by_hand}"),
        None => format!("there is no consumer `{}`", name.escape_debug()),
    })
}

/// Those of the base and those that profiles have of their own.
fn everywhere(model: &Model) -> impl Iterator<Item = &Spanned<Consumer>> {
    let Profiles { development, staging, production } = &model.profiles;
    let overlays = [development, staging, production].into_iter().flatten();
    model.consumers.iter().chain(overlays.flat_map(|overlay| &overlay.consumers))
}

fn under(profile: Option<&str>) -> String {
    profile.map_or("without a profile".to_owned(), |profile| format!("under the profile `{profile}`"))
}

/// The beginning that is shown of a key, and the key.
fn mint(chance: &[u8; CHANCE_BYTES]) -> (String, String) {
    let mut digits = chance.iter().map(|byte| char::from(DIGITS[usize::from(byte % DIGITS.len() as u8)]));
    let prefix = format!("sg_{}", digits.by_ref().take(PREFIX_DIGITS).collect::<String>());
    let key = format!("{prefix}_{}", digits.collect::<String>());
    (prefix, key)
}

/// Texts with one more key, of which the first that says what it should is taken.
fn ways_to_add(text: &str, consumer: &Spanned<Consumer>, entry: &str) -> Vec<String> {
    let mut ways = Vec::new();
    let mut with = |at: usize, added: &str| ways.push([&text[..at], added, &text[at..]].concat());
    if let Some(first) = consumer.value.keys.first() {
        let at = offset(text, first.referenced);
        let line = line_start(text, at);
        match text[line..at].trim() {
            "-" => with(line, &format!("{}{entry}\n", &text[line..at])),
            _ => with(at, &format!("{entry}, ")),
        }
        return ways;
    }
    let start = offset(text, consumer.referenced);
    let name = offset(text, consumer.value.name.referenced);
    if text[start..].starts_with('{') {
        with(scalar_end(text, name), &format!(", keys: [{entry}]"));
    } else {
        let indent = " ".repeat(consumer.referenced.column() as usize - 1);
        with(line_end(text, name), &format!("\n{indent}keys:\n{indent}  - {entry}"));
    }
    // There is a list, and nothing in it.
    for (at, _) in text[start..].match_indices("keys:").map(|(at, word)| (start + at + word.len(), word)) {
        let rest = &text[at..];
        let open = at + rest.len() - rest.trim_start().len();
        let close = open + text[open..].find(']').unwrap_or(0);
        if text[open..close].trim_end() == "[" {
            ways.push([&text[..=open], entry, &text[close..]].concat());
        }
    }
    ways
}

/// The text without the entry of a list that begins there.
fn without(text: &str, at: Location, is_only: bool) -> String {
    let start = offset(text, at);
    let line = line_start(text, start);
    if text[line..start].trim() == "-" {
        let dash = line + text[line..start].len() - text[line..start].trim_start().len();
        let end = block_end(text, line, dash - line);
        let kept = if is_only { format!("{}[]\n", &text[line..dash]) } else { String::new() };
        return [&text[..line], &kept, &text[end..]].concat();
    }
    let end = flow_end(text, start);
    let (before, after) = (text[..start].trim_end(), text[end..].trim_start());
    match (after.strip_prefix(','), before.strip_suffix(',')) {
        (Some(after), _) => [&text[..start], after.trim_start_matches(' ')].concat(),
        (None, Some(before)) => [before, &text[end..]].concat(),
        (None, None) => [&text[..start], &text[end..]].concat(),
    }
}

/// What a key is made of.
pub const CHANCE_BYTES: usize = 40;
/// 32, so that a byte of chance gives each as often as any other; 160 bits that are not shown.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const PREFIX_DIGITS: usize = 8;
const TOO_LATE: &str = "a key cannot be said to be good beyond the year 9999: give fewer seconds";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with a pepper, for files that need not be there.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("shardgate-keyring-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("pepper"), "0123456789abcdef\n").unwrap();
            Self(folder)
        }

        fn file(&self) -> String {
            self.0.join("f.yaml").display().to_string()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    const CHANCE: [u8; CHANCE_BYTES] = [0; CHANCE_BYTES];
    const KEY: &str = "sg_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const OLD: &str = "0000000000000000000000000000000000000000000";
    const UNTIL_S: u64 = 1_800_000_000;

    fn text(consumers: &str) -> String {
        format!(
            "# Ours.\nversion: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n\
             api_keys: {{ pepper_file: pepper }}\n{consumers}"
        )
        .replace("OLD", OLD)
    }

    fn load(folder: &Folder, text: &str) -> Snapshot {
        let file = folder.file();
        Ring { file: &file, text }.load(text).unwrap().remove(0).1
    }

    /// Gives `ann` a key, and compares the text; NEW stands for the new key's hash.
    #[track_caller]
    fn check_give(name: &str, before: &str, after: &str) {
        let folder = Folder::new(name);
        let (file, before) = (folder.file(), text(before));
        let given = Ring { file: &file, text: &before }.give("ann", &CHANCE, None).unwrap();
        assert_eq!(given.key, KEY);
        let consumers = load(&folder, &given.text).plan.settings.consumers.clone();
        let key = consumers.key(KEY.as_bytes()).expect("it is there");
        assert_eq!((key.consumer.name(), key.prefix), ("ann", "sg_aaaaaaaa"));
        let hash = base64::encode_url(key.consumer.keys().find(|(held, _)| held.prefix == key.prefix).unwrap().1);
        let entry = format!("{{ prefix: sg_aaaaaaaa, hash: \"{hash}\" }}");
        assert_eq!(given.text, text(after).replace("NEW", &entry));
    }

    #[test]
    fn a_key_is_added_however_the_consumer_is_written() {
        for (name, before, after) in [
            (
                "block",
                "consumers:\n  # Ann.\n  - name: ann # she\n    roles: [a]\n  - name: bob\n",
                "consumers:\n  # Ann.\n  - name: ann # she\n    keys:\n      - NEW\n    roles: [a]\n  - name: bob\n",
            ),
            (
                "flow",
                "consumers: [{ name: \"ann\", roles: [a] }]",
                "consumers: [{ name: \"ann\", keys: [NEW], roles: [a] }]",
            ),
            (
                "block-list",
                "consumers:\n- name: ann\n  keys:\n  # The first.\n  - { prefix: k, hash: OLD }\n",
                "consumers:\n- name: ann\n  keys:\n  # The first.\n  - NEW\n  - { prefix: k, hash: OLD }\n",
            ),
            (
                "block-entry",
                "consumers:\n- keys:\n  - prefix: k\n    hash: OLD\n  name: ann\n",
                "consumers:\n- keys:\n  - NEW\n  - prefix: k\n    hash: OLD\n  name: ann\n",
            ),
            (
                "flow-list",
                "consumers:\n- { name: ann, keys: [{ prefix: k, hash: OLD }] } # x\n",
                "consumers:\n- { name: ann, keys: [NEW, { prefix: k, hash: OLD }] } # x\n",
            ),
            (
                "empty",
                "consumers:\n- { name: bob, keys: [] }\n- name: ann\n  keys: [ ]\n",
                "consumers:\n- { name: bob, keys: [] }\n- name: ann\n  keys: [NEW]\n",
            ),
        ] {
            check_give(name, before, after);
        }
    }

    #[track_caller]
    fn check_revoke(name: &str, before: &str, after: &str) {
        let folder = Folder::new(name);
        let (file, before) = (folder.file(), text(before));
        assert_eq!(Ring { file: &file, text: &before }.revoke("k"), Ok(text(after)), "{name}");
    }

    #[test]
    fn a_key_is_taken_away_and_nothing_else() {
        for (name, before, after) in [
            (
                "revoke-block",
                "consumers:\n- name: ann\n  keys:\n  - prefix: k # old\n    hash: OLD\n\n  # Another.\n  \
                 - { prefix: l, hash: \"1OLD\" }\n",
                "consumers:\n- name: ann\n  keys:\n\n  # Another.\n  - { prefix: l, hash: \"1OLD\" }\n",
            ),
            (
                "revoke-only",
                "consumers:\n- name: ann\n  keys:\n    - { prefix: k, hash: OLD }\n- name: bob\n",
                "consumers:\n- name: ann\n  keys:\n    []\n- name: bob\n",
            ),
            (
                "revoke-first",
                "consumers: [{ name: ann, keys: [{ prefix: k, hash: OLD }, { prefix: l, hash: \"1OLD\" }] }]",
                "consumers: [{ name: ann, keys: [{ prefix: l, hash: \"1OLD\" }] }]",
            ),
            (
                "revoke-last",
                "consumers: [{ name: ann, keys: [{ prefix: l, hash: \"1OLD\" }, { prefix: k, hash: OLD }] }]",
                "consumers: [{ name: ann, keys: [{ prefix: l, hash: \"1OLD\" }] }]",
            ),
            (
                "revoke-flow-only",
                "consumers: [{ name: ann, keys: [{ prefix: k, hash: OLD }] }]",
                "consumers: [{ name: ann, keys: [] }]",
            ),
        ] {
            let [before, after] = [before, after].map(|text| text.replace("1OLD", &format!("4{}", &OLD[1..])));
            check_revoke(name, &before, &after);
        }
    }

    #[test]
    fn when_a_key_is_replaced_both_are_good_until_the_old_one_expires() {
        let folder = Folder::new("rotate");
        let file = folder.file();
        let before = text(
            "consumers:\n- name: ann\n  keys:\n  - { prefix: \"k\", hash: OLD }\n  \
             - prefix: l # here\n    hash: 4OLD\n  \
             - { prefix: m, hash: 8OLD, expires_at: 2100-01-01T00:00:00Z }\n  \
             - { prefix: n, hash: cOLD, expires_at: 2020-01-01T00:00:00Z }\n",
        );
        let before = ["4", "8", "c"]
            .iter()
            .fold(before, |text, digit| text.replace(&format!("{digit}{OLD}"), &format!("{digit}{}", &OLD[1..])));
        let given = Ring { file: &file, text: &before }.rotate("ann", &CHANCE, UNTIL_S).unwrap();
        let consumers = load(&folder, &given.text).plan.settings.consumers.clone();
        let keys =
            consumers.find("ann").unwrap().keys().map(|(key, _)| (key.prefix, key.expires_at_s)).collect::<Vec<_>>();
        let until = Some(UNTIL_S);
        let want = [("sg_aaaaaaaa", None), ("k", until), ("l", until), ("m", until), ("n", Some(1_577_836_800))];
        assert_eq!(keys, want, "{}", given.text);
        assert!(
            given.text.contains("- prefix: l # here\n    expires_at: \"2027-01-15T08:00:00Z\"\n    hash"),
            "{}",
            given.text
        );
        assert!(consumers.key(KEY.as_bytes()).is_some());
    }

    const STAGED: &str = "consumers:\n- { name: ann, keys: [{ prefix: k, hash: OLD }] }\n\
                          profiles: { staging: { consumers: [{ name: NAME, keys: [{ prefix: k, hash: OLD }] }] } }\n";

    #[test]
    fn a_key_is_taken_away_from_every_profile() {
        let taken = "consumers:\n- { name: ann, keys: [] }\n\
                     profiles: { staging: { consumers: [{ name: NAME, keys: [] }] } }\n";
        check_revoke("revoke-profile", &STAGED.replace("NAME", "ann"), &taken.replace("NAME", "ann"));
        let bobs = STAGED.replace("keys: [{ prefix: k, hash: OLD }] }\n", "roles: [a] }\n").replace("NAME", "bob");
        let taken = taken.replace("keys: [] }\n", "roles: [a] }\n").replace("NAME", "bob");
        check_revoke("revoke-profiles", &bobs, &taken);
    }

    /// Asks for a key for `ann`, and for another one, in a file with a second pepper beside it.
    #[track_caller]
    fn check_profiles(name: &str, text: &str, want: Result<(), &str>) {
        let folder = Folder::new(name);
        fs::write(folder.0.join("other"), "fedcba9876543210\n").unwrap();
        let (file, text) = (folder.file(), text.replace("OLD", OLD));
        let ring = Ring { file: &file, text: &text };
        for given in [ring.give("ann", &CHANCE, None), ring.rotate("ann", &CHANCE, UNTIL_S)] {
            assert_eq!(given.map(|given| assert!(given.text.contains("sg_aaaaaaaa"))), want.map_err(str::to_owned));
        }
    }

    #[test]
    fn a_key_is_good_under_every_profile_or_is_not_given() {
        let lacking = |profile: &str| {
            let help = "write it, and the pepper, in one place for all profiles";
            format!("under the profile `{profile}` consumer `ann` would not have the key: {help}")
        };
        let with = |profiles: &str| {
            text(&format!("consumers: [{{ name: ann, keys: [{{ prefix: k, hash: OLD }}] }}]\nprofiles: {profiles}\n"))
        };
        check_profiles("own", &text(&STAGED.replace("NAME", "ann")), Err(&lacking("staging")));
        check_profiles("bobs", &with("{ staging: { consumers: [{ name: bob }] } }"), Ok(()));
        let other = "{ production: { api_keys: { pepper_file: other } } }";
        let peppers = "profiles have different peppers: write one in one place for all profiles";
        check_profiles("pepper", &with(other), Err(peppers));
        let alone = "{ production: { listeners: [{ name: b, address: \"127.0.0.1:2\" }] } }";
        let (before, listener) = (with(alone), "[{ name: a, address: \"127.0.0.1:1\" }]");
        check_profiles("alone", &before.replace(listener, "[]"), Ok(()));
        check_profiles("open", &format!("{}authentication: {{ bypass_local: true }}\n", with("{}")), Ok(()));
    }

    #[test]
    fn what_cannot_be_done_is_said_and_nothing_is_changed() {
        let folder = Folder::new("refused");
        let file = folder.file();
        let ask = |consumers: &str, ask: &dyn Fn(Ring<'_>) -> Result<(), String>| {
            let text = text(consumers);
            ask(Ring { file: &file, text: &text }).expect_err("it cannot be done")
        };
        let give = |ring: Ring<'_>| ring.give("ann", &CHANCE, None).map(|_| ());
        let rotate = |ring: Ring<'_>| ring.rotate("ann", &CHANCE, UNTIL_S).map(|_| ());
        let revoke = |ring: Ring<'_>| ring.revoke("k").map(|_| ());
        assert_eq!(ask("consumers: [{ name: bob }]", &give), "there is no consumer `ann`");
        assert_eq!(ask("consumers: [{ name: bob }]", &revoke), "no consumer has a key `k`");
        let none = "consumer `ann` has no key: give it one by `shardgate key new ann`";
        assert_eq!(ask("consumers: [{ name: ann }]", &rotate), none);
        assert!(ask("consumer: []", &give).contains("did you mean `consumers`?"));
        let odd = ask("consumers:\n- name: ann\n  keys: # none\n    []\n", &give);
        assert!(
            odd.starts_with("consumer `ann` is written in a way that is not understood: add `{ prefix: sg_"),
            "{odd}"
        );
        let only = ask("profiles: { staging: { consumers: [{ name: ann }] } }", &give);
        assert!(only.starts_with("consumer `ann` is in `profiles` only: add `{ prefix: sg_"), "{only}");
        for told in [odd, only] {
            assert!(told.ends_with(&format!("the key, which is shown only now, is `{KEY}`")), "{told}");
        }
        let late = |ring: Ring<'_>| ring.give("ann", &CHANCE, Some(1 << 40)).map(|_| ());
        assert_eq!(ask("consumers: [{ name: ann }]", &late), TOO_LATE);
        let bare = text("consumers: [{ name: ann }]").replace("api_keys: { pepper_file: pepper }", "");
        let bare = Ring { file: &file, text: &bare }.give("ann", &CHANCE, None).unwrap_err();
        assert!(bare.starts_with("there is no pepper"), "{bare}");
    }
}
