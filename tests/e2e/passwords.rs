//! Requests that need a user name and a password: who gets in, and what those cost who do not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Config, Gateway, Message, OK, Origin, wait_until};

/// "secret", at the cost that argon2's authors advise.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2hhcmRnYXRlLXNhbHQxNg$a0bamBf13lji0xeMdAfpv2RMco3itcTEmtllJ1hZ4is";
const POLICY: &str = "policies: [{ basic_auth: { hide_password: true } }]";

fn consumers() -> String {
    format!("consumers: [{{ name: Ann, passwords: [{{ username: ann, hash: \"{HASH}\" }}] }}]")
}

fn ask(gateway: &Gateway, fields: &str) -> Message {
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.response()
}

/// `ann:secret`
const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";

#[test]
fn who_knows_the_password_gets_in_and_the_service_learns_who() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(POLICY).with(&consumers()).one_shard().admin());
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Consumer-Username: root\r\n{ANN}\r\n"));
        assert_eq!(client.response().status(), 200);
    }
    for request in origin.requests() {
        assert_eq!((request.value("x-consumer-username"), request.has("authorization")), (Some("Ann"), false));
    }
    for line in gateway.log_lines(3) {
        assert_eq!((&line["consumer"], &line["credential"]), (&"Ann".into(), &"ann".into()), "{line}");
    }
}

#[test]
fn who_does_not_is_told_what_to_bring() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route(POLICY).with(&consumers()).one_shard().admin());
    let cases = [
        ("", "password_missing"),
        ("Authorization: Bearer x\r\n", "password_missing"),
        ("Authorization: Basic YW5uOnNlY3JlVA==\r\n", "password_wrong"),
        ("Authorization: Basic Ym9iOnNlY3JldA==\r\n", "password_wrong"),
        ("Authorization: Basic YW5uOnNlY3JldA\r\n", "password_malformed"),
        (&format!("{ANN}{ANN}"), "password_repeated"),
    ];
    for (fields, kind) in cases {
        let response = ask(&gateway, fields);
        assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"), "{fields}");
        let challenge = response.value("www-authenticate");
        assert_eq!((response.status(), challenge), (401, Some("Basic realm=\"gateway\", charset=\"UTF-8\"")));
        let metric = format!("shardgate_policy_refusals_total{{policy=\"basic_auth\",reason=\"{kind}\"}}");
        wait_until(&metric, || gateway.metric(&metric) > 0.0);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn who_brings_none_may_be_a_guest_and_who_brings_a_wrong_one_is_not() {
    let origin = Origin::answering(OK);
    let policies = "policies: [{ basic_auth: {} }, { anonymous: { consumer: guest } }]";
    let consumers = consumers().replace("[{ name: Ann", "[{ name: guest }, { name: Ann");
    let gateway = Gateway::start(&Config::to(&origin).of_route(policies).with(&consumers));
    for (fields, status) in [("", 200), (ANN, 200), ("Authorization: Basic YW5uOnNlY3JlVA==\r\n", 401)] {
        assert_eq!(ask(&gateway, fields).status(), status, "{fields}");
    }
    let [guest, ann] = origin.requests().try_into().expect("two came");
    assert_eq!((guest.has("x-anonymous-consumer"), ann.has("x-anonymous-consumer")), (true, false));
    assert_eq!((ann.value("x-consumer-username"), ann.has("authorization")), (Some("Ann"), true));
}

/// Passwords are verified elsewhere: a shard that has many to verify serves everybody else as before.
#[test]
fn guesses_neither_hold_up_a_shard_nor_get_verified_without_end() {
    let origin = Origin::answering(OK);
    let config = Config::empty()
        .service("s", &[origin.address], "")
        .route("closed", "s", &format!("paths: [/closed], {POLICY}"))
        .route("open", "s", "paths: [/]")
        .with(&consumers())
        .one_shard();
    let gateway = Gateway::start(&config);
    let mut guessers: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    for (number, guesser) in guessers.iter_mut().enumerate() {
        // `ann:`, a digit and another character each.
        let (digit, last) = (["A", "E"][number / 20], char::from(b'g' + (number % 20) as u8));
        let guess = format!("YW5uOj{digit}{last}");
        guesser.send(format!("GET /closed HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {guess}\r\n\r\n"));
    }
    let mut client = gateway.client();
    for _ in 0..50 {
        let asked = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    let mut statuses: Vec<u16> = guessers
        .iter_mut()
        .map(|guesser| {
            let response = guesser.response();
            assert_eq!(response.has("retry-after"), response.status() != 401, "{response:#?}");
            response.status()
        })
        .collect();
    statuses.sort_unstable();
    statuses.dedup();
    let is_expected = statuses.iter().all(|status| [401, 429, 503].contains(status));
    assert!(is_expected && statuses.contains(&401) && statuses.contains(&503), "four at one time: {statuses:?}");
}

#[test]
fn another_hash_in_the_file_ends_what_was_known() {
    let origin = Origin::answering(OK);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("passwords-{}.yaml", std::process::id()));
    let write = |consumers: &str| {
        fs::write(&file, Config::to(&origin).of_route(POLICY).with(consumers).one_shard().yaml()).unwrap();
    };
    write(&consumers());
    let gateway = Gateway::start_on(&file, &[]);
    assert_eq!(ask(&gateway, ANN).status(), 200);
    write(&consumers().replace("hZ4is", "hZ4iw"));
    gateway.wait_said("configuration 1 is in force");
    wait_until("the shard has it", || ask(&gateway, ANN).status() == 401);
}
