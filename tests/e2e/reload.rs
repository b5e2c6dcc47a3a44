//! A configuration that changes while the gateway runs, and one that cannot be used.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Config, Gateway, OK, Origin, Wire, tool, wait_until};

/// A folder of its own for the file and what is kept.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn status(gateway: &Gateway) -> serde_json::Value {
    serde_json::from_str(&gateway.ask_admin("/status").text()).unwrap()
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
    let known = status(&gateway);
    assert!(known["shardgate"]["configuration"]["error"].as_str().unwrap().contains("gateway.yaml:2:12"), "{known}");
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
    let ask = |client: &mut Wire| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response().status()
    };
    let mut second = Wire::connect(free);
    assert_eq!(ask(&mut second), 200);
    fs::write(&file, &yaml).unwrap();
    gateway.wait_said("configuration 2 is in force");
    wait_until("nobody listens there", || std::net::TcpStream::connect(free).is_err());
    assert_eq!(ask(&mut second), 200, "who was connected stays");
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
    gateway.wait_said("the configuration in force cannot be kept: No space left on device");
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
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
    fs::remove_dir_all(folder).unwrap();
}
