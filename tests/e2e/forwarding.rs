//! Fields on their way through: hop-by-hop ones end here, the gateway's own are never a client's, all others pass as
//! they came.

use crate::harness::{Config, Gateway, Message, OK, Origin};

/// What the origin got of a request with these field lines.
#[track_caller]
fn forwarded(config: impl Fn(Config) -> Config, fields: &str) -> Message {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&config(Config::to(&origin)));
    let mut client = gateway.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: shop.test:8443\r\n{fields}\r\n"));
    let response = client.response();
    assert_eq!(response.status(), 200, "{fields:?}: {}", response.text());
    origin.only_request()
}

fn as_it_is(config: Config) -> Config {
    config
}

fn trusting(config: Config) -> Config {
    config.with("trust: { proxies: [\"127.0.0.0/8\"] }")
}

#[test]
fn other_fields_keep_their_case_order_and_bytes() {
    let sent = "x-lower: 1\r\nX-Upper: 2\r\nx-MiXed: a  b\r\nAccept: text/html;q=0.5, */*\r\nX-Role: user\r\n\
        X-Role: admin\r\nx-role: a, b\r\nX-Empty:\r\nX-Obs: caf\u{e9}\r\nCookie: a=1; b=2\r\n";
    let request = forwarded(as_it_is, sent);
    let names = ["x-lower", "x-upper", "x-mixed", "accept", "x-role", "x-empty", "x-obs", "cookie"];
    let got: Vec<String> = request
        .fields
        .iter()
        .filter(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| format!("{name}: {value}").trim_end().to_owned())
        .collect();
    // The é is two bytes of UTF-8, which the harness shows as Latin-1.
    let expected: Vec<String> =
        sent.replace('\u{e9}', "\u{c3}\u{a9}").split_terminator("\r\n").map(str::to_owned).collect();
    assert_eq!(got, expected);
}

/// A policy that looks at one line of a repeated field would miss the other: the origin must see both, as sent.
#[test]
fn repeated_fields_are_neither_merged_nor_dropped() {
    let request = forwarded(as_it_is, "X-Role: user\r\nx-role: admin\r\nX-ROLE: a,b\r\n");
    assert_eq!(request.values("x-role"), ["user", "admin", "a,b"]);
}

#[test]
fn hop_by_hop_fields_end_here() {
    let fields = "Connection: close, X-Hop , x-other\r\nX-Hop: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\n\
        Proxy-Connection: keep-alive\r\nUpgrade: x\r\nX-Stays: 3\r\n";
    let request = forwarded(as_it_is, fields);
    for name in ["X-Hop", "X-Other", "Keep-Alive", "Proxy-Connection", "Upgrade", "TE"] {
        assert!(!request.has(name), "{name} passed: {request:#?}");
    }
    assert!(!request.closes(), "the client's wish was passed on: {request:#?}");
    assert_eq!(request.value("X-Stays"), Some("3"));
}

#[test]
fn hop_by_hop_fields_of_a_response_end_here() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: close\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nServer: origin/1\r\nX-Stays: 3\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    for name in ["X-Hop", "Keep-Alive", "Proxy-Connection"] {
        assert!(!response.has(name), "{name} passed: {response:#?}");
    }
    assert_eq!(response.values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((response.value("server"), response.value("x-stays")), (Some("origin/1"), Some("3")));
}

/// `Connection` may name hop-by-hop fields, but the gateway's own and those it needs are not the client's to remove.
#[test]
fn connection_removes_nothing_that_the_gateway_sets_or_needs() {
    let named = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Forwarded, Via, \
        X-Request-Id, Host, Content-Length, Transfer-Encoding";
    let without = forwarded(as_it_is, "");
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: shop.test:8443\r\nConnection: {named}\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert_eq!(client.response().status(), 200);
    let with = origin.only_request();
    assert_eq!(with.text(), "hello");
    for name in named.split(", ").filter(|name| without.has(name)) {
        assert!(with.has(name), "Connection removed {name}: {with:#?}");
    }
    assert_eq!(with.value("host"), Some("shop.test:8443"));
}

/// RFC 9110 §7.6.2: TRACE and OPTIONS say how far they may go, and the last one that they come to answers.
#[test]
fn questions_about_the_way_go_as_far_as_they_may() {
    let origin = Origin::answering(OK);
    let policy = "policies: [{ request_transform: { add: { headers: [\"X-Of:all\"] } } }]";
    for config in [Config::to(&origin), Config::to(&origin).with(policy)] {
        let gateway = Gateway::start(&config);
        let mut client = gateway.client();
        for (method, value, status, sent_on) in [
            ("OPTIONS", "0", 200, None),
            ("TRACE", "0", 501, None),
            ("OPTIONS", "1", 200, Some("0")),
            ("TRACE", "30", 200, Some("29")),
            ("OPTIONS", "x", 200, Some("x")),
            ("GET", "0", 200, Some("0")),
        ] {
            let before = origin.requests().len();
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n"));
            let response = client.response();
            assert_eq!(response.status(), status, "{method} {value}");
            assert!(!response.closes(), "{response:?}");
            let requests = origin.requests();
            let got: Vec<_> = requests[before..].iter().map(|request| request.values("max-forwards")).collect();
            assert_eq!(got, sent_on.map(|value| vec![value]).into_iter().collect::<Vec<_>>(), "{method} {value}");
            assert_eq!(response.text().is_empty(), (method, value) == ("OPTIONS", "0"), "{response:?}");
        }
    }
}

/// All others go. Credentials stay, as the gateway judges by them: else a service would get less than was judged.
#[test]
fn connection_removes_every_other_header_that_it_names() {
    let fields = "Cookie: a=b\r\nUser-Agent: u\r\nReferer: r\r\nX-Foo: f\r\nDate: d\r\nAuthorization: z\r\n";
    let named = "Connection: Cookie, User-Agent, Referer, X-Foo, Date, Authorization\r\n";
    let (with, without) = (forwarded(as_it_is, fields), forwarded(as_it_is, &format!("{named}{fields}")));
    for name in ["User-Agent", "Referer", "X-Foo", "Date"] {
        assert!(with.has(name) && !without.has(name), "{name}: {without:#?}");
    }
    assert!(without.has("Cookie") && without.has("Authorization"), "{without:#?}");
}

const SPOOFED: &str = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 666\r\nX-Real-IP: 6.6.6.6\r\n\
    X-Forwarded-Prefix: /evil\r\nx-forwarded-ssl: evil\r\nX-Forwarded-: evil\r\n\
    Forwarded: for=6.6.6.6;proto=https\r\nX-Request-Id: spoofed-by-client-0001\r\n";

#[test]
fn what_an_untrusted_client_says_of_itself_is_dropped() {
    let request = forwarded(as_it_is, SPOOFED);
    assert_eq!(request.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.value("x-forwarded-proto"), Some("http"));
    assert_eq!(request.value("x-forwarded-host"), Some("shop.test:8443"));
    assert_ne!(request.value("x-forwarded-port"), Some("666"));
    assert_ne!(request.value("x-request-id"), Some("spoofed-by-client-0001"));
    for (name, value) in &request.fields {
        assert!(!value.contains("6.6.6.") && !value.contains("evil") && !value.contains("spoofed"), "{name}: {value}");
    }
}

#[test]
fn what_a_trusted_proxy_says_of_its_client_is_kept() {
    let fields = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.test\r\n\
        X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /shop\r\nX-Request-Id: from-the-edge-0001\r\n";
    let request = forwarded(trusting, fields);
    assert_eq!(request.value("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(request.value("x-forwarded-proto"), Some("https"));
    assert_eq!(request.value("x-forwarded-host"), Some("www.test"));
    assert_eq!(request.value("x-forwarded-port"), Some("443"));
    assert_eq!(request.value("x-forwarded-prefix"), Some("/shop"));
    assert_eq!(request.value("x-request-id"), Some("from-the-edge-0001"));
}

/// Backends of Kong and of Envoy know the client by these: from a client they would be its own word for who it is.
#[test]
fn what_only_a_gateway_may_say_of_the_client_is_dropped_unless_the_peer_is_trusted() {
    let names = [
        "X-Consumer-Username",
        "x-consumer-groups",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
        "x-envoy-internal",
        "X-Forwarded-User",
    ];
    let fields: String = names.map(|name| format!("{name}: admin\r\n")).concat() + "X-Consumed: 1\r\nX-: 2\r\n";
    let (untrusted, trusted) = (forwarded(as_it_is, &fields), forwarded(trusting, &fields));
    for name in names {
        assert!(!untrusted.has(name) && trusted.has(name), "{name}");
    }
    assert_eq!((untrusted.value("x-consumed"), untrusted.value("x-")), (Some("1"), Some("2")));
}

#[test]
fn where_a_policy_finds_out_who_asks_no_proxy_says_it() {
    let guest = |config: Config| {
        let config = trusting(config).with("consumers: [{ name: guest }]");
        config.of_route("policies: [{ anonymous: { consumer: guest } }]")
    };
    let names = ["X-Consumer-Username", "x-consumer-groups", "X-Credential-Identifier", "X-Anonymous-Consumer"];
    let fields = names.map(|name| format!("{name}: admin\r\n")).concat() + "x-envoy-internal: 1\r\n";
    let request = forwarded(guest, &fields);
    for name in &names[..3] {
        assert!(!request.has(name), "{name}");
    }
    assert_eq!((request.value("x-anonymous-consumer"), request.value("x-envoy-internal")), (Some("true"), Some("1")));
}

/// The client of the log is the last address in the chain that no trusted proxy speaks for.
#[test]
fn the_client_is_the_last_untrusted_address() {
    for (trust, chain, client) in [
        ("trust: { proxies: [] }", "6.6.6.6", "127.0.0.1"),
        ("trust: { proxies: [\"127.0.0.1\"] }", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("trust: { proxies: [\"127.0.0.1\", \"10.0.0.0/8\"] }", "6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("trust: { proxies: [\"127.0.0.1\"] }", "6.6.6.6, 10.1.2.3", "10.1.2.3"),
        ("trust: { proxies: [\"127.0.0.1\", \"10.0.0.0/8\"] }", "6.6.6.6, [2001:db8::1], 10.1.2.3", "2001:db8::1"),
    ] {
        let origin = Origin::answering(OK);
        let gateway = Gateway::start(&Config::to(&origin).with(trust));
        let mut wire = gateway.client();
        wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {chain}\r\n\r\n"));
        assert_eq!(wire.response().status(), 200);
        assert_eq!(gateway.log_lines(1)[0]["client"], client, "{trust} {chain}");
    }
}

#[test]
fn every_request_has_an_id_of_its_own_and_a_via() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).one_shard());
    for _ in 0..20 {
        gateway.get("/");
    }
    let requests = origin.requests();
    let mut ids: Vec<&str> = requests.iter().filter_map(|request| request.value("x-request-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    assert!(requests.iter().all(|request| request.value("via") == Some("1.1 shardgate")), "{:#?}", requests[0]);
    let logged: Vec<_> =
        gateway.log_lines(20).iter().map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
    let sent: Vec<_> = requests.iter().map(|request| request.value("x-request-id").unwrap()).collect();
    assert_eq!(logged, sent);
}

/// CGI, WSGI and others cannot tell `_` from `-`.
#[test]
fn names_with_an_underscore_are_dropped_unless_allowed() {
    let fields = "X_Forwarded_Proto: https\r\nX_Forwarded-For: 6.6.6.6\r\nX_Custom: 1\r\nContent_Length: 5\r\n\
        Transfer_Encoding: chunked\r\nX-Custom: 2\r\n";
    let request = forwarded(as_it_is, fields);
    assert!(!request.fields.iter().any(|(name, _)| name.contains('_')), "{request:#?}");
    assert_eq!(request.value("x-custom"), Some("2"));

    let request =
        forwarded(|config| config.with("http: { underscores_in_headers: true }"), "X_Custom: 1\r\nX-Custom: 2\r\n");
    assert_eq!((request.value("x_custom"), request.value("x-custom")), (Some("1"), Some("2")));
}

#[test]
fn the_host_goes_on_or_is_the_endpoints() {
    let request = forwarded(as_it_is, "");
    assert_eq!(request.value("host"), Some("shop.test:8443"));

    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).of_route("preserve_host: false"));
    gateway.get("/");
    let address = origin.address.to_string();
    assert_eq!(origin.only_request().value("host"), Some(address.as_str()));
}

/// The dates of the answers to two requests, of which one closes the connection, where the origin answers so.
#[track_caller]
fn dates(answer: &str, policies: &str) -> [String; 2] {
    let origin = Origin::answering(answer.to_owned());
    let gateway = Gateway::start(&Config::to(&origin).with(policies));
    ["", "Connection: close\r\n"].map(|fields| {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (200, "ok"), "{answer:?}");
        date(&response)
    })
}

/// The only one.
#[track_caller]
fn date(response: &Message) -> String {
    let dates = response.values("date");
    assert_eq!(dates.len(), 1, "{response:?}");
    dates[0].to_owned()
}

fn is_new(date: &str) -> bool {
    date.len() == GIVEN.len() && date.ends_with(" GMT") && date != GIVEN
}

const GIVEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// RFC 9110 §6.6.1.
#[test]
fn a_response_without_a_date_gets_one() {
    let given = OK.replacen("\r\n", &format!("\r\nDate: {GIVEN}\r\n"), 1);
    let given_to_us = given.replacen("\r\n", "\r\nConnection: date\r\n", 1);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for policies in ["", "policies: [{ security_headers: {} }]"] {
        assert_eq!(dates(&given, policies), [GIVEN; 2], "{policies}");
        for answer in [OK, chunked, given_to_us.as_str()] {
            let told = dates(answer, policies);
            assert!(told.iter().all(|date| is_new(date)), "{told:?} {policies} {answer:?}");
        }
    }
    let adding = "policies: [{ response_transform: { add: { headers: [\"Date:then\"] } } }]";
    assert_eq!(dates(OK, adding), ["then"; 2]);
    assert_eq!(dates(&given, adding), [GIVEN; 2]);
    let removing = "policies: [{ response_transform: { remove: { headers: [Date] } } }]";
    assert!(dates(&given, removing).iter().all(|date| is_new(date)), "it has a date, whoever removes it");
}

#[test]
fn what_the_gateway_answers_itself_has_a_date() {
    let dated = format!("paths: [/dated], respond: {{ headers: [{{ name: date, value: \"{GIVEN}\" }}] }}");
    for policies in ["", "policies: [{ security_headers: {} }]"] {
        let config = Config::empty()
            .acting("said", "paths: [/said], respond: { body: hi }")
            .acting("moved", "paths: [/moved], redirect: { path: { whole: /x } }")
            .acting("dated", &dated)
            .with(policies);
        let gateway = Gateway::start(&config);
        for target in ["/said", "/moved", "/none", "/%zz"] {
            let response = gateway.get(target);
            assert!(is_new(&date(&response)), "{target}: {response:?}");
        }
        assert_eq!(date(&gateway.get("/dated")), GIVEN);
    }
}
