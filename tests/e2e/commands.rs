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
    assert_eq!(changed.code, Some(3));
    assert_eq!(Finished::run(&["plan", old]).code, Some(2), "a command line that makes no sense");
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
            "service users\n",
            "endpoint 127.0.0.1:2",
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
}

#[test]
fn explain_lists_the_policies_in_their_order_and_plan_says_which_changed() {
    let policies = "policies: [{ request_termination: { status: 410 } }, { ip_filter: { deny: [10.0.0.0/8] } }]
services: [";
    let own = "127.0.0.1:2\"], policies: [{ ip_filter: { deny: [10.1.0.0/16] } }]";
    let with = YAML.replace("services: [", policies).replace("127.0.0.1:2\"]", own);
    let path = file("policies", &with);
    let explained = Finished::run(&["explain", path.to_str().unwrap(), "GET", "http://api.example.com/users"]);
    let wanted = "policy ip_filter of the service\npolicy request_termination of every request\n";
    assert!(explained.stdout.contains(wanted), "{}", explained.stdout);
    let changed = file("policies-changed", &with.replace("10.1.0.0", "10.2.0.0").replace("410", "418"));
    let plan = Finished::run(&["plan", path.to_str().unwrap(), changed.to_str().unwrap()]).stdout;
    for words in ["~ policy ip_filter of service users\n", "~ policy request_termination of every request\n"] {
        assert!(plan.contains(words), "{plan}");
    }
}

#[test]
fn a_profile_that_is_not_chosen_is_checked_too() {
    let wrong = Finished::run_on("check", &YAML.replace("service: rest }] }", "service: none }] }"));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("there is no service `none`"), "{}", wrong.stderr);
}
