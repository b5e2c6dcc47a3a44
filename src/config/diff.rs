//! What a new configuration changes.

use std::fmt::{self, Debug};

use super::snapshot::{Listener, Snapshot};
use crate::policy::consumers::Consumer;
use crate::proxy::Settings;
use crate::route::{Action, Route, Split};
use crate::stdx::date;
use crate::stdx::hash::{FixedMap, stable};
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
    /// Key, old value, new value.
    Changed(Vec<(String, String, String)>),
}

/// Keys and values of one object.
type Fields = Vec<(String, String)>;

impl Diff {
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        let mut diff = Self::default();
        let listeners =
            |snapshot: &Snapshot| named(&snapshot.listeners, |listener| (&listener.name, listener_fields(listener)));
        diff.named("listener", &listeners(old), &listeners(new));
        let services =
            |snapshot: &Snapshot| named(&snapshot.plan.services, |service| (&service.name, service_fields(service)));
        diff.named("service", &services(old), &services(new));
        let routes = |snapshot: &Snapshot| {
            named(&snapshot.plan.routes, |route| (&route.name, route_fields(route, &snapshot.plan.services)))
        };
        diff.named("route", &routes(old), &routes(new));
        let consumers = |snapshot: &Snapshot| {
            let consumers = snapshot.plan.settings.consumers.iter();
            consumers.map(|consumer| (consumer.name().to_owned(), consumer_fields(consumer))).collect::<Vec<_>>()
        };
        diff.named("consumer", &consumers(old), &consumers(new));
        diff.pepper(old, new);
        let policies =
            |snapshot: &Snapshot| named(&snapshot.attached, |(name, policy)| (name, vec![field("keys", policy)]));
        diff.named("policy", &policies(old), &policies(new));
        let roles = |snapshot: &Snapshot| {
            snapshot.roles.iter().map(|(name, role)| (name.clone(), fields(role))).collect::<Vec<_>>()
        };
        diff.named("role", &roles(old), &roles(new));
        let authentication = |settings: &Settings| [field("bypass_local", &settings.bypass_local)];
        diff.one("authentication", &authentication(&old.plan.settings), &authentication(&new.plan.settings));
        diff.one("logging", &[field("level", &old.log_level)], &[field("level", &new.log_level)]);
        diff.one("policy_order", &[field("kinds", &old.order)], &[field("kinds", &new.order)]);
        diff.one("redis", &[field("store", &old.store)], &[field("store", &new.store)]);
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

    fn named(&mut self, kind: &'static str, old: &[(String, Fields)], new: &[(String, Fields)]) {
        let places: FixedMap<&str, &Fields> = old.iter().map(|(name, fields)| (name.as_str(), fields)).collect();
        let kept: FixedMap<&str, ()> = new.iter().map(|(name, _)| (name.as_str(), ())).collect();
        for (name, _) in old.iter().filter(|(name, _)| !kept.contains_key(name.as_str())) {
            self.changes.push(Change { kind, name: name.clone(), what: What::Removed });
        }
        for (name, fields) in new {
            match places.get(name.as_str()) {
                None => self.changes.push(Change { kind, name: name.clone(), what: What::Added }),
                Some(was) => self.changed(kind, name, was, fields),
            }
        }
    }

    fn one(&mut self, kind: &'static str, old: &[(String, String)], new: &[(String, String)]) {
        self.changed(kind, "", old, new);
    }

    /// Nothing of a secret is shown, not even what it could be tried against.
    fn pepper(&mut self, old: &Snapshot, new: &Snapshot) {
        let of = |snapshot: &Snapshot| snapshot.plan.settings.consumers.pepper().map(|pepper| pepper.digest(b""));
        let (was, is) = match (of(old), of(new)) {
            (None, Some(_)) => ("none", "one"),
            (Some(_), None) => ("one", "none"),
            (was, is) if was != is => ("one", "another"),
            _ => return,
        };
        let pepper = |which: &str| [("pepper".to_owned(), which.to_owned())];
        self.one("api_keys", &pepper(was), &pepper(is));
    }

    fn changed(&mut self, kind: &'static str, name: &str, old: &[(String, String)], new: &[(String, String)]) {
        let pairs = old.iter().zip(new).filter(|(was, is)| was != is);
        let changed = pairs.map(|((old_key, was), (key, is))| match old_key == key {
            true => (key.clone(), was.clone(), is.clone()),
            false => ("action".to_owned(), format!("{old_key} {was}"), format!("{key} {is}")),
        });
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            self.changes.push(Change { kind, name: name.to_owned(), what: What::Changed(changed) });
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
                    for (key, was, is) in keys {
                        writeln!(f, "    {key}: {was} -> {is}")?;
                    }
                }
            }
        }
        Ok(())
    }
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

fn route_fields(route: &Route, services: &[std::sync::Arc<Service>]) -> Fields {
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

/// A digest or a hash is told by a number that differs when it does.
fn consumer_fields(consumer: Consumer<'_>) -> Fields {
    let keys = consumer.keys().map(|(key, digest)| {
        let until = key.expires_at_s.map_or(String::new(), |seconds| format!(" until {}", date::stamp(seconds)));
        format!("{} ({:016x}){until}", key.prefix, stable(0, digest))
    });
    let passwords = consumer.passwords().map(|(name, hash)| format!("{name} ({:016x})", stable(0, hash.as_bytes())));
    let fields = [
        ("groups", consumer.group_names().collect::<Vec<_>>().join(", ")),
        ("roles", consumer.roles().collect::<Vec<_>>().join(", ")),
        ("scopes", consumer.scopes().collect::<Vec<_>>().join(", ")),
        ("keys", keys.collect::<Vec<_>>().join(", ")),
        ("passwords", passwords.collect::<Vec<_>>().join(", ")),
    ];
    fields.map(|(key, value)| (key.to_owned(), value)).into()
}

fn action_field(action: &Action, services: &[std::sync::Arc<Service>]) -> (String, String) {
    let (key, value) = match action {
        Action::Service(service) => ("service", services[*service as usize].name.clone()),
        Action::Split(split) => ("split", split_text(split, services)),
        Action::Redirect(redirect) => ("redirect", redirect.to_string()),
        Action::Respond(respond) => ("respond", respond.to_string()),
    };
    (key.to_owned(), value)
}

/// As in `99.5% users, 0.5% users-next if header x-canary, by cookie id`.
pub(super) fn split_text(split: &Split, services: &[std::sync::Arc<Service>]) -> String {
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
        let key = |rest: &str| format!("{{ prefix: k, hash: {}{rest} }}", "A".repeat(43));
        let mut ids = Ids::default();
        let (none, one) = (load(OLD, &mut ids), load(&text(&key("")), &mut ids));
        let diff = Diff::between(&none, &one).to_string();
        assert_eq!(diff, "+ consumer ann\n~ api_keys\n    pepper: none -> one\n");
        let expiring = load(&text(&key(", expires_at: \"2027-01-01T00:00:00Z\"")), &mut ids);
        let diff = Diff::between(&one, &expiring).to_string();
        let digest = stable(0, &[0; 32]);
        let want = format!("keys: k ({digest:016x}) -> k ({digest:016x}) until 2027-01-01T00:00:00Z");
        assert_eq!(diff.lines().map(str::trim).collect::<Vec<_>>(), ["~ consumer ann", &want]);
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
        assert_eq!(Diff::between(&old, &new).to_string(), "~ api_keys\n    pepper: one -> another\n");
        assert!(old.plan.settings.consumers != new.plan.settings.consumers, "a reload looks at that");
        assert!(Diff::between(&new, &same).is_empty());
    }

    #[test]
    fn another_answer_of_the_same_length_is_another() {
        let mut ids = Ids::default();
        let text = |body: &str| OLD.replace("paths: [/r], service: s", &format!("respond: {{ body: {body} }}"));
        let diff = Diff::between(&load(&text("a"), &mut ids), &load(&text("b"), &mut ids));
        assert_eq!(diff.changes.len(), 1, "{diff}");
    }
}
