//! Policies that change heads: what the service and the client get to see, whatever the client tries.

use crate::harness::{Config, Gateway, Message, OK, Origin};

/// What the origin got of a request with these lines, and the client of its answer.
#[track_caller]
fn exchange(policies: &str, more: &str, target: &str, fields: &str) -> (Message, Message) {
    let answer = "HTTP/1.1 200 OK\r\nServer: app/1\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::answering(answer);
    let gateway = Gateway::start(&Config::to(&origin).of_route(&format!("policies: [{policies}]")).with(more));
    let mut client = gateway.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    let response = client.response();
    assert_eq!(response.status(), 200, "{}", response.text());
    (origin.only_request(), response)
}

#[test]
fn the_service_gets_what_the_operator_says() {
    let policy = "{ request_transform: { remove: { headers: [X-Debug], querystring: [debug] }, \
                  rename: { headers: [\"X-Old:X-New\"] }, \
                  add: { headers: [\"X-Tenant:t1\"], querystring: [\"v:2\"] } } }";
    let fields = "x-debug: 1\r\nX-Old: a\r\nx-old: b\r\nAccept: x\r\nConnection: X-Tenant, X-New\r\n";
    let (request, _) = exchange(policy, "", "/a/../p?x=1&%64ebug=1&debug", fields);
    assert_eq!(request.target(), "/p?x=1&v=2");
    assert_eq!((request.has("x-debug"), request.has("x-old")), (false, false), "{request:#?}");
    // A client's `Connection` takes away nothing that a policy put there.
    assert_eq!((request.values("x-new"), request.values("x-tenant")), (vec!["a", "b"], vec!["t1"]));
    assert_eq!((request.value("host"), request.value("accept")), (Some("a.test"), Some("x")));
    assert!(request.has("x-forwarded-for") && request.has("via"));
}

/// Case, repetition, underscores and hop-by-hop lists are the tricks with which a header is kept from a policy.
#[test]
fn a_header_that_is_taken_away_is_away() {
    let policy = "{ request_transform: { remove: { headers: [X-Role] }, append: { headers: [\"X-Role:guest\"] } } }";
    for fields in [
        "X-Role: admin\r\n",
        "x-ROLE: admin\r\nX-Role: admin, root\r\n",
        "X_Role: admin\r\nx_role: root\r\n",
        "Connection: X-Role\r\nX-Role: admin\r\n",
        "Connection: close, x-role\r\n",
    ] {
        for more in ["", "http: { underscores_in_headers: true }"] {
            let (request, _) = exchange(policy, more, "/", fields);
            assert_eq!(request.values("x-role"), ["guest"], "{fields:?}");
            assert!(!request.has("x_role"), "{fields:?}");
        }
    }
}

/// Many a service takes what comes behind the body for fields of the head.
#[test]
fn a_header_that_is_taken_away_does_not_come_back_behind_the_body() {
    let role = "{ request_transform: { remove: { headers: [X-Role] } } }";
    for (policy, want) in [(role, &[][..]), ("{ ip_filter: { deny: [10.0.0.0/8] } }", &["admin"])] {
        let origin = Origin::answering(OK);
        let gateway = Gateway::start(&Config::to(&origin).of_route(&format!("policies: [{policy}]")));
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("5\r\nhello\r\n0\r\nX-Role: admin\r\nX-Consumer-Id: 1\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        let request = origin.only_request();
        assert_eq!(request.text(), "hello");
        assert_eq!(request.trailers.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), want, "{policy}");
    }
}

/// What many programs read as another name is dropped, also where names with underscores are wanted.
#[test]
fn an_alias_of_what_the_gateway_writes_is_dropped() {
    let fields = "X_Forwarded_For: 1\r\nTransfer_Encoding: chunked\r\nX_Consumer_Id: 1\r\nx_mine: 1\r\n";
    let policy = "{ ip_filter: { deny: [10.0.0.0/8] } }";
    let (request, _) = exchange(policy, "http: { underscores_in_headers: true }", "/", fields);
    let aliases: Vec<_> = request.fields.iter().filter(|(name, _)| name.contains('_')).collect();
    assert_eq!(aliases, [&("x_mine".to_owned(), "1".to_owned())]);
}

/// What an untrusted peer says of the client is not there for policies either.
#[test]
fn a_policy_does_not_see_what_would_not_go_on() {
    let policy = "{ request_transform: { rename: { headers: [\"X-Forwarded-User:X-User\"] }, \
                  add: { headers: [\"X-User:nobody\"] } } }";
    let fields = "X-Forwarded-User: admin\r\nTE: gzip\r\n";
    assert_eq!(exchange(policy, "", "/", fields).0.values("x-user"), ["nobody"]);
    let trusting = "trust: { proxies: [127.0.0.0/8] }";
    assert_eq!(exchange(policy, trusting, "/", fields).0.values("x-user"), ["admin"]);
}

#[test]
fn the_client_gets_what_the_operator_says() {
    let policies = "{ response_transform: { remove: { headers: [Set-Cookie] }, add: { headers: [\"X-A:1\"] } } }, \
                    { security_headers: {} }, { request_id: { echo_downstream: true } }";
    let (request, response) = exchange(policies, "", "/", "");
    assert!(!response.has("set-cookie") && !response.has("server"), "{response:#?}");
    assert_eq!((response.value("x-a"), response.value("x-frame-options")), (Some("1"), Some("DENY")));
    assert_eq!(response.value("x-request-id"), request.value("x-request-id"));
    assert_eq!(response.text(), "ok");
}

#[test]
fn answers_of_the_gateways_own_are_changed_too() {
    let origin = Origin::answering(OK);
    let policies = "policies: [{ cors: { origins: [\"https://a.test\"], credentials: true } }, \
                    { ip_filter: { deny: [127.0.0.1] } }, { security_headers: {} }, \
                    { response_transform: { replace: { headers: [\"Content-Type:text/x\"] } } }]";
    let config = Config::empty().service("s", &[origin.address], "").route("r", "s", "paths: [/r]").with(policies);
    let gateway = Gateway::start(&config);
    // The second one is of no route.
    for path in ["/r", "/none"] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nOrigin: https://a.test\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 403);
        assert_eq!(response.value("access-control-allow-origin"), Some("https://a.test"), "{response:#?}");
        assert_eq!((response.value("vary"), response.value("x-frame-options")), (Some("Origin"), Some("DENY")));
        assert_eq!(response.value("content-type"), Some("text/x"));
    }
}

#[test]
fn a_preflight_is_answered_and_the_service_hears_nothing() {
    let origin = Origin::answering(OK);
    let policy = "policies: [{ cors: { origins: [\"https://a.test\"], methods: [GET, PUT], max_age: 60 } }]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(policy));
    let mut client = gateway.client();
    let preflight =
        "OPTIONS /x HTTP/1.1\r\nHost: a\r\nOrigin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    client.send(preflight);
    let response = client.response();
    assert_eq!((response.status(), response.body.len()), (200, 0));
    assert_eq!(response.value("access-control-allow-methods"), Some("GET,PUT"));
    assert_eq!(response.value("access-control-allow-origin"), Some("https://a.test"));
    client.send("GET /y HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.test\r\n\r\n");
    assert!(!client.response().has("access-control-allow-origin"));
    assert_eq!(origin.targets(), ["/y"]);
}

#[test]
fn a_body_is_bounded_by_its_length_and_by_what_comes() {
    let origin = Origin::answering(OK);
    let policy = "policies: [{ request_size: { body_bytes_max: 10 } }]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(policy).one_shard());
    let framings = [
        ("Content-Length: 10\r\n\r\n0123456789", 200),
        ("Content-Length: 11\r\n\r\n0123456789x", 413),
        ("Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n01234\r\n0\r\n\r\n", 413),
        ("Expect: 100-continue\r\nContent-Length: 11\r\n\r\n", 413),
    ];
    for (framing, status) in framings {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
        assert_eq!(client.response().status(), status, "{framing}");
    }
    let refused: Vec<_> = gateway.log_lines(5).into_iter().filter(|line| line["status"] == 413).collect();
    assert_eq!(refused.len(), 3);
    for line in refused {
        assert_eq!((&line["policy"], &line["reason"]), (&"request_size".into(), &"too_large".into()), "{line}");
    }
}

#[test]
fn a_request_that_edits_would_outgrow_is_refused_whole() {
    let origin = Origin::answering(OK);
    let policy = "policies: [{ request_transform: { rename: { headers: [\"X-A:X-B\"] } } }]";
    let gateway = Gateway::start(&Config::to(&origin).of_route(policy));
    // Edits add up to 16 KiB, and 33 lines of 507 bytes are more.
    let line = format!("X-A: {}\r\n", "v".repeat(500));
    for (lines, status) in [(32, 200), (33, 431)] {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(lines)));
        assert_eq!(client.response().status(), status);
    }
    assert_eq!(origin.only_request().values("x-b").len(), 32);
}

/// However a path is spelt, the route whose policy it meets is the one whose path the service gets.
#[test]
fn no_spelling_of_a_path_slips_past_its_policy() {
    let origin = Origin::answering(OK);
    let config = Config::empty()
        .service("s", &[origin.address], "")
        .route("closed", "s", "paths: [/admin], policies: [{ ip_filter: { deny: [127.0.0.1] } }]")
        .route("open", "s", "paths: [/]");
    let gateway = Gateway::start(&config);
    for target in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x",
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/%61dmin/%2e",
        "//admin",
        "///admin",
        "/./admin",
        "/%2e/admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/.%2E/admin",
        "/x/y/../../admin",
        "/admin/.",
        "/admin/x/..",
        "/admin//x",
        "/.//admin",
        "/x//..//admin",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin;x",
        "/admin;/x",
        "/ADMIN",
        "/admin%20",
        "/admin%00",
        "/admin\\x",
        "/\\admin",
        "/x\\..\\admin",
        "/%5cadmin",
        "/..%2fadmin",
        "/x/..%2fadmin",
        "/%252e/admin",
        "/x/%252e%252e/admin",
        "/admin#x",
        "/admin%23x",
        "/admin%3fx",
        "/%2fadmin",
        "/../admin",
        "http://a/admin",
        "http://a//x/../admin",
    ] {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        let status = client.response().status();
        assert!([200, 400, 403].contains(&status), "{target}: {status}");
        if ["/admin", "/admin/", "/%61dmin", "//admin", "/x/%2e%2e/admin", "/admin/x/..", "http://a/admin"]
            .contains(&target)
        {
            assert_eq!(status, 403, "{target}");
        }
    }
    for target in origin.targets() {
        let path = target.split('?').next().unwrap();
        assert!(path != "/admin" && !path.starts_with("/admin/"), "the service got {target}");
    }
}
