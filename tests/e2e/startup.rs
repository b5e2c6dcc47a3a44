//! A gateway that cannot start says why in one line that helps, ends with 1, and has served nobody.

use std::net::TcpListener;

use crate::harness::{Config, Finished, Gateway, OK, Origin, nobody, tool, wait_until};

/// Ends with 1, having said nothing but one line on stderr, which holds each of `words`.
#[track_caller]
fn check(finished: &Finished, words: &[&str]) {
    let stderr = finished.stderr.trim_end();
    assert_eq!(finished.code, Some(1), "{stderr}");
    assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    assert!(!stderr.contains("listening on") && !stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in {stderr:?}");
    }
}

#[track_caller]
fn check_one_line(finished: &Finished, words: &[&str]) {
    check(finished, words);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
}

/// So few connections that no machine has too few descriptors for them, which would be another line.
fn alone(address: &str) -> Config {
    Config::empty().listen(address).with("limits: { connections_max: 100 }")
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let finished = Finished::run_on("run", &alone(&address.to_string()).yaml());
    check_one_line(&finished, &[&address.to_string(), "in use"]);
}

/// Two gateways on one port would each get some of the connections, which nobody would understand.
#[test]
fn a_second_gateway_on_the_same_port_does_not_start() {
    let origin = Origin::answering(OK);
    let first = Gateway::start(&Config::to(&origin));
    let finished = Finished::run_on("run", &alone(&first.address.to_string()).yaml());
    check_one_line(&finished, &[&first.address.to_string(), "in use"]);
    assert_eq!(first.get("/").status(), 200);
}

#[test]
fn an_address_of_another_machine_is_one_clear_line() {
    let finished = Finished::run_on("run", &alone("192.0.2.1:8080").yaml());
    check_one_line(&finished, &["192.0.2.1:8080", "not one of this machine's"]);
    assert!(!finished.stderr.contains("descriptors"), "{}", finished.stderr);
}

/// In a network of its own, where low ports are guarded whatever the machine's settings, and without the right to them.
#[test]
fn a_missing_permission_is_one_clear_line() {
    tool("unshare");
    tool("setpriv");
    let wrapper = ["unshare", "--net", "setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"];
    let finished = Finished::run_by(&wrapper, &alone("0.0.0.0:80"));
    check_one_line(&finished, &["0.0.0.0:80", "ermission"]);
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    for command in ["run", "check"] {
        check_one_line(&Finished::run(&[command, "/nonexistent/shardgate.yaml"]), &["/nonexistent/shardgate.yaml"]);
        check_one_line(&Finished::run(&[command, "/"]), &["/"]);
    }
}

#[test]
fn a_bad_configuration_never_starts() {
    let good = Config::to_addresses(&[nobody()]).yaml();
    assert_eq!(Finished::run_on("check", &good).code, Some(0));
    for (yaml, words) in [
        (String::new(), &[".yaml"][..]),
        ("version: 2\n".to_owned(), &[".yaml:"]),
        ("nonsense\n".to_owned(), &[".yaml:1:"]),
        ("version: 1\nlisteners: [\n".to_owned(), &[".yaml:"]),
        (format!("{good}lisen: []\n"), &[".yaml:", "lisen"]),
        (format!("{good}limits: {{ head_bytes_maxx: 1 }}\n"), &[".yaml:", "head_bytes_maxx", "head_bytes_max"]),
        (good.replace("service: origin", "service: orign"), &[".yaml:", "orign", "origin"]),
        (good.replace("127.0.0.1:0", "127.0.0.1"), &[".yaml:3:", "127.0.0.1"]),
        (good.replace("127.0.0.1:0", "127.0.0.1:99999"), &[".yaml:3:", "99999"]),
        (format!("{good}trust: {{ proxies: [\"10.0.0.1/8\"] }}\n"), &[".yaml:", "10.0.0.0/8"]),
        (format!("{good}limits: {{ idle_timeout_ms: soon }}\n"), &[".yaml:", "soon"]),
    ] {
        for command in ["run", "check"] {
            check(&Finished::run_on(command, &yaml), words);
        }
    }
}

#[test]
fn check_sums_a_good_file_up() {
    let finished = Finished::run_on("check", &Config::to_addresses(&[nobody()]).yaml());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(finished.stdout.contains(": ok: ") && finished.stdout.contains("1 route"), "{}", finished.stdout);
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&[][..], &["rnu"], &["run"], &["check", "a", "b"], &["echo", "not-an-address"]] {
        let finished = Finished::run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_threads_beside_shards_give_way_to_them() {
    let gateway = Gateway::start(&Config::empty());
    let of_shards = gateway.niceness_of("shard-");
    // As the whole suite may be nice already, and 19 is as nice as it gets.
    let nicer = (of_shards + 10).min(19);
    // The first thread has the program's name.
    for thread in ["shardgate", "log", "answers-"] {
        wait_until("it has given way", || gateway.niceness_of(thread) == nicer);
    }
}

/// The most that it can do with so few descriptors is to say so.
#[test]
fn too_few_descriptors_are_one_clear_line() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start_with_descriptors(&Config::to(&origin), 40);
    assert_eq!(gateway.get("/").status(), 200);
    let stderr = gateway.stderr();
    let warnings: Vec<&String> = stderr.iter().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.len(), 1, "{stderr:#?}");
    assert!(warnings[0].contains("limited to 40") && warnings[0].contains("ulimit -n"), "{stderr:#?}");
}
