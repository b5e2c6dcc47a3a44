//! Every example in `config/` loads, and says about defaults what the code says.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use shardgate::config::ids::Ids;
use shardgate::config::load::load_text;
use shardgate::config::snapshot::Snapshot;
use shardgate::config::store::OnFailure;
use shardgate::http::h1::Scan;
use shardgate::http::head::RequestHead;
use shardgate::proxy::HttpOptions;
use shardgate::proxy::limits::Limits;
use shardgate::route::{Asked, Scratch};
use shardgate::upstream::service::{PoolLimits, Retry, Timeouts};

#[test]
fn every_example_loads_and_begins_with_what_it_shows() {
    let examples = examples();
    assert!(examples.len() >= 5, "{examples:?}");
    for path in examples {
        let (text, snapshot) = load(&path);
        assert!(text.starts_with("# "), "{path:?} does not say what it shows");
        assert!(!snapshot.plan.routes.is_empty(), "{path:?} has no route");
    }
}

#[test]
fn the_example_in_the_readme_loads() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").expect("the README shows a configuration");
    let (example, _) = rest.split_once("```").expect("its block ends");
    let snapshot = load_text("README.md", example, &mut Ids::default(), &resolve).unwrap();
    assert_eq!(snapshot.plan.routes.len(), 1);
}

#[test]
fn the_example_of_limits_has_the_defaults() {
    let (_, snapshot) = example("limits.yaml");
    assert_eq!(snapshot.plan.settings.limits, Limits::default());
    assert_eq!(snapshot.plan.settings.http, HttpOptions::default());
    let service = &snapshot.plan.services[0];
    assert_eq!(service.timeouts, Timeouts::default());
    assert_eq!(service.pool, PoolLimits::default());
    assert_eq!(service.retry, Retry::default());

    let bare = "{version: 1, listeners: [{name: a, address: \"127.0.0.1:1\"}]}";
    let bare = load_text("bare", bare, &mut Ids::default(), &resolve).unwrap();
    assert_eq!(bare.plan.settings.limits, snapshot.plan.settings.limits);
    assert_eq!(bare.plan.settings.http, snapshot.plan.settings.http);
    assert_eq!(bare.plan.settings.access_log, snapshot.plan.settings.access_log);
    assert_eq!(
        (bare.plan.settings.bypass_local, bare.log_level),
        (snapshot.plan.settings.bypass_local, snapshot.log_level)
    );
    assert_eq!(bare.drain_timeout, snapshot.drain_timeout);
    assert_eq!((bare.admin, bare.runtime), (snapshot.admin, snapshot.runtime));
    assert_eq!(bare.shutdown_delay, snapshot.shutdown_delay);
}

/// The keys are those that the parser tells to who writes an unknown one.
#[test]
fn the_example_of_limits_lacks_no_key() {
    let (text, _) = example("limits.yaml");
    for section in ["authentication", "limits", "http", "access_log", "logging", "admin", "runtime", "shutdown"] {
        let unknown = format!("{{version: 1, {section}: {{zzzzzzzz: 1}}}}");
        let problems = load_text("unknown", &unknown, &mut Ids::default(), &resolve).unwrap_err();
        let (_, keys) = problems.list[0].help.split_once("known keys here: ").expect("the help lists the keys");
        let missing: BTreeSet<_> = keys.split(", ").filter(|key| !text.contains(&format!("\n  {key}: "))).collect();
        assert!(missing.is_empty(), "limits.yaml lacks {missing:?} of `{section}`");
    }
}

#[test]
fn the_example_of_routing_routes_as_its_comments_say() {
    let (_, snapshot) = example("basic-routing.yaml");
    check_route(&snapshot, "api.example.com", "/users", Some("users"));
    check_route(&snapshot, "api.example.com", "/users/7", Some("users"));
    check_route(&snapshot, "api.example.com", "/users2", None);
    check_route(&snapshot, "reports.example.com", "/exports/1", Some("reports"));
    check_route(&snapshot, "a.tenants.example.com", "/", Some("tenants"));
    check_route(&snapshot, "tenants.example.com", "/", None);
    check_route(&snapshot, "a.tenants.example.com", "/status", Some("tenants"));
    check_route(&snapshot, "api.example.com", "/status", Some("status"));
    check_route(&snapshot, "", "/status/x", None);
}

#[test]
fn the_example_of_actions_does_what_its_comments_say() {
    let (_, snapshot) = example("route-actions.yaml");
    check_route(&snapshot, "shop.example.com", "/", Some("shop"));
    check_route(&snapshot, "shop.example.com", "/catalogue/1", Some("moved"));
    check_route(&snapshot, "h", "/u/7/orders", Some("orders"));
    check_route(&snapshot, "example.com", "/u/7/orders", Some("secure"));
    let services: Vec<_> = snapshot.plan.routes.iter().map(|route| route.action.services().count()).collect();
    assert_eq!(services, [2, 1, 1, 0, 0, 0, 0]);
}

#[test]
fn the_example_of_rate_limits_has_one_of_each_kind() {
    let (_, snapshot) = example("policy-rate-limit.yaml");
    let counts: Vec<u32> = snapshot.plan.limits.iter().map(|(_, terms)| terms.count).collect();
    assert_eq!(counts, [1_000, 20, 500, 5_000]);
}

#[test]
fn the_example_of_shared_limits_shares_what_its_comments_say() {
    let (_, snapshot) = example("policy-rate-limit-redis.yaml");
    let shared: Vec<u32> = snapshot.plan.shared.iter().map(|(_, _, terms)| terms.count).collect();
    assert_eq!((shared, snapshot.plan.limits.len()), (vec![100, 60_000], 1));
    let store = snapshot.store.expect("it says where");
    assert_eq!(
        (&*store.server.address, &*store.prefix, store.on_failure),
        ("127.0.0.1:6379", "shardgate", OnFailure::KeepShare)
    );
}

#[test]
fn the_quickstart_listens_on_loopback_and_needs_no_name_server() {
    let (text, snapshot) = example("quickstart.yaml");
    assert!(snapshot.listeners.iter().all(|listener| listener.address.ip().is_loopback()));
    check_route(&snapshot, "localhost", "/hello", Some("everything"));
    let endpoint = snapshot.plan.services[0].endpoints[0].address;
    assert!(text.contains(&format!("shardgate echo {endpoint}")), "the comment starts another origin");
    let listener = snapshot.listeners[0].address;
    assert!(text.contains(&format!("curl -i http://{listener}/")), "the comment asks another listener");
}

#[test]
fn the_example_of_trust_trusts_whom_it_names() {
    let (_, snapshot) = example("behind-a-load-balancer.yaml");
    let trusted = |peer: &str| snapshot.plan.settings.trusts(peer.parse().unwrap());
    assert!(trusted("10.20.255.1") && trusted("192.0.2.10") && trusted("2001:db8:20:1::1"));
    assert!(!trusted("10.21.0.1") && !trusted("192.0.2.11") && !trusted("2001:db8:21::1") && !trusted("127.0.0.1"));
}

#[test]
fn the_example_of_websocket_upgrades_one_route_only() {
    let (_, snapshot) = example("websocket.yaml");
    check_route(&snapshot, "h", "/chat", Some("chat-socket"));
    check_route(&snapshot, "h", "/chat/log", Some("chat-page"));
    let websocket: Vec<_> = snapshot.plan.routes.iter().map(|route| route.websocket).collect();
    assert_eq!(websocket, [true, false]);
}

#[test]
fn the_example_of_demands_routes_as_its_comments_say() {
    let (_, snapshot) = example("routing.yaml");
    let check = |first: &str, lines: &str, want: &str| {
        let text = format!("{first} HTTP/1.1\r\n{lines}\r\n");
        let mut head = RequestHead::new();
        let limits = snapshot.plan.settings.head_limits();
        assert!(head.parse(text.as_bytes(), &limits, &mut Scan::default()).unwrap().is_some());
        let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
        let found = snapshot.plan.table.find(&asked, &mut Scratch::default()).expect("one for any host");
        assert_eq!(snapshot.plan.routes[found.route].name, want, "{text}");
    };
    let api = "Host: api.example.com\r\n";
    check("GET /users/7", api, "users");
    check("GET /users/7", &format!("{api}x-version: 2\r\n"), "users-next");
    check("GET /users/7", &format!("{api}X-Version: 12\r\n"), "users");
    check("GET /users/7", &format!("{api}X-Version: 2\r\nX-Version: 2\r\n"), "users");
    check("GET /users/7?preview=on", &format!("{api}Cookie: a=b; tester=\r\n"), "users-testers");
    check("GET /users/7?preview=off", &format!("{api}Cookie: tester=1\r\n"), "users");
    check("GET /users/7?preview=%6Fn", &format!("{api}Cookie: tester=1\r\nX-Version: 3\r\n"), "users-testers");
    check("GET /users/7/orders/1", api, "orders");
    check("POST /users/7/orders/1", api, "users");
    check("GET /users/x/orders", api, "users");
    check("GET /users", "Host: other\r\n", "pages");
    check("GET /ping", api, "probe");
    check("POST /ping", "Host: other\r\n", "pages");
}

#[track_caller]
fn check_route(snapshot: &Snapshot, host: &str, path: &str, want: Option<&str>) {
    let mut head = RequestHead::new();
    (head.host, head.path) = (host.into(), path.into());
    let asked = Asked { head: &head, bytes: b"", peer_is_trusted: false };
    let found = snapshot.plan.table.find(&asked, &mut Scratch::default());
    assert_eq!(found.map(|found| snapshot.plan.routes[found.route].name.as_str()), want, "{host}{path}");
}

fn examples() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    // Beside them lies what they name.
    let mut examples: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    examples.sort();
    examples
}

fn example(name: &str) -> (String, Snapshot) {
    load(&folder().join(name))
}

#[track_caller]
fn load(path: &Path) -> (String, Snapshot) {
    let text = fs::read_to_string(path).unwrap();
    match load_text(&path.display().to_string(), &text, &mut Ids::default(), &resolve) {
        Ok(snapshot) => (text, snapshot),
        Err(problems) => panic!("{problems}"),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// No test asks a name server: each name has the same address, one of those for documentation (RFC 5737).
fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    let (_, port) = name.rsplit_once(':').expect("an endpoint has a port");
    Ok(vec![name.parse().unwrap_or_else(|_| format!("192.0.2.1:{port}").parse().unwrap())])
}
