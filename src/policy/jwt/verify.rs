//! Signatures. Keys are parsed when a shard hears of them, not once a token, and each shard has its own: the library
//! counts references to a key, and no line of the cache is to travel between cores for that.

use super::Refusal;
use super::algorithm::{Algorithm, Scheme};
use super::keys::{KeySet, Material};
use super::token::Token;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};

/// An issuer's keys, as one shard verifies with them.
#[derive(Debug, Default)]
pub struct Verifiers {
    verifiers: Vec<Verifier>,
}

#[derive(Debug)]
struct Verifier {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: Parsed,
}

/// As the library wants it, for one algorithm.
#[derive(Debug)]
pub enum Parsed {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Verifiers {
    /// For the algorithms that the issuer may use.
    pub fn new(keys: &KeySet, allowed: &[Algorithm]) -> Self {
        let of_keys = keys.keys.iter().flat_map(|key| {
            key.serves(allowed).filter_map(|algorithm| {
                Some(Verifier { id: key.id.clone(), algorithm, key: Parsed::new(&key.material, algorithm)? })
            })
        });
        Self { verifiers: of_keys.collect() }
    }

    /// `strict` also refuses a token that does not say which of several keys it was signed with.
    pub fn verify(&self, token: &Token<'_>, strict: bool) -> Result<(), Refusal> {
        let of_algorithm = || self.verifiers.iter().filter(|verifier| verifier.algorithm == token.header.algorithm);
        let wanted = token.header.key_id.as_deref();
        if strict && wanted.is_none() && of_algorithm().nth(1).is_some() {
            return Err(Refusal::KeyAmbiguous);
        }
        // Without a name any of the keys could have been meant. One that nobody has may be that of a nameless key.
        let is_known = of_algorithm().any(|verifier| wanted.is_none() || verifier.id.as_deref() == wanted);
        let is_candidate = |verifier: &&Verifier| match (wanted, is_known) {
            (None, _) => true,
            (Some(_), true) => verifier.id.as_deref() == wanted,
            (Some(_), false) => verifier.id.is_none(),
        };
        if of_algorithm().filter(is_candidate).take(KEYS_TRIED_MAX).any(|verifier| verifier.key.verify(token)) {
            return Ok(());
        }
        Err(if is_known { Refusal::BadSignature } else { Refusal::UnknownKey })
    }
}

impl Parsed {
    pub fn new(material: &Material, algorithm: Algorithm) -> Option<Self> {
        let public = match (material, algorithm.scheme()) {
            (Material::Rsa { modulus, exponent }, Scheme::Pkcs1(parameters) | Scheme::Pss(parameters)) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters)
            }
            (Material::Ec { point, .. }, Scheme::Ecdsa(ecdsa, _)) => ParsedPublicKey::new(ecdsa, point),
            (Material::Ed25519(point), Scheme::Ed25519) => ParsedPublicKey::new(&ED25519, point),
            (Material::Secret(secret), Scheme::Hmac(hmac)) => {
                return Some(Self::Secret(Box::new(hmac::Key::new(hmac, secret))));
            }
            _ => return None,
        };
        public.ok().map(Self::Public)
    }

    fn verify(&self, token: &Token<'_>) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(token.signed, &token.signature).is_ok(),
            // In constant time.
            Self::Secret(key) => hmac::verify(key, token.signed, &token.signature).is_ok(),
        }
    }
}

/// With one token. Each costs tens of microseconds, and whoever sends garbage may ask for them; hardly an issuer has as
/// many for one algorithm.
pub const KEYS_TRIED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::kit::{Signer, base64url};

    fn all_public() -> Vec<Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric()).collect()
    }

    /// A token whose header is `header` is verified with `keys`, for `allowed`.
    #[track_caller]
    fn check(keys: &KeySet, allowed: &[Algorithm], signer: &Signer, header: &str, want: Result<(), Refusal>) {
        let text = signer.sign(header, "{}");
        let token = Token::parse(text.as_bytes(), 10_000, false).expect("the token can be read");
        assert_eq!(Verifiers::new(keys, allowed).verify(&token, false), want, "{header} of {signer:?} with {keys:?}");
    }

    fn set(keys: &[(&Signer, Option<&str>)]) -> KeySet {
        KeySet::new(keys.iter().map(|(signer, id)| signer.key(*id)).collect(), Vec::new()).unwrap()
    }

    #[test]
    fn every_algorithm_verifies_its_own_signatures_only() {
        for signer in Signer::all() {
            for algorithm in signer.algorithms() {
                let keys = set(&[(&signer, None)]);
                let header = format!(r#"{{"alg":"{algorithm}"}}"#);
                let allowed = [Algorithm::of(algorithm).unwrap()];
                check(&keys, &allowed, &signer, &header, Ok(()));
                check(&keys, &allowed, &signer.other(), &header, Err(Refusal::BadSignature));
            }
        }
    }

    #[test]
    fn a_key_is_found_by_name_or_tried() {
        let (a, b) = (Signer::p256(), Signer::p256().other());
        let named = set(&[(&a, Some("a")), (&b, Some("b"))]);
        let nameless = set(&[(&a, None), (&b, None)]);
        for (keys, header, want) in [
            (&named, r#"{"alg":"ES256","kid":"b"}"#, Ok(())),
            (&named, r#"{"alg":"ES256","kid":"a"}"#, Err(Refusal::BadSignature)),
            (&named, r#"{"alg":"ES256","kid":"c"}"#, Err(Refusal::UnknownKey)),
            (&named, r#"{"alg":"ES256"}"#, Ok(())),
            (&nameless, r#"{"alg":"ES256","kid":"c"}"#, Ok(())),
            (&set(&[(&a, None)]), r#"{"alg":"ES256","kid":"c"}"#, Err(Refusal::UnknownKey)),
            (&set(&[(&a, None)]), r#"{"alg":"ES256"}"#, Err(Refusal::BadSignature)),
        ] {
            check(keys, &all_public(), &b, header, want);
        }
    }

    #[test]
    fn a_token_without_a_name_is_held_against_so_many_keys_and_no_more() {
        let signers: Vec<_> = (0..=KEYS_TRIED_MAX as u8).map(|byte| Signer::secret_of(&[byte; 32])).collect();
        let names: Vec<_> = (0..signers.len()).map(|number| number.to_string()).collect();
        let named: Vec<_> = signers.iter().zip(&names).map(|(signer, name)| (signer, Some(name.as_str()))).collect();
        let keys = set(&named);
        let verify = |signer: &Signer, header: &str| {
            let text = signer.sign(header, "{}");
            let token = Token::parse(text.as_bytes(), 10_000, false).expect("the token can be read");
            Verifiers::new(&keys, &Algorithm::ALL).verify(&token, false)
        };
        let believed = signers.iter().filter(|signer| verify(signer, r#"{"alg":"HS256"}"#).is_ok());
        assert_eq!(believed.count(), KEYS_TRIED_MAX);
        for (signer, name) in signers.iter().zip(&names) {
            assert_eq!(verify(signer, &format!(r#"{{"alg":"HS256","kid":"{name}"}}"#)), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_token_of_several_possible_keys_says_which_when_strict() {
        let (a, b) = (Signer::p256(), Signer::p256().other());
        let verify = |keys: &KeySet, header: &str| {
            let text = a.sign(header, "{}");
            Verifiers::new(keys, &all_public()).verify(&Token::parse(text.as_bytes(), 10_000, true)?, true)
        };
        let both = set(&[(&a, Some("a")), (&b, Some("b"))]);
        assert_eq!(verify(&both, r#"{"alg":"ES256"}"#), Err(Refusal::KeyAmbiguous));
        assert_eq!(verify(&both, r#"{"alg":"ES256","kid":"a"}"#), Ok(()));
        assert_eq!(verify(&set(&[(&a, Some("a"))]), r#"{"alg":"ES256"}"#), Ok(()));
    }

    #[test]
    fn a_public_key_is_never_a_secret() {
        let (rsa, confused) = (Signer::rsa(), Signer::secret_of(&Signer::rsa().public_der()));
        let keys = set(&[(&rsa, None)]);
        let header = r#"{"alg":"HS256"}"#;
        check(&keys, &[Algorithm::Rs256], &confused, header, Err(Refusal::UnknownKey));
        check(&keys, &[Algorithm::Rs256, Algorithm::Hs256], &confused, header, Err(Refusal::UnknownKey));
    }

    #[test]
    fn signatures_of_zeros_and_of_other_lengths_are_refused() {
        let signer = Signer::p256();
        let keys = Verifiers::new(&set(&[(&signer, None)]), &all_public());
        let genuine = signer.sign(r#"{"alg":"ES256"}"#, "{}");
        let (signed, signature) = genuine.rsplit_once('.').unwrap();
        let verify = |signature: &str| {
            let text = format!("{signed}.{signature}");
            keys.verify(&Token::parse(text.as_bytes(), 10_000, true).unwrap(), true)
        };
        assert_eq!(verify(signature), Ok(()));
        for bytes in [vec![0; 64], vec![], vec![0; 63], vec![0; 1000], vec![0xff; 64]] {
            assert_eq!(verify(&base64url(&bytes)), Err(Refusal::BadSignature), "{} bytes", bytes.len());
        }
        assert_eq!(verify(&format!("{signature}AAAA")), Err(Refusal::BadSignature));
    }
}
