//! JSON Web Tokens from end to end: keys and signatures of openssl's, issuers that publish keys, rotate them, go down.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admin::metrics;
use crate::harness::{Config, Gateway, Message, OK, Origin, free_port, nobody, tool, wait_until};

/// An issuer with one key, made by openssl.
#[derive(Clone)]
pub struct Issuer {
    algorithm: &'static str,
    kid: &'static str,
    private: PathBuf,
}

impl Issuer {
    /// `algorithm` is RS256 or ES256.
    pub fn new(folder: &Path, algorithm: &'static str, kid: &'static str) -> Self {
        let private = folder.join(format!("{kid}.key"));
        let kind: &[&str] = match algorithm {
            "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            _ => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        };
        openssl(&[&["genpkey", "-out", text(&private)], kind].concat(), b"");
        let issuer = Self { algorithm, kid, private };
        let public = openssl(&["pkey", "-in", text(&issuer.private), "-pubout"], b"");
        fs::write(folder.join(format!("{kid}.pem")), public).unwrap();
        issuer
    }

    /// A token for `api` that expires in so many seconds.
    pub fn token(&self, expires_in_s: i64, more: &str) -> String {
        let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + expires_in_s;
        self.sign("", &format!(r#"{{"iss":"https://id.test/","aud":"api","sub":"ann","exp":{exp}{more}}}"#))
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let header = format!(r#"{{"alg":"{}","kid":"{}"{header}}}"#, self.algorithm, self.kid);
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = openssl(&["dgst", "-sha256", "-sign", text(&self.private)], signed.as_bytes());
        let signature = if self.algorithm == "ES256" { fixed(&signature) } else { signature };
        format!("{signed}.{}", base64url(&signature))
    }

    /// As it stands in a JSON Web Key Set.
    fn jwk(&self) -> String {
        let der = openssl(&["pkey", "-in", text(&self.private), "-pubout", "-outform", "DER"], b"");
        let kid = self.kid;
        if self.algorithm == "ES256" {
            let (x, y) = der[der.len() - 64..].split_at(32);
            let (x, y) = (base64url(x), base64url(y));
            return format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","use":"sig","x":"{x}","y":"{y}"}}"#);
        }
        // The last of it is the modulus, 256 bytes of it, and the exponent, 65537.
        let modulus = base64url(&der[der.len() - 5 - 256..der.len() - 5]);
        format!(r#"{{"kty":"RSA","kid":"{kid}","use":"sig","n":"{modulus}","e":"AQAB"}}"#)
    }
}

/// Where keys are published: what it answers, nothing for one that is down.
struct Publisher {
    origin: Origin,
    answer: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Publisher {
    fn new(issuers: &[&Issuer]) -> Self {
        let answer = Arc::new(Mutex::new(Some(set(issuers))));
        let told = answer.clone();
        let origin = Origin::start(move |peer| {
            if peer.request().is_some()
                && let Some(answer) = told.lock().unwrap().clone()
            {
                peer.send(answer);
                // An answer that is cut stays without its end until whoever asked has gone.
                peer.request();
            }
        });
        Self { origin, answer }
    }

    /// Waits until it was asked `times` more: with two, whoever asked first has had this answer.
    fn answers(&self, answer: Option<Vec<u8>>, times: usize) {
        *self.answer.lock().unwrap() = answer;
        let asked = self.origin.connections();
        wait_until("the issuer is asked", || self.origin.connections() >= asked + times);
    }
}

pub fn set(issuers: &[&Issuer]) -> Vec<u8> {
    let keys: Vec<String> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    ok(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
pub fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = tool("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

/// The two numbers of an ECDSA signature in DER, 32 bytes each.
fn fixed(der: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (&der[2..], Vec::new());
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
        rest = after;
    }
    out
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        (0..=group.len()).for_each(|place| out.push(DIGITS[(word >> (18 - 6 * place) & 63) as usize].into()));
    }
    out
}

pub fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("jwt-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Requests to `origin` need a token of `https://id.test/`; `rest` is of the policy, `issuer` of its issuer.
pub fn config(origin: &Origin, issuer: &str, rest: &str) -> Config {
    let issuer = format!("{{ issuer: \"https://id.test/\", audiences: [api], algorithms: [RS256, ES256], {issuer} }}");
    Config::to(origin).of_route(&format!("policies: [{{ jwt: {{ issuers: [{issuer}]{rest} }} }}]")).one_shard().admin()
}

fn published(address: SocketAddr, refresh_s: u32) -> String {
    format!("jwks_url: \"http://{address}/keys\", refresh_s: {refresh_s}")
}

#[track_caller]
pub fn ask(gateway: &Gateway, fields: &str) -> Message {
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n"));
    client.response()
}

#[track_caller]
pub fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway, &format!("Authorization: Bearer {token}\r\n")).status()
}

#[test]
fn a_token_of_the_issuers_lets_a_request_in_and_says_who_sends_it() {
    let (origin, folder) = (Origin::answering(OK), folder("static"));
    let issuer = Issuer::new(&folder, "RS256", "rsa-1");
    let rest = ", consumer_claim: sub, hide_token: true, claims_to_headers: { X-User: sub, X-Roles: roles }";
    let file = folder.join("gateway.yaml");
    fs::write(&file, config(&origin, "keys: [{ file: rsa-1.pem, kid: rsa-1 }]", rest).yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let token = issuer.token(60, r#","roles":["a","b"]"#);
    for _ in 0..2 {
        let response = ask(&gateway, &format!("X-User: root\r\nX_User: root\r\nAuthorization: Bearer {token}\r\n"));
        assert_eq!(response.status(), 200);
    }
    for request in origin.requests() {
        assert_eq!((request.value("x-user"), request.value("x-roles")), (Some("ann"), Some("a,b")));
        assert!(!request.has("authorization") && !request.has("x_user"), "{request:?}");
    }
    let line = &gateway.log_lines(1)[0];
    assert_eq!((&line["consumer"], &line["credential"]), (&"ann".into(), &"ann".into()));
    assert!(!gateway.log().join("").contains(&token), "a log has no tokens");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_token_of_the_query_that_is_hidden_is_not_in_the_log_either() {
    let (origin, folder) = (Origin::answering(OK), folder("query"));
    let issuer = Issuer::new(&folder, "ES256", "ec-q");
    let file = folder.join("gateway.yaml");
    let rest = ", hide_token: true, places: [{ query: token }]";
    fs::write(&file, config(&origin, "keys: [{ file: ec-q.pem, kid: ec-q }]", rest).yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let mut client = gateway.client();
    client.send(format!("GET /?a=1&token={}&b=2 HTTP/1.1\r\nHost: a\r\n\r\n", issuer.token(60, "")));
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.targets(), ["/?a=1&b=2"]);
    assert_eq!(gateway.log_lines(1)[0]["query"], "a=1&b=2");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_refusal_is_401_with_a_challenge_and_the_connection_goes_on() {
    let (origin, folder) = (Origin::answering(OK), folder("refusals"));
    let (issuer, forger) = (Issuer::new(&folder, "ES256", "ec-1"), Issuer::new(&folder, "ES256", "ec-2"));
    let forger = Issuer { kid: "ec-1", ..forger };
    let elsewhere = Origin::answering(set(&[&forger]));
    let file = folder.join("gateway.yaml");
    fs::write(&file, config(&origin, "keys: [{ file: ec-1.pem, kid: ec-1 }]", "").yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    let good = issuer.token(60, "");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let jku = format!(r#","jku":"http://{}/keys""#, elsewhere.address);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), good.split('.').nth(1).unwrap());
    let zeros = format!("{signed}.{}", base64url(&[0; 64]));
    let twice = r#"{"iss":"https://id.test/","aud":"api","sub":"ann","sub":"root"}"#;
    let mut client = gateway.client();
    let cases = [
        (String::new(), "token_missing", "token_missing"),
        ("Authorization: Basic eDp5\r\n".to_owned(), "token_missing", "token_missing"),
        (bearer(&good).repeat(2), "token_repeated", "token_repeated"),
        (bearer(&format!("{good}, Bearer {good}")), "token_invalid", "token_malformed"),
        (bearer(&issuer.token(-60, "")), "token_expired", "token_expired"),
        (bearer(&forger.token(60, "")), "token_invalid", "signature_invalid"),
        (bearer(&none), "token_invalid", "algorithm_forbidden"),
        (bearer(&zeros), "token_invalid", "signature_invalid"),
        (bearer(&forger.sign(&jku, twice)), "token_invalid", "key_in_header"),
        (bearer(&issuer.sign(r#","crit":["x"]"#, twice)), "token_invalid", "critical_header"),
        (bearer(&issuer.sign("", twice)), "token_invalid", "token_malformed"),
        (bearer(&issuer.token(60, r#","nbf":99999999999"#)), "token_invalid", "token_not_yet_valid"),
        (bearer(&"x".repeat(9000)), "token_invalid", "token_too_long"),
    ];
    for (fields, kind, reason) in &cases {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let response = client.response();
        assert_eq!(response.status(), 401, "{reason}");
        assert_eq!(response.problem()["type"], format!("urn:shardgate:problem:{kind}"), "{reason}");
        let challenge = response.value("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        assert_eq!(challenge.contains("error="), *kind != "token_missing", "{challenge}");
    }
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", bearer(&good)));
    assert_eq!(client.response().status(), 200);
    assert_eq!((origin.requests().len(), elsewhere.connections()), (1, 0), "nobody fetches what a token names");
    let logged: Vec<_> = gateway.log_lines(cases.len()).iter().map(|line| line["reason"].clone()).collect();
    let reasons: Vec<_> = cases.iter().map(|(.., reason)| serde_json::Value::from(*reason)).collect();
    assert_eq!(logged[..cases.len()], reasons);
    let counted = format!("authentication_attempts_total {}\n", cases.len() + 1);
    wait_until("the counters", || metrics(&gateway).contains(&counted));
    let counted = "authentication_failures_total{policy=\"jwt\",reason=\"signature_invalid\"} 2\n";
    assert!(metrics(&gateway).contains(counted));
    let rate =
        |text: String| text.lines().find_map(|line| line.strip_prefix("authentication_failure_rate ")?.parse().ok());
    let rate: f64 = rate(metrics(&gateway)).expect("a rate");
    assert!((rate - cases.len() as f64 / (cases.len() + 1) as f64).abs() < 1e-9, "{rate}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_that_are_published_rotate_and_stay_while_their_issuer_is_ill() {
    let (origin, folder) = (Origin::answering(OK), folder("rotation"));
    let (old, new) = (Issuer::new(&folder, "RS256", "old"), Issuer::new(&folder, "ES256", "new"));
    let publisher = Publisher::new(&[&old]);
    let gateway = Gateway::start(&config(&origin, &published(publisher.origin.address, 1), ""));
    let (of_old, of_new) = (old.token(600, ""), new.token(600, ""));
    assert_eq!((status(&gateway, &of_old), status(&gateway, &of_new)), (200, 401), "keys are there from the start");
    publisher.answers(Some(set(&[&old, &new])), 1);
    wait_until("both keys", || status(&gateway, &of_new) == 200);
    assert_eq!(status(&gateway, &of_old), 200);
    publisher.answers(Some(set(&[&new])), 1);
    wait_until("the old key is gone, and what it verified with it", || status(&gateway, &of_old) == 401);
    assert_eq!(status(&gateway, &of_new), 200);
    let huge = ok(&[b"{\"keys\":[".as_slice(), &vec![b' '; 1 << 20], b"]}"].concat());
    let silent = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{".to_vec();
    let error = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec();
    let garbage =
        [(None, 2), (Some(ok(b"<html>")), 2), (Some(ok(b"{\"keys\":[]}")), 2), (Some(huge), 2), (Some(error), 2)];
    // The last one is being waited for.
    for (answer, times) in garbage.into_iter().chain([(Some(silent), 1)]) {
        publisher.answers(answer, times);
        assert_eq!((status(&gateway, &of_new), status(&gateway, &of_old)), (200, 401));
        let fresh = new.token(600, r#","jti":"fresh""#);
        assert_eq!(status(&gateway, &fresh), 200, "verified with a key that could not be had again");
    }
    gateway.wait_said("those from before stay");
    publisher.answers(Some(set(&[&old])), 1);
    wait_until("the issuer is well again", || status(&gateway, &of_old) == 200);
    assert_eq!(status(&gateway, &of_new), 401);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_are_kept_for_a_start_while_their_issuer_is_down() {
    let (origin, folder) = (Origin::answering(OK), folder("kept"));
    let (file, state) = (folder.join("gateway.yaml"), folder.join("state"));
    fs::create_dir_all(&state).unwrap();
    let (old, new) = (Issuer::new(&folder, "RS256", "old"), Issuer::new(&folder, "ES256", "new"));
    let (of_old, of_new) = (old.token(600, ""), new.token(600, ""));
    let publisher = Publisher::new(&[&old]);
    fs::write(&file, config(&origin, &published(publisher.origin.address, 1), "").yaml()).unwrap();
    let start = || Gateway::start_on(&file, &["--state", text(&state)]);
    let wait_kept = |issuer: &str| {
        let kid = format!(r#"\"kid\":\"{issuer}\""#);
        let kept = || fs::read_to_string(state.join("last-good")).is_ok_and(|kept| kept.contains(&kid));
        wait_until(&format!("the {issuer} key is kept"), kept);
    };
    let first = start();
    assert_eq!(status(&first, &of_old), 200);
    wait_kept("old");
    drop(first);
    *publisher.answer.lock().unwrap() = None;
    let second = start();
    assert_eq!((status(&second, &of_old), status(&second, &of_new)), (200, 401));
    second.wait_said("those from before stay");
    publisher.answers(Some(set(&[&new])), 1);
    wait_until("the new key", || status(&second, &of_new) == 200);
    wait_kept("new");
    drop(second);
    *publisher.answer.lock().unwrap() = None;
    let third = start();
    assert_eq!((status(&third, &of_old), status(&third, &of_new)), (401, 200));
    drop(third);
    fs::remove_dir_all(folder).unwrap();
}

/// As long as it drains it hears of other keys, and what is kept is the next process's own all the same.
#[test]
fn a_process_that_was_followed_by_another_keeps_nothing_more() {
    let folder = folder("followed");
    let (state, control) = (folder.join("state"), folder.join("control"));
    fs::create_dir_all(&state).unwrap();
    let (first, second) = (Issuer::new(&folder, "ES256", "first"), Issuer::new(&folder, "RS256", "second"));
    let publisher = Publisher::new(&[&first]);
    let origin = Origin::start(|peer| {
        peer.request();
        // No answer while the gateway keeps the connection.
        peer.request();
    });
    let listens = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let start = |name: &str, config: Config| {
        let file = folder.join(name);
        fs::write(&file, config.listen(listens).yaml()).unwrap();
        Gateway::start_on(&file, &["--state", text(&state), "--control", text(&control)])
    };
    let kept = || fs::read_to_string(state.join("last-good")).unwrap_or_default();
    let old = start("old.yaml", config(&origin, &published(publisher.origin.address, 1), ""));
    let mut waiting = old.client();
    waiting.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", first.token(60, "")));
    wait_until("its request is under way", || origin.connections() == 1);
    let new = start("new.yaml", Config::to(&origin).one_shard().admin().with("limits: { fields_max: 51 }"));
    old.wait_said("the other process accepts");
    wait_until("the new one is kept", || kept().contains("fields_max: 51"));
    // The old one alone asks.
    publisher.answers(Some(set(&[&second])), 3);
    assert!(kept().contains("fields_max: 51"), "{}", kept());
    drop(new);
    drop(waiting);
    drop(old);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_key_that_is_not_known_is_asked_for_at_once_but_not_often() {
    let (origin, folder) = (Origin::answering(OK), folder("unknown"));
    let (old, new) = (Issuer::new(&folder, "ES256", "old"), Issuer::new(&folder, "ES256", "new"));
    let publisher = Publisher::new(&[&old]);
    let gateway = Gateway::start(&config(&origin, &published(publisher.origin.address, 3600), ""));
    assert_eq!(status(&gateway, &old.token(600, "")), 200);
    *publisher.answer.lock().unwrap() = Some(set(&[&old, &new]));
    let of_new = new.token(600, "");
    let asked = std::cell::Cell::new(0);
    wait_until("the new key", || {
        asked.set(asked.get() + 1);
        status(&gateway, &of_new) == 200
    });
    let asked = asked.get();
    assert!(asked > 1);
    assert_eq!(publisher.origin.connections(), 2, "once at the start, and once for {asked} tokens");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn without_any_keys_the_gateway_says_that_it_cannot_tell() {
    let (origin, folder) = (Origin::answering(OK), folder("down"));
    let issuer = Issuer::new(&folder, "ES256", "ec");
    let gateway = Gateway::start(&config(&origin, &published(nobody(), 1), ""));
    gateway.wait_said("there are none yet");
    let response = ask(&gateway, &format!("Authorization: Bearer {}\r\n", issuer.token(60, "")));
    assert_eq!((response.status(), response.value("retry-after")), (503, Some("1")));
    assert_eq!(response.problem()["type"], "urn:shardgate:problem:keys_unavailable");
    assert_eq!(ask(&gateway, "").status(), 401, "whoever has no token has none");
    assert_eq!(origin.requests().len(), 0);
    fs::remove_dir_all(folder).unwrap();
}
