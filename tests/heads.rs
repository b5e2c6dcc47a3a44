//! Somebody else reads the heads that we read: whatever we accept, httparse accepts with the same parts. Not the other
//! way round, as ours is the stricter one.

use shardgate::http::field::Field;
use shardgate::http::h1::Scan;
use shardgate::http::head::{HeadLimits, RequestHead, ResponseHead, Target, Underscores, Version};
use shardgate::http::path;
use shardgate::stdx::rng::Rng;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 4096,
    fields_max: FIELDS_MAX,
    uri_bytes_max: 2048,
    underscores: Underscores::Allow,
    merge_slashes: false,
};

const FIELDS_MAX: usize = 16;

const ROUNDS: usize = 40_000;

#[test]
fn whatever_request_we_accept_httparse_accepts_with_the_same_parts() {
    let lines = ["GET /a/b?c=d", "POST /", "OPTIONS *", "GET http://h/x?y", "M-SEARCH /%41_long/../path/to/some/thing"];
    let mut head = RequestHead::new();
    let accepted = rounds(&lines, &[" HTTP/1.1", " HTTP/1.0"], "Host: h\r\n", |bytes| {
        let Ok(Some(len)) = head.parse(bytes, &LIMITS, &mut Scan::new()) else { return false };
        let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut other = httparse::Request::new(&mut room);
        assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(len)), "{}", bytes.escape_ascii());
        assert_eq!(other.method.map(str::as_bytes), Some(head.method_span.of(bytes)), "{}", bytes.escape_ascii());
        check_version(head.version, other.version, bytes);
        check_target(&head, other.path.expect("complete"), bytes);
        check_fields(head.fields(), other.headers, bytes);
        true
    });
    assert!((ROUNDS / 10..ROUNDS * 9 / 10).contains(&accepted), "both verdicts must occur: {accepted}");
}

#[test]
fn whatever_response_we_accept_httparse_accepts_with_the_same_parts() {
    let mut head = ResponseHead::new();
    let accepted = rounds(&["HTTP/1.1", "HTTP/1.0"], &[" 200 OK", " 404 Not\tFound", " 599 ", " 101"], "", |bytes| {
        let Ok(Some(len)) = head.parse(bytes, &LIMITS, &mut Scan::new()) else { return false };
        let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut other = httparse::Response::new(&mut room);
        assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(len)), "{}", bytes.escape_ascii());
        assert_eq!(other.code, Some(head.status), "{}", bytes.escape_ascii());
        let reason = other.reason.expect("complete").as_bytes();
        // It gives up a reason that is not ASCII.
        assert!(reason == head.reason.of(bytes) || !head.reason.of(bytes).is_ascii(), "{}", bytes.escape_ascii());
        check_version(head.version, other.version, bytes);
        check_fields(head.fields(), other.headers, bytes);
        true
    });
    assert!((ROUNDS / 10..ROUNDS * 9 / 10).contains(&accepted), "both verdicts must occur: {accepted}");
}

/// Generated heads, two of three with bytes changed, added or taken away. How many of them `is_accepted`.
fn rounds(begins: &[&str], ends: &[&str], field: &str, mut is_accepted: impl FnMut(&[u8]) -> bool) -> usize {
    let names = ["A", "X-Name", "x_y", "Via", "Content-Length", "Connection", "Accept-Encoding", "A-Name-Of-17-Byte"];
    let values = ["", "5", "close", "a b\tc", "chunked", "caf\u{e9}", "gzip, deflate, br, zstd, and more", "\""];
    let spaces = ["", " ", " ", "\t", "  ", " \t "];
    let mut rng = Rng::new(7);
    let pick = |from: &[&str], rng: &mut Rng| from[rng.below(from.len() as u64) as usize].to_owned();
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut text = pick(begins, &mut rng) + &pick(ends, &mut rng) + "\r\n" + field;
        for _ in 0..rng.below(6) {
            let (before, after) = (pick(&spaces, &mut rng), pick(&spaces, &mut rng));
            text += &format!("{}:{before}{}{after}\r\n", pick(&names, &mut rng), pick(&values, &mut rng));
        }
        let mut bytes = (text + "\r\nrest").into_bytes();
        for _ in 0..rng.below(3) {
            mutate(&mut bytes, &mut rng);
        }
        accepted += usize::from(is_accepted(&bytes));
    }
    accepted
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(bytes.len() as u64) as usize;
    let telling = b"\r\n\r\n \t:/?#%\\_\0\x7f\x1f\x80,;=\"(@";
    let byte = if rng.chance(500) { telling[rng.below(telling.len() as u64) as usize] } else { rng.below(256) as u8 };
    match rng.below(3) {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        _ => {
            bytes.remove(at);
        }
    }
}

#[track_caller]
fn check_version(ours: Version, theirs: Option<u8>, bytes: &[u8]) {
    let minor = if ours == Version::Http11 { 1 } else { 0 };
    assert_eq!(theirs, Some(minor), "{}", bytes.escape_ascii());
}

/// We keep a target's parts: put together, they are the target.
#[track_caller]
fn check_target(head: &RequestHead, target: &str, bytes: &[u8]) {
    let (before_query, query) = match target.split_once('?') {
        Some((before, query)) => (before, Some(query.as_bytes())),
        None => (target, None),
    };
    assert_eq!(head.query.map(|span| span.of(bytes)), query, "{}", bytes.escape_ascii());
    let sent_path = match head.target {
        Target::Origin | Target::Asterisk => before_query,
        Target::Absolute => {
            let (scheme, rest) = before_query.split_once("://").expect("absolute");
            assert!(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            assert_eq!(head.authority.of(bytes), authority.as_bytes(), "{}", bytes.escape_ascii());
            path
        }
    };
    let mut normal = Vec::new();
    match sent_path {
        "*" => normal.push(b'*'),
        "" if head.path == b"*" => normal.push(b'*'),
        "" => normal.push(b'/'),
        _ => path::normalise(sent_path.as_bytes(), LIMITS.merge_slashes, &mut normal).expect("accepted"),
    }
    assert_eq!(head.path, normal, "{}", bytes.escape_ascii());
}

#[track_caller]
fn check_fields(ours: &[Field], theirs: &[httparse::Header<'_>], bytes: &[u8]) {
    let ours = ours.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)));
    let theirs = theirs.iter().map(|header| (header.name.as_bytes(), header.value));
    assert!(ours.eq(theirs), "{}", bytes.escape_ascii());
}
