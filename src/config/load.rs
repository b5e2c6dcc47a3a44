//! From a file to a [`Snapshot`], or to everything that is wrong with the file.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::compile::{Resolve, compile};
use super::ids::Ids;
use super::named::NamedFiles;
use super::parse::parse;
use super::problem::{Origin, Problem, Problems};
use super::profile;
use super::snapshot::Snapshot;
use super::translate::translate;

/// Reads a file and looks up its endpoints' names; blocks for both. `ids` is unchanged unless the file is good.
pub fn load(path: &Path, profile: Option<&str>, ids: &mut Ids) -> Result<Snapshot, Problems> {
    load_profile(&path.display().to_string(), &read(path)?, profile, ids, &resolve)
}

/// The base of a text that is there already; `file` is what problems call it.
pub fn load_text(file: &str, text: &str, ids: &mut Ids, resolve: Resolve<'_>) -> Result<Snapshot, Problems> {
    load_profile(file, text, None, ids, resolve)
}

/// As [`load_text`], with a profile laid over the base.
pub fn load_profile(
    file: &str,
    text: &str,
    profile: Option<&str>,
    ids: &mut Ids,
    resolve: Resolve<'_>,
) -> Result<Snapshot, Problems> {
    load_named(&NamedFiles::beside(Path::new(file)), (file, text), profile, ids, resolve)
}

/// As [`load_profile`], for a text that has a name of its own; `named` has the files that it names, also those of a bad
/// one.
pub fn load_named(
    named: &NamedFiles,
    (file, text): (&str, &str),
    profile: Option<&str>,
    ids: &mut Ids,
    resolve: Resolve<'_>,
) -> Result<Snapshot, Problems> {
    let wrong = |list| Problems { list, text: text.into() };
    let model = parse(file, text).map_err(|problem| wrong(vec![problem]))?;
    let model = profile::choose(model, profile).map_err(|help| {
        let what = format!("there is no profile `{}`", profile.unwrap_or_default().escape_debug());
        wrong(vec![Problem::new(&Origin::whole(file), what, help)])
    })?;
    let mut problems = Vec::new();
    let ir = translate(file, model, profile, named, &mut problems);
    let mut new_ids = ids.clone();
    let snapshot = compile(ir, &mut new_ids, resolve, &mut problems);
    if problems.is_empty() {
        *ids = new_ids;
        return Ok(snapshot);
    }
    problems.sort_by_key(|problem| (problem.origin.line, problem.origin.column));
    Err(wrong(problems))
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String, Problems> {
    let wrong = |what: String, help: &str| {
        let list = vec![Problem::new(&Origin::whole(&path.display().to_string()), what, help)];
        Problems { list, text: "".into() }
    };
    let unreadable =
        |error: io::Error| wrong(format!("cannot be read ({error})"), "check the path and who may read it");
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("has more than {FILE_BYTES_MAX} bytes"), "is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned(), "save it as UTF-8"))
}

/// A secret as a file has it, which an editor may have ended with a line end.
pub fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

/// By the system's resolver; blocks.
pub fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

/// Some 100,000 routes, which is more than a file should hold.
const FILE_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::RequestHead;
    use crate::route::{Asked, Scratch};

    /// Knows `two` (both families), `six` (IPv6 only), `none` (no address) and addresses.
    fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
        let addresses: &[&str] = match name {
            "two:1" => &["[2001:db8::1]:1", "192.0.2.2:1", "192.0.2.1:1", "192.0.2.1:1"],
            "six:1" => &["[2001:db8::1]:1"],
            "none:1" => &[],
            name if name.parse::<SocketAddr>().is_ok() => &[name],
            _ => return Err(io::Error::other("unknown name")),
        };
        Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    fn load(text: &str) -> Result<Snapshot, Problems> {
        load_text("f.yaml", text, &mut Ids::default(), &resolve)
    }

    /// `rest` follows a valid beginning of three lines with the services `users` and `reports`.
    #[track_caller]
    fn check(rest: &str, want: &[&str]) {
        let text = format!(
            "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n\
             services: [{{ name: users, endpoints: [\"[::1]:2\"] }}, {{ name: reports, endpoints: [\"[::1]:3\"] }}]\n\
             {rest}"
        );
        check_text(&text, want);
    }

    #[track_caller]
    fn check_text(text: &str, want: &[&str]) {
        let got = load(text).map_or_else(|problems| problems.list, |_| Vec::new());
        assert_eq!(got.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{text}");
    }

    #[test]
    fn an_unknown_service_is_named_with_the_nearest_known_one() {
        check(
            "routes:\n- { name: r, service: user }\n- { name: q, paths: [/q], service: billing }",
            &[
                "f.yaml:5:23: there is no service `user`: did you mean `users`?",
                "f.yaml:6:36: there is no service `billing`: add it to `services`",
            ],
        );
    }

    #[test]
    fn a_name_is_given_once_and_needs_no_escaping() {
        check(
            "routes:\n- { name: r, paths: [/a], service: users }\n- { name: r, paths: [/b], service: users }",
            &["f.yaml:6:11: route `r` is there already, at f.yaml:5:11: give it another name"],
        );
        check(
            "routes: [{ name: \"a b\", service: users }]",
            &["f.yaml:4:18: `a b` is not a name: use 1 to 128 letters, digits, `-`, `_`, `.` or `~`"],
        );
        check_text(
            "version: 1\nlisteners:\n- { name: a, address: \"[::1]:1\" }\n- { name: a, address: \"[::1]:1\" }",
            &[
                "f.yaml:4:11: listener `a` is there already, at f.yaml:3:11: give it another name",
                "f.yaml:4:23: listener `a` has this address already, at f.yaml:3:23: use another port",
            ],
        );
    }

    #[test]
    fn a_rule_that_never_matches_is_a_problem() {
        let shadowed = "f.yaml:6:22: route `q` never matches here, as `r` matches the same: remove one of the two";
        check(
            "routes:\n- { name: r, paths: [/a/], service: users }\n- { name: q, paths: [/b/../a/], service: users }",
            &[shadowed],
        );
        check(
            "routes:\n- { name: r, paths: [/a], service: users }\n\
             - { name: q, paths: [{ exact: /a }], service: users }",
            &[],
        );
        let hosts = "routes: [{ name: r, hosts: [A.com, a.com.], service: users }]";
        check(hosts, &["f.yaml:4:18: route `r` never matches here, as `r` matches the same: remove one of the two"]);
        let regexes = "routes:
- { name: w0, service: users }
- { name: w1, service: users, headers: [{ name: a, regex: \"(\" }] }
- { name: w2, service: users, headers: [{ name: b, regex: \"(\" }] }";
        let invalid = "the regex `(` is invalid, unclosed group: write a simpler one";
        check(regexes, &[&format!("f.yaml:6:59: {invalid}"), &format!("f.yaml:7:59: {invalid}")]);
    }

    #[test]
    fn hosts_times_paths_are_bounded() {
        let words = |prefix: &str| (0..1001).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ");
        check(
            &format!("routes: [{{ name: r, hosts: [{}], service: users, paths: [{}] }}]", words("h"), words("/p")),
            &["f.yaml:4:18: more than 1000000 pairs of a host and a path: \
               split the file over several gateways, or use `*.suffix` and prefixes"],
        );
    }

    #[test]
    fn hosts_and_paths_say_what_to_write() {
        check(
            "routes: [{ name: r, service: users, hosts: [\"*\"], paths: [users, /a%] }]",
            &[
                "f.yaml:4:45: `*` is not a host: leave out `hosts` to match any",
                "f.yaml:4:59: `users` is not a path, it does not begin with a slash: write one as in `/users`",
                "f.yaml:4:66: `/a%` is not a path, a percent sign is not followed by two hexadecimal digits: \
                 write one as in `/users`",
            ],
        );
        check(
            "routes: [{ name: r, service: users, hosts: [], paths: [] }]",
            &[
                "f.yaml:4:44: no host: leave out `hosts` to match any",
                "f.yaml:4:55: no path: leave out `paths` to match any",
            ],
        );
        let long = format!("routes: [{{ name: r, service: users, paths: [/{}] }}]", "a".repeat(1024));
        check(&long, &["f.yaml:4:45: a path has more than 1024 bytes: write one as in `/users`"]);
    }

    #[test]
    fn addresses_say_what_to_write() {
        check_text(
            "version: 1\nlisteners: [{ name: a, address: \"8080\" }]\nservices:\n- name: s\n  \
             endpoints: [a, \"b:0\", \"none:1\", \
             \"lost:1\", \"six:1\", \"six:1\", \"http://a:1\", \"http://u:p@a:1\"]\n- { name: t, endpoints: [] }",
            &[
                "f.yaml:2:33: `8080` is not an address to listen on: write IP:PORT, as in `0.0.0.0:8080`",
                "f.yaml:5:15: endpoint `a` has no port: write `a:80`, or its port",
                "f.yaml:5:18: `b:0` is not an endpoint: write HOST:PORT, as in `127.0.0.1:9000`",
                "f.yaml:5:25: endpoint `none:1` has no address: correct the name, or write an IP address",
                "f.yaml:5:35: endpoint `lost:1` is not found (unknown name): correct the name, or write an IP address",
                "f.yaml:5:54: endpoint `six:1` is given twice: keep one",
                "f.yaml:5:63: `http://a:1` is not an endpoint: write HOST:PORT, as in `127.0.0.1:9000`",
                "f.yaml:5:77: `...@a:1` is not an endpoint: write HOST:PORT, as in `127.0.0.1:9000`",
                "f.yaml:6:25: service `t` has no endpoint: add one, as in `\"127.0.0.1:9000\"`",
            ],
        );
    }

    #[test]
    fn the_rest_of_the_file_says_what_to_write() {
        check_text(
            "version: 2\nlisteners: []\ntrust: { proxies: [10.0.0.1/8, lan] }\nhttp: { via: \"a b\" }",
            &[
                "f.yaml:1:10: version 2 of this file is not known: write `version: 1`",
                "f.yaml:2:12: no listener: add one, as in `{ name: public, address: \"0.0.0.0:8080\" }`",
                "f.yaml:3:20: `10.0.0.1/8` has bits set beyond its prefix: write `10.0.0.0/8`",
                "f.yaml:3:32: `lan` is not an IP address: write a network as in `10.0.0.0/8` or `::1`",
                "f.yaml:4:14: `a b` is not a name: use 1 to 128 letters, digits, `-`, `_`, `.` or `~`",
            ],
        );
    }

    #[test]
    fn nobody_speaks_openly_to_redis_by_mistake() {
        let redis = |tls: &str| format!("rate_limiting:\n  redis:\n    address: \"127.0.0.1:6379\"\n{tls}");
        let mistake = "`tls` with nothing in it: write `tls: {}`, or leave it out";
        for nothing in ["    tls:\n", "    tls: ~\n"] {
            let text = format!("version: 1\nlisteners: [{{ name: a, address: \"[::1]:1\" }}]\n{}", redis(nothing));
            let problems = load(&text).expect_err("it is refused").to_string();
            assert!(problems.contains(mistake), "{problems}");
        }
        check(&redis("    tls: {}\n"), &[]);
    }

    #[test]
    fn a_limit_that_nodes_share_without_a_redis_is_named_where_it_is() {
        let limit = "version: 1\nlisteners: [{ name: a, address: \"127.0.0.1:1\" }]\npolicies:\n\
                     - rate_limit: { requests_per_second: 9, limits: [{ requests_per_minute: 9, policy: redis }] }\n";
        let problems = load(limit).expect_err("it is refused").list;
        let told: Vec<_> = problems.iter().map(|problem| (problem.origin.line, &*problem.what)).collect();
        assert_eq!(told, [(4, "a `rate_limit` with `policy: redis`, and no Redis")]);
        let off = format!("{limit}rate_limiting: {{ enabled: false }}\n");
        assert!(load(&off).is_ok(), "it limits nobody");
    }

    #[test]
    fn a_user_of_redis_has_a_password_and_a_line_end_is_none_of_it() {
        check(
            "rate_limiting: { redis: { address: \"127.0.0.1:6379\", username: ann } }",
            &["f.yaml:4:64: the user `ann` of Redis without a password: name a `password_file`, or leave `username` \
               out"],
        );
        for (content, want) in
            [(&b"secret"[..], &b"secret"[..]), (b"a \n", b"a "), (b"a\r\n", b"a"), (b"a\n\n", b"a\n")]
        {
            assert_eq!(without_line_end(content), want);
        }
    }

    #[test]
    fn of_a_name_with_both_families_the_ipv4_addresses_are_used() {
        let text = "{version: 1, listeners: [{name: a, address: \"[::1]:1\"}], \
                    services: [{name: s, endpoints: [\"two:1\", \"six:1\"]}]}";
        let snapshot = load(text).unwrap();
        let endpoints = snapshot.plan.services[0].endpoints.iter();
        let endpoints: Vec<_> = endpoints.map(|endpoint| format!("{} {}", endpoint.name, endpoint.address)).collect();
        assert_eq!(endpoints, ["two:1 192.0.2.1:1", "two:1 192.0.2.2:1", "six:1 [2001:db8::1]:1"]);
    }

    #[test]
    fn the_closer_match_has_the_higher_rank() {
        let routes = [
            ("any", ""),
            ("late", "paths: [/a]"),
            ("deep", "paths: [/a/b]"),
            ("exact", "paths: [{ exact: /a/b }]"),
            ("wild", "hosts: [\"*.x.com\"]"),
            ("wilder", "hosts: [\"*.b.x.com\"], paths: [/a]"),
            ("host", "hosts: [a.b.x.com], paths: [/a/b/c]"),
        ];
        let routes: Vec<_> =
            routes.iter().map(|(name, rest)| format!("{{ name: {name}, service: users, {rest} }}")).collect();
        let text = format!(
            "{{version: 1, listeners: [{{name: a, address: \"[::1]:1\"}}], services: [{{name: users, endpoints: \
             [\"two:1\"]}}], routes: [{}]}}",
            routes.join(", ")
        );
        let snapshot = load(&text).unwrap();
        let find = |host: &str, path: &str| {
            let mut head = RequestHead::new();
            (head.host, head.path) = (host.into(), path.into());
            let asked = Asked { head: &head, bytes: b"", peer_is_trusted: false };
            let found = snapshot.plan.table.find(&asked, &mut Scratch::default());
            snapshot.plan.routes[found.unwrap().route].name.as_str()
        };
        assert_eq!(find("y", "/"), "any");
        assert_eq!(find("y", "/a/c"), "late");
        assert_eq!(find("y", "/a/b/c"), "deep");
        assert_eq!(find("y", "/a/b"), "exact");
        assert_eq!(find("c.x.com", "/a/b"), "wild");
        assert_eq!(find("c.b.x.com", "/a/b"), "wilder");
        assert_eq!(find("c.b.x.com", "/b"), "wild");
        assert_eq!(find("a.b.x.com", "/a/b/c/d"), "host");
        assert_eq!(find("a.b.x.com", "/a/b"), "wilder");
    }

    #[test]
    fn ids_stay_over_reloads_and_over_bad_files() {
        let mut ids = Ids::default();
        let mut service_ids = |names: &str| {
            let services = names.split(' ').map(|name| format!("{{name: {name}, endpoints: [\"six:1\"]}}"));
            let services: Vec<_> = services.collect();
            let text = format!(
                "{{version: 1, listeners: [{{name: a, address: \"[::1]:1\"}}], services: [{}]}}",
                services.join(", ")
            );
            let snapshot = load_text("f.yaml", &text, &mut ids, &resolve).ok()?;
            Some(snapshot.plan.services.iter().map(|service| service.id).collect::<Vec<_>>())
        };
        assert_eq!(service_ids("a b"), Some(vec![0, 1]));
        assert_eq!(service_ids("c c"), None);
        assert_eq!(service_ids("b d a"), Some(vec![1, 2, 0]));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_line() {
        let problems = super::load(Path::new("/nonexistent/f.yaml"), None, &mut Ids::default()).unwrap_err();
        let want = "/nonexistent/f.yaml: cannot be read (No such file or directory (os error 2)): \
                    check the path and who may read it\n";
        assert_eq!(problems.to_string(), want);
    }
}
