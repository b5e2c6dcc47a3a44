//! Policies from end to end: where they are attached, in which order they run, and what a refusal looks like.

use crate::admin::metrics;
use crate::harness::{Config, Gateway, Message, OK, Origin, wait_until};

/// The least request, with these header lines.
#[track_caller]
fn ask(gateway: &Gateway, target: &str, fields: &str) -> Message {
    let mut client = gateway.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"));
    client.response()
}

#[test]
fn a_refusal_has_its_status_its_type_its_counter_and_its_place_in_the_log() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).of_route("policies: [{ ip_filter: { deny: [127.0.0.0/8] } }]").one_shard().admin();
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 403);
    assert_eq!(response.problem()["type"], "urn:shardgate:problem:ip_refused");
    assert!(!response.closes(), "nothing was wrong with the request: {response:?}");
    // What was in its body must not be taken for the next request.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().closes());
    client.expect_closed();
    let line = &gateway.log_lines(2)[0];
    assert_eq!((&line["status"], &line["error"]), (&403.into(), &"ip_refused".into()));
    assert_eq!(
        (&line["policy"], &line["reason"], &line["route"]),
        (&"ip_filter".into(), &"denied".into(), &"all".into())
    );
    assert_eq!(origin.requests().len(), 0);
    let counted = "shardgate_policy_refusals_total{policy=\"ip_filter\",reason=\"denied\"} 2\n";
    wait_until("the counter", || metrics(&gateway).contains(counted));
}

#[test]
fn a_trusted_proxy_says_whom_the_filter_looks_at() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin)
        .with("trust: { proxies: [127.0.0.0/8] }")
        .with("policies: [{ ip_filter: { allow: [10.0.0.0/8] } }]");
    let gateway = Gateway::start(&config);
    for (chain, status) in [
        ("10.0.0.1", 200),
        ("10.0.0.1, 192.0.2.1", 403),
        ("192.0.2.1, 10.0.0.1", 200),
        ("192.0.2.1:80, 10.0.0.1:4711", 200),
        ("10.0.0.1, [2001:db8::1]:80", 403),
    ] {
        let response = ask(&gateway, "/", &format!("X-Forwarded-For: {chain}\r\n"));
        assert_eq!(response.status(), status, "{chain}");
    }
    assert_eq!(ask(&gateway, "/", "").status(), 403, "the proxy itself is not allowed");
}

#[test]
fn the_closer_policy_stands_in_for_the_farther_one() {
    let origin = Origin::answering(OK);
    let ends = |status: u16| format!("policies: [{{ request_termination: {{ status: {status} }} }}]");
    let config = Config::empty()
        .service("bare", &[origin.address], "")
        .service("closed", &[origin.address], &ends(410))
        .route("a", "bare", "paths: [/a]")
        .route("b", "closed", "paths: [/b]")
        .route("c", "closed", &format!("paths: [/c], {}", ends(418)))
        .route("d", "bare", &format!("paths: [/d], {}", ends(204)))
        .with(&ends(503));
    let gateway = Gateway::start(&config);
    for (path, status) in [("/a", 503), ("/b", 410), ("/c", 418), ("/d", 204), ("/none", 503)] {
        let response = ask(&gateway, path, "");
        assert_eq!((response.status(), response.body.len()), (status, 0), "{path}");
        assert!(response.has("x-request-id"));
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn an_answer_of_the_operators_own_is_sent_as_written() {
    let origin = Origin::answering(OK);
    let policy = "policies: [{ request_termination: { status: 503, message: \"back at \\\"8\\\"\" } }]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(policy));
    let mut client = gateway.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to("HEAD");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.value("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(response.text(), r#"{"message":"back at \"8\""}"#);
    assert_eq!(head.value("content-length"), response.value("content-length"));
    assert!(!response.has("retry-after") && !response.closes());
}

#[test]
fn a_route_that_answers_itself_has_its_policies_before_and_after_it() {
    let origin = Origin::answering(OK);
    let moved = "paths: [/moved], redirect: { path: { whole: /new } }";
    let said = "paths: [/said], respond: { body: hi, headers: [{ name: X-A, value: b }] }";
    let denied = "policies: [{ ip_filter: { deny: [127.0.0.1] } }]";
    let config = Config::to(&origin)
        .acting("moved", moved)
        .acting("said", said)
        .acting("closed", &format!("paths: [/moved/closed], redirect: {{ path: {{ whole: /new }} }}, {denied}"))
        .with("policies: [{ response_transform: { remove: { headers: [X-A] }, add: { headers: [\"X-B:c\"] } } }]");
    let gateway = Gateway::start(&config);
    let response = ask(&gateway, "/moved", "");
    assert_eq!((response.status(), response.value("location")), (302, Some("/new")));
    assert_eq!(response.values("x-b"), ["c"]);
    let response = ask(&gateway, "/said", "");
    assert_eq!((response.text().as_str(), response.has("x-a"), response.value("x-b")), ("hi", false, Some("c")));
    assert_eq!(ask(&gateway, "/moved/closed", "").status(), 403);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_request_of_which_no_path_can_be_made_meets_its_policies_all_the_same() {
    let origin = Origin::answering(OK);
    let rewrite = "rewrite: { path: { regex: { matches: \"/(.*)\", to: \"/$1/$1/$1\" } } }";
    let policies = |network: &str| format!("policies: [{{ ip_filter: {{ deny: [{network}] }} }}]");
    let long = format!("/{}", "a".repeat(4_000));
    for (network, kind) in [("127.0.0.1", "ip_refused"), ("10.0.0.0/8", "rewrite_invalid")] {
        let config = Config::to(&origin).of_route(rewrite).of_route(&policies(network));
        let response = ask(&Gateway::start(&config), &long, "");
        assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"));
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_request_meets_the_policies_of_the_service_that_it_is_dealt_to_with_the_path_that_is_sent() {
    let origin = Origin::answering(OK);
    let adds =
        |value: &str| format!("policies: [{{ request_transform: {{ add: {{ headers: [\"X-Of:{value}\"] }} }} }}]");
    let arms = "{ service: a, percent: 100 }, { service: b, percent: 0, forced_by: { name: X-Canary } }";
    let config = Config::empty()
        .one_shard()
        .service("a", &[origin.address], &adds("a"))
        .service("b", &[origin.address], &adds("b"))
        .acting("split", &format!("paths: [/in], split: {{ arms: [{arms}] }}, rewrite: {{ strip_path: true }}"));
    let gateway = Gateway::start(&config);
    for (fields, service) in [("", "a"), ("X-Canary: yes\r\n", "b")] {
        assert_eq!(ask(&gateway, "/in/x", fields).status(), 200);
        assert_eq!(origin.requests().last().unwrap().values("x-of"), [service]);
    }
    assert_eq!(origin.targets(), ["/x", "/x"]);
}

/// The order is Kong's: a filter of addresses comes before an answer, unless the file says otherwise.
#[test]
fn policies_run_in_kongs_order_or_in_the_files() {
    let origin = Origin::answering(OK);
    let both = "policies: [{ request_termination: { status: 410 } }, { ip_filter: { deny: [127.0.0.1] } }]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(both));
    assert_eq!(ask(&gateway, "/", "").status(), 403);
    let order = "policy_order: [request_termination, ip_filter]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(both).with(order));
    assert_eq!(ask(&gateway, "/", "").status(), 410);
}

#[test]
fn a_listeners_policies_come_before_the_route() {
    let origin = Origin::answering(OK);
    let allow = "policies: [{ ip_filter: { allow: [127.0.0.0/8] } }]";
    let config = Config::to(&origin).of_route(allow).of_listener("policies: [{ ip_filter: { deny: [127.0.0.1] } }]");
    let gateway = Gateway::start(&config);
    assert_eq!(ask(&gateway, "/", "").status(), 403);
    assert_eq!(ask(&gateway, "/none", "").status(), 403);
    let line = &gateway.log_lines(1)[0];
    assert!(line.get("route").is_none(), "no route was looked for: {line}");
}

/// What a listener's policy collects is collected before the route is known.
#[test]
fn a_body_without_a_length_that_was_collected_has_the_bounds_of_its_route() {
    let origin = Origin::answering(OK);
    let transform = "policies: [{ request_transform: { add: { body: [\"a:b\"] } } }]";
    let of_policy = "policies: [{ request_size: { body_bytes_max: 10 } }]";
    for (bound, policy, reason) in [("body_bytes_max: 10", "", None), (of_policy, "request_size", Some("too_large"))] {
        let gateway = Gateway::start(&Config::to(&origin).of_listener(transform).of_route(bound).one_shard());
        let send = |body: &str| {
            let mut client = gateway.client();
            let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
            client.send(format!("{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
            client.response().status()
        };
        assert_eq!((send("{\"c\":\"d\"} "), send("{\"c\":\"d\"}  ")), (200, 413), "{bound}");
        let line = &gateway.log_lines(2)[1];
        assert_eq!((line["policy"].as_str(), line["reason"].as_str()), (reason.map(|_| policy), reason), "{line}");
    }
}

#[test]
fn a_policy_changes_with_the_configuration() {
    let origin = Origin::answering(OK);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies-reload.yaml");
    let write = |network: &str| {
        let policy = format!("policies: [{{ ip_filter: {{ deny: [{network}] }} }}]");
        std::fs::write(&file, Config::to(&origin).of_route(&policy).one_shard().yaml()).unwrap();
    };
    write("10.0.0.0/8");
    let gateway = Gateway::start_on(&file, &[]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    write("127.0.0.0/8");
    wait_until("the new filter", || ask(&gateway, "/", "").status() == 403);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 403);
}
