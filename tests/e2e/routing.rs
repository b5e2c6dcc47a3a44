//! Which service answers: hosts narrow, the longest path wins, and what matches nothing is 404.

use crate::harness::{Config, Gateway, Origin};

/// An origin that answers with its own name.
fn named(name: &'static str) -> Origin {
    Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

#[track_caller]
fn check(gateway: &Gateway, host: &str, target: &str, expected: Option<&str>) {
    let mut client = gateway.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.response();
    match expected {
        Some(name) => assert_eq!((response.status(), response.text().as_str()), (200, name), "{host}{target}"),
        None => {
            assert_eq!(response.status(), 404, "{host}{target}: {}", response.text());
            response.problem();
        }
    }
}

#[test]
fn the_longest_path_wins_on_segment_boundaries() {
    let names = ["root", "agents", "deep", "exact"];
    let origins = names.map(named);
    let paths = ["/", "/agents", "/agents/deep/er", "{ exact: \"/agents/one\" }"];
    let mut config = Config::empty();
    for ((name, origin), path) in names.iter().zip(&origins).zip(paths) {
        let path = if path.starts_with('{') { path.to_owned() } else { format!("\"{path}\"") };
        config = config.service(name, &[origin.address], "").route(name, name, &format!("paths: [{path}]"));
    }
    let gateway = Gateway::start(&config);
    for (target, name) in [
        ("/", "root"),
        ("/agents", "agents"),
        ("/agents/", "agents"),
        ("/agents?x=/y", "agents"),
        ("/agents/x", "agents"),
        ("/agentsx", "root"),
        ("/agent", "root"),
        ("/Agents", "root"),
        ("/x/agents", "root"),
        ("/agents/deep", "agents"),
        ("/agents/deep/er", "deep"),
        ("/agents/deep/er/", "deep"),
        ("/agents/deep/erx", "agents"),
        ("/agents/one", "exact"),
        ("/agents/one?x", "exact"),
        ("/agents/one/", "agents"),
        ("/agents/one/x", "agents"),
    ] {
        check(&gateway, "a.test", target, Some(name));
    }
}

#[test]
fn the_closest_host_wins_over_the_longest_path() {
    let names = ["exact", "near", "far", "any"];
    let origins = names.map(named);
    let rules = [
        "hosts: [\"www.shop.test\"]",
        "hosts: [\"*.eu.shop.test\"]",
        "hosts: [\"*.shop.test\"], paths: [\"/long/path\", \"/\"]",
        "paths: [\"/long/path/longer\"]",
    ];
    let mut config = Config::empty();
    for ((name, origin), rule) in names.iter().zip(&origins).zip(rules) {
        config = config.service(name, &[origin.address], "").route(name, name, rule);
    }
    let gateway = Gateway::start(&config);
    for (host, target, name) in [
        ("www.shop.test", "/", Some("exact")),
        ("WWW.Shop.TEST:8080", "/long/path/longer", Some("exact")),
        ("www.shop.test.", "/", Some("exact")),
        ("x.shop.test", "/", Some("far")),
        ("x.y.shop.test", "/long/path/longer", Some("far")),
        ("x.eu.shop.test", "/long/path", Some("near")),
        ("eu.shop.test", "/", Some("far")),
        ("shop.test", "/", None),
        ("notshop.test", "/", None),
        ("shop.test", "/long/path/longer", Some("any")),
        ("[::1]:80", "/long/path/longer/x", Some("any")),
        ("10.0.0.1", "/long/path", None),
    ] {
        check(&gateway, host, target, name);
    }
}

#[test]
fn a_request_without_a_route_is_told_so_and_keeps_its_connection() {
    let origin = named("a");
    let config = Config::empty().service("a", &[origin.address], "").route("a", "a", "paths: [\"/a\"]");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    client.send("GET /secret/place HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 404);
    response.problem();
    assert!(!response.closes(), "nothing was wrong with the request: {response:?}");
    client.send("HEAD /secret HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 404);
    // A body of no bytes has been read as soon as it was announced; one of five bytes may be taken for a request.
    client.send("POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.closes()), (404, false), "{response:?}");
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    assert_eq!(origin.targets(), ["/a"]);
}

#[test]
fn a_gateway_without_routes_answers_404() {
    let gateway = Gateway::start(&Config::empty());
    let response = gateway.get("/");
    assert_eq!(response.status(), 404);
    response.problem();
}

#[test]
fn what_a_route_demands_decides_and_the_next_closest_is_tried() {
    let names = ["plain", "post", "beta", "tester", "number", "first"];
    let origins = names.map(named);
    let demands = [
        "paths: [\"/a\"]",
        "paths: [\"/a\"], methods: [POST, PUT]",
        "paths: [\"/a\"], headers: [{ name: X-Env, exact: beta }, { name: X-Any }]",
        "paths: [\"/a\"], cookies: [{ name: tester }], query: [{ name: v, regex: \"[0-9]+\" }]",
        "paths: [{ regex: \"/a/[0-9]+\" }]",
        "paths: [\"/\"], headers: [{ name: X-First }], priority: 5",
    ];
    let mut config = Config::empty();
    for ((name, origin), demand) in names.iter().zip(&origins).zip(demands) {
        config = config.service(name, &[origin.address], "").route(name, name, demand);
    }
    let gateway = Gateway::start(&config);
    for (first, lines, name) in [
        ("GET /a", "", Some("plain")),
        ("POST /a", "", Some("post")),
        ("get /a", "", Some("plain")),
        ("POST /a", "X-Any:\r\nx-env: beta\r\n", Some("post")),
        ("GET /a", "X-Any:\r\nx-env: beta\r\n", Some("beta")),
        ("GET /a", "X-Env: beta\r\n", Some("plain")),
        ("GET /a", "X-Any: 1\r\nX-Env: beta\r\nX-Env: beta\r\n", Some("plain")),
        ("GET /a", "X-Any: 1\r\nX_Env: beta\r\n", Some("plain")),
        ("GET /a?v=1", "Cookie: x=y; tester=1\r\n", Some("tester")),
        ("GET /a?v=1x", "Cookie: tester=1\r\n", Some("plain")),
        ("GET /a/12", "", Some("number")),
        ("GET /%61/1%32", "", Some("number")),
        ("GET /a/12/x", "", Some("plain")),
        ("GET /a/12", "X-First: 1\r\n", Some("first")),
        ("GET /b", "", None),
    ] {
        let mut client = gateway.client();
        client.send(format!("{first} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        let response = client.response();
        match name {
            Some(name) => assert_eq!(response.text(), name, "{first} {lines}"),
            None => assert_eq!(response.status(), 404, "{first} {lines}"),
        }
    }
}

/// What a service does not get must not have brought the request there.
#[test]
fn routes_go_by_no_header_that_goes_no_further() {
    let names = ["plain", "internal", "https", "root", "socket"];
    let origins = names.map(named);
    let demands = [
        "paths: [/]",
        "headers: [{ name: X-Internal, exact: \"1\" }]",
        "headers: [{ name: X-Forwarded-Proto, exact: https }]",
        "headers: [{ name: X-Consumer-Username, exact: root }]",
        "headers: [{ name: Upgrade, exact: websocket }], upgrade: [websocket]",
    ];
    let mut config = Config::empty();
    for ((name, origin), demand) in names.iter().zip(&origins).zip(demands) {
        config = config.service(name, &[origin.address], "").route(name, name, demand);
    }
    let client = Gateway::start(&config);
    let peer = Gateway::start(&config.with("trust: { proxies: [\"127.0.0.1\"] }"));
    for (lines, by_client, by_peer) in [
        ("X-Internal: 1\r\n", "internal", "internal"),
        ("X-Internal: 1\r\nConnection: x-internal\r\n", "plain", "plain"),
        ("X-Forwarded-Proto: https\r\n", "plain", "https"),
        ("X-Consumer-Username: root\r\n", "plain", "root"),
        ("Upgrade: websocket\r\n", "plain", "plain"),
        ("Upgrade: websocket\r\nConnection: upgrade\r\n", "socket", "socket"),
    ] {
        for (gateway, name) in [(&client, by_client), (&peer, by_peer)] {
            let mut client = gateway.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
            assert_eq!(client.response().text(), name, "{lines}");
        }
    }
}

/// Path by path what has let requests past a gateway's rules elsewhere: matched in one spelling, served in another.
#[test]
fn no_spelling_of_a_path_slips_past_its_route() {
    let (guarded, open) = (named("guarded"), named("open"));
    let config = Config::empty()
        .service("guarded", &[guarded.address], "")
        .service("open", &[open.address], "")
        .route("guarded", "guarded", "paths: [/admin], priority: 1")
        .route("open", "open", "paths: [/]");
    let gateway = Gateway::start(&config);
    for spelling in SPELLINGS.split(' ') {
        let mut client = gateway.client();
        client.send(format!("GET {spelling} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.response();
    }
    // What the other service was asked for is no spelling of the path, by the rules of RFC 3986 §6.2.2 at least.
    let open = open.targets();
    let wanted = "/admin%3F /admin%23 /admin;x /Admin /ADMIN /%2561dmin /admin%2Fx /admin%2Fx /x%2F..%2Fadmin /";
    assert_eq!(open.join(" "), wanted);
    assert!(guarded.targets().iter().all(|target| target.starts_with("/admin")), "{:?}", guarded.targets());
}

/// Spellings of `/admin`, and paths that only look like it.
const SPELLINGS: &str = "/admin /admin/ /admin/x /admin?x /admin/? //admin ///admin//x /./admin /admin/. /admin/./x \
    /x/../admin /x/y/../../admin /%61dmin /a%64min /%61%64%6d%69%6e /%61%64%6D%69%6E /admi%6e \
    /admi%6E /admin/%2e /%2e/admin /%2E/admin /x/%2e%2e/admin /x/.%2e/admin /x/%2E./admin \
    /x//../admin /x/..//admin /admin/%2e%2e/admin /admin/../admin //x/../admin /admin// \
    /admin/..%2f /admin%3f /admin%23 /admin;x /Admin /ADMIN /%2561dmin /admin%2fx /admin%2Fx \
    /x%2f..%2fadmin /admin\\x /admin%5cx /admin%00 /admin/.. /..//admin /admin#x http://h/admin \
    http://h//admin http://h/%61dmin http://h/x/../admin";
