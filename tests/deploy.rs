//! What is in `deploy/` and `tuning/` agrees with itself, with the code, and with the programs that read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shardgate::config::ids::Ids;
use shardgate::config::load::load_text;
use shardgate::config::snapshot::Snapshot;

#[test]
fn the_daemonset_has_the_ports_paths_and_times_of_its_gateway_file() {
    let [map, set] = manifests();
    let file = map["data"].as_object().expect("it has files").keys().next().expect("it has one").clone();
    let snapshot = load(&file, map["data"][&file].as_str().expect("text"));
    let (pod, container) = (&set["spec"]["template"]["spec"], &set["spec"]["template"]["spec"]["containers"][0]);

    let port = |name: &str| port(container, name);
    assert_eq!(port("http"), u64::from(snapshot.listeners[0].address.port()));
    assert_eq!(Some(port("admin")), snapshot.admin.map(|address| u64::from(address.port())));
    assert_eq!(snapshot.admin, default_admin(), "the admin listener is where it is by default");
    assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"], port("admin").to_string());

    let mount = |name: &str| {
        let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
        let mount = mounts.clone().find(|mount| mount["name"] == name).expect("it is mounted");
        mount["mountPath"].as_str().expect("a path").to_owned()
    };
    let arguments = format!("[\"run\",\"{}/{file}\",\"--state\",\"{}\"]", mount("configuration"), mount("state"));
    assert_eq!(container["args"].to_string(), arguments);
    let volumes = pod["volumes"].as_array().expect("volumes");
    assert_eq!(volumes[0]["configMap"]["name"], map["metadata"]["name"]);

    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    let shutdown = snapshot.shutdown_delay.expect("it is set") + snapshot.drain_timeout;
    assert!(grace > shutdown.as_secs() + 5, "killed after {grace} s, before {shutdown:?} are over");
    let cpus: usize = container["resources"]["limits"]["cpu"].as_str().expect("text").parse().expect("whole CPUs");
    assert!(cpus >= 1);
}

#[test]
fn the_daemonsets_probes_are_answered_by_the_admin_listener_only() {
    let [_, set] = manifests();
    let (pod, container) = (&set["spec"]["template"]["spec"], &set["spec"]["template"]["spec"]["containers"][0]);
    for (probe, path) in
        [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/status/ready")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path, "{probe}");
        assert_eq!(container[probe]["httpGet"]["port"], "admin", "{probe}");
    }
    assert_eq!(pod["hostNetwork"], false);
    let admin = container["ports"].as_array().expect("ports").iter().find(|port| port["name"] == "admin");
    assert!(admin.expect("it is there")["hostPort"].is_null(), "the admin listener is not the node's to show");
    assert_eq!(set["spec"]["selector"]["matchLabels"], set["spec"]["template"]["metadata"]["labels"]);
    let profile = pod["securityContext"]["seccompProfile"]["localhostProfile"].as_str().expect("a path");
    let name = Path::new(profile).file_name().expect("a file");
    assert!(root().join("tuning").join(name).is_file(), "{profile}");
    let image = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let user = pod["securityContext"]["runAsUser"].as_u64().expect("a number");
    assert!(image.contains(&format!("USER {user}:{user}")), "the image has another user");
    assert!(image.contains(&format!("EXPOSE {} {}", port(container, "http"), port(container, "admin"))));
    let version = format!("shardgate:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], version);
}

#[test]
fn the_profile_says_of_each_group_why_it_is_there_and_is_read_alike_by_docker_and_containerd() {
    let text = fs::read_to_string(root().join("tuning/seccomp-io-uring.json")).unwrap();
    let profile: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&profile["defaultAction"], &profile["defaultErrnoRet"]), (&"SCMP_ACT_ERRNO".into(), &1.into()));
    let mut names = Vec::new();
    for group in profile["syscalls"].as_array().unwrap() {
        assert!(group["comment"].as_str().is_some_and(|why| !why.is_empty()), "{group}");
        let known = ["comment", "names", "action", "args", "errnoRet"];
        assert!(group.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{group}");
        let of_group = group["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        if group["args"].is_null() {
            names.extend(of_group);
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "one is there twice");
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(names.contains(&call));
    }
}

/// With the program in the place where the unit expects it, as a fresh machine has none there.
#[test]
fn systemd_accepts_the_units_and_finds_them_hardened() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("units-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let units = ["shardgate.service", "shardgate.socket"].map(|name| {
        let text = fs::read_to_string(root().join("deploy").join(name)).unwrap();
        let path = folder.join(name);
        fs::write(&path, text.replace("/usr/local/bin/shardgate", env!("CARGO_BIN_EXE_shardgate"))).unwrap();
        path
    });
    let said = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.env("SYSTEMD_LOG_LEVEL", "warning").args(arguments);
        let output = command.output().expect("systemd-analyze is missing: run scripts/install-test-tools.sh");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text)
    };
    let [service, socket] = units.each_ref().map(|path| path.to_str().unwrap());
    let (good, text) = said(&["verify", "--man=no", service, socket]);
    // What it says of other units of the machine is nothing about these.
    assert!(good && !text.contains("shardgate"), "{text}");
    let (hardened, text) = said(&["security", "--offline=yes", "--threshold=20", service]);
    assert!(hardened, "{text}");
    fs::remove_dir_all(folder).unwrap();
}

/// A socket is known by its address: one that no listener of the gateway file has would be closed.
#[test]
fn the_sockets_address_is_one_that_the_documents_listen_on() {
    let unit = fs::read_to_string(root().join("deploy/shardgate.socket")).unwrap();
    let address = unit.lines().find_map(|line| line.strip_prefix("ListenStream=")).expect("it listens");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("address: \"{address}\"")), "the README's example listens elsewhere");
}

/// The documents of the one file.
#[track_caller]
fn manifests() -> [Value; 2] {
    let text = fs::read_to_string(root().join("deploy/daemonset.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{error}"));
    let documents: [Value; 2] = documents.try_into().expect("two documents");
    assert_eq!([&documents[0]["kind"], &documents[1]["kind"]], ["ConfigMap", "DaemonSet"]);
    documents
}

fn port(container: &Value, name: &str) -> u64 {
    let mut ports = container["ports"].as_array().expect("ports").iter();
    let port = ports.find(|port| port["name"] == name).expect("it is there");
    port["containerPort"].as_u64().expect("a number")
}

fn default_admin() -> Option<std::net::SocketAddr> {
    load("bare", "{version: 1, listeners: [{name: a, address: \"127.0.0.1:1\"}]}").admin
}

#[track_caller]
fn load(name: &str, text: &str) -> Snapshot {
    let resolve = |_: &str| Ok(vec!["192.0.2.1:80".parse().expect("an address")]);
    load_text(name, text, &mut Ids::default(), &resolve).unwrap_or_else(|problems| panic!("{problems}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
