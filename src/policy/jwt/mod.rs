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
mod state;
pub mod token;
pub mod verify;
mod weak;

pub use self::config::Config;
pub use self::state::States;

use self::algorithm::Algorithm;
use self::claims::{Claims, Verified};
use self::config::Audiences;
use self::jwks::Source;
use self::keys::KeySet;
use self::state::Adopted;
use self::token::Token;
use super::{Consumers, Context, Hooks, Invalid, Member, Place, Verdict};
use crate::http::view::{FieldNames, RequestView};

/// The policy as it is configured, the same for all shards.
#[derive(Debug)]
pub struct Jwt {
    pub config: Config,
    /// Those of `claims_to_headers`.
    told: FieldNames,
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
    Published(Source),
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

impl Member for Jwt {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(config: Config) -> Result<Self, Invalid> {
        Self::load(config)
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let now_s = context.now.wall.as_secs();
        let decided = Place::credential(&self.config.places, request, (Refusal::Missing, Refusal::Several))
            .and_then(|token| context.state.borrow_mut().jwt.decide(self, context.consumers, token, now_s));
        match decided {
            Ok(verified) => {
                self.edit(request, &verified);
                context.found.identity = Some(verified.identity.clone());
                Verdict::Continue
            }
            Err(refusal) => {
                // Should the request go on all the same, what it says itself is not what a token said.
                self.told.iter().for_each(|name| context.take_from_client(request, name));
                Verdict::Reject(super::Error::Jwt(refusal))
            }
        }
    }
}

impl Jwt {
    /// Where keys have to be fetched.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Published(source) => Some(source),
            Keys::Fixed(_) => None,
        })
    }

    /// What this token means, if it holds. `wanted` gets the source of a key that it names and nobody has, and of one
    /// that it does not name and that is none of those there are.
    fn verify(
        &self,
        issuers: &[Adopted],
        consumers: &Consumers,
        text: &[u8],
        now_s: u64,
        wanted: &mut Vec<u64>,
    ) -> Result<Verified, Refusal> {
        let config = &self.config;
        let token = Token::parse(text, config.token_bytes_max, config.is_strict())?;
        let claims = Claims::parse(&token.payload)?;
        let name = claims.issuer()?;
        let place = self.issuers.iter().position(|issuer| issuer.name == name).ok_or(Refusal::UnknownIssuer)?;
        let (issuer, adopted) = (&self.issuers[place], &issuers[place]);
        if !issuer.algorithms.contains(&token.header.algorithm) {
            return Err(Refusal::AlgorithmForbidden);
        }
        if matches!(issuer.keys, Keys::Published(_)) && adopted.published.is_none() {
            return Err(Refusal::KeysUnavailable);
        }
        let verified = adopted.verifiers.verify(&token, config.is_strict());
        let is_of_no_known_key = match verified {
            Err(Refusal::BadSignature) => token.header.key_id.is_none(),
            verified => verified == Err(Refusal::UnknownKey),
        };
        if let Keys::Published(source) = &issuer.keys
            && is_of_no_known_key
            && !wanted.contains(&source.id)
        {
            wanted.push(source.id);
        }
        verified?;
        claims.hold(&issuer.audiences, config.clock_skew_s, config.is_strict(), now_s)?;
        claims.verified(config, consumers)
    }

    /// What the service gets to see: claims under names that nobody else writes, and the token only if it may.
    fn edit(&self, request: &mut RequestView<'_>, verified: &Verified) {
        request.headers.set_lines(&self.told, |lines| lines.extend_from_slice(&verified.lines));
        if self.config.hide_token {
            Place::hide(&self.config.places, request);
        }
    }
}

/// Two that are configured alike do the same.
impl PartialEq for Jwt {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Eq for Jwt {}

impl Refusal {
    /// For the log and as a metric's label.
    pub const fn reason(self) -> &'static str {
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
    use super::super::{Declared, Trial};
    use super::jwks::KeyBook;
    use super::kit::Signer;
    use super::load::with_files;
    use super::*;
    use std::rc::Rc;
    use std::sync::Arc;

    const NOW_S: u64 = 1_000_000;

    /// `ann` signs for two issuers with one RSA key each; `bob` publishes an EC key.
    fn jwt(rest: &str) -> Jwt {
        let config = format!(
            r#"{{"issuers":[
                {{"issuer":"ann","audiences":["api"],"algorithms":["RS256"],"keys":[{{"file":"ann"}}]}},
                {{"issuer":"bob","audiences":["api"],"algorithms":["ES256"],"jwks_url":"http://bob/keys"}}
            ],"consumer_claim":"sub"{rest}}}"#
        );
        with_files(&config, &[("ann", Signer::rsa().jwk(Some("a")))]).expect("a configuration")
    }

    fn book(generation: u64, signer: Option<&Signer>) -> KeyBook {
        let set = |signer: &Signer| Arc::new(KeySet::new(vec![signer.key(Some("b"))], Vec::new()).expect("keys"));
        let id = jwt("").sources().next().expect("bob publishes").id;
        KeyBook { generation, sets: signer.map(|signer| (id, set(signer))).into_iter().collect() }
    }

    fn states(book: KeyBook) -> States {
        let mut states = States::new(7);
        states.publish(book);
        states
    }

    const ANN: &str = r#"{"alg":"RS256","kid":"a"}"#;
    const BOB: &str = r#"{"alg":"ES256","kid":"b"}"#;

    fn claims(issuer: &str) -> String {
        format!(r#"{{"iss":"{issuer}","sub":"me","aud":"api","exp":{}}}"#, NOW_S + 100)
    }

    #[track_caller]
    fn check(token: &str, want: Result<&str, Refusal>) {
        let (jwt, mut states) = (jwt(""), states(book(1, Some(&Signer::p256()))));
        // The second time it may be known.
        for _ in 0..2 {
            let got = states.decide(&jwt, &Consumers::default(), token.as_bytes(), NOW_S);
            let got = got.as_ref().map(|verified| verified.identity.consumer.as_deref().unwrap_or_default());
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
        let (jwt, mut states) = (jwt(""), states(book(1, None)));
        let token = Signer::rsa().sign(ANN, &claims("ann"));
        let mut decide = |now_s| states.decide(&jwt, &Consumers::default(), token.as_bytes(), now_s);
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
        let mut states = States::new(7);
        for (book, of_old, of_new) in [
            (book(0, None), Err(Refusal::KeysUnavailable), Err(Refusal::KeysUnavailable)),
            (book(1, Some(&old)), Ok(()), Err(Refusal::BadSignature)),
            (book(2, Some(&new)), Err(Refusal::BadSignature), Ok(())),
            (book(3, None), Err(Refusal::KeysUnavailable), Err(Refusal::KeysUnavailable)),
        ] {
            let generation = book.generation;
            states.publish(book);
            for (signer, want) in [(&old, of_old), (&new, of_new)] {
                let got = states.decide(&jwt, &Consumers::default(), token(signer).as_bytes(), NOW_S).map(|_| ());
                assert_eq!(got, want, "by the book {generation}");
            }
        }
        assert!(states.take_wanted().is_empty());
        states.publish(book(4, Some(&old)));
        let unknown = old.sign(r#"{"alg":"ES256","kid":"c"}"#, &claims("bob"));
        for _ in 0..2 {
            assert_eq!(states.decide(&jwt, &Consumers::default(), unknown.as_bytes(), NOW_S), Err(Refusal::UnknownKey));
        }
        let sources: Vec<_> = jwt.sources().map(|source| source.id).collect();
        assert_eq!(states.take_wanted(), sources);
        for (header, wanted) in [(BOB, &[][..]), (r#"{"alg":"ES256"}"#, &sources[..])] {
            let replaced = new.sign(header, &claims("bob"));
            let got = states.decide(&jwt, &Consumers::default(), replaced.as_bytes(), NOW_S);
            assert_eq!((got, &*states.take_wanted()), (Err(Refusal::BadSignature), wanted), "{header}");
        }
    }

    #[test]
    fn another_configuration_knows_nothing_of_what_this_one_verified() {
        let (loose, strict) = (jwt(""), jwt(r#","strict_validation":true"#));
        let token = Signer::rsa().sign(ANN, r#"{"iss":"ann","sub":"me","aud":"api"}"#);
        let mut states = states(book(1, None));
        for (jwt, want) in [(&loose, Ok(())), (&strict, Err(Refusal::WithoutExpiry)), (&loose, Ok(()))] {
            assert_eq!(states.decide(jwt, &Consumers::default(), token.as_bytes(), NOW_S).map(|_| ()), want);
            states.swapped();
        }
        states.swapped();
        assert_eq!(states.decide(&loose, &Consumers::default(), token.as_bytes(), NOW_S).map(|_| ()), Ok(()));
    }

    #[test]
    fn what_was_verified_among_other_consumers_is_verified_anew() {
        let (jwt, mut states) = (jwt(""), states(book(1, None)));
        let token = Signer::rsa().sign(ANN, &claims("ann"));
        let me = Declared { id: 1, name: "me", ..Declared::default() };
        let (none, some) = (Consumers::default(), Consumers::new([], &[me], None));
        for (consumers, is_known) in [(&none, false), (&some, true), (&none, false)] {
            let verified = states.decide(&jwt, consumers, token.as_bytes(), NOW_S).unwrap();
            assert_eq!(verified.identity.belonging.is_some(), is_known);
        }
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed_or_cut() {
        let (jwt, mut states) = (jwt(r#","strict_validation":true"#), states(book(1, None)));
        let genuine = Signer::rsa().sign(ANN, &claims("ann")).into_bytes();
        for place in 0..genuine.len() {
            for byte in [b'A', b'.', b'=', 0, genuine[place] ^ 1, genuine[place] ^ 0x20] {
                let mut forged = genuine.clone();
                forged[place] = byte;
                let is_same = forged == genuine;
                assert_eq!(
                    states.decide(&jwt, &Consumers::default(), &forged, NOW_S).is_ok(),
                    is_same,
                    "byte {place}: {byte}"
                );
            }
            assert!(states.decide(&jwt, &Consumers::default(), &genuine[..place], NOW_S).is_err(), "{place} bytes");
        }
    }

    /// A request with these header lines, and `TOKEN` for a good one.
    #[track_caller]
    fn check_request(rest: &str, target: &str, lines: &str, want: Result<&[&str], Refusal>) {
        let token = Signer::rsa().sign(ANN, &claims("ann"));
        let mut trial = Trial::of(jwt(rest));
        trial.now_s = NOW_S;
        let head = format!("GET {target} HTTP/1.1\nHost: a{lines}").replace("TOKEN", &token);
        let tried = trial.request(&head);
        assert_eq!(tried.refusal(), want.err().map(super::super::Error::Jwt), "{head}");
        if let Ok(want) = want {
            let kept: Vec<String> = tried.fields().into_iter().filter(|line| !line.starts_with("Host")).collect();
            assert_eq!(kept, want.iter().map(|line| line.replace("TOKEN", &token)).collect::<Vec<_>>(), "{head}");
            assert_eq!(tried.identity.and_then(|identity| identity.consumer.clone()).as_deref(), Some("me"));
        }
    }

    #[test]
    fn a_request_has_one_token_in_one_place() {
        let places = r#","places":[{"header":"Authorization"},{"header":"X-Token"},{"query":"t"},{"cookie":"t"}]"#;
        for (target, lines, want) in [
            ("/", "\nAuthorization: Bearer TOKEN", Ok(&["Authorization: Bearer TOKEN"][..])),
            ("/", "\nauthorization: bEaReR   TOKEN", Ok(&["authorization: bEaReR   TOKEN"])),
            ("/", "\nX-Token: TOKEN", Ok(&["X-Token: TOKEN"])),
            ("/", "\nx_token: Bearer TOKEN", Ok(&["x_token: Bearer TOKEN"])),
            ("/?a=1&t=TOKEN", "", Ok(&[])),
            ("/", "\nCookie: a=1; t=TOKEN; b=2", Ok(&["Cookie: a=1; t=TOKEN; b=2"])),
            ("/", "\nAuthorization: Basic eDp5\nX-Token: TOKEN", Ok(&["Authorization: Basic eDp5", "X-Token: TOKEN"])),
            ("/", "", Err(Refusal::Missing)),
            ("/", "\nAuthorization: Basic eDp5", Err(Refusal::Missing)),
            ("/", "\nAuthorization: BearerTOKEN", Err(Refusal::Missing)),
            ("/", "\nAuthorization: Bearer", Err(Refusal::Malformed)),
            ("/", "\nAuthorization: Bearer TOKEN,Bearer TOKEN", Err(Refusal::Malformed)),
            ("/", "\nAuthorization: Bearer TOKEN TOKEN", Err(Refusal::Malformed)),
            ("/", "\nAuthorization: Basic eDp5, Bearer TOKEN", Err(Refusal::Missing)),
            ("/", "\nAuthorization: Bearer TOKEN\nAuthorization: Bearer TOKEN", Err(Refusal::Several)),
            ("/", "\nAuthorization: Basic eDp5\nAuthorization: Bearer TOKEN", Err(Refusal::Several)),
            ("/", "\nAuthorization: Bearer TOKEN\nX-Token: TOKEN", Err(Refusal::Several)),
            ("/", "\nX-Token: TOKEN\nX_Token: TOKEN", Err(Refusal::Several)),
            ("/?t=TOKEN", "\nAuthorization: Bearer TOKEN", Err(Refusal::Several)),
            ("/?t=TOKEN&%74=TOKEN", "", Err(Refusal::Several)),
            ("/", "\nCookie: t=TOKEN; t=TOKEN", Err(Refusal::Several)),
            ("/", "\nCookie: t=TOKEN\nCookie: t=TOKEN", Err(Refusal::Several)),
            ("/?t=", "", Err(Refusal::Malformed)),
        ] {
            check_request(places, target, lines, want);
        }
        check_request("", "/?t=TOKEN", "\nX-Token: TOKEN", Err(Refusal::Missing));
    }

    /// What comes behind the body of an edited request does not go on.
    #[test]
    fn a_request_whose_service_is_told_nothing_is_not_edited() {
        let request =
            format!("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer {}", Signer::rsa().sign(ANN, &claims("ann")));
        for (rest, is_edited) in
            [("", false), (r#","claims_to_headers":{"X-Team":"team"}"#, true), (r#","hide_token":true"#, true)]
        {
            let mut trial = Trial::of(jwt(rest));
            trial.now_s = NOW_S;
            let tried = trial.request(&request);
            assert_eq!((tried.refusal(), tried.is_edited()), (None, is_edited), "{rest}");
        }
    }

    #[test]
    fn the_service_sees_claims_that_nobody_else_can_write() {
        let rest = r#","hide_token":true,"claims_to_headers":{"X-User":"sub","X-Team":"team"}"#;
        let forged = "\nX-User: root\nX_USER: root\nx-team: root\nAuthorization: Bearer TOKEN\nX-Else: 1";
        check_request(rest, "/", forged, Ok(&["X-Else: 1", "X-User: me"]));
    }
}
