//! API keys from end to end: made, replaced and taken away by `shardgate key` while the gateway runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::admin::metrics;
use crate::harness::{Config, Finished, Gateway, OK, Origin, wait_until};
use crate::jwt::ask;

/// A folder with a gateway's file and a pepper; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    /// Requests to `origin` need a key of one of the `consumers`; `policies` are the route's.
    fn new(name: &str, origin: &Origin, policies: &str, consumers: &str) -> Self {
        Self::of(name, Config::to(origin).of_route(&format!("policies: {policies}")), consumers)
    }

    fn of(name: &str, config: Config, consumers: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("key-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("pepper"), "a pepper of more than 16 bytes\n").unwrap();
        let config = config.with(&format!("api_keys: {{ pepper_file: pepper }}\nconsumers:\n{consumers}"));
        fs::write(folder.join("gateway.yaml"), config.one_shard().admin().yaml()).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("gateway.yaml")
    }

    /// Runs `shardgate key` on the file.
    #[track_caller]
    fn key(&self, arguments: &[&str]) -> Finished {
        Finished::run(&[&["key"], arguments, &["--file", self.file().to_str().unwrap()]].concat())
    }

    #[track_caller]
    fn new_key(&self, consumer: &str) -> String {
        let finished = self.key(&["new", consumer]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.stdout.trim().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[track_caller]
fn status(gateway: &Gateway, key: &str) -> u16 {
    ask(gateway, &format!("X-API-Key: {key}\r\n")).status()
}

fn beginning(key: &str) -> &str {
    key.rsplit_once('_').expect("a key has a beginning").0
}

const POLICY: &str = "[{ api_key: { hide_key: true } }]";

#[test]
fn a_key_is_made_replaced_and_taken_away_while_the_gateway_runs() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("life", &origin, POLICY, "  # Ann is kept.\n  - name: ann # she\n  - { name: bob }\n");
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let first = folder.new_key("ann");
    let of_bob = folder.new_key("bob");
    let gateway = Gateway::start_on(&folder.file(), &[]);
    assert_eq!((status(&gateway, &first), status(&gateway, &of_bob), status(&gateway, "sg_none")), (200, 200, 401));
    for (request, consumer) in origin.requests().iter().zip(["ann", "bob"]) {
        assert_eq!((request.value("x-consumer-username"), request.has("x-api-key")), (Some(consumer), false));
    }

    let rotated = folder.key(&["rotate", "ann", "--grace-s", "3600"]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let second = rotated.stdout.trim();
    // Who watches the file looks at it by itself.
    wait_until("the new key", || status(&gateway, second) == 200);
    assert_eq!((status(&gateway, &first), status(&gateway, second)), (200, 200), "both are good");

    assert_eq!(folder.key(&["revoke", beginning(&first)]).code, Some(0));
    wait_until("the key is gone", || status(&gateway, &first) == 401);
    assert_eq!((status(&gateway, second), status(&gateway, &of_bob)), (200, 200));

    let text = fs::read_to_string(folder.file()).unwrap();
    assert!(text.contains("  # Ann is kept.\n  - name: ann # she\n"), "{text}");
    assert!(!text.contains(&first) && !text.contains(second) && text.contains(beginning(second)), "{text}");
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o640);
    let used =
        format!("shardgate_api_key_last_used_timestamp_seconds{{consumer=\"ann\",key=\"{}\"}} ", beginning(second));
    wait_until("its use is told", || metrics(&gateway).contains(&used));
    assert!(!metrics(&gateway).contains(beginning(&first)), "a key that is gone is not told of");
    let logged = gateway.log_lines(1)[0].clone();
    assert_eq!((&logged["consumer"], &logged["credential"]), (&"ann".into(), &beginning(&first).into()));
    assert!(!gateway.log().join("").contains(&first), "a log has no keys");
}

#[test]
fn with_another_pepper_no_key_is_good() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("pepper", &origin, POLICY, "  - name: ann\n");
    let key = folder.new_key("ann");
    let gateway = Gateway::start_on(&folder.file(), &[]);
    assert_eq!(status(&gateway, &key), 200);
    fs::write(folder.0.join("pepper"), "another one of more than 16 bytes\n").unwrap();
    wait_until("the new pepper", || status(&gateway, &key) == 401);
}

#[test]
fn the_last_good_configuration_finds_its_pepper_where_the_file_was() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("kept", &origin, POLICY, "  - name: ann\n");
    let (key, state) = (folder.new_key("ann"), folder.0.join("state"));
    fs::create_dir(&state).unwrap();
    let start = || Gateway::start_on(&folder.file(), &["--state", state.to_str().unwrap()]);
    let first = start();
    wait_until("it is kept", || state.join("last-good").exists());
    drop(first);
    fs::remove_file(folder.file()).unwrap();
    let second = start();
    assert_eq!(status(&second, &key), 200);
    assert_eq!(fs::metadata(state.join("last-good")).unwrap().permissions().mode() & 0o777, 0o600);
    drop(second);
}

/// As the volume of a Secret changes: the file is a link by way of another, and that is exchanged.
#[test]
fn a_volume_of_kubernetes_with_a_secret_that_is_renewed_is_noticed() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("secret", &origin, POLICY, "  - name: ann\n");
    let (key, pepper) = (folder.new_key("ann"), fs::read_to_string(folder.0.join("pepper")).unwrap());
    let volume = folder.0.join("secrets");
    let exchange = |version: &str, pepper: &str| {
        fs::create_dir_all(volume.join(version)).unwrap();
        fs::write(volume.join(version).join("pepper"), pepper).unwrap();
        symlink(version, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    exchange("..1", "another one of more than 16 bytes");
    symlink("..data/pepper", volume.join("pepper")).unwrap();
    let gateway = Gateway::start_on(&folder.file(), &[]);
    assert_eq!(status(&gateway, &key), 200);
    // A file that is named only now is watched from now on.
    let text = fs::read_to_string(folder.file()).unwrap();
    fs::write(folder.file(), text.replace("pepper_file: pepper", "pepper_file: secrets/pepper")).unwrap();
    wait_until("the pepper of the volume", || status(&gateway, &key) == 401);
    exchange("..2", &pepper);
    wait_until("the pepper that is renewed", || status(&gateway, &key) == 200);
    // One that cannot be used changes nothing, and when it can be used again nothing is wrong any more.
    exchange("..3", "short");
    gateway.wait_said("`secrets/pepper` has 5 bytes");
    assert_eq!((status(&gateway, &key), gateway.metric("shardgate_config_ok")), (200, 0.0));
    exchange("..4", &pepper);
    wait_until("all is well", || gateway.metric("shardgate_config_ok") == 1.0);
    assert_eq!(status(&gateway, &key), 200);
}

#[test]
fn a_refusal_is_401_with_a_challenge_a_reason_and_a_counter() {
    let origin = Origin::answering(OK);
    let policy = "[{ api_key: { places: [{ header: X-API-Key }, { query: key }, { cookie: key }] } }]";
    let folder = Folder::new("refusals", &origin, policy, "  - { name: ann }\n  - { name: bob }\n");
    let key = folder.new_key("ann");
    let finished = folder.key(&["new", "bob", "--expires-in-s", "0"]);
    let expired = finished.stdout.trim();
    let gateway = Gateway::start_on(&folder.file(), &[]);
    let mut client = gateway.client();
    let cases = [
        ("/", String::new(), "key_missing", "key_missing"),
        ("/", "X-API-Key: sg_aaaaaaaa_bbbb\r\n".to_owned(), "key_invalid", "key_unknown"),
        ("/", "X-API-Key:\r\n".to_owned(), "key_invalid", "key_malformed"),
        ("/", format!("X-API-Key: {key}, {key}\r\n"), "key_invalid", "key_malformed"),
        ("/", format!("X-API-Key: {key}\r\n").repeat(2), "key_repeated", "key_repeated"),
        ("/?key=a", format!("X-API-Key: {key}\r\n"), "key_repeated", "key_repeated"),
        ("/?key=a&%6Bey=b", String::new(), "key_repeated", "key_repeated"),
        ("/", format!("Cookie: key={key}; key={key}\r\n"), "key_repeated", "key_repeated"),
        ("/", format!("X-API-Key: {}\r\n", "x".repeat(300)), "key_invalid", "key_malformed"),
        ("/", format!("X-API-Key: {expired}\r\n"), "key_expired", "key_expired"),
    ];
    for (target, fields, kind, reason) in &cases {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 401, "{target} {fields}");
        assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"), "{reason}");
        assert_eq!(response.value("www-authenticate"), Some("ApiKey realm=\"gateway\""));
    }
    assert_eq!(origin.requests().len(), 0);
    let logged: Vec<_> = gateway.log_lines(cases.len()).iter().map(|line| line["reason"].clone()).collect();
    let reasons: Vec<_> = cases.iter().map(|(.., reason)| serde_json::Value::from(*reason)).collect();
    assert_eq!(logged, reasons);
    let last = &gateway.log_lines(cases.len())[cases.len() - 1];
    assert_eq!((&last["consumer"], &last["credential"]), (&"bob".into(), &beginning(expired).into()));
    let counted = "shardgate_policy_refusals_total{policy=\"api_key\",reason=\"key_repeated\"} 4\n";
    wait_until("the counter", || metrics(&gateway).contains(counted));
    assert!(metrics(&gateway).contains("authentication_failures_total{policy=\"api_key\",reason=\"key_expired\"} 1\n"));
}

#[test]
fn a_twin_of_the_header_is_not_looked_over() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("twins", &origin, POLICY, "  - { name: ann }\nhttp: { underscores_in_headers: true }\n");
    let key = folder.new_key("ann");
    let gateway = Gateway::start_on(&folder.file(), &[]);
    for twin in ["X_API_Key", "x-api_key", "X-Api-Key"] {
        let response = ask(&gateway, &format!("X-API-Key: {key}\r\n{twin}: {key}\r\n"));
        assert_eq!(
            (response.status(), &response.problem()["type"]),
            (401, &"urn:shardgate:problem:key_repeated".into())
        );
    }
    assert_eq!(ask(&gateway, &format!("X_API_Key: {key}\r\n")).status(), 200, "it is the same header");
    assert!(!origin.requests()[0].has("x_api_key"), "and hidden as such");
}

#[test]
fn what_cannot_be_done_to_a_file_leaves_it_as_it_is() {
    let origin = Origin::answering(OK);
    let folder = Folder::new("refused", &origin, POLICY, "  - { name: ann }\n");
    let before = fs::read_to_string(folder.file()).unwrap();
    for (arguments, words) in [
        (&["new", "eve"][..], "there is no consumer `eve`"),
        (&["rotate", "ann"], "consumer `ann` has no key"),
        (&["revoke", "sg_x"], "no consumer has a key `sg_x`"),
    ] {
        let finished = folder.key(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), before);
    let missing = Finished::run(&["key", "new", "ann", "--file", Path::new("/nonexistent").to_str().unwrap()]);
    assert_eq!(missing.code, Some(1));
}

#[test]
fn of_a_key_and_a_token_one_will_do_and_a_wrong_one_never() {
    let origin = Origin::answering(OK);
    let jwt =
        "{ jwt: { issuers: [{ issuer: i, audiences: any, algorithms: [RS256], jwks_url: \"http://127.0.0.1:1/\" }] } }";
    let folder = Folder::new("any", &origin, &format!("[{jwt}, {{ api_key: {{}} }}]"), "  - { name: ann }\n");
    let key = folder.new_key("ann");
    let gateway = Gateway::start_on(&folder.file(), &[]);
    let (key, token) = (format!("X-API-Key: {key}\r\n"), "Authorization: Bearer x\r\n".to_owned());
    for (fields, status, kind) in [
        (key.clone(), 200, ""),
        (String::new(), 401, "token_missing"),
        (token.clone(), 401, "token_invalid"),
        ([&*key, &*token].concat(), 401, "token_invalid"),
        ("X-API-Key: x\r\n".to_owned(), 401, "key_invalid"),
        ("Authorization: Basic eDp5\r\n".to_owned(), 401, "token_missing"),
    ] {
        let response = ask(&gateway, &fields);
        assert_eq!(response.status(), status, "{fields}");
        if status == 401 {
            assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"), "{fields}");
        }
    }
    let challenges = ask(&gateway, "").values("www-authenticate").join(", ");
    assert_eq!(challenges, "Bearer realm=\"gateway\", ApiKey realm=\"gateway\"");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn who_brings_nothing_is_anonymous_and_who_brings_something_wrong_is_nobody() {
    let origin = Origin::answering(OK);
    let consumers = "  - { name: ann }\n  - { name: guest, policies: [{ request_termination: { status: 418 } }] }\n";
    let folder = Folder::new("anonymous", &origin, "[{ api_key: {} }, { anonymous: { consumer: guest } }]", consumers);
    let key = folder.new_key("ann");
    let gateway = Gateway::start_on(&folder.file(), &[]);
    assert_eq!(status(&gateway, &key), 200);
    assert_eq!(ask(&gateway, "X-Anonymous-Consumer: false\r\n").status(), 418, "the guest's own policy");
    for wrong in ["x", "", &format!("{key},{key}")] {
        assert_eq!(status(&gateway, wrong), 401, "{wrong}");
    }
    let consumers: Vec<_> = gateway.log_lines(5).iter().map(|line| line["consumer"].clone()).collect();
    assert_eq!(consumers[..2], ["ann", "guest"]);
    assert!(consumers[2..].iter().all(serde_json::Value::is_null), "{consumers:?}");
    wait_until("attempts", || gateway.metric("authentication_attempts_total") == 4.0);
}

#[test]
fn a_consumers_policies_stand_in_for_its_groups_and_those_for_everybodys() {
    let origin = Origin::answering(OK);
    let ends = |status: u16| format!("policies: [{{ request_termination: {{ status: {status} }} }}]");
    let consumers = format!(
        "  - {{ name: ann, groups: [gold], {} }}\n  - {{ name: bob, groups: [gold] }}\n  - {{ name: eve }}\n\
         consumer_groups:\n  - {{ name: gold, {} }}\n",
        ends(410),
        ends(451)
    );
    let folder = Folder::new("overrides", &origin, "[{ api_key: {} }]", &consumers);
    let keys = ["ann", "bob", "eve"].map(|name| folder.new_key(name));
    let gateway = Gateway::start_on(&folder.file(), &[]);
    let statuses = || keys.each_ref().map(|key| status(&gateway, key));
    assert_eq!(statuses(), [410, 451, 200]);
    let explained = Finished::run(&["explain", folder.file().to_str().unwrap(), "GET", "http://a.test/"]);
    let line = "policy request_termination of consumer ann, of group gold\n";
    assert!(explained.stdout.contains(line), "{}", explained.stdout);
    let text = fs::read_to_string(folder.file()).unwrap();
    fs::write(folder.file(), text.replace("451", "404")).unwrap();
    wait_until("the group's other policy", || statuses() == [410, 404, 200]);
}

#[test]
fn a_split_waits_until_it_is_known_who_asks() {
    let (old, new) = (Origin::answering(OK), Origin::answering(OK));
    let tells =
        |arm: &str| format!("policies: [{{ response_transform: {{ add: {{ headers: [\"X-Arm:{arm}\"] }} }} }}]");
    let arms = "{ service: old, percent: 100 }, { service: new, percent: 0, forced_by_group: staff }";
    let by_group = format!("split: {{ arms: [{arms}] }}, paths: [/], policies: [{{ api_key: {{}} }}]");
    let halves = "{ service: old, percent: 50 }, { service: new, percent: 50 }";
    let by_name =
        format!("split: {{ arms: [{halves}], sticky_by: consumer }}, paths: [/half], policies: [{{ api_key: {{}} }}]");
    let config = Config::empty()
        .service("old", &[old.address], &tells("old"))
        .service("new", &[new.address], &tells("new"))
        .acting("by-group", &by_group)
        .acting("by-name", &by_name)
        .with("policies: [{ security_headers: {} }]");
    let names = ["ann", "bob", "eve", "tim", "kim", "joe", "sue", "max"];
    let consumer =
        |name: &str| format!("  - {{ name: {name}{} }}\n", if name == "ann" { ", groups: [staff]" } else { "" });
    let consumers = names.map(consumer).concat() + "consumer_groups: [{ name: staff }]\n";
    let folder = Folder::of("split", config, &consumers);
    let keys = names.map(|name| folder.new_key(name));
    let gateway = Gateway::start_on(&folder.file(), &[]);
    let arm = |target: &str, key: &str| {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"));
        let response = client.response();
        assert!(response.has("x-content-type-options"), "every request's policy: {response:?}");
        response.value("x-arm").map(str::to_owned)
    };
    let of_group: Vec<_> = keys.iter().map(|key| arm("/", key)).collect();
    assert_eq!(of_group[0].as_deref(), Some("new"));
    assert!(of_group[1..].iter().all(|arm| arm.as_deref() == Some("old")), "{of_group:?}");
    let dealt: Vec<_> = keys.iter().map(|key| arm("/half", key)).collect();
    assert!(dealt.iter().flatten().any(|arm| arm == "new") && dealt.iter().flatten().any(|arm| arm == "old"));
    for _ in 0..3 {
        assert_eq!(keys.iter().map(|key| arm("/half", key)).collect::<Vec<_>>(), dealt, "each keeps its arm");
    }
    assert_eq!(arm("/", "x"), None);
    let lines = gateway.log_lines(5 * names.len() + 1);
    assert_eq!((&lines[0]["route"], &lines[0]["service"]), (&"by-group".into(), &"new".into()));
    let refused = lines.last().unwrap();
    assert_eq!((&refused["status"], &refused["route"]), (&401.into(), &"by-group".into()));
    assert!(refused["service"].is_null(), "{refused}");
}

#[test]
fn a_log_has_no_key_that_came_in_a_query_wherever_the_request_ended() {
    let origin = Origin::answering(OK);
    for hide_key in [false, true] {
        let places = "places: [{ header: X-API-Key }, { query: apikey }]";
        let policies = format!("policies: [{{ api_key: {{ {places}, hide_key: {hide_key} }} }}]");
        let config = Config::empty().service("origin", &[origin.address], "");
        let config = config.route("closed", "origin", &format!("paths: [/closed], {policies}"));
        let redirect = "redirect: { host: other.test }";
        let config = config.acting("moved", &format!("paths: [/moved], {redirect}, {policies}"));
        let folder = Folder::of(&format!("query-{hide_key}"), config, "  - { name: ann }\n");
        let key = folder.new_key("ann");
        let gateway = Gateway::start_on(&folder.file(), &[]);
        for (target, fields, status, logged) in [
            ("/closed?a=1&apikey=", "", 200, if hide_key { "a=1" } else { "a=1&apikey=" }),
            ("/closed?a=1&%61pikey=", "X-API-Key: another\r\n", 401, "a=1&%61pikey="),
            ("/none?apikey=", "", 404, "apikey="),
            ("/moved?a=1&apikey=", "", 302, if hide_key { "a=1" } else { "a=1&apikey=" }),
        ] {
            let mut client = gateway.client();
            client.send(format!("GET {target}{key} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            let response = client.response();
            assert_eq!(response.status(), status, "{target}");
            let is_told = response.value("location").is_some_and(|location| location.contains(&key));
            assert_eq!(is_told, status == 302 && !hide_key, "{response:?}");
            wait_until("the line", || {
                gateway.log().last().is_some_and(|line| line.contains(&format!("\"status\":{status}")))
            });
            let line: serde_json::Value = serde_json::from_str(gateway.log().last().unwrap()).unwrap();
            assert_eq!(line["query"], logged, "{line}");
        }
        assert!(!gateway.log().join("").contains(&key), "a log has no keys");
    }
}
