//! A configuration that changes while the gateway runs, and one that cannot be used.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Config, Gateway, Message, OK, Origin, Wire, tool, wait_until};

/// A folder of its own for the file and what is kept.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn status(gateway: &Gateway) -> serde_json::Value {
    serde_json::from_str(&gateway.ask_admin("/status").text()).unwrap()
}

fn ask(client: &mut Wire) -> Message {
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response()
}

/// Asks on one connection until the answer has this status; the connection and that answer.
#[track_caller]
fn wait_answered(client: Wire, status: u16) -> (Wire, Message) {
    let (client, last) = (RefCell::new(client), RefCell::new(None));
    wait_until(&format!("the answer is {status}"), || {
        let answer = ask(&mut client.borrow_mut());
        let is_it = answer.status() == status;
        last.replace(Some(answer));
        is_it
    });
    let answer = last.take().expect("there was an answer");
    (client.into_inner(), answer)
}

#[test]
fn a_new_file_is_in_force_at_once_and_closes_no_connection() {
    let (origin, folder) = (Origin::answering(OK), folder("new"));
    let file = folder.join("gateway.yaml");
    fs::write(&file, Config::to(&origin).admin().yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let mut kept = gateway.client();
    kept.send("GET /old HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(kept.response().status(), 200);

    // As Kubernetes and editors do it: another file takes its place.
    let narrowed = Config::empty().service("origin", &[origin.address], "").route("new", "origin", "paths: [/new]");
    let narrowed = narrowed.admin();
    fs::write(folder.join("next"), narrowed.yaml()).unwrap();
    fs::rename(folder.join("next"), &file).unwrap();
    gateway.wait_said("configuration 1 is in force");
    wait_until("every shard has it", || (0..10).all(|_| gateway.get("/old").status() == 404));
    for (target, want) in [("/old", 404), ("/new", 200)] {
        kept.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(kept.response().status(), want, "on the connection from before");
    }

    fs::write(&file, "version: 1\nlisteners: nonsense\n").unwrap();
    gateway.wait_said("the configuration in force stays");
    assert_eq!(gateway.get("/new").status(), 200);
    // Who asks while it is as bad as before is told so, and nothing is counted twice.
    gateway.signal(Signal::HUP);
    let is_told = |line: &&String| line.contains("the configuration in force stays");
    wait_until("it is said again", || gateway.stderr().iter().filter(is_told).count() == 2);
    let known = status(&gateway);
    let told = known["shardgate"]["configuration"]["error"].as_str().unwrap();
    assert!(told.contains("gateway.yaml:2:12") && !told.contains("nonsense"), "everybody may read it: {told}");
    assert_eq!(known["shardgate"]["configuration"]["rejected"], 1);
    assert_eq!((gateway.metric("shardgate_config_rejected_total"), gateway.metric("shardgate_config_ok")), (1.0, 0.0));

    // Whoever takes the mistake back is told so.
    let error = || status(&gateway)["shardgate"]["configuration"]["error"].clone();
    fs::write(&file, narrowed.yaml()).unwrap();
    gateway.wait_said("the file says again what is in force");
    assert!(error().is_null(), "{}", error());

    fs::remove_file(&file).unwrap();
    gateway.wait_said("cannot be read");
    assert_eq!(gateway.get("/new").status(), 200);
    assert_eq!(gateway.metric("shardgate_config_rejected_total"), 2.0);
    // It comes back as it was when it was last good: nothing has changed, and nothing is wrong any more.
    fs::write(&file, narrowed.yaml()).unwrap();
    wait_until("all is well", || gateway.metric("shardgate_config_ok") == 1.0);
    assert_eq!(gateway.metric("shardgate_config_generation"), 1.0);
    fs::remove_dir_all(folder).unwrap();
}

/// As the volume of a ConfigMap changes: the file is a link by way of another, and that is exchanged.
#[test]
fn a_volume_of_kubernetes_that_is_exchanged_is_noticed() {
    let (origin, folder) = (Origin::answering(OK), folder("volume"));
    let exchange = |version: &str, config: &Config| {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("gateway.yaml"), config.yaml()).unwrap();
        symlink(version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    exchange("..1", &Config::to(&origin));
    let file = folder.join("gateway.yaml");
    symlink("..data/gateway.yaml", &file).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    assert_eq!(gateway.get("/").status(), 200);
    exchange("..2", &Config::empty());
    fs::remove_dir_all(folder.join("..1")).unwrap();
    gateway.wait_said("configuration 1 is in force");
    wait_until("every shard has it", || (0..10).all(|_| gateway.get("/").status() == 404));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_listener_opens_and_closes_with_its_configuration() {
    let (origin, folder) = (Origin::answering(OK), folder("listeners"));
    let file = folder.join("gateway.yaml");
    let yaml = Config::to(&origin).yaml();
    fs::write(&file, &yaml).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = yaml.replace("runtime:", &format!("  - {{ name: second, address: \"{free}\" }}\nruntime:"));
    fs::write(&file, more).unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_said("configuration 1 is in force");
    wait_until("somebody listens there", || std::net::TcpStream::connect(free).is_ok());
    let mut second = Wire::connect(free);
    assert_eq!(ask(&mut second).status(), 200);
    fs::write(&file, &yaml).unwrap();
    gateway.wait_said("configuration 2 is in force");
    wait_until("nobody listens there", || std::net::TcpStream::connect(free).is_err());
    let gone = wait_answered(second, 503).1;
    assert_eq!(gone.problem()["type"], "urn:shardgate:problem:listener_gone", "who was connected is not served there");
    assert!(gone.closes() && gone.has("retry-after"), "{gone:?}");
    fs::remove_dir_all(folder).unwrap();
}

/// Addresses that nobody else listens at.
fn two_free() -> [SocketAddr; 2] {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap())
}

#[test]
fn a_connection_from_before_meets_what_its_listener_has_now_whatever_that_is_called() {
    let (origin, folder) = (Origin::answering(OK), folder("renamed"));
    let file = folder.join("gateway.yaml");
    let yaml = Config::to(&origin).one_shard().yaml();
    let (before, after) = (yaml.find("  - { name: public").unwrap(), yaml.find("runtime:").unwrap());
    let write = |listeners: &[(&str, SocketAddr, &str)]| {
        let listener = |(name, address, denied): &(&str, SocketAddr, &str)| {
            let policies = format!("policies: [{{ ip_filter: {{ deny: [{denied}] }} }}]");
            format!("  - {{ name: {name}, address: \"{address}\", {policies} }}\n")
        };
        let listeners: String = listeners.iter().map(listener).collect();
        fs::write(&file, [&yaml[..before], &listeners, &yaml[after..]].concat()).unwrap();
    };
    let ([first, second], nobody, everybody) = (two_free(), "10.0.0.0/8", "127.0.0.0/8");
    write(&[("a", first, nobody), ("b", second, nobody)]);
    let gateway = Gateway::start_on(&file, &[]);
    let (at_first, at_second) = (Wire::connect(first), Wire::connect(second));
    let (at_first, at_second) = (wait_answered(at_first, 200).0, wait_answered(at_second, 200).0);

    write(&[("b", first, everybody), ("a", second, nobody)]);
    let (at_first, mut at_second) = (wait_answered(at_first, 403).0, at_second);
    assert_eq!(ask(&mut at_second).status(), 200, "they have changed names");

    write(&[("c", first, nobody), ("d", second, everybody)]);
    let (mut at_first, at_second) = (at_first, wait_answered(at_second, 403).0);
    assert_eq!(ask(&mut at_first).status(), 200, "they have new names");

    write(&[("c", first, nobody)]);
    wait_answered(at_second, 503);
    assert_eq!(ask(&mut at_first).status(), 200);
    gateway.wait_said("configuration 3 is in force");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_request_meets_listener_and_route_of_one_configuration() {
    let (origin, folder) = (Origin::answering(OK), folder("between"));
    let file = folder.join("gateway.yaml");
    let config = || Config::to(&origin).one_shard();
    let denies = "policies: [{ ip_filter: { deny: [127.0.0.0/8] } }]";
    fs::write(&file, config().of_route(denies).yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let mut slow = gateway.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n");
    assert_eq!(gateway.get("/none").status(), 403, "the beginning of the other head is there too");
    // The listener that lets everybody in is of the old file, the route of the new one.
    fs::write(&file, config().of_listener(denies).yaml()).unwrap();
    gateway.wait_said("configuration 1 is in force");
    gateway.get("/");
    slow.send("\r\n");
    assert_eq!(slow.response().status(), 403);
    assert_eq!(origin.requests().len(), 0);

    // A listener that wants the whole body has let in by one file what the next one has routes for.
    let transforms = "policies: [{ request_transform: { add: { body: [\"a:b\"] } } }]";
    fs::write(&file, config().of_listener(transforms).yaml()).unwrap();
    wait_until("everybody is let in", || gateway.get("/").status() == 200);
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{");
    gateway.get("/");
    fs::write(&file, config().of_listener(denies).yaml()).unwrap();
    wait_until("nobody is let in", || gateway.get("/").status() == 403);
    slow.send("}");
    let response = slow.response();
    assert_eq!(response.problem()["type"], "urn:shardgate:problem:configuration_changed");
    assert!(response.status() == 503 && response.has("retry-after"), "{response:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_last_good_configuration_serves_when_the_file_cannot_be_read() {
    let (origin, folder) = (Origin::answering(OK), folder("kept"));
    let (file, state) = (folder.join("gateway.yaml"), folder.join("state"));
    fs::create_dir_all(&state).unwrap();
    fs::write(&file, Config::to(&origin).admin().yaml()).unwrap();
    let arguments = ["--state", state.to_str().unwrap()];
    let mut first = Gateway::start_on(&file, &arguments);
    assert_eq!(first.get("/").status(), 200);
    wait_until("it is kept", || state.join("last-good").exists());
    // Killed while it writes what it keeps, again and again: whatever is half-written takes nobody's place.
    for round in 0..5 {
        fs::write(&file, Config::to(&origin).admin().with(&format!("limits: {{ fields_max: {} }}", 50 + round)).yaml())
            .unwrap();
        first.signal(Signal::HUP);
        if round == 4 {
            first.signal(Signal::KILL);
            first.wait_exit();
        }
    }
    let last = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let second = Gateway::start_on(&file, &arguments);
    assert_eq!(second.get("/").status(), 200);
    second.wait_said("beginning with the last good configuration");
    assert_eq!(status(&second)["shardgate"]["configuration"]["from_last_good"], true);
    assert_eq!(second.metric("shardgate_config_from_last_good"), 1.0);
    // It is in force again as soon as it can be read, though it says the same.
    fs::write(&file, last).unwrap();
    second.wait_said("configuration 1 is in force");
    let configuration = &status(&second)["shardgate"]["configuration"];
    assert_eq!((&configuration["from_last_good"], &configuration["error"]), (&false.into(), &().into()));
    assert_eq!(second.metric("shardgate_config_from_last_good"), 0.0);
    // It may still be writing there.
    drop(second);
    fs::remove_dir_all(folder).unwrap();
}

/// A file system of 64 KiB that only the gateway sees, and into which the test looks by way of the gateway.
#[test]
fn a_full_disk_costs_what_would_have_been_kept_and_nothing_else() {
    tool("unshare");
    let (origin, folder) = (Origin::answering(OK), folder("full"));
    let (file, state) = (folder.join("gateway.yaml"), folder.join("state"));
    fs::create_dir_all(&state).unwrap();
    let write = |fields_max: u32| {
        let config = Config::to(&origin).admin().with(&format!("limits: {{ fields_max: {fields_max} }}"));
        fs::write(&file, config.yaml()).unwrap();
    };
    write(50);
    let state = state.to_str().unwrap();
    let script = format!("mount -t tmpfs -o size=64k none {state} && exec \"$0\" \"$@\"");
    let wrapper = ["unshare", "--mount", "--map-root-user", "sh", "-c", &script];
    let gateway = Gateway::start_by(&wrapper, &file, &["--state", state]);
    let inside = PathBuf::from(format!("/proc/{}/root{state}", gateway.pid()));
    let kept = || fs::read_to_string(inside.join("last-good")).unwrap();
    wait_until("the first is kept", || inside.join("last-good").exists() && kept().contains("fields_max: 50"));

    let mut filler = fs::File::create(inside.join("filler")).unwrap();
    while filler.write(&[b'x'; 4096]).is_ok() {}
    write(51);
    gateway.wait_said(&format!("the configuration in force cannot be kept in {state}: No space left on device"));
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.metric("shardgate_config_keep_failed_total"), 1.0);
    assert_eq!(gateway.metric("shardgate_config_generation"), 1.0, "it is in force, though not kept");
    assert!(status(&gateway)["shardgate"]["configuration"]["keeping_error"].is_string());
    assert!(kept().contains("fields_max: 50"), "the one before is still whole");

    fs::remove_file(inside.join("filler")).unwrap();
    drop(filler);
    write(52);
    wait_until("it is kept again", || kept().contains("fields_max: 52"));
    wait_until("all is well", || status(&gateway)["shardgate"]["configuration"]["keeping_error"].is_null());
    drop(gateway);
    fs::remove_dir_all(folder).unwrap();
}

/// A disk or a resolver that does not answer holds the look at the file up, and nobody else.
#[test]
fn a_look_that_hangs_keeps_nobody_from_being_heard() {
    let (origin, folder) = (Origin::answering(OK), folder("hangs"));
    let file = folder.join("gateway.yaml");
    fs::write(&file, Config::to(&origin).admin().yaml()).unwrap();
    let mut gateway = Gateway::start_on(&file, &[]);
    // Opening it waits for somebody who writes.
    assert!(std::process::Command::new("mkfifo").arg(folder.join("next")).status().unwrap().success());
    fs::rename(folder.join("next"), &file).unwrap();
    gateway.signal(Signal::HUP);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(status(&gateway)["shardgate"]["ready"], true);
    let looking = || status(&gateway)["shardgate"]["configuration"]["looking_seconds"].clone();
    assert!(looking().is_null() && gateway.metric("shardgate_config_ok") == 1.0);
    gateway.wait_said("looking at the configuration's files takes long");
    assert!(looking().as_f64().unwrap() >= 10.0 && gateway.metric("shardgate_config_ok") == 0.0);
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    fs::remove_dir_all(folder).unwrap();
}
