//! Keys that an issuer publishes over HTTPS: by a server of openssl's, whose certificate an authority has signed.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::harness::{Gateway, OK, Origin, tool, wait_until};
use crate::jwt::{Issuer, config, folder, openssl, set, status, text};

/// A server that answers `GET /keys` with what is in the file `keys` of its folder.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = tool("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", "-key", "server.key", "-HTTP"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let accepts = lines.find_map(|line| Some(line.unwrap().strip_prefix("ACCEPT ")?.to_owned()));
        Self { child, address: accepts.expect("where it accepts") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever ended it before is seen by what it did not answer.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// An authority, and a certificate of its for `127.0.0.1`.
pub fn certify(folder: &Path) {
    let path = |name: &str| text(&folder.join(name)).to_owned();
    let of = |name: &str, subject: &str| -> Vec<String> {
        let (key, out) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", subject];
        words.iter().map(|word| (*word).to_owned()).chain(["-keyout".into(), key, "-out".into(), out]).collect()
    };
    let make = |words: &[&str], rest: Vec<String>| {
        let words: Vec<&str> = ["req", "-x509"].iter().chain(words).copied().chain(rest.iter().map(|s| &**s)).collect();
        openssl(&words, b"");
    };
    make(&[], of("authority", "/CN=authority"));
    make(&[], of("stranger", "/CN=stranger"));
    let (authority, key) = (path("authority.pem"), path("authority.key"));
    let signed = ["-CA", &authority, "-CAkey", &key, "-addext", "subjectAltName=IP:127.0.0.1"];
    make(&[&signed[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat(), of("server", "/CN=issuer"));
}

/// What becomes of a token whose key is published there, under what is written of the authority.
#[track_caller]
fn check(name: &str, authority: &str, want: u16, said: &str) {
    let (origin, folder) = (Origin::answering(OK), folder(name));
    certify(&folder);
    let issuer = Issuer::new(&folder, "ES256", "ec");
    fs::write(folder.join("keys"), set(&[&issuer])).unwrap();
    let server = Server::start(&folder);
    let file = folder.join("gateway.yaml");
    let published = format!("jwks_url: \"https://{}/keys\"{authority}", server.address);
    fs::write(&file, config(&origin, &published, "").yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    gateway.wait_said(said);
    assert_eq!(status(&gateway, &issuer.token(60, "")), want);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_server_is_believed_whose_certificate_the_authority_has_signed() {
    check("https", ", jwks_ca_file: authority.pem", 200, "1 keys of https://127.0.0.1");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_believed() {
    check("https-stranger", ", jwks_ca_file: stranger.pem", 503, "invalid peer certificate");
    check("https-system", "", 503, "invalid peer certificate");
}

#[test]
fn keys_stay_when_more_is_trusted_and_go_when_their_authority_is_not() {
    let (origin, folder) = (Origin::answering(OK), folder("https-renewed"));
    certify(&folder);
    let issuer = Issuer::new(&folder, "ES256", "ec");
    fs::write(folder.join("keys"), set(&[&issuer])).unwrap();
    let server = Server::start(&folder);
    let [authority, stranger] = ["authority", "stranger"].map(|name| folder.join(format!("{name}.pem")));
    let [of_authority, of_stranger] = [&authority, &stranger].map(|file| fs::read_to_string(file).unwrap());
    let file = folder.join("gateway.yaml");
    let published = format!("jwks_url: \"https://{}/keys\", jwks_ca_file: authority.pem", server.address);
    fs::write(&file, config(&origin, &published, "").yaml()).unwrap();
    let gateway = Gateway::start_on(&file, &[]);
    assert_eq!(status(&gateway, &issuer.token(60, "")), 200);
    drop(server);
    fs::write(&authority, of_stranger.clone() + &of_authority).unwrap();
    gateway.wait_said("configuration 1 is in force");
    gateway.wait_said("those from before stay");
    assert_eq!(status(&gateway, &issuer.token(60, "")), 200);
    fs::write(&authority, of_stranger).unwrap();
    gateway.wait_said("there are none yet");
    wait_until("no key is believed", || status(&gateway, &issuer.token(60, "")) == 503);
    fs::remove_dir_all(folder).unwrap();
}
