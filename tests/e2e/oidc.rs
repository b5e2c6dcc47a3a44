//! An issuer that nobody here wrote: node's `oidc-provider` (`oidc/issuer.mjs`), its tokens, its keys, their rotation.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::harness::{Config, Gateway, OK, Origin, Running, tool, wait_until};

/// Where an issuer is from one start to the next, with the keys that it ever had.
struct Issuer {
    port: u16,
    keys: PathBuf,
}

impl Issuer {
    fn new() -> Self {
        let keys = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("oidc-{}", std::process::id()));
        fs::create_dir_all(&keys).unwrap();
        Self { port: port(), keys }
    }

    /// Signs with the first of these keys and publishes all of them, until dropped.
    fn start(&self, kids: &[&str]) -> Running {
        let mut command = tool("node");
        command.arg(Path::new(ROOT).join("issuer.mjs")).arg(packages());
        command.arg(self.port.to_string()).arg(&self.keys).args(kids);
        Running::start(command, self.port)
    }

    /// A token of the one that runs.
    fn token(&self) -> String {
        let url = format!("http://127.0.0.1:{}/token", self.port);
        let form = ["-d", "grant_type=client_credentials", "-d", "scope=read"];
        let output = tool("curl").args(["-s", "-u", "ann:secret"]).args(form).arg(url).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a token's answer");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// A gateway that asks it for its keys so often, beside when it meets one that it does not know.
    fn guarded(&self, origin: &Origin, refresh_s: u32) -> Gateway {
        let url = format!("http://127.0.0.1:{}", self.port);
        let issuer = format!(
            "{{ issuer: \"{url}\", audiences: [\"urn:api\"], algorithms: [ES256], \
             jwks_url: \"{url}/jwks\", refresh_s: {refresh_s} }}"
        );
        let rest = "strict_validation: true, consumer_claim: sub, claims_to_headers: { X-User: sub, X-Scope: scope }";
        let policy = format!("policies: [{{ jwt: {{ issuers: [{issuer}], {rest} }} }}]");
        Gateway::start(&Config::to(origin).of_route(&policy).one_shard())
    }
}

#[test]
fn a_provider_of_others_issues_tokens_rotates_its_keys_and_goes_down() {
    let (origin, issuer) = (Origin::answering(OK), Issuer::new());
    let running = issuer.start(&["old"]);
    let (often, seldom) = (issuer.guarded(&origin, 1), issuer.guarded(&origin, 3600));
    let of_old = issuer.token();
    for gateway in [&often, &seldom] {
        assert_eq!(status(gateway, &of_old), 200);
        let request = origin.requests().pop().unwrap();
        assert_eq!((request.value("x-user"), request.value("x-scope")), (Some("ann"), Some("read")));
        assert_eq!(status(gateway, &of_old[..of_old.len() - 4]), 401);
    }
    drop(running);
    let running = issuer.start(&["new", "old"]);
    let of_new = issuer.token();
    wait_until("the new key", || status(&often, &of_new) == 200);
    assert_eq!(status(&often, &of_old), 200, "the old one is still published");
    drop(running);
    let running = issuer.start(&["new"]);
    wait_until("the old key is gone, and what it verified with it", || status(&often, &of_old) == 401);
    assert_eq!(status(&often, &of_new), 200);
    assert_eq!(status(&seldom, &of_old), 200, "as nobody has told it otherwise");
    wait_until("a key that is not known is asked for", || status(&seldom, &of_new) == 200);
    assert_eq!(status(&seldom, &of_old), 401);
    let unseen = issuer.token();
    drop(running);
    often.wait_said("those from before stay");
    for gateway in [&often, &seldom] {
        assert_eq!((status(gateway, &unseen), status(gateway, &of_old)), (200, 401), "by the last good keys");
    }
    fs::remove_dir_all(&issuer.keys).unwrap();
}

#[track_caller]
fn status(gateway: &Gateway, token: &str) -> u16 {
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"));
    client.response().status()
}

/// Where scripts/install-test-tools.sh has put what the issuer is made of.
#[track_caller]
fn packages() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let packages = cache.expect("a home").join("shardgate/oidc");
    let lock = |folder: &Path| fs::read(folder.join("package-lock.json")).ok();
    let is_there = packages.join("node_modules/oidc-provider").is_dir() && lock(&packages) == lock(Path::new(ROOT));
    assert!(is_there, "`oidc-provider` is missing, or another version: run scripts/install-test-tools.sh");
    packages
}

/// A port that stays free while the issuer is away: the kernel gives nobody one below those that it chooses from.
fn port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (first..32_000).find(is_free).expect("a free port")
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/oidc");
