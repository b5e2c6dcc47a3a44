//! Requests that another server might read otherwise than we do: each is refused, ends its connection, and never
//! reaches the origin as a whole request. A leniency here is somebody's smuggling gadget.

use crate::harness::{Config, Gateway, OK, Origin};

/// A gateway before an origin that answers whatever comes.
struct Rig {
    gateway: Gateway,
    origin: Origin,
}

impl Rig {
    fn new() -> Self {
        let origin = Origin::answering(OK);
        let gateway = Gateway::start(&Config::to(&origin));
        Self { gateway, origin }
    }

    /// Sends `request`, and behind it at once another one, as a smuggler would.
    #[track_caller]
    fn check(&self, request: impl AsRef<[u8]>, status: u16) {
        let request = request.as_ref();
        let shown = request[..request.len().min(120)].escape_ascii().to_string();
        let before = self.origin.requests().len();
        let mut client = self.gateway.client();
        client.send([request, SMUGGLED].concat());
        let Some(response) = client.maybe_response() else { panic!("no answer to {shown}") };
        assert_eq!(response.status(), status, "{shown}: {}", response.text());
        assert!(response.closes(), "{shown}: {response:?}");
        response.problem();
        let rest = client.rest();
        assert!(rest.is_empty(), "{shown}: after the refusal came {}", rest.escape_ascii());

        // One shard serves in turn: once the probe was answered, whatever the refused request did is done.
        assert_eq!(self.gateway.get("/probe").status(), 200);
        let targets = self.origin.targets();
        assert_eq!(targets[before..], ["/probe"], "{shown}");
        assert!(!self.origin.heard("smuggled"), "{shown}");
    }
}

#[test]
fn a_malformed_head_is_refused() {
    let rig = Rig::new();
    for (request, status) in [
        // Lines: CRLF only (RFC 9112 §2.2 lets a server be lenient; smugglers live on it).
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // The request line.
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 501),
        // Field lines (RFC 9112 §5.1, §5.2).
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\t: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tfolded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(: v\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: v\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x1bb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: v\r\n\r\n", 400),
        // Expectations that nobody here can meet.
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 2\r\n\r\nhi", 417),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 2\r\n\r\nhi", 417),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 400),
    ] {
        rig.check(request, status);
    }
}

#[test]
fn an_ambiguous_host_is_refused() {
    let rig = Rig::new();
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:\u{661}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        rig.check(request, 400);
    }
}

#[test]
fn an_ambiguous_path_is_refused() {
    let rig = Rig::new();
    for target in [
        "/a#b",
        "/#",
        "/%",
        "/%2",
        "/%zz",
        "/%0g",
        "/%00",
        "/a%00b",
        "/a\\b",
        "/%5c",
        "/%5C..",
        "/..",
        "/../a",
        "/a/../..",
        "/%2e%2e",
        "/.%2e/a",
        "/a/%2E%2e/../b",
        "/\x7f",
        "/\u{e9}",
        "/a\tb",
        "a",
        "",
        "?a",
        "*",
    ] {
        rig.check(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn a_doubtful_length_is_refused() {
    let rig = Rig::new();
    for length in [
        "",
        "+5",
        "-5",
        "5_0",
        "0x5",
        "5 5",
        "5,5",
        "5, 5",
        "5;",
        "5.0",
        "\"5\"",
        "five",
        "\u{b}5",
        "18446744073709551616",
        "99999999999999999999999999",
        "5\r\nContent-Length: 5",
        "5\r\nContent-Length: 6",
        "5\r\ncontent-length: 0",
        "5\r\nContent-Length:",
    ] {
        rig.check(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nhello"), 400);
    }
}

#[test]
fn a_doubtful_transfer_coding_is_refused() {
    let rig = Rig::new();
    for (coding, status) in [
        ("", 400),
        ("identity", 400),
        ("chunked, identity", 400),
        ("chunked, chunked", 400),
        ("chunked\r\nTransfer-Encoding: chunked", 400),
        ("chunked\r\nTransfer-Encoding: identity", 400),
        ("chunked\r\nContent-Length: 5", 400),
        ("chunked\r\nContent-Length: 0", 400),
        (",chunked", 400),
        ("chunked,", 400),
        ("\u{b}chunked", 400),
        ("\"chunked\"", 400),
        ("chunked;q=1", 400),
        ("chunked x", 400),
        ("gzip, chunked", 501),
    ] {
        rig.check(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"), status);
    }
    rig.check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    // In HTTP/1.0 the field has no meaning, so that it can only be there to be read by one side alone.
    rig.check("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    rig.check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn a_doubtful_chunk_is_refused() {
    let rig = Rig::new();
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 << 10));
    for body in [
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\n\r\n",
        "5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: 1\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\n: v\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        &long_extension,
    ] {
        rig.check(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), 400);
    }
}

/// A table of 16-bit lengths once took a name of 64 KiB for an empty one, and hid what stood behind it.
#[test]
fn a_name_at_the_edge_of_an_integer_hides_nothing() {
    let rig = Rig::new();
    for length in [65_535, 65_536, 65_537, 65_536 + 14, 131_072] {
        let name = "x".repeat(length);
        rig.check(format!("POST / HTTP/1.1\r\nHost: a\r\n{name}: v\r\nContent-Length: 5\r\n\r\nhello"), 431);
        rig.check(format!("POST / HTTP/1.1\r\nHost: a\r\nX: {name}\r\nContent-Length: 5\r\n\r\nhello"), 431);
    }
    for length in [127, 128, 255, 256, 257, 8_191, 8_192] {
        let name = "x".repeat(length);
        let before = rig.origin.requests().len();
        let mut client = rig.gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{name}: v\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.response().status(), 200, "{length}");
        let request = &rig.origin.requests()[before];
        assert_eq!(request.value(&name), Some("v"), "{length}");
        assert_eq!(request.body, b"hello", "{length}");
    }
}

/// A body in HTTP/1.0 without a length would last until the close, which a request must never do.
#[test]
fn a_request_never_lasts_until_the_close() {
    let rig = Rig::new();
    let mut client = rig.gateway.client();
    client.send("POST / HTTP/1.0\r\nHost: a\r\n\r\nthis is no body");
    assert_eq!(client.response().status(), 200);
    client.expect_closed();
    let request = rig.origin.only_request();
    assert!(request.body.is_empty(), "{request:?}");
    assert!(!rig.origin.heard("this is no body"));
}

/// RFC 9110 §9.3.2: whatever is wrong with the rest of it. A cache in front would take the content for a response.
#[test]
fn a_refused_head_request_is_answered_without_content() {
    let rig = Rig::new();
    for (request, status) in [
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        ("\r\nHEAD / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let mut client = rig.gateway.client();
        client.send(request);
        let response = client.response_to("HEAD");
        assert_eq!(response.status(), status, "{request}");
        assert!(response.closes(), "{request}: {response:?}");
        client.expect_closed_cleanly();
    }
    // The method of the request before it is not that of one that has none.
    let mut client = rig.gateway.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 200);
    client.send("H(AD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 400);
    response.problem();
}

const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
