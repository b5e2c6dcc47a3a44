//! Scripts from a seed: every framing, method and misbehaviour, in proportions that make most exchanges interesting.

use crate::script::{After, Answer, Coding, Conduct, Fields, Flaw, Kind, Request, Script, When};
use shardgate::stdx::rng::Rng;

/// How much of what is allowed to go wrong is to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manners {
    /// Everybody keeps to the rules: then every exchange must succeed.
    Strict,
    /// Clients and origins do whatever they like.
    Any,
}

/// What the exchanges of a run have in common.
#[derive(Clone, Copy, Debug)]
pub struct Customs {
    pub manners: Manners,
    /// The gateway asks for a password and changes bodies of JSON.
    pub has_policies: bool,
    pub body_bytes_max: u64,
}

pub fn script(rng: &mut Rng, id: usize, customs: Customs) -> Script {
    let Customs { manners, has_policies, .. } = customs;
    let any = manners == Manners::Any;
    let kind = match rng.below(100) {
        0..8 => Kind::Tunnel,
        8..14 if any => Kind::Malformed,
        _ => Kind::Exchange,
    };
    let mut request = request(rng, id, kind, customs);
    let mut answer = answer(rng, id, kind, &request, customs);
    if has_policies {
        // The password is taken away, and then no trailer may bring it back.
        request.trailers.iter_mut().for_each(|(_, _, passes)| *passes = false);
    } else {
        request.passed.clone_from(&request.body);
        answer.passed.clone_from(&answer.body);
    }
    if kind == Kind::Malformed {
        malform(rng, &mut request);
    }
    let conduct = if any && kind != Kind::Tunnel { conduct(rng, &request) } else { Conduct::Proper };
    let pipelined = request.body.len() < 2000 && rng.chance(250);
    let pause_ms = if rng.chance(200) { rng.below(8000) } else { 0 };
    Script { id, kind, request, answer, conduct, pause_ms, pipelined }
}

fn conduct(rng: &mut Rng, request: &Request) -> Conduct {
    match rng.below(100) {
        0..5 => Conduct::HalfCloses,
        5..10 => {
            Conduct::Aborts { after: rng.between(1, request.wire.len() as u64 - 1) as usize, reset: rng.chance(500) }
        }
        10..13 => Conduct::Leaves,
        _ => Conduct::Proper,
    }
}

fn request(rng: &mut Rng, id: usize, kind: Kind, customs: Customs) -> Request {
    let tunnel = kind == Kind::Tunnel;
    let method = if tunnel { "GET" } else { pick(rng, &METHODS) };
    let http10 = !tunnel && rng.chance(80);
    let (sent_target, target) = target(rng, id);
    let has_body = match method {
        "POST" | "PUT" | "PATCH" => rng.chance(900),
        "HEAD" => false,
        _ => !tunnel && rng.chance(60),
    };
    let coding = match (has_body, http10) {
        (false, _) => Coding::None,
        (true, true) => Coding::Length,
        (true, false) => pick(rng, &[Coding::Length, Coding::Chunked]),
    };
    let body = if has_body || tunnel { body(rng, customs.body_bytes_max) } else { Vec::new() };
    let (body, passed, is_json) = if has_body { or_json(rng, body, usize::MAX) } else { (body.clone(), body, false) };
    let trailers = if coding == Coding::Chunked { trailers(rng) } else { Fields::new() };
    let expects_continue = has_body && !http10 && rng.chance(150);
    let closes = tunnel || rng.chance(100);
    let mut fields = request_fields(rng, id);
    if customs.has_policies {
        fields.push(("Authorization", PASSWORD.into(), false));
    }
    if is_json {
        fields.push(("Content-Type", JSON.into(), true));
    }
    if tunnel {
        fields.push(("Connection", "Upgrade".into(), false));
        fields.push(("Upgrade", "websocket".into(), false));
    } else if closes && !http10 {
        fields.push(("Connection", "close".into(), false));
    } else if !closes && http10 {
        fields.push(("Connection", "keep-alive".into(), false));
    }
    if expects_continue {
        fields.push(("Expect", "100-continue".into(), false));
    }
    let version = if http10 { "1.0" } else { "1.1" };
    let mut wire = format!("{method} {sent_target} HTTP/{version}\r\nHost: {HOST}\r\n").into_bytes();
    write_fields(&mut wire, &fields);
    write_coding(&mut wire, coding, &body);
    wire.extend_from_slice(b"\r\n");
    let head_bytes = wire.len();
    if !tunnel {
        write_body(rng, &mut wire, coding, &body, &trailers);
    }
    Request {
        method,
        target,
        http10,
        fields,
        coding,
        body,
        passed,
        trailers,
        expects_continue,
        closes,
        wire,
        head_bytes,
    }
}

/// As it is sent, and as it must arrive.
fn target(rng: &mut Rng, id: usize) -> (String, String) {
    let plain = format!("/x/{id}");
    match rng.below(8) {
        0 => (format!("/x//{id}"), plain),
        1 => (format!("/x/./{id}"), plain),
        2 => (format!("/x/y/../{id}"), plain),
        3 => (format!("/%78/{id}"), plain),
        4 => (format!("http://{HOST}/x/{id}"), plain),
        5 => (format!("/x/{id}?q=a%20b&c=%2F.."), format!("{plain}?q=a%20b&c=%2F..")),
        _ => (plain.clone(), plain),
    }
}

fn request_fields(rng: &mut Rng, id: usize) -> Fields {
    let fields: Fields = vec![("X-Exchange", id.to_string(), true)];
    let long = "v".repeat(rng.between(1, 2500) as usize);
    let choices: [(&'static str, String, bool); 10] = [
        ("Accept", "*/*".into(), true),
        ("cookie", "a=b; c=\"d\"".into(), true),
        ("X-Twice", "1".into(), true),
        ("X-Twice", "2".into(), true),
        ("X-Long", long, true),
        ("User-Agent", "sim/1 (x; y)".into(), true),
        ("X_Underscore", "dropped".into(), false),
        ("X-Forwarded-For", "203.0.113.9".into(), false),
        ("Keep-Alive", "timeout=5".into(), false),
        ("Proxy-Connection", "keep-alive".into(), false),
    ];
    with_some_of(rng, fields, choices)
}

/// Some of the choices behind the fields, and at times one that Connection takes away.
fn with_some_of<const N: usize>(rng: &mut Rng, fields: Fields, choices: [(&'static str, String, bool); N]) -> Fields {
    let mut fields = fields;
    fields.extend(choices.into_iter().filter(|_| rng.chance(200)));
    if rng.chance(100) {
        fields.push(("Connection", "X-Hop".into(), false));
        fields.push(("X-Hop", "1".into(), false));
    }
    fields
}

fn answer(rng: &mut Rng, id: usize, kind: Kind, request: &Request, customs: Customs) -> Answer {
    let any = customs.manners == Manners::Any;
    let status = match kind {
        Kind::Tunnel => 101,
        _ => pick(rng, &[200, 200, 200, 200, 201, 204, 304, 404, 500]),
    };
    let has_body = request.method != "HEAD" && !matches!(status, 204 | 304);
    let coding = match (kind, has_body) {
        (Kind::Tunnel, _) | (_, false) => Coding::None,
        _ => pick(rng, &[Coding::Length, Coding::Length, Coding::Chunked, Coding::Chunked, Coding::UntilClose]),
    };
    let body = if has_body { body(rng, customs.body_bytes_max) } else { Vec::new() };
    let (body, passed, is_json) = if kind == Kind::Exchange && has_body {
        or_json(rng, body, JSON_BYTES_MAX)
    } else {
        (body.clone(), body, false)
    };
    let trailers = if coding == Coding::Chunked { trailers(rng) } else { Fields::new() };
    let after = match rng.below(100) {
        _ if coding == Coding::UntilClose || kind == Kind::Tunnel => After::Close,
        0..10 => After::Close,
        10..22 if any => After::CloseUnsaid { after_ms: rng.below(2000) },
        _ => After::Keep,
    };
    let mut fields = answer_fields(rng, id);
    if is_json {
        fields.push(("Content-Type", JSON.into(), true));
    }
    if kind == Kind::Tunnel {
        fields.push(("Connection", "upgrade".into(), false));
        fields.push(("Upgrade", "websocket".into(), true));
    } else if after == After::Close {
        fields.push(("Connection", "close".into(), false));
    }
    let mut wire = format!("HTTP/1.1 {status} {}\r\n", pick(rng, &["OK", "Quite so", ""])).into_bytes();
    write_fields(&mut wire, &fields);
    if has_body {
        write_coding(&mut wire, coding, &body);
    }
    wire.extend_from_slice(b"\r\n");
    let head_bytes = wire.len();
    if has_body && kind != Kind::Tunnel {
        write_body(rng, &mut wire, coding, &body, &trailers);
    }
    let when = match rng.below(100) {
        0..12 => When::Early,
        12..16 if any && request.coding != Coding::None => When::EarlyAndClose,
        _ => When::After,
    };
    let flaw = if any && kind != Kind::Tunnel { flaw(rng, coding, head_bytes, wire.len()) } else { Flaw::None };
    let delay_ms = if rng.chance(150) { rng.below(4000) } else { 0 };
    let interims =
        if kind == Kind::Exchange && rng.chance(100) { vec![103; rng.between(1, 3) as usize] } else { vec![] };
    Answer { status, interims, fields, coding, body, passed, trailers, when, after, flaw, delay_ms, wire }
}

fn flaw(rng: &mut Rng, coding: Coding, head_bytes: usize, wire_bytes: usize) -> Flaw {
    match rng.below(100) {
        0..2 => Flaw::Garbage,
        2..8 => {
            let after = rng.below(wire_bytes as u64) as usize;
            // A body that ends with the connection is whole wherever that ends well.
            Flaw::Cut { after, reset: coding == Coding::UntilClose && after >= head_bytes || rng.chance(500) }
        }
        8..11 if coding != Coding::UntilClose => Flaw::Excess,
        11..12 => Flaw::Silence,
        12..13 => Flaw::UnaskedSwitch,
        13..16 => Flaw::Cut { after: 0, reset: rng.chance(500) },
        _ => Flaw::None,
    }
}

fn answer_fields(rng: &mut Rng, id: usize) -> Fields {
    let fields: Fields = vec![("X-Answer", id.to_string(), true)];
    let long = "w".repeat(rng.between(1, 2500) as usize);
    let choices: [(&'static str, String, bool); 8] = [
        ("Server", "sim".into(), true),
        ("Set-Cookie", "a=b; Path=/".into(), true),
        ("Set-Cookie", "c=d".into(), true),
        ("content-type", "text/plain".into(), true),
        ("X-Long", long, true),
        ("X_Underscore", "kept".into(), true),
        ("Keep-Alive", "timeout=5".into(), false),
        ("Proxy-Connection", "keep-alive".into(), false),
    ];
    with_some_of(rng, fields, choices)
}

fn trailers(rng: &mut Rng) -> Fields {
    let choices: [(&'static str, String, bool); 4] = [
        ("X-Sum", "12ab".into(), true),
        ("grpc-status", "0".into(), true),
        ("Content-Length", "7".into(), false),
        ("Host", "elsewhere".into(), false),
    ];
    choices.into_iter().filter(|_| rng.chance(150)).collect()
}

fn body(rng: &mut Rng, bytes_max: u64) -> Vec<u8> {
    let len = match rng.below(100) {
        0..8 => 0,
        8..60 => rng.below(200),
        60..92 => rng.below(6_000),
        92..99 => rng.below(150_000),
        _ if rng.chance(300) => rng.below(900_000),
        _ => rng.below(150_000),
    };
    let len = len.min(bytes_max);
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(len as usize);
    bytes
}

/// At times a text of JSON in place of the body, and what the gateway's transforms make of it, who leave a longer one
/// than `bytes_max` as it is.
fn or_json(rng: &mut Rng, body: Vec<u8>, bytes_max: usize) -> (Vec<u8>, Vec<u8>, bool) {
    if rng.chance(700) {
        return (body.clone(), body, false);
    }
    let kept: String = body.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let json = format!(" {{ \"kept\" : [1.0,\"{kept}\"], \"dropped\":{{\"a\":[]}} }}").into_bytes();
    let passed = format!("{{\"kept\" : [1.0,\"{kept}\"],\"added\":\"x\"}}").into_bytes();
    let passed = if json.len() <= bytes_max { passed } else { json.clone() };
    (json, passed, true)
}

fn write_fields(wire: &mut Vec<u8>, fields: &Fields) {
    for (name, value, _) in fields {
        wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
}

fn write_coding(wire: &mut Vec<u8>, coding: Coding, body: &[u8]) {
    match coding {
        Coding::Length => wire.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes()),
        Coding::Chunked => wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Coding::None | Coding::UntilClose => {}
    }
}

fn write_body(rng: &mut Rng, wire: &mut Vec<u8>, coding: Coding, body: &[u8], trailers: &Fields) {
    if coding != Coding::Chunked {
        wire.extend_from_slice(body);
        return;
    }
    let mut rest = body;
    let most = 1 << rng.between(2, 17);
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(rng.between(1, most).min(rest.len() as u64) as usize);
        let extension = pick(rng, &["", "", "", ";a=b", ";c", ";d=\"e;f\""]);
        wire.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = more;
    }
    wire.extend_from_slice(b"0\r\n");
    write_fields(wire, trailers);
    wire.extend_from_slice(b"\r\n");
}

/// Breaks one rule in the request's wire form.
fn malform(rng: &mut Rng, request: &mut Request) {
    let target = request.target.split('?').next().unwrap_or_default();
    let text = match rng.below(12) {
        0 => format!(
            "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        1 => format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        2 => format!("GET {target} HTTP/1.1\nHost: {HOST}\n\n"),
        3 => format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"),
        4 => format!("GET {target} HTTP/1.1\r\nX-Host: {HOST}\r\n\r\n"),
        5 => format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nA: b\r\n c\r\n\r\n"),
        6 => format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nA : b\r\n\r\n"),
        7 => format!("GET {target}/../../../.. HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        8 => format!(
            "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"
        ),
        9 => format!(
            "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"
        ),
        10 => format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        _ => format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nX-Nul: a\0b\r\n\r\n"),
    };
    request.head_bytes = text.find("\r\n\r\n").map_or(text.len(), |at| at + 4);
    request.method = if text.starts_with("POST") { "POST" } else { "GET" };
    request.wire = text.into_bytes();
    request.http10 = false;
    request.expects_continue = false;
    request.closes = true;
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len() as u64) as usize]
}

pub const HOST: &str = "api.example";
/// `ann:secret`
const PASSWORD: &str = "Basic YW5uOnNlY3JldA==";
const JSON: &str = "application/json; charset=utf-8";
/// Of an answer's body that is changed.
pub const JSON_BYTES_MAX: usize = 20_000;

const METHODS: [&str; 12] =
    ["GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"];
