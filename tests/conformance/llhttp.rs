//! The test vectors of llhttp, Node's HTTP/1 parser: our verdict on each is its strict one, or differs for a reason.

mod markdown;
mod verdict;

use markdown::Vector;
use verdict::Verdict;

/// Where we differ: vector, and why.
const DIFFERENCES: [(&str, &str); 29] = [
    ("request/connection.md: CRLF between requests, implicit `keep-alive`", EMPTY_LINES),
    ("request/content-length.md: Content-Length reset when no body is received", BODY_SKIPPED),
    ("request/invalid.md: HTTP protocol and ANNOUNCE method", ANY_METHOD),
    ("request/invalid.md: Invalid method", ANY_METHOD),
    ("request/method.md: CONNECT request", CONNECT),
    ("request/method.md: CONNECT request with CAPS", CONNECT),
    ("request/method.md: CONNECT with body", CONNECT),
    ("request/method.md: M-SEARCH request", ASTERISK),
    ("request/method.md: SOURCE request with ICE", ONLY_HTTP),
    ("request/method.md: OPTIONS request with RTSP", ONLY_HTTP),
    ("request/method.md: ANNOUNCE request with RTSP", ONLY_HTTP),
    ("request/method.md: PRI request HTTP2", PREFACE),
    ("request/sample.md: No HTTP version", VERSION),
    ("request/transfer-encoding.md: POST with `chunked` as last transfer-encoding", ONLY_CHUNKED),
    ("request/transfer-encoding.md: POST with `chunked` as last transfer-encoding (multiple headers)", ONLY_CHUNKED),
    ("request/uri.md: Quotes in URI", BACKSLASH),
    ("request/uri.md: Fragment in URI", FRAGMENT),
    ("request/uri.md: Underscore in hostname", CONNECT),
    ("request/uri.md: `host:port` and basic auth", USERINFO),
    ("response/connection.md: HTTP 304 with Content-Length", EMPTY_LINE_BEFORE_STATUS),
    ("response/connection.md: HTTP 100 first, then 400", EMPTY_LINE_BEFORE_STATUS),
    ("response/pipelining.md: Should parse multiple events", EMPTY_LINE_BEFORE_STATUS),
    ("response/sample.md: RTSP response", ONLY_HTTP),
    ("response/sample.md: ICE response", ONLY_HTTP),
    ("response/sample.md: HTTP version 0.9", VERSION),
    ("response/sample.md: Response starting with CRLF", EMPTY_LINE_BEFORE_STATUS),
    ("response/transfer-encoding.md: `chunked` before other transfer-encoding", ONLY_CHUNKED),
    ("response/transfer-encoding.md: multiple transfer-encoding where chunked is not the last one", ONLY_CHUNKED),
    (
        "response/transfer-encoding.md: `chunkedchunked` transfer-encoding does not enable chunked enconding",
        ONLY_CHUNKED,
    ),
];

const EMPTY_LINES: &str = "one empty line before a request is skipped, not more (RFC 9112 §2.2)";
const EMPTY_LINE_BEFORE_STATUS: &str = "no empty line is skipped before a response: the RFC allows it to servers alone";
const BODY_SKIPPED: &str = "llhttp's caller skips the body; we never do for a request";
const ANY_METHOD: &str = "a gateway passes methods on that it does not know";
const CONNECT: &str = "CONNECT is not supported: no tunnels to where the client says";
const ASTERISK: &str = "`*` is a target of OPTIONS alone (RFC 9112 §3.2.4)";
const ONLY_HTTP: &str = "neither RTSP nor ICE is HTTP";
const PREFACE: &str = "the preface of HTTP/2 is no HTTP/1 request";
const VERSION: &str = "HTTP/1.0 and HTTP/1.1 alone are understood";
const ONLY_CHUNKED: &str = "chunked is the one transfer coding that is understood, and with another no end is guessed";
const BACKSLASH: &str = "a backslash is a slash to some peers and not to others";
const FRAGMENT: &str = "a target has no fragment (RFC 9112 §3.2)";
const USERINFO: &str = "an http target has no userinfo (RFC 9110 §4.2.4)";

#[test]
fn every_vector_is_judged_as_llhttp_does_or_differs_for_a_named_reason() {
    let vectors = markdown::read(&crate::vectors("llhttp"));
    let (mut agree, mut wrong) = (0, Vec::new());
    for vector in &vectors {
        let named = DIFFERENCES.iter().find(|(name, _)| *name == vector.name);
        let (theirs, ours) = (expected(vector, &vectors), verdict::of(vector));
        match (theirs == ours, named) {
            (true, None) => agree += 1,
            (false, Some(_)) => {}
            (false, None) => wrong.push(format!("{}: llhttp {theirs:?}, we {ours:?}", vector.name)),
            (true, Some((name, reason))) => {
                wrong.push(format!("{name}: named as different ({reason}), but both say {ours:?}"));
            }
        }
    }
    for (name, _) in DIFFERENCES {
        if !vectors.iter().any(|vector| vector.name == *name) {
            wrong.push(format!("{name}: named as different, but there is no such vector"));
        }
    }
    assert!(wrong.is_empty(), "{} verdicts:\n{}", wrong.len(), wrong.join("\n"));
    println!("llhttp: {} vectors, {agree} agree, {} differ for a named reason", vectors.len(), DIFFERENCES.len());
}

/// llhttp's strict verdict. What it accepts only leniently, and shows nowhere strictly, is taken as refused.
fn expected(vector: &Vector, vectors: &[Vector]) -> Verdict {
    let strict = |other: &&Vector| other.is_strict() && other.is_response() == vector.is_response();
    match vectors.iter().filter(strict).find(|other| other.input == vector.input) {
        Some(twin) => twin.logged,
        None => Verdict::Refuses,
    }
}
