//! What a new configuration changes.

use std::fmt::{self, Debug};
use std::sync::Arc;

use super::snapshot::{Listener, Snapshot};
use super::store::Store;
use crate::policy::Policy;
use crate::policy::consumers::Consumer;
use crate::proxy::Settings;
use crate::route::{Action, Route, Split};
use crate::stdx::date;
use crate::stdx::hash::FixedMap;
use crate::upstream::Service;

/// Every difference, in the order of the file's sections.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Diff {
    pub changes: Vec<Change>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// `route`, `service`, `limits`, ...
    pub kind: &'static str,
    /// Empty where there is only one.
    pub name: String,
    pub what: What,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    Added,
    Removed,
    Changed(Vec<Changed>),
}

/// A key that has another value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    pub key: String,
    /// Before and now. None of a secret: nothing of it is shown, not even what it could be tried against.
    pub values: Option<(String, String)>,
}

/// Keys and values of one object.
type Fields = Vec<(String, String)>;

impl Diff {
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut diff = Self::default();
        let of_fields = |was: &Fields, is: &Fields| differing(was, is);
        let listeners =
            |snapshot: &Snapshot| named(&snapshot.listeners, |listener| (&listener.name, listener_fields(listener)));
        diff.named("listener", &listeners(old), &listeners(new), of_fields);
        let services =
            |snapshot: &Snapshot| named(&snapshot.plan.services, |service| (&service.name, service_fields(service)));
        diff.named("service", &services(old), &services(new), of_fields);
        let routes = |snapshot: &Snapshot| {
            named(&snapshot.plan.routes, |route| (&route.name, route_fields(route, &snapshot.plan.services)))
        };
        diff.named("route", &routes(old), &routes(new), of_fields);
        diff.named("consumer", &consumers(old), &consumers(new), consumer_changes);
        diff.pepper(old, new);
        diff.named("policy", &old.attached, &new.attached, policy_changes);
        let roles = |snapshot: &Snapshot| {
            snapshot.roles.iter().map(|(name, role)| (name.clone(), fields(role))).collect::<Vec<_>>()
        };
        diff.named("role", &roles(old), &roles(new), of_fields);
        let authentication = |settings: &Settings| [field("bypass_local", &settings.bypass_local)];
        diff.one("authentication", &authentication(&old.plan.settings), &authentication(&new.plan.settings));
        diff.one("logging", &[field("level", &old.log_level)], &[field("level", &new.log_level)]);
        diff.one("policy_order", &[field("kinds", &old.order)], &[field("kinds", &new.order)]);
        diff.store(old.store.as_ref(), new.store.as_ref());
        let (was, is) = (&old.plan.settings, &new.plan.settings);
        diff.one("limits", &fields(&was.limits), &fields(&is.limits));
        diff.one("http", &fields(&was.http), &fields(&is.http));
        diff.one("trust", &[field("proxies", &was.trust)], &[field("proxies", &is.trust)]);
        diff.one("access_log", &[field("enabled", &was.access_log)], &[field("enabled", &is.access_log)]);
        diff.one("admin", &[field("address", &old.admin)], &[field("address", &new.admin)]);
        diff.one("runtime", &fields(&old.runtime), &fields(&new.runtime));
        let shutdown = |snapshot: &Snapshot| {
            [field("delay", &snapshot.shutdown_delay), field("drain_timeout", &snapshot.drain_timeout)]
        };
        diff.one("shutdown", &shutdown(old), &shutdown(new));
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is read at the start only.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| RESTART.contains(&change.kind))
    }

    /// One line for the log: `2 added, 1 removed, 3 changed`.
    pub fn summary(&self) -> String {
        let count = |is: fn(&What) -> bool| self.changes.iter().filter(|change| is(&change.what)).count();
        let added = count(|what| matches!(what, What::Added));
        let removed = count(|what| matches!(what, What::Removed));
        format!("{added} added, {removed} removed, {} changed", self.changes.len() - added - removed)
    }

    fn named<T>(
        &mut self,
        kind: &'static str,
        old: &[(String, T)],
        new: &[(String, T)],
        changes: impl Fn(&T, &T) -> Vec<Changed>,
    ) {
        let places: FixedMap<&str, &T> = old.iter().map(|(name, object)| (name.as_str(), object)).collect();
        let kept: FixedMap<&str, ()> = new.iter().map(|(name, _)| (name.as_str(), ())).collect();
        for (name, _) in old.iter().filter(|(name, _)| !kept.contains_key(name.as_str())) {
            self.changes.push(Change { kind, name: name.clone(), what: What::Removed });
        }
        for (name, object) in new {
            match places.get(name.as_str()).copied() {
                None => self.changes.push(Change { kind, name: name.clone(), what: What::Added }),
                Some(was) => self.changed(kind, name, changes(was, object)),
            }
        }
    }

    fn one(&mut self, kind: &'static str, old: &[(String, String)], new: &[(String, String)]) {
        self.changed(kind, "", differing(old, new));
    }

    fn pepper(&mut self, old: &Snapshot, new: &Snapshot) {
        let of = |snapshot: &Snapshot| snapshot.plan.settings.consumers.pepper().map(|pepper| pepper.digest(b""));
        let change = Changed::secret("pepper", of(old).as_ref(), of(new).as_ref());
        self.changed("api_keys", "", change.into_iter().collect());
    }

    fn store(&mut self, old: Option<&Store>, new: Option<&Store>) {
        let what = match (old, new) {
            (None, None) => return,
            (None, Some(_)) => What::Added,
            (Some(_), None) => What::Removed,
            (Some(was), Some(is)) => return self.changed("redis", "", store_changes(was, is)),
        };
        self.changes.push(Change { kind: "redis", name: String::new(), what });
    }

    fn changed(&mut self, kind: &'static str, name: &str, changes: Vec<Changed>) {
        if !changes.is_empty() {
            self.changes.push(Change { kind, name: name.to_owned(), what: What::Changed(changes) });
        }
    }
}

impl Changed {
    /// Of a value that is compared, and never shown.
    fn secret<T: PartialEq + ?Sized>(key: &str, was: Option<&T>, is: Option<&T>) -> Option<Self> {
        let shown = |was: &str, is: &str| Some((was.to_owned(), is.to_owned()));
        let values = match (was, is) {
            (None, Some(_)) => shown("none", HIDDEN),
            (Some(_), None) => shown(HIDDEN, "none"),
            (was, is) if was != is => None,
            _ => return None,
        };
        Some(Self { key: key.to_owned(), values })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((was, is)) => write!(f, "{}: {was} -> {is}", self.key),
            None => write!(f, "{}: {HIDDEN} changed", self.key),
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change { kind, name, what } in &self.changes {
            let restart = if RESTART.contains(kind) { " (at the next start)" } else { "" };
            let space = if name.is_empty() { "" } else { " " };
            match what {
                What::Added => writeln!(f, "+ {kind}{space}{name}{restart}")?,
                What::Removed => writeln!(f, "- {kind}{space}{name}{restart}")?,
                What::Changed(keys) => {
                    writeln!(f, "~ {kind}{space}{name}{restart}")?;
                    for changed in keys {
                        writeln!(f, "    {changed}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What two have otherwise, by how they show it.
fn differing(old: &[(String, String)], new: &[(String, String)]) -> Vec<Changed> {
    let pairs = old.iter().zip(new).filter(|(was, is)| was != is);
    let changed = pairs.map(|((old_key, was), (key, is))| match old_key == key {
        true => Changed { key: key.clone(), values: Some((was.clone(), is.clone())) },
        false => {
            let values = (format!("{old_key} {was}"), format!("{key} {is}"));
            Changed { key: "action".to_owned(), values: Some(values) }
        }
    });
    changed.collect()
}

fn named<T>(objects: &[T], of: impl Fn(&T) -> (&String, Fields)) -> Vec<(String, Fields)> {
    objects.iter().map(&of).map(|(name, fields)| (name.clone(), fields)).collect()
}

fn listener_fields(listener: &Listener) -> Fields {
    let proxies: Vec<_> = listener.proxies.iter().map(ToString::to_string).collect();
    vec![field("address", &listener.address), ("proxy_protocol_from".to_owned(), proxies.join(", "))]
}

fn service_fields(service: &Service) -> Fields {
    let endpoints: Vec<_> =
        service.endpoints.iter().map(|endpoint| format!("{} ({})", endpoint.name, endpoint.address)).collect();
    let mut all = vec![("endpoints".to_owned(), endpoints.join(", "))];
    all.extend(fields(&service.timeouts));
    all.extend(fields(&service.pool));
    all.extend(fields(&service.retry));
    all
}

fn route_fields(route: &Route, services: &[Arc<Service>]) -> Fields {
    let rules: Vec<_> = route.rules.iter().map(ToString::to_string).collect();
    vec![
        action_field(&route.action, services),
        ("rewrite".to_owned(), route.rewrite.as_ref().map_or("nothing".to_owned(), ToString::to_string)),
        ("matches".to_owned(), rules.join(", ")),
        field("priority", &route.priority),
        field("preserve_host", &route.preserve_host),
        field("websocket", &route.websocket),
        field("body_bytes_max", &route.body_bytes_max),
    ]
}

fn consumers(snapshot: &Snapshot) -> Vec<(String, Consumer<'_>)> {
    let consumers = snapshot.plan.settings.consumers.iter();
    consumers.map(|consumer| (consumer.name().to_owned(), consumer)).collect()
}

fn consumer_changes(was: &Consumer<'_>, is: &Consumer<'_>) -> Vec<Changed> {
    let mut changes = differing(&consumer_fields(*was), &consumer_fields(*is));
    changes.extend(is.keys().filter_map(|(key, digest)| {
        let (_, before) = was.keys().find(|(other, _)| other.prefix == key.prefix)?;
        Changed::secret(&format!("key {}", key.prefix), Some(before), Some(digest))
    }));
    changes.extend(is.passwords().filter_map(|(name, hash)| {
        let (_, before) = was.passwords().find(|(other, _)| *other == name)?;
        Changed::secret(&format!("password of {name}"), Some(before), Some(hash))
    }));
    changes
}

fn consumer_fields(consumer: Consumer<'_>) -> Fields {
    let keys = consumer.keys().map(|(key, _)| {
        let until = key.expires_at_s.map_or(String::new(), |seconds| format!(" until {}", date::stamp(seconds)));
        format!("{}{until}", key.prefix)
    });
    let passwords = consumer.passwords().map(|(name, _)| name);
    let fields = [
        ("groups", consumer.group_names().collect::<Vec<_>>().join(", ")),
        ("roles", consumer.roles().collect::<Vec<_>>().join(", ")),
        ("scopes", consumer.scopes().collect::<Vec<_>>().join(", ")),
        ("keys", keys.collect::<Vec<_>>().join(", ")),
        ("passwords", passwords.collect::<Vec<_>>().join(", ")),
    ];
    fields.map(|(key, value)| (key.to_owned(), value)).into()
}

/// A policy that finds out who asks may be another though it looks the same.
fn policy_changes(was: &Arc<Policy>, is: &Arc<Policy>) -> Vec<Changed> {
    if was == is {
        return Vec::new();
    }
    let changes = differing(&policy_fields(was), &policy_fields(is));
    if changes.is_empty() { vec![Changed { key: "keys".to_owned(), values: None }] } else { changes }
}

fn policy_fields(policy: &Policy) -> Fields {
    match policy {
        // As it was written: what was made of that has keys in it.
        Policy::Jwt(jwt) => fields(&jwt.config),
        other => vec![field("keys", other)],
    }
}

fn store_changes(was: &Store, is: &Store) -> Vec<Changed> {
    let mut changes = differing(&store_fields(was), &store_fields(is));
    changes.extend(Changed::secret("password", was.password.as_ref(), is.password.as_ref()));
    let certificates =
        |store: &Store| store.server.tls.as_ref().map(|tls| (tls.authorities.clone(), tls.identity.clone()));
    changes.extend(Changed::secret("tls", certificates(was).as_ref(), certificates(is).as_ref()));
    changes
}

fn store_fields(store: &Store) -> Fields {
    let server_name = store.server.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
    vec![
        field("address", &store.server.address),
        field("server_name", &server_name),
        field("username", &store.username),
        field("database", &store.database),
        field("prefix", &store.prefix),
        field("on_failure", &store.on_failure),
    ]
}

fn action_field(action: &Action, services: &[Arc<Service>]) -> (String, String) {
    let (key, value) = match action {
        Action::Service(service) => ("service", services[*service as usize].name.clone()),
        Action::Split(split) => ("split", split_text(split, services)),
        Action::Redirect(redirect) => ("redirect", redirect.to_string()),
        Action::Respond(respond) => ("respond", respond.to_string()),
    };
    (key.to_owned(), value)
}

/// As in `99.5% users, 0.5% users-next if header x-canary, by cookie id`.
pub(super) fn split_text(split: &Split, services: &[Arc<Service>]) -> String {
    let arms = split.arms.iter().map(|arm| {
        let percent = f64::from(arm.share) / 100.0;
        let forced = arm.forced_by.as_ref().map_or(String::new(), |predicate| format!(" if {predicate}"));
        let group = arm.forced_by_group.as_ref().map_or(String::new(), |group| format!(" if group {}", group.name));
        format!("{percent}% {}{forced}{group}", services[arm.service as usize].name)
    });
    format!("{}, {}", arms.collect::<Vec<_>>().join(", "), split.sticky)
}

fn field(name: &str, value: &impl Debug) -> (String, String) {
    (name.to_owned(), format!("{value:?}"))
}

/// The fields of a struct, from how it shows itself: `Name { key: value, key: value }`.
fn fields(value: &impl Debug) -> Fields {
    let text = format!("{value:?}");
    // A struct's name has no spaces: what follows the first is its own.
    let inside = text.split_once(" { ").and_then(|(_, inside)| inside.strip_suffix(" }")).unwrap_or_default();
    let (mut fields, mut depth, mut begin) = (Fields::new(), 0, 0);
    // What quotes a text, and whether a backslash stands before the next character of it.
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in inside.char_indices().chain([(inside.len(), ',')]) {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), _) if end == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                if let Some((key, value)) = inside[begin..at].trim().split_once(": ") {
                    fields.push((key.to_owned(), value.to_owned()));
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
    fields
}

/// Stands for what is not shown.
const HIDDEN: &str = "...";
/// What is read at the start only.
const RESTART: [&str; 2] = ["admin", "runtime"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;

    fn load(text: &str, ids: &mut Ids) -> Snapshot {
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        load_text("f.yaml", text, ids, &resolve).expect("it is good")
    }

    #[derive(Debug)]
    struct Inner {
        _a: Option<u8>,
    }

    #[derive(Debug)]
    struct Outer {
        _text: &'static str,
        _inner: Inner,
        _sign: char,
        _last: Inner,
    }

    #[test]
    fn fields_are_told_apart_whatever_is_in_them() {
        let (inner, last) = (Inner { _a: Some(1) }, Inner { _a: None });
        let outer = Outer { _text: "a, b: c } \\ \" { (", _inner: inner, _sign: '\'', _last: last };
        let found = fields(&outer);
        let want = [
            ("_text", r#""a, b: c } \\ \" { (""#),
            ("_inner", "Inner { _a: Some(1) }"),
            ("_sign", r"'\''"),
            ("_last", "Inner { _a: None }"),
        ];
        assert_eq!(found, want.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    const OLD: &str = "version: 1
listeners: [{ name: a, address: \"127.0.0.1:1\" }]
services: [{ name: s, endpoints: [\"127.0.0.1:2\"] }, { name: t, endpoints: [\"127.0.0.1:3\"] }]
routes: [{ name: r, paths: [/r], service: s }, { name: gone, paths: [/g], service: s }]
";

    #[test]
    fn a_plan_names_what_changes_and_nothing_else() {
        let mut ids = Ids::default();
        let old = load(OLD, &mut ids);
        assert!(Diff::between(&old, &load(OLD, &mut ids)).is_empty());
        let new = "version: 1
listeners: [{ name: a, address: \"127.0.0.1:1\" }, { name: b, address: \"127.0.0.1:9\" }]
services:
  - { name: s, endpoints: [\"127.0.0.1:4\"], timeouts: { idle_ms: 5 } }
  - { name: t, endpoints: [\"127.0.0.1:3\"] }
routes: [{ name: r, paths: [/r, { exact: /x }], service: t }, { name: new, paths: [/n], service: s }]
limits: { fields_max: 7 }
runtime: { shards: 3 }
";
        let diff = Diff::between(&old, &load(new, &mut ids));
        assert_eq!(
            diff.to_string(),
            "+ listener b
~ service s
    endpoints: 127.0.0.1:2 (127.0.0.1:2) -> 127.0.0.1:4 (127.0.0.1:4)
    idle: 60s -> 5ms
- route gone
~ route r
    service: s -> t
    matches: * /r -> * /r, * =/x
+ route new
~ limits
    fields_max: 100 -> 7
~ runtime (at the next start)
    shards: Auto -> Count(3)
"
        );
        assert_eq!((diff.summary().as_str(), diff.needs_restart()), ("2 added, 1 removed, 4 changed", true));
    }

    #[test]
    fn a_plan_names_what_a_route_does_otherwise() {
        #[track_caller]
        fn check(old: &str, new: &str, want: &[&str]) {
            let mut ids = Ids::default();
            let text = |route: &str| OLD.replace("paths: [/r], service: s", &format!("paths: [/r], {route}"));
            let (old, new) = (load(&text(old), &mut ids), load(&text(new), &mut ids));
            let diff = Diff::between(&old, &new).to_string();
            let lines: Vec<_> = diff.lines().skip(1).map(str::trim).collect();
            assert_eq!(lines, want);
        }
        let split = "split: { arms: [{ service: s, percent: 99.5 }, { service: t, percent: 0.5 }], sticky_by: client }";
        let more = "split: { arms: [{ service: s, percent: 98 }, { service: t, percent: 2, \
                    forced_by: { name: X-T } }], sticky_by: { cookie: id } }";
        check("service: s", split, &["action: service s -> split 99.5% s, 0.5% t, by client address"]);
        check(split, more, &["split: 99.5% s, 0.5% t, by client address -> 98% s, 2% t if header x-t, by cookie id"]);
        check(
            "redirect: { scheme: https }",
            "redirect: { scheme: https, status: 308, host: h, port: 8443, path: { prefix: /x } }",
            &["redirect: 302 scheme https -> 308 scheme https host h port 8443 path prefix to /x"],
        );
        check("respond: { body: a }", "respond: { body: a }", &[]);
        check(
            "service: s, rewrite: { strip_path: true }",
            "service: s, priority: 3, headers: [{ name: A }], \
             rewrite: { host: h, path: { regex: { matches: \"/(.*)\", to: /b$1 } } }",
            &[
                "rewrite: path prefix to / -> path ~/(.*) to /b$1, host h",
                "matches: * /r -> * /r [header a]",
                "priority: 0 -> 3",
            ],
        );
    }

    #[test]
    fn a_plan_names_what_a_consumer_has_otherwise() {
        let pepper = "api_keys: { pepper_file: config/example.pepper }";
        let text = |keys: &str| format!("{OLD}consumers: [{{ name: ann, roles: [a], keys: [{keys}] }}]\n{pepper}\n");
        let key = |digit: &str, rest: &str| format!("{{ prefix: k, hash: {}{rest} }}", digit.repeat(43));
        let mut ids = Ids::default();
        let (none, one) = (load(OLD, &mut ids), load(&text(&key("A", "")), &mut ids));
        let diff = Diff::between(&none, &one).to_string();
        assert_eq!(diff, "+ consumer ann\n~ api_keys\n    pepper: none -> ...\n");
        let expiring = load(&text(&key("A", ", expires_at: \"2027-01-01T00:00:00Z\"")), &mut ids);
        let diff = Diff::between(&one, &expiring).to_string();
        assert_eq!(diff, "~ consumer ann\n    keys: k -> k until 2027-01-01T00:00:00Z\n");
        let other = load(&text(&key("E", "")), &mut ids);
        assert_eq!(Diff::between(&one, &other).to_string(), "~ consumer ann\n    key k: ... changed\n");
    }

    #[test]
    fn another_secret_in_the_same_file_is_told_and_not_shown() {
        let file = std::env::temp_dir().join(format!("shardgate-diff-{}.pepper", std::process::id()));
        let mut ids = Ids::default();
        let text = format!("{OLD}api_keys: {{ pepper_file: \"{}\" }}\n", file.display());
        let mut load = |secret: &str| {
            std::fs::write(&file, secret).unwrap();
            load(&text, &mut ids)
        };
        let (old, new, same) = (load("0123456789abcdef"), load("fedcba9876543210"), load("fedcba9876543210\n"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Diff::between(&old, &new).to_string(), "~ api_keys\n    pepper: ... changed\n");
        assert!(old.plan.settings.consumers != new.plan.settings.consumers, "a reload looks at that");
        assert!(Diff::between(&new, &same).is_empty());
    }

    #[test]
    fn a_password_or_a_key_that_is_another_is_told_and_not_shown_however_long_it_is() {
        let file = std::env::temp_dir().join(format!("shardgate-diff-{}.secret", std::process::id()));
        let redis = |rest: &str| format!("rate_limiting: {{ redis: {{ address: \"127.0.0.1:3\"{rest} }} }}");
        let issuer = format!("issuer: i, audiences: any, algorithms: [HS256], keys: [{{ secret_file: {file:?} }}]");
        for (rest, want) in [
            (redis(&format!(", password_file: {file:?}")), "~ redis\n    password: ... changed\n"),
            (
                format!("policies: [{{ jwt: {{ issuers: [{{ {issuer} }}] }} }}]"),
                "~ policy jwt of every request\n    keys: ... changed\n",
            ),
        ] {
            let mut ids = Ids::default();
            let mut load = |secret: &str| {
                std::fs::write(&file, secret).unwrap();
                load(&format!("{OLD}{rest}\n"), &mut ids)
            };
            let (short, long) = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(3));
            let (old, same, new) = (load(&short), load(&short), load(&long));
            assert!(Diff::between(&old, &same).is_empty());
            assert_eq!(Diff::between(&old, &new).to_string(), want);
        }
        let mut ids = Ids::default();
        let (none, bare) = (load(OLD, &mut ids), load(&format!("{OLD}{}\n", redis("")), &mut ids));
        assert_eq!(Diff::between(&none, &bare).to_string(), "+ redis\n");
        let secured = load(&format!("{OLD}{}\n", redis(&format!(", password_file: {file:?}, tls: {{}}"))), &mut ids);
        let want = "~ redis\n    password: none -> ...\n    tls: none -> ...\n";
        assert_eq!(Diff::between(&bare, &secured).to_string(), want);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn another_answer_of_the_same_length_is_another() {
        let mut ids = Ids::default();
        let text = |body: &str| OLD.replace("paths: [/r], service: s", &format!("respond: {{ body: {body} }}"));
        let diff = Diff::between(&load(&text("a"), &mut ids), &load(&text("b"), &mut ids));
        assert_eq!(diff.changes.len(), 1, "{diff}");
    }
}
