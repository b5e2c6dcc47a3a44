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
fn explain_believes_a_client_nothing_that_only_a_trusted_peer_may_say() {
    let secure = "  - { name: secure, headers: [{ name: X-Forwarded-Proto, exact: https }], service: users }\n";
    let path = file("trusted", &YAML.replace("  - { name: rest,", &format!("{secure}  - {{ name: rest,")));
    let asked = ["explain", path.to_str().unwrap(), "GET", "http://other/", "-H", "X-Forwarded-Proto: https"];
    let (client, peer) = (Finished::run(&asked), Finished::run(&[&asked[..], &["--trusted"]].concat()));
    for words in ["route rest\n", "not secure: header x-forwarded-proto=https differs\n"] {
        assert!(client.stdout.contains(words), "{}", client.stdout);
    }
    assert!(peer.stdout.contains("route secure\n"), "{}", peer.stdout);
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
        ("paths: [{ regex: \"/.*a.{40}\" }]", "would need a table of more than 262144 bytes"),
        (
            "split: { arms: [{ service: rest, percent: 1 }] }",
            "more than one of `service`, `split`, `redirect` and `respond`",
        ),
        ("rewrite: { strip_path: true }, paths: [{ regex: \"/a.*\" }]", "a regex has no prefix to replace"),
        ("rewrite: { strip_path: true, path: { prefix: /b } }", "both `strip_path` and `path`: keep one"),
        ("rewrite: { path: { prefix: b } }", "`b` is not a path, it does not begin with a slash"),
        (
            "rewrite: { path: { regex: { matches: \"/(a)\", to: \"/$2\" } } }",
            "`/$2` names a group that the regex has not",
        ),
        ("rewrite: { path: { regex: { matches: \"/(a)\", to: \"$\" } } }", "neither a number nor `{name}` nor `$`"),
        ("rewrite: { path: { regex: { matches: \"/(a)\", to: \"b$1\" } } }", "that makes no path, it does not begin"),
        ("rewrite: { path: { regex: { matches: \"/(a)\", to: \"/%$1\" } } }", "that makes no path, a percent sign"),
        ("rewrite: { host: \"a b\" }", "`a b` is not a host"),
        ("paths: [{ regex: \"users/.*\" }]", "the regex `users/.*` never matches, as a path begins with a slash"),
    ] {
        let refused =
            Finished::run_on("check", &YAML.replace("- { name: rest, ", &format!("- {{ name: rest, {demand}, ")));
        assert_eq!(refused.code, Some(1), "{demand}");
        assert!(refused.stderr.contains(problem), "{demand}: {}", refused.stderr);
    }
}

#[test]
fn check_says_what_is_wrong_with_an_action() {
    for (action, problem) in [
        ("priority: 1", "the route does nothing: add `service`, `split`, `redirect` or `respond`"),
        ("redirect: {}", "a redirect to where it came from: add `scheme`, `host`, `port` or `path`"),
        ("redirect: { scheme: https, status: 304 }", "304 does not redirect: write 301, 302, 303, 307 or 308"),
        ("redirect: { scheme: ftp }", "unknown value `ftp`"),
        ("redirect: { host: \"a:80\" }", "`a:80` is not a host"),
        ("redirect: { scheme: https }, rewrite: { strip_path: true }", "`rewrite` without a service"),
        ("respond: { status: 204, body: x }", "an answer of status 204 has no body: remove it"),
        ("respond: { status: 99 }", "write a whole number from 200 to 599"),
        (
            "respond: { headers: [{ name: Content-Length, value: \"3\" }] }",
            "`Content-Length` is written by the gateway",
        ),
        ("respond: { headers: [{ name: A, value: \"b\\r\\nC: d\" }] }", "`A` is no header"),
        ("split: { arms: [] }", "0 arms: write 1 to 16"),
        ("split: { arms: [{ service: rest, percent: 99.99 }] }", "the arms have 99.99 % together: make it 100"),
        ("split: { arms: [{ service: rest, percent: 0.001 }] }", "a number from 0 to 100 in steps of 0.01"),
        ("split: { arms: [{ service: rest, percent: -1 }] }", "a number from 0 to 100 in steps of 0.01"),
        ("split: { arms: [{ service: none, percent: 100 }] }", "there is no service `none`"),
        ("split: { arms: [{ service: rest, percent: 100 }], sticky_by: { cookie: \"a b\" } }", "`a b` is not a name"),
    ] {
        let refused = Finished::run_on(
            "check",
            &YAML.replace("{ name: rest, service: rest }", &format!("{{ name: rest, {action} }}")),
        );
        assert_eq!(refused.code, Some(1), "{action}");
        assert!(refused.stderr.contains(problem), "{action}: {}", refused.stderr);
    }
    let long = format!("respond: {{ body: {} }}", "x".repeat(16_385));
    let refused =
        Finished::run_on("check", &YAML.replace("{ name: rest, service: rest }", &format!("{{ name: rest, {long} }}")));
    assert!(refused.stderr.contains("more than 16384 bytes: let a service answer"), "{}", refused.stderr);
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
    let arms = "split: { arms: [{ service: users, percent: 50 }, { service: rest, percent: 50 }] }";
    let split = with.replace("{ name: rest, service: rest }", &format!("{{ name: rest, methods: [PUT], {arms} }}"));
    let path_of_split = file("policies-split", &split);
    let explained = Finished::run(&["explain", path_of_split.to_str().unwrap(), "PUT", "http://other/"]).stdout;
    for words in [
        "by * / [method PUT]\n",
        "policy ip_filter of the service on the way to users\n",
        "policy ip_filter of every request on the way to rest\n",
    ] {
        assert!(explained.contains(words), "{explained}");
    }
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

#[test]
fn the_environment_chooses_a_profile_and_the_command_line_another() {
    let path = file("environment", YAML);
    let asked = ["explain", path.to_str().unwrap(), "GET", "http://other/more"];
    for (more, route) in [(&[][..], "route more\n"), (&["--profile", "production"][..], "route rest\n")] {
        let finished = Finished::run_in(&[("SHARDGATE_PROFILE", "staging")], &[&asked, more].concat());
        assert!(finished.stdout.contains(route), "no {route:?} in {}{}", finished.stdout, finished.stderr);
    }
}

/// As units and compose files may leave one. On the command line it is a mistake.
#[test]
fn a_variable_that_is_empty_is_not_set() {
    let empty = [("SHARDGATE_PROFILE", ""), ("STATE_DIRECTORY", ""), ("SHARDGATE_CONTROL", "")];
    let path = file("empty", YAML);
    let checked = Finished::run_in(&empty, &["check", path.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let run = Finished::run_in(&empty, &["run", "/nonexistent/shardgate.yaml"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("/nonexistent/shardgate.yaml"), "{}", run.stderr);
    assert_eq!(Finished::run(&["run", "/nonexistent/shardgate.yaml", "--state", ""]).code, Some(2));
}

#[test]
fn the_schema_is_printed_as_it_stands_in_the_repository() {
    let printed = Finished::run(&["schema"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/shardgate.schema.json");
    assert_eq!((printed.code, printed.stdout), (Some(0), std::fs::read_to_string(file).unwrap()));
}
