//! JSON Web Tokens (RFC 7519): who sent a request, by the word of an issuer whose signature is verified.
//!
//! ```text
//!   token text --cached--> Verified
//!       |
//!       +--> Token (taken apart) --> Claims --iss--> issuer --keys--> signature --> time, audience --> Verified
//! ```
//!
//! Nothing of a token is believed before its signature is: of its header, which key to try; of its claims, whose keys.
//! What it is signed with has to be an algorithm that the issuer is allowed, and one that the key is for (RFC 8725
//! §3.1).

pub mod algorithm;
pub mod cache;
pub mod claims;
pub mod config;
mod json;
pub mod jwks;
pub mod keys;
#[cfg(test)]
mod kit;
mod load;
mod pem;
pub mod token;
pub mod verify;
mod weak;

pub use self::claims::Verified;
pub use self::config::Config;

use self::algorithm::Algorithm;
use self::cache::Cache;
use self::claims::Claims;
use self::config::Audiences;
use self::jwks::KeyBook;
use self::keys::KeySet;
use self::token::Token;
use self::verify::Verifiers;
use std::rc::Rc;
use std::sync::Arc;

/// The policy as it is configured, the same for all shards.
#[derive(Debug)]
pub struct Jwt {
    pub config: Config,
    issuers: Vec<Issuer>,
    /// Differs when anything does that a verified token could depend on.
    fingerprint: u64,
}

#[derive(Debug, Hash)]
struct Issuer {
    name: String,
    audiences: Audiences,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

#[derive(Debug, Hash)]
enum Keys {
    Fixed(KeySet),
    /// What the book has for this source.
    Published(u32),
}

/// What a shard keeps of it.
#[derive(Debug)]
pub struct State {
    /// Of the configuration and of the book that the rest is for.
    fingerprint: u64,
    book: u64,
    issuers: Vec<Adopted>,
    cache: Cache,
    seed: u64,
}

/// An issuer's keys, parsed.
#[derive(Debug, Default)]
struct Adopted {
    verifiers: Verifiers,
    /// What they were parsed from, of keys that are published; none before the first were fetched.
    published: Option<Arc<KeySet>>,
}

/// Why a request is not let in; `proxy::error` makes an answer of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// There is no token.
    Missing,
    /// There are two, or the same one twice.
    Several,
    TooLong,
    /// It is not a signed token, or says something twice or as another type than it is defined.
    Malformed,
    /// Its algorithm is none, or not one of its issuer's.
    AlgorithmForbidden,
    CriticalHeader,
    /// It brings its own key, or says where to fetch it.
    KeyInHeader,
    OddType,
    UnknownIssuer,
    UnknownKey,
    KeyAmbiguous,
    BadSignature,
    Expired,
    NotYetValid,
    WithoutExpiry,
    IssuedInFuture,
    WrongAudience,
    ClaimMissing,
    ClaimUnusable,
    /// Not the client's fault: the issuer's keys could not be had yet.
    KeysUnavailable,
}

impl Jwt {
    /// Who sends this token. `book` has the keys that issuers publish.
    pub fn decide(&self, state: &mut State, token: &[u8], book: &KeyBook, now_s: u64) -> Result<Rc<Verified>, Refusal> {
        if state.fingerprint != self.fingerprint || state.book != book.generation {
            state.adopt(self, book);
        }
        if let Some(verified) = state.cache.get(token, now_s) {
            return Ok(verified);
        }
        let verified = Rc::new(self.verify(state, token, now_s)?);
        state.cache.insert(token, verified.clone(), now_s);
        Ok(verified)
    }

    fn verify(&self, state: &State, text: &[u8], now_s: u64) -> Result<Verified, Refusal> {
        let config = &self.config;
        let token = Token::parse(text, config.token_bytes_max, config.strict_validation)?;
        let claims = Claims::parse(&token.payload)?;
        let name = claims.issuer()?;
        let place = self.issuers.iter().position(|issuer| issuer.name == name).ok_or(Refusal::UnknownIssuer)?;
        let (issuer, adopted) = (&self.issuers[place], &state.issuers[place]);
        if !issuer.algorithms.contains(&token.header.algorithm) {
            return Err(Refusal::AlgorithmForbidden);
        }
        if matches!(issuer.keys, Keys::Published(_)) && adopted.published.is_none() {
            return Err(Refusal::KeysUnavailable);
        }
        adopted.verifiers.verify(&token, config.strict_validation)?;
        claims.hold(&issuer.audiences, config.clock_skew_s, config.strict_validation, now_s)?;
        claims.verified(place, config)
    }

    /// The sources of keys that a token which was refused with [`Refusal::UnknownKey`] may be signed with one of.
    pub fn sources(&self) -> impl Iterator<Item = u32> {
        self.issuers.iter().filter_map(|issuer| match issuer.keys {
            Keys::Published(source) => Some(source),
            Keys::Fixed(_) => None,
        })
    }
}

impl State {
    /// `seed`: clients must not know how tokens are hashed.
    pub fn new(seed: u64, jwt: &Jwt, book: &KeyBook) -> Self {
        let mut state = Self { fingerprint: 0, book: 0, issuers: Vec::new(), cache: Cache::new(seed, 0), seed };
        state.adopt(jwt, book);
        state
    }

    /// Parses what keys have changed. Nothing that was verified before is known any more.
    fn adopt(&mut self, jwt: &Jwt, book: &KeyBook) {
        let other = self.fingerprint != jwt.fingerprint;
        if other || self.issuers.is_empty() {
            self.issuers = jwt.issuers.iter().map(Issuer::fixed).collect();
            self.cache = Cache::new(self.seed, jwt.config.cache_bytes_max);
        }
        let mut changed = false;
        for (issuer, adopted) in jwt.issuers.iter().zip(&mut self.issuers) {
            let Keys::Published(source) = issuer.keys else { continue };
            let published = book.get(source);
            if published.map(Arc::as_ptr) != adopted.published.as_ref().map(Arc::as_ptr) {
                let verifiers =
                    published.map_or_else(Verifiers::default, |keys| Verifiers::new(keys, &issuer.algorithms));
                *adopted = Adopted { verifiers, published: published.cloned() };
                changed = true;
            }
        }
        if changed {
            self.cache.clear();
        }
        (self.fingerprint, self.book) = (jwt.fingerprint, book.generation);
    }
}

impl Issuer {
    fn fixed(&self) -> Adopted {
        match &self.keys {
            Keys::Fixed(keys) => Adopted { verifiers: Verifiers::new(keys, &self.algorithms), published: None },
            Keys::Published(_) => Adopted::default(),
        }
    }
}

impl Refusal {
    /// For the log and as a metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Several => "token_repeated",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::AlgorithmForbidden => "algorithm_forbidden",
            Self::CriticalHeader => "critical_header",
            Self::KeyInHeader => "key_in_header",
            Self::OddType => "type_odd",
            Self::UnknownIssuer => "issuer_unknown",
            Self::UnknownKey => "key_unknown",
            Self::KeyAmbiguous => "key_ambiguous",
            Self::BadSignature => "signature_invalid",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WithoutExpiry => "expiry_missing",
            Self::IssuedInFuture => "issued_in_future",
            Self::WrongAudience => "audience_wrong",
            Self::ClaimMissing => "claim_missing",
            Self::ClaimUnusable => "claim_unusable",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kit::Signer;
    use super::load::with_keys;
    use super::*;

    const NOW_S: u64 = 1_000_000;

    /// `ann` signs for two issuers with one RSA key each; `bob` publishes an EC key.
    fn jwt(rest: &str) -> Jwt {
        let config = format!(
            r#"{{"issuers":[
                {{"issuer":"ann","audiences":["api"],"algorithms":["RS256"],"keys":[{{"file":"ann"}}]}},
                {{"issuer":"bob","audiences":["api"],"algorithms":["ES256"],"jwks_url":"http://bob/keys"}}
            ],"consumer_claim":"sub"{rest}}}"#
        );
        with_keys(&config, &[("ann", Signer::rsa().jwk(Some("a")))]).expect("a configuration").0
    }

    fn book(generation: u64, signer: Option<&Signer>) -> KeyBook {
        let set = |signer: &Signer| Arc::new(KeySet::new(vec![signer.key(Some("b"))], Vec::new()).expect("keys"));
        KeyBook { generation, sets: signer.map(|signer| (0, set(signer))).into_iter().collect() }
    }

    const ANN: &str = r#"{"alg":"RS256","kid":"a"}"#;
    const BOB: &str = r#"{"alg":"ES256","kid":"b"}"#;

    fn claims(issuer: &str) -> String {
        format!(r#"{{"iss":"{issuer}","sub":"me","aud":"api","exp":{}}}"#, NOW_S + 100)
    }

    #[track_caller]
    fn check(token: &str, want: Result<&str, Refusal>) {
        let (jwt, book) = (jwt(""), book(1, Some(&Signer::p256())));
        let mut state = State::new(7, &jwt, &book);
        // The second time it may be known.
        for _ in 0..2 {
            let got = jwt.decide(&mut state, token.as_bytes(), &book, NOW_S);
            let got = got.as_ref().map(|verified| verified.consumer.as_deref().unwrap_or_default());
            assert_eq!(got.map_err(|refusal| *refusal), want, "{token}");
        }
    }

    #[test]
    fn each_issuer_is_believed_with_its_own_keys_alone() {
        check(&Signer::rsa().sign(ANN, &claims("ann")), Ok("me"));
        check(&Signer::p256().sign(BOB, &claims("bob")), Ok("me"));
        check(&Signer::p256().sign(BOB, &claims("ann")), Err(Refusal::AlgorithmForbidden));
        check(&Signer::rsa().sign(ANN, &claims("bob")), Err(Refusal::AlgorithmForbidden));
        check(&Signer::rsa().other().sign(ANN, &claims("ann")), Err(Refusal::BadSignature));
        check(&Signer::rsa().sign(ANN, &claims("eve")), Err(Refusal::UnknownIssuer));
        check(&Signer::rsa().sign(ANN, r#"{"sub":"me"}"#), Err(Refusal::UnknownIssuer));
        check(&Signer::rsa().sign(ANN, r#"{"iss":["ann"]}"#), Err(Refusal::Malformed));
        check(&Signer::p256().sign(r#"{"alg":"ES256","kid":"c"}"#, &claims("bob")), Err(Refusal::UnknownKey));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let genuine = Signer::rsa().sign(ANN, &claims("ann"));
        let (signed, signature) = genuine.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let none = |name: &str| Signer::secret(32).sign(&format!(r#"{{"alg":"{name}"}}"#), &claims("ann"));
        let confused =
            Signer::secret_of(&Signer::rsa().public_der()).sign(r#"{"alg":"HS256","kid":"a"}"#, &claims("ann"));
        let elsewhere = kit::base64url(claims("ann").replace("me", "root").as_bytes());
        let twice = format!(r#"{{"iss":"ann","sub":"me","sub":"root","aud":"api","exp":{}}}"#, NOW_S + 100);
        let jku = r#"{"alg":"RS256","kid":"a","jku":"http://127.0.0.1:1/"}"#;
        let crit = r#"{"alg":"RS256","kid":"a","crit":["x"],"x":1}"#;
        for (token, refusal) in [
            (format!("{header}.{elsewhere}.{signature}"), Refusal::BadSignature),
            (format!("{header}.{payload}."), Refusal::BadSignature),
            (format!("{header}.{payload}"), Refusal::Malformed),
            (none("none"), Refusal::AlgorithmForbidden),
            (none("nOnE"), Refusal::AlgorithmForbidden),
            (none("HS256"), Refusal::AlgorithmForbidden),
            (confused, Refusal::AlgorithmForbidden),
            (Signer::rsa().sign(r#"{"alg":"PS256","kid":"a"}"#, &claims("ann")), Refusal::AlgorithmForbidden),
            (Signer::rsa().sign(r#"{"alg":"RS256","kid":"../../dev/null"}"#, &claims("ann")), Refusal::UnknownKey),
            (Signer::rsa().sign(jku, &claims("ann")), Refusal::KeyInHeader),
            (Signer::rsa().sign(crit, &claims("ann")), Refusal::CriticalHeader),
            (Signer::rsa().sign(ANN, &twice), Refusal::Malformed),
            (Signer::rsa().sign(ANN, &claims("ann").replace("api", "other")), Refusal::WrongAudience),
            (Signer::rsa().sign(ANN, &claims("ann").replace("1000100", "900")), Refusal::Expired),
            (Signer::rsa().sign(ANN, &claims("ann").replace("\"sub\"", "\"bus\"")), Refusal::ClaimMissing),
            ("x".repeat(1 << 20), Refusal::TooLong),
            (String::new(), Refusal::Malformed),
        ] {
            check(&token, Err(refusal));
        }
    }

    #[test]
    fn a_verified_token_is_known_until_it_expires() {
        let (jwt, book) = (jwt(""), book(1, None));
        let mut state = State::new(7, &jwt, &book);
        let token = Signer::rsa().sign(ANN, &claims("ann"));
        let mut decide = |now_s| jwt.decide(&mut state, token.as_bytes(), &book, now_s);
        let first = decide(NOW_S).unwrap();
        assert!(Rc::ptr_eq(&first, &decide(NOW_S + 99).unwrap()));
        // Within the skew it still holds, and is verified every time.
        let late = decide(NOW_S + 100).unwrap();
        assert!(!Rc::ptr_eq(&late, &decide(NOW_S + 100).unwrap()));
        assert_eq!(decide(NOW_S + 130), Err(Refusal::Expired));
        assert!(Rc::ptr_eq(&first, &decide(NOW_S).unwrap()));
    }

    #[test]
    fn a_published_key_that_was_replaced_is_believed_no_more() {
        let (old, new) = (Signer::p256(), Signer::p256().other());
        let jwt = jwt("");
        let token = |signer: &Signer| signer.sign(BOB, &claims("bob"));
        let mut state = State::new(7, &jwt, &book(0, None));
        for (book, of_old, of_new) in [
            (book(0, None), Err(Refusal::KeysUnavailable), Err(Refusal::KeysUnavailable)),
            (book(1, Some(&old)), Ok(()), Err(Refusal::BadSignature)),
            (book(2, Some(&new)), Err(Refusal::BadSignature), Ok(())),
            (book(3, None), Err(Refusal::KeysUnavailable), Err(Refusal::KeysUnavailable)),
        ] {
            for (signer, want) in [(&old, of_old), (&new, of_new)] {
                let got = jwt.decide(&mut state, token(signer).as_bytes(), &book, NOW_S).map(|_| ());
                assert_eq!(got, want, "by the book {}", book.generation);
            }
        }
        assert_eq!(jwt.sources().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn another_configuration_knows_nothing_of_what_this_one_verified() {
        let (loose, strict) = (jwt(""), jwt(r#","strict_validation":true"#));
        let (book, token) = (book(1, None), Signer::rsa().sign(ANN, r#"{"iss":"ann","sub":"me","aud":"api"}"#));
        let mut state = State::new(7, &loose, &book);
        for (jwt, want) in [(&loose, Ok(())), (&strict, Err(Refusal::WithoutExpiry)), (&loose, Ok(()))] {
            assert_eq!(jwt.decide(&mut state, token.as_bytes(), &book, NOW_S).map(|_| ()), want);
        }
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed_or_cut() {
        let (jwt, book) = (jwt(r#","strict_validation":true"#), book(1, None));
        let mut state = State::new(7, &jwt, &book);
        let genuine = Signer::rsa().sign(ANN, &claims("ann")).into_bytes();
        for place in 0..genuine.len() {
            for byte in [b'A', b'.', b'=', 0, genuine[place] ^ 1, genuine[place] ^ 0x20] {
                let mut forged = genuine.clone();
                forged[place] = byte;
                let is_same = forged == genuine;
                assert_eq!(jwt.decide(&mut state, &forged, &book, NOW_S).is_ok(), is_same, "byte {place}: {byte}");
            }
            assert!(jwt.decide(&mut state, &genuine[..place], &book, NOW_S).is_err(), "{place} bytes");
        }
    }
}
