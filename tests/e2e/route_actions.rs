//! What a route does with a request: rewrites it, deals it to one of several services, sends it elsewhere, answers it.

use crate::harness::{Config, Gateway, Message, OK, Origin, Wire};

fn ask(gateway: &Gateway, first: &str, lines: &str) -> Message {
    let mut client = gateway.client();
    client.send(format!("{first} HTTP/1.1\r\nHost: shop.test:81\r\n{lines}\r\n"));
    client.response_to(first.split(' ').next().unwrap())
}

/// What is asked for, and what the service gets; `None` is refused with 400.
#[track_caller]
fn check_rewrite(route: &str, cases: &[(&str, Option<&str>)]) {
    let origin = Origin::answering(OK);
    // One shard, so that the log has them in their order.
    let config = Config::empty().one_shard().service("s", &[origin.address], "").route("r", "s", route);
    let gateway = Gateway::start(&config);
    for (asked, want) in cases {
        let response = ask(&gateway, &format!("GET {asked}"), "");
        assert_eq!(response.status(), if want.is_some() { 200 } else { 400 }, "{route}: {asked}");
        if want.is_none() {
            assert_eq!(response.problem()["type"], "urn:shardgate:problem:rewrite_invalid");
        }
    }
    let sent: Vec<_> = cases.iter().filter_map(|(_, want)| *want).collect();
    assert_eq!(origin.targets(), sent, "{route}");
    for (line, (asked, want)) in gateway.log_lines(cases.len()).iter().zip(cases) {
        let Some(want) = want else { continue };
        // The log shows the bytes that were sent.
        assert_eq!(line["path"], want.split('?').next().unwrap(), "{asked}: {line}");
    }
}

#[test]
fn a_prefix_is_cut_off_or_replaced_where_it_matched() {
    check_rewrite(
        "paths: [/api, { exact: /old }], rewrite: { strip_path: true }",
        &[
            ("/api/users?x=/api", Some("/users?x=/api")),
            ("/api", Some("/")),
            ("/api/", Some("/")),
            ("/api?q", Some("/?q")),
            ("/api/api/x", Some("/api/x")),
            ("/%61pi/a%2fb/../c", Some("/c")),
            ("/x/../api/%7Euser", Some("/~user")),
            ("/old", Some("/")),
        ],
    );
    check_rewrite(
        "paths: [/a, /a/b], rewrite: { path: { prefix: /new/base/ } }",
        &[
            ("/a/x", Some("/new/base/x")),
            ("/a/b/x", Some("/new/base/x")),
            ("/a/bc", Some("/new/base/bc")),
            ("/a", Some("/new/base")),
            ("/a//x", Some("/new/base/x")),
        ],
    );
    check_rewrite("rewrite: { path: { whole: \"/one/%7e\" } }", &[("/a?b", Some("/one/~?b")), ("/", Some("/one/~"))]);
}

#[test]
fn groups_of_a_regex_make_a_path_which_is_one_or_is_refused() {
    check_rewrite(
        "rewrite: { path: { regex: { matches: \"/u/(?<id>[0-9]+)/(.*)\", to: \"/$2/of/${id}\" } } }",
        &[
            ("/u/7/orders?x", Some("/orders/of/7?x")),
            ("/u/x/orders", Some("/u/x/orders")),
            ("/u/7/a%2Fb/c", Some("/a%2Fb/c/of/7")),
        ],
    );
    check_rewrite(
        "rewrite: { path: { regex: { matches: \"/(.*)-(.*)\", to: \"/$1$2\" } } }",
        &[
            ("/a/.-./b", None),
            ("/.-./b", None),
            ("/a/.-/b", Some("/a/b")),
            ("/a/-/b", Some("/a/b")),
            ("/%25-2e", Some("/%252e")),
            ("/a-b", Some("/ab")),
        ],
    );
}

#[test]
fn a_path_that_grows_too_long_is_refused() {
    let long = format!("/{}", "a".repeat(3_000));
    check_rewrite(
        "rewrite: { path: { regex: { matches: \"/(.*)\", to: \"/$1/$1/$1\" } } }",
        &[("/b", Some("/b/b/b")), (&long, None)],
    );
}

#[test]
fn the_service_gets_the_host_that_the_route_says() {
    let origin = Origin::answering(OK);
    let config = Config::empty().service("s", &[origin.address], "").route(
        "r",
        "s",
        "rewrite: { host: \"inner.example:8080\" }",
    );
    let gateway = Gateway::start(&config);
    assert_eq!(ask(&gateway, "GET /x", "").status(), 200);
    let request = origin.only_request();
    assert_eq!(request.values("host"), ["inner.example:8080"]);
    assert_eq!(request.value("x-forwarded-host"), Some("shop.test:81"));
    assert_eq!(gateway.log_lines(1)[0]["host"], "shop.test");
}

/// Two services that answer with their names, `a` and `b`.
fn two() -> (Config, [Origin; 2]) {
    let origins =
        ["a", "b"].map(|name| Origin::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}")));
    let [a, b] = &origins;
    (Config::empty().service("a", &[a.address], "").service("b", &[b.address], ""), origins)
}

/// Who answered each of `count` requests of one connection.
fn answers(client: &mut Wire, count: usize, line: impl Fn(usize) -> String) -> Vec<String> {
    let answer = |number| {
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", line(number)));
        client.response().text()
    };
    (0..count).map(answer).collect()
}

#[test]
fn requests_are_dealt_by_their_shares() {
    let (config, _origins) = two();
    let arms = "arms: [{ service: a, percent: 75.5 }, { service: b, percent: 24.5 }]";
    let gateway = Gateway::start(&config.acting("r", &format!("split: {{ {arms} }}")));
    let of_b = answers(&mut gateway.client(), 2_000, |_| String::new()).iter().filter(|name| *name == "b").count();
    // Six deviations of 19 about 490.
    assert!((375..605).contains(&of_b), "{of_b} of 2000");
    let line = &gateway.log_lines(1)[0];
    assert!(line["service"] == "a" || line["service"] == "b", "{line}");
}

#[test]
fn who_sticks_is_dealt_the_same_by_every_gateway_and_a_header_forces() {
    let (config, _origins) = two();
    let forced = "forced_by: { name: X-Canary, exact: always }";
    let split = |sticky: &str| {
        format!("split: {{ arms: [{{ service: a, percent: 50 }}, {{ service: b, percent: 50, {forced} }}]{sticky} }}")
    };
    let config = config
        .acting("cookie", &format!("hosts: [h], {}", split(", sticky_by: { cookie: id }")))
        .acting("client", &format!("hosts: [client.test], {}", split(", sticky_by: client")));
    let (one, other) = (Gateway::start(&config), Gateway::start(&config));
    let cookie = |number: usize| format!("Cookie: x=y; id=user-{}\r\n", number % 64);
    let dealt = answers(&mut one.client(), 128, cookie);
    assert_eq!(dealt[..64], dealt[64..]);
    assert_eq!(dealt, answers(&mut other.client(), 128, cookie));
    let of_b = dealt.iter().filter(|name| *name == "b").count();
    assert!((20..108).contains(&of_b), "{of_b} of 128");
    let forced = answers(&mut one.client(), 64, |number| format!("{}x-canary: always\r\n", cookie(number)));
    assert!(forced.iter().all(|name| name == "b"), "{forced:?}");
    let unsaid = |number: usize| format!("{}x-canary: always\r\nConnection: x-canary\r\n", cookie(number));
    assert_eq!(answers(&mut one.client(), 64, unsaid), dealt[..64], "what goes no further forces nothing");

    let by_address = |gateway: &Gateway, last: u8| {
        let mut client = Wire::connect_from(&format!("127.0.0.{last}"), gateway.address);
        client.send("GET / HTTP/1.1\r\nHost: client.test\r\n\r\n");
        client.response().text()
    };
    let dealt: Vec<_> = (1..41).map(|last| by_address(&one, last)).collect();
    assert_eq!(dealt, (1..41).map(|last| by_address(&other, last)).collect::<Vec<_>>());
    assert!(dealt.contains(&"a".to_owned()) && dealt.contains(&"b".to_owned()), "{dealt:?}");
}

#[track_caller]
fn check_redirect(redirect: &str, first: &str, lines: &str, status: u16, location: &str) {
    let config = Config::empty()
        .acting("r", &format!("paths: [/, /old], redirect: {redirect}"))
        .with("trust: { proxies: [\"127.0.0.1\"] }\nhttp: { merge_slashes: false }");
    let response = ask(&Gateway::start(&config), first, lines);
    assert_eq!((response.status(), response.value("location")), (status, Some(location)), "{redirect} {first}");
    assert_eq!(response.text(), "");
    assert!(!response.closes(), "{response:?}");
}

#[test]
fn a_redirect_keeps_what_it_does_not_replace() {
    check_redirect("{ scheme: https }", "GET /a%20b?c=d", "", 302, "https://shop.test/a%20b?c=d");
    check_redirect("{ scheme: https, port: 8443, status: 308 }", "POST /a", "", 308, "https://shop.test:8443/a");
    check_redirect("{ host: www.shop.test, status: 301 }", "GET /a", "", 301, "http://www.shop.test:81/a");
    let proto = "X-Forwarded-Proto: https\r\n";
    check_redirect("{ host: www.shop.test }", "GET /a", proto, 302, "https://www.shop.test:81/a");
    check_redirect("{ port: 82 }", "GET /a", "", 302, "http://shop.test:82/a");
    check_redirect("{ path: { whole: /new }, status: 303 }", "GET /old?x=/y", "", 303, "/new?x=/y");
    check_redirect("{ path: { prefix: /new }, status: 307 }", "HEAD /old/a/b", "", 307, "/new/a/b");
    let regex = "{ path: { regex: { matches: \"/old/(.*)[.]php\", to: \"/$1\" } } }";
    check_redirect(regex, "GET /old/a.php?b", "", 302, "/a?b");
}

/// Wherever a redirect leads, nobody there is to read what policies took out of the query.
#[test]
fn a_redirect_has_the_query_that_policies_have_left() {
    let edits = "remove: { querystring: [key] }, rename: { querystring: [\"a:b\"] }";
    let redirect = format!("{{ host: other.test }}, policies: [{{ request_transform: {{ {edits} }} }}]");
    for (asked, location) in [
        ("GET /x?key=s&c=1&a=2", "http://other.test:81/x?c=1&b=2"),
        ("GET /x?k%65y=s", "http://other.test:81/x"),
        ("GET /x?c=1", "http://other.test:81/x?c=1"),
        ("GET /x", "http://other.test:81/x"),
    ] {
        check_redirect(&redirect, asked, "", 302, location);
    }
}

#[test]
fn no_request_makes_a_redirect_to_another_host() {
    check_redirect("{ path: { prefix: / } }", "GET /old//evil.test/x", "", 302, "/evil.test/x");
    check_redirect(
        "{ path: { regex: { matches: \"/old(.*)\", to: \"$1\" } } }",
        "GET /old//evil.test",
        "",
        302,
        "/evil.test",
    );
    check_redirect("{ scheme: https }", "GET //evil.test", "", 302, "https://shop.test/evil.test");
}

#[test]
fn a_route_answers_without_a_service() {
    let config = Config::empty()
        .acting(
            "closed",
            "paths: [/], \
             respond: { status: 503, body: \"closed\\n\", headers: [{ name: Retry-After, value: \"60\" }] }",
        )
        .acting("robots", "paths: [{ exact: /robots.txt }], respond: { body: \"User-agent: *\\nDisallow: /\\n\" }")
        .acting("empty", "paths: [/empty], respond: { status: 204 }")
        .acting(
            "json",
            "paths: [/j], respond: { body: '{}', headers: [{ name: content-type, value: application/json }] }",
        );
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    let mut ask = |first: &str, rest: &str| {
        client.send(format!("{first} HTTP/1.1\r\nHost: h\r\n{rest}\r\n"));
        client.response_to(first.split(' ').next().unwrap())
    };
    let response = ask("GET /any", "");
    assert_eq!((response.status(), response.text().as_str()), (503, "closed\n"));
    assert_eq!(response.values("content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!((response.value("retry-after"), response.value("content-length")), (Some("60"), Some("7")));
    assert!(response.has("x-request-id") && !response.closes(), "{response:?}");
    let response = ask("HEAD /any", "");
    assert_eq!((response.status(), response.value("content-length")), (503, Some("7")));
    let response = ask("GET /empty", "");
    assert_eq!((response.status(), response.has("content-length"), response.has("content-type")), (204, false, false));
    let response = ask("GET /j", "");
    assert_eq!((response.text().as_str(), response.values("content-type")), ("{}", vec!["application/json"]));
    assert_eq!(ask("GET /robots.txt", "").text(), "User-agent: *\nDisallow: /\n");
    // Its body has not been read: the connection cannot go on, and says so.
    let response = ask("POST /any", "Content-Length: 5\r\n");
    assert_eq!(response.status(), 503);
    assert!(response.closes(), "{response:?}");
    let lines = gateway.log_lines(6);
    for line in &lines {
        assert!(line["service"].is_null() && line["error"].is_null() && line["route"].is_string(), "{line}");
    }
    assert_eq!((&lines[0]["status"], &lines[0]["response_body_bytes"]), (&503.into(), &7.into()));
}

#[test]
fn an_http_1_0_client_without_a_host_is_not_sent_to_none() {
    let gateway = Gateway::start(&Config::empty().acting("r", "redirect: { scheme: https }"));
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 400);
}
