//! A kernel that forbids: seccomp profiles as containers have them, from the start on and later.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::event_loops;
use crate::harness::{Config, Gateway, OK, Origin, Wire, wait_until};

const FILTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/harness/seccomp.py");
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/seccomp-io-uring.json");

/// A folder of its own with a gateway file in it.
struct Site {
    folder: PathBuf,
    file: PathBuf,
}

impl Site {
    fn new(name: &str, config: &Config) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sandbox-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("gateway.yaml");
        fs::write(&file, config.yaml()).unwrap();
        Self { folder, file }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// All that it does at its start, under load, when its file changes, when another takes over, and at its end.
#[test]
fn the_profile_for_containers_allows_what_the_gateway_does() {
    for event_loop in event_loops::there() {
        let origin = Origin::answering(OK);
        // A port that stays the same from one process to the next.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = || Config::to(&origin).listen(free).event_loop(event_loop);
        let site = Site::new(event_loop, &config().admin());
        let (state, control) = (site.path("state"), site.path("control"));
        fs::create_dir(&state).unwrap();
        let wrapper = ["python3", FILTER, "profile", PROFILE];
        let arguments = ["--state", &*state, "--control", &*control];
        let mut first = Gateway::start_by(&wrapper, &site.file, &arguments);
        assert_eq!(first.get("/").status(), 200);
        fs::write(&site.file, config().admin().with("limits: { fields_max: 50 }").yaml()).unwrap();
        first.signal(Signal::HUP);
        first.wait_said("configuration 1 is in force");
        let kept = || fs::read_to_string(Path::new(&state).join("last-good")).unwrap_or_default();
        wait_until("it is kept", || kept().contains("fields_max: 50"));
        let mut second = Gateway::start_by(&wrapper, &site.file, &arguments);
        assert_eq!(first.wait_exit(), Some(0));
        assert_eq!(second.get("/").status(), 200);
        assert_eq!(second.ask_admin("/metrics").text().matches("shardgate_event_loop_info{driver=\"").count(), 1);
        second.terminate();
        assert_eq!(second.wait_exit(), Some(0));
    }
}

#[test]
fn a_container_that_forbids_io_uring_gets_epoll_and_is_told_why() {
    let origin = Origin::answering(OK);
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        for wanted in ["auto", "uring"] {
            let site = Site::new(&format!("{call}-{wanted}"), &Config::to(&origin).event_loop(wanted).admin());
            let wrapper = ["python3", FILTER, "forbid", call];
            let gateway = Gateway::start_by(&wrapper, &site.file, &[]);
            assert_eq!(gateway.get("/").status(), 200);
            gateway.wait_said("event loop epoll: io_uring does not work here: Operation not permitted");
            if wanted == "uring" {
                gateway.wait_said("event_loop is uring, and it is epoll that runs: io_uring does not work here");
            }
            let metrics = gateway.ask_admin("/metrics").text();
            let info = "shardgate_event_loop_info{driver=\"epoll\",reason=\"io_uring does not";
            assert!(metrics.contains(info), "{metrics}");
        }
    }
}

#[test]
fn auto_tells_what_it_took_and_why() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).event_loop("auto").admin());
    let (name, why) = event_loops::of_auto();
    gateway.wait_said(&format!("event loop {name}: {why}"));
    let info = format!("shardgate_event_loop_info{{driver=\"{name}\",reason=\"{why}\"}}");
    assert!(gateway.ask_admin("/metrics").text().contains(&info), "{info}");
    assert!(gateway.ask_admin("/status").text().contains(why), "{why}");
}

/// One ring can be made, and no other: memory and descriptors have limits that a trial does not meet.
#[test]
fn where_not_every_shard_gets_a_ring_none_has_one() {
    let origin = Origin::answering(OK);
    let site = Site::new("after", &Config::to(&origin).event_loop("uring").admin());
    let wrapper = ["python3", FILTER, "forbid-after", "1", "io_uring_setup"];
    let mut gateway = Gateway::start_by(&wrapper, &site.file, &[]);
    if let Some(why) = event_loops::refused() {
        return gateway.wait_said(&format!("event loop epoll: {why}"));
    }
    gateway.wait_said("event loop epoll: io_uring does not work here for ");
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    assert!(gateway.ask_admin("/metrics").text().contains("shardgate_event_loop_info{driver=\"epoll\""));
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// What goes on when a ring fails that has served: clients are served by new shards, on the sockets that there were.
#[test]
fn a_profile_that_forbids_the_ring_after_the_start_costs_the_connections_that_were_on_it_only() {
    let origin = Origin::answering(OK);
    let limit =
        "policies: [{ rate_limit: { requests_per_hour: 1000, key: [{ header: X-Who }], cost_header: X-Cost } }]";
    let site = Site::new("later", &Config::to(&origin).event_loop("uring").admin().of_route(limit));
    let later = site.path("later");
    let wrapper = ["python3", FILTER, "forbid-later", &*later, "io_uring_enter"];
    let mut gateway = Gateway::start_by(&wrapper, &site.file, &[]);
    if let Some(why) = event_loops::refused() {
        // There is no ring to lose.
        return gateway.wait_said(&format!("event loop epoll: {why}"));
    }
    gateway.wait_said("event loop io_uring");
    let mut kept: Vec<Wire> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut kept {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
    let spend_all = || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Who: a\r\nX-Cost: 1000\r\nConnection: close\r\n\r\n");
        client.response().status()
    };
    assert_eq!([spend_all(), spend_all()], [200, 429]);
    let connects = || gateway.metric("shardgate_upstream_connects_total");
    wait_until("they are counted", || connects() > 0.0);
    let (connects_before, niceness_before) = (connects(), gateway.niceness_of("shard-"));

    fs::write(&later, "").unwrap();
    wait_until("new shards serve", || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.maybe_response().is_some_and(|response| response.status() == 200)
            && gateway.stderr().iter().any(|line| line.contains("event loop epoll"))
    });
    gateway.wait_said("io_uring failed while it served: Operation not permitted");
    assert_eq!(spend_all(), 429, "what was spent before stays spent");
    for mut client in kept {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.maybe_response().is_none(), "its connection was on the ring");
    }
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    let metrics = gateway.ask_admin("/metrics").text();
    assert_eq!(gateway.metric("shardgate_event_loop_failures_total"), 1.0);
    assert!(metrics.contains("shardgate_event_loop_info{driver=\"epoll\",reason=\"io_uring failed while"), "{metrics}");
    assert!(connects() >= connects_before, "what was counted stays counted");
    assert_eq!(gateway.niceness_of("shard-"), niceness_before, "as high as the first ones");
    gateway.terminate();
    assert_eq!(gateway.wait_exit(), Some(0));
}

/// What makes a gateway file another.
type Edit<'a> = &'a dyn Fn(&str) -> String;

/// On each event loop a gateway of two shards whose kernel lets no socket listen while a file exists, or but for the
/// first few.
#[track_caller]
fn with_listeners_refused(name: &str, how: &str, test: impl Fn(&Gateway, &dyn Fn(Edit<'_>), &Path)) {
    for event_loop in event_loops::there() {
        let origin = Origin::answering(OK);
        let config = Config::to(&origin).event_loop(event_loop).shards(2).admin();
        let site = Site::new(&format!("{name}-{event_loop}"), &config);
        let later = site.path("later");
        let until = if how == "forbid-later" { &*later } else { LISTENS_MAX };
        let wrapper = ["python3", FILTER, how, until, "listen"];
        let gateway = Gateway::start_by(&wrapper, &site.file, &[]);
        let change = |edit: Edit<'_>| {
            fs::write(&site.file, edit(&config.yaml())).unwrap();
            gateway.wait_said("configuration 1 is in force");
        };
        test(&gateway, &change, Path::new(&later));
    }
}

/// That of the admin listener, one of each shard, and one more.
const LISTENS_MAX: &str = "4";

#[test]
fn a_listener_that_no_shard_can_accept_on_refuses_until_one_can_and_costs_nobody_else() {
    with_listeners_refused("none", "forbid-later", |gateway, change, later| {
        fs::write(later, "").unwrap();
        let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        change(&with_second(second));
        gateway.wait_said("shard 1 on second: Operation not permitted");
        assert!(TcpStream::connect(second).is_err(), "nobody would be served there");
        assert_eq!(gateway.get("/").status(), 200);
        let refused = || gateway.metric("shardgate_listeners_refused{shard=\"0\"}");
        wait_until("it is told", || refused() == 1.0 && gateway.metric("shardgate_listens_failed_total") >= 2.0);
        let status = gateway.ask_admin("/status").text();
        assert!(status.contains(r#"{"error":"Operation not permitted (os error 1)","listener":"second","shard":0}"#));
        gateway.wait_said("nobody is served there, as no shard accepts: second");
        let health = gateway.ask_admin("/gateway/health");
        assert!(health.status() == 503 && health.text().contains(r#""listeners":"unhealthy""#));
        assert_eq!(gateway.ask_admin("/status/ready").status(), 200, "the first listener is served");

        fs::remove_file(later).unwrap();
        wait_until("every shard accepts there", || {
            let of_shards = |shard| gateway.metric(&format!("shardgate_listeners_refused{{shard=\"{shard}\"}}"));
            of_shards(0) + of_shards(1) == 0.0
        });
        assert_eq!(get(second), 200);
        assert!(gateway.ask_admin("/gateway/health").text().contains(r#""listeners":"healthy""#));
    });
}

#[test]
fn to_a_shard_that_cannot_accept_on_a_listener_the_kernel_sends_nobody() {
    with_listeners_refused("one", "forbid-after", |gateway, change, _| {
        let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        change(&with_second(second));
        gateway.wait_said("on second: Operation not permitted");
        // By hash half of them would wait there for nobody.
        assert_eq!([(); 20].map(|()| get(second)), [200; 20]);
        assert!(gateway.ask_admin("/gateway/health").text().contains(r#""listeners":"degraded""#));
        assert_eq!(gateway.ask_admin("/gateway/health").status(), 200);
    });
}

#[test]
fn a_gateway_none_of_whose_listeners_is_accepted_on_is_not_ready_until_one_is() {
    with_listeners_refused("only", "forbid-later", |gateway, change, later| {
        fs::write(later, "").unwrap();
        let moved = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        change(&|yaml| yaml.replacen("127.0.0.1:0", &moved.to_string(), 1));
        wait_until("it is not ready", || gateway.ask_admin("/status/ready").status() == 503);
        assert_eq!(gateway.ask_admin("/health").status(), 200, "to start it again would help nobody");
        fs::remove_file(later).unwrap();
        wait_until("it is ready", || gateway.ask_admin("/status/ready").status() == 200);
        assert_eq!(get(moved), 200);
    });
}

fn with_second(address: SocketAddr) -> impl Fn(&str) -> String {
    move |yaml| yaml.replace("runtime:", &format!("  - {{ name: second, address: \"{address}\" }}\nruntime:"))
}

/// The status of one request there.
fn get(address: SocketAddr) -> u16 {
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.response().status()
}
