//! What a JSON Web Token costs a shard when it has to be verified, beside `openssl speed` on the same core in the same
//! run, one round of each in turn: taken apart, its signature verified, its claims judged; and when it is known.
//!
//! `cargo run --release -p micro --bin jwt [ROUNDS]`

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustix::thread::{CpuSet, sched_setaffinity};
use shardgate::policy::jwt::{Config, Jwt, States};
use shardgate::policy::{Consumers, Member};
use std::process::Command;
use std::time::{Duration, Instant};

/// Tokens of one kind, and whoever verifies them.
struct Subject {
    name: &'static str,
    /// What `openssl speed` calls the same.
    yardstick: &'static str,
    /// Without a memory for tokens.
    forgetful: Jwt,
    jwt: Jwt,
    tokens: Vec<String>,
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let mut cpus = CpuSet::new();
    cpus.set(0);
    // The program that is started below inherits it.
    sched_setaffinity(None, &cpus).expect("this process can be pinned");
    println!("{:8} {:>14} {:>14} {:>8} {:>16}", "", "openssl", "shardgate", "ratio", "cached");
    for subject in [rs256(), es256()] {
        let (mut theirs, mut ours, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(openssl(subject.yardstick));
            ours.push(subject.verifications());
            known.push(subject.hits());
        }
        let (theirs, ours, known) = (median(theirs), median(ours), median(known));
        let ratio = ours / theirs;
        println!("{:8} {theirs:>12.0}/s {ours:>12.0}/s {ratio:>8.2} {known:>14.0}/s", subject.name);
        assert!(ratio >= RATIO_MIN, "{} is below {RATIO_MIN} of openssl", subject.name);
    }
}

impl Subject {
    /// Tokens a second that are verified, none of them known.
    fn verifications(&self) -> f64 {
        self.rate(&self.forgetful)
    }

    /// Tokens a second that are known.
    fn hits(&self) -> f64 {
        self.rate(&self.jwt)
    }

    fn rate(&self, jwt: &Jwt) -> f64 {
        let (mut states, consumers) = (States::new(7), Consumers::default());
        let mut decide = |token: &String| {
            states.decide(jwt, &consumers, token.as_bytes(), NOW_S).expect("a good token");
        };
        self.tokens.iter().for_each(&mut decide);
        let (began, mut decided) = (Instant::now(), 0u32);
        while began.elapsed() < ROUND {
            self.tokens.iter().for_each(&mut decide);
            decided += self.tokens.len() as u32;
        }
        f64::from(decided) / began.elapsed().as_secs_f64()
    }
}

fn rs256() -> Subject {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
    let sign = |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
        signature
    };
    subject("RS256", "rsa2048", der.as_ref(), &sign)
}

fn es256() -> Subject {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
    let sign = |message: &[u8]| pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec();
    subject("ES256", "ecdsap256", der.as_ref(), &sign)
}

fn subject(name: &'static str, yardstick: &'static str, der: &[u8], sign: &dyn Fn(&[u8]) -> Vec<u8>) -> Subject {
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(der));
    let jwt = |cache_bytes_max: usize| {
        let config = format!(
            r#"{{"issuers":[{{"issuer":"https://id.example.com/","audiences":["https://api.example.com"],
               "algorithms":["{name}"],"keys":[{{"file":"key","kid":"2026-11"}}]}}],
               "consumer_claim":"sub","roles_claim":"roles","claims_to_headers":{{"X-User":"sub"}},
               "cache_bytes_max":{cache_bytes_max}}}"#
        );
        let mut config: Config = serde_json::from_str(&config).expect("a configuration");
        config.load(&|_| Ok(pem.clone().into_bytes())).expect("a key");
        Jwt::new(config).expect("a good configuration")
    };
    let header = base64url(format!(r#"{{"alg":"{name}","typ":"JWT","kid":"2026-11"}}"#).as_bytes());
    let token = |number: usize| {
        let claims = format!(
            r#"{{"iss":"https://id.example.com/","sub":"user-{number:08}","aud":["https://api.example.com"],
               "exp":{},"iat":{NOW_S},"scope":"read write","roles":["reader","writer"],"jti":"{number:032x}"}}"#,
            NOW_S + 3600
        );
        let signed = format!("{header}.{}", base64url(claims.as_bytes()));
        format!("{signed}.{}", base64url(&sign(signed.as_bytes())))
    };
    Subject { name, yardstick, forgetful: jwt(0), jwt: jwt(1 << 20), tokens: (0..TOKENS).map(token).collect() }
}

/// Verifications a second, by the last field of the machine-readable output.
fn openssl(algorithm: &str) -> f64 {
    let output = Command::new("openssl").args(["speed", "-mr", "-seconds", "1", algorithm]).output();
    let output = output.expect("openssl can be started");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("+F2:") || line.starts_with("+F4:")).expect("a result");
    line.rsplit(':').next().and_then(|rate| rate.parse().ok()).expect("a number")
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let word = group.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = |place: usize| char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
        (0..4).map(|place| if place <= group.len() { digit(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
const TOKENS: usize = 256;
const NOW_S: u64 = 1_800_000_000;
/// What verification has to reach of `openssl speed`.
const RATIO_MIN: f64 = 0.8;
