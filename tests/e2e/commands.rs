//! The commands that say what a configuration means.

use std::fs;
use std::path::PathBuf;

use crate::harness::Finished;

fn file(name: &str, yaml: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commands-{}-{name}", std::process::id()));
    fs::write(&path, yaml).unwrap();
    path
}

const YAML: &str = "version: 1
listeners: [{ name: public, address: \"127.0.0.1:1\" }]
services: [{ name: users, endpoints: [\"127.0.0.1:2\"] }, { name: rest, endpoints: [\"127.0.0.1:3\"] }]
routes:
  - { name: users, hosts: [api.example.com], paths: [/users], service: users }
  - { name: me, hosts: [api.example.com], paths: [{ exact: /users/me }], service: users }
  - { name: write, hosts: [api.example.com], paths: [/users], methods: [PUT], cookies: [{ name: id }], service: users }
  - { name: rest, service: rest }
profiles: { staging: { routes: [{ name: more, paths: [/more], service: rest }] } }
";

#[test]
fn plan_says_what_changes_by_its_exit_code_too() {
    let (old, new) = (file("old", YAML), file("new", &YAML.replace("127.0.0.1:3", "127.0.0.1:4")));
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let same = Finished::run(&["plan", old, old]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""));
    let changed = Finished::run(&["plan", old, new]);
    assert_eq!(changed.code, Some(2));
    assert_eq!(
        changed.stdout,
        "~ service rest\n    endpoints: 127.0.0.1:3 (127.0.0.1:3) -> 127.0.0.1:4 (127.0.0.1:4)\n"
    );
    assert_eq!(Finished::run(&["plan", old, "/nonexistent"]).code, Some(1));
}

#[track_caller]
fn check(arguments: &[&str], words: &[&str]) {
    let path = file("explain", YAML);
    let finished = Finished::run(&[&["explain", path.to_str().unwrap()], arguments].concat());
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for word in words {
        assert!(finished.stdout.contains(word), "no {word:?} in {}", finished.stdout);
    }
}

#[test]
fn explain_says_which_route_and_why_no_nearer_one() {
    check(
        &["GET", "http://API.example.com:8080/a/../users/7"],
        &[
            "host api.example.com\n",
            "path /users/7\n",
            "route users\n",
            "by api.example.com /users\n",
            "service users\n",
            "endpoint 127.0.0.1:2",
            "not write: method PUT, cookie id differ\n",
            "not me: path =/users/me differs\n",
        ],
    );
    check(&["GET", "http://other/users"], &["route rest\n", "not users: host api.example.com differs\n"]);
    check(
        &["GET", "http://other/", "-H", "Host: api.example.com"],
        &["route rest\n", "not users: path /users differs\n"],
    );
    check(&["GET", "http://other/more", "--profile", "staging"], &["route more\n"]);
    check(&["GET", "http://other/%zz"], &["refused: "]);
    check(&["PUT", "http://api.example.com/users"], &["route users\n", "not write: cookie id differs\n"]);
    check(
        &["PUT", "http://api.example.com/users", "-H", "Cookie: id=7"],
        &["route write\n", "by api.example.com /users [method PUT] [cookie id]\n", "not me: path =/users/me differs\n"],
    );
}

#[test]
fn check_warns_of_what_is_never_reached_and_refuses_what_cannot_be() {
    let closed = YAML.replace("{ name: rest, service: rest }", "{ name: rest, service: rest, priority: 9 }");
    let warned = Finished::run_on("check", &closed);
    assert_eq!(warned.code, Some(0), "{}", warned.stderr);
    for name in ["users", "me", "write"] {
        let warning = format!("warning: route `{name}` never matches: `rest` comes first wherever it would\n");
        assert!(warned.stdout.contains(&warning), "{}", warned.stdout);
    }
    assert!(!Finished::run_on("check", YAML).stdout.contains("warning"));
    for (demand, problem) in [
        ("methods: [get]", "`get` is not how clients write a method: write `GET`"),
        ("methods: []", "no method: leave out `methods` to match any"),
        (
            "headers: [{ name: a, exact: b }, { name: A, exact: c }]",
            "no request has both `header a=b` and `header a=c`",
        ),
        ("headers: [{ name: \"a b\" }]", "`a b` is not a name: write the name alone, as in `x-version`"),
        ("cookies: [{ name: a, exact: b, regex: c }]", "both `exact` and `regex`: keep one"),
        ("query: [{ name: a, regexp: c }]", "unknown key `regexp`: did you mean `regex`?"),
        ("query: [{ name: a }, { name: a }]", "`query a` is demanded twice: remove one of the two"),
        ("headers: [{ name: a, regex: \"(\" }]", "the regex `(` is invalid, unclosed group: write a simpler one"),
        ("paths: [{ regex: \"/((a{99}){99}){99}\" }]", "would need more than 65536 bytes: write a simpler one"),
        ("paths: [{ regex: \"users/.*\" }]", "the regex `users/.*` never matches, as a path begins with a slash"),
    ] {
        let refused =
            Finished::run_on("check", &YAML.replace("- { name: rest, ", &format!("- {{ name: rest, {demand}, ")));
        assert_eq!(refused.code, Some(1), "{demand}");
        assert!(refused.stderr.contains(problem), "{demand}: {}", refused.stderr);
    }
}

#[test]
fn a_profile_that_is_not_chosen_is_checked_too() {
    let wrong = Finished::run_on("check", &YAML.replace("service: rest }] }", "service: none }] }"));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("there is no service `none`"), "{}", wrong.stderr);
}
