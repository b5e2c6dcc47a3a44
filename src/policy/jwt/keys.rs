//! Keys as an issuer gives them, in a JSON Web Key Set (RFC 7517) or alone: judged here, and parsed once more by every
//! shard that verifies with them ([`super::verify`]).

use super::algorithm::{Algorithm, Curve, Scheme};
use super::json;
use super::token::KEY_ID_BYTES_MAX;
use super::verify::Parsed;
use super::weak;
use crate::stdx::base64::{self, Alphabet, Form};
use serde_json::{Map, Value};
use std::fmt;

/// The keys of one issuer. Never empty, and the same in whichever order they were given.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeySet {
    /// Sorted, those without an id first: they can only be found by trying.
    pub keys: Vec<Key>,
    /// Why others that were given with them are not used. Sorted.
    pub unusable: Vec<KeyError>,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    pub id: Option<Box<str>>,
    /// The one algorithm that it is for, if it says so.
    pub algorithm: Option<Algorithm>,
    pub material: Material,
}

/// What a signature is verified with. Only `Secret` is one.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Material {
    /// Both without zeros in front.
    Rsa {
        modulus: Box<[u8]>,
        exponent: Box<[u8]>,
    },
    /// Uncompressed, as in SEC 1 §2.3.3.
    Ec {
        curve: Curve,
        point: Box<[u8]>,
    },
    Ed25519(Box<[u8]>),
    Secret(Box<[u8]>),
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum KeyError {
    #[error("it is malformed")]
    Malformed,
    #[error("its type or curve is not supported")]
    Unsupported,
    #[error("it is for something else than signatures")]
    OtherUse,
    #[error("its algorithm is not supported, or not one of such a key")]
    Algorithm,
    #[error("it is shorter than its algorithm needs, or longer than 8192 bits")]
    Size,
    #[error("its private key can be computed from it (CVE-2017-15361)")]
    Weak,
    #[error("it is a private key, which does not belong here")]
    Private,
}

/// Why a set of keys is not used, and the one before it stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysError {
    #[error("it is not a JSON Web Key Set")]
    Malformed,
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("two of its keys have the same `kid`")]
    SameId,
    #[error("it has secrets beside public keys")]
    Mixed,
    #[error("it has no key")]
    Empty,
    #[error("none of its keys can be used, the first one because {0}")]
    NoneUsable(KeyError),
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out (RFC 7517 §5).
    pub fn of_jwks(bytes: &[u8]) -> Result<Self, KeysError> {
        let mut set = json::object(bytes).ok_or(KeysError::Malformed)?;
        let Some(Value::Array(values)) = set.remove("keys") else { return Err(KeysError::Malformed) };
        if values.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        for value in &values {
            match value.as_object().ok_or(KeyError::Malformed).and_then(Key::of_jwk) {
                Ok(key) => keys.push(key),
                Err(error) => unusable.push(error),
            }
        }
        Self::new(keys, unusable)
    }

    /// Keys that were given one by one, and why others are not used.
    pub fn new(mut keys: Vec<Key>, mut unusable: Vec<KeyError>) -> Result<Self, KeysError> {
        if keys.is_empty() {
            return Err(unusable.first().map_or(KeysError::Empty, |error| KeysError::NoneUsable(*error)));
        }
        if keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        if keys.iter().any(Key::is_secret) && !keys.iter().all(Key::is_secret) {
            return Err(KeysError::Mixed);
        }
        let is_same = |a: &Key, b: &Key| a.id.is_some() && a.id == b.id && a.material.is_like(&b.material);
        if keys.iter().enumerate().any(|(place, key)| keys[..place].iter().any(|other| is_same(key, other))) {
            return Err(KeysError::SameId);
        }
        // An issuer that shuffles them has not changed them.
        keys.sort_unstable();
        unusable.sort_unstable();
        Ok(Self { keys, unusable })
    }

    /// Its keys are secrets. Either all are or none is.
    pub fn is_secret(&self) -> bool {
        self.keys.iter().any(Key::is_secret)
    }
}

impl Key {
    /// Judges what was given: the algorithm fits the key, the key is as long as that algorithm needs, and the library
    /// takes it.
    pub fn new(id: Option<Box<str>>, algorithm: Option<Algorithm>, material: Material) -> Result<Self, KeyError> {
        material.judge()?;
        let fits = |algorithm: Algorithm| material.fits(algorithm);
        let probe = match algorithm {
            Some(algorithm) if fits(algorithm) => algorithm,
            Some(_) if matches!(material, Material::Secret(_)) => return Err(KeyError::Size),
            Some(_) => return Err(KeyError::Algorithm),
            None => *Algorithm::ALL.iter().find(|algorithm| fits(**algorithm)).ok_or(KeyError::Size)?,
        };
        Parsed::new(&material, probe).ok_or(KeyError::Malformed)?;
        Ok(Self { id, algorithm, material })
    }

    pub fn of_jwk(members: &Map<String, Value>) -> Result<Self, KeyError> {
        let jwk = Jwk(members);
        if jwk.text("use")?.is_some_and(|value| value != "sig") {
            return Err(KeyError::OtherUse);
        }
        match members.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err(KeyError::OtherUse),
        }
        let id = jwk.text("kid")?;
        if id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
            return Err(KeyError::Malformed);
        }
        let algorithm = match jwk.text("alg")? {
            Some(name) => Some(Algorithm::of(name).ok_or(KeyError::Algorithm)?),
            None => None,
        };
        Self::new(id.map(Box::from), algorithm, jwk.material()?)
    }

    /// The algorithms that it serves for an issuer that may use these, in that order. RFC 8725 §3.1: they are of one
    /// scheme, that of the first.
    pub fn serves(&self, allowed: &[Algorithm]) -> impl Iterator<Item = Algorithm> {
        let fitting = allowed.iter().copied().filter(|algorithm| self.material.fits(*algorithm));
        let of_key: Vec<Algorithm> = fitting.filter(|one| self.algorithm.is_none_or(|only| only == *one)).collect();
        let scheme = |algorithm: &Algorithm| std::mem::discriminant(&algorithm.scheme());
        let first = of_key.first().map(scheme);
        of_key.into_iter().filter(move |algorithm| Some(scheme(algorithm)) == first)
    }

    pub fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }
}

/// The members of one JSON Web Key.
struct Jwk<'a>(&'a Map<String, Value>);

impl<'a> Jwk<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, KeyError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyError::Malformed),
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, KeyError> {
        let text = self.text(name)?.ok_or(KeyError::Malformed)?;
        let mut bytes = Vec::new();
        let decoded = base64::decode(Alphabet::Url, Form::Canonical, text.as_bytes(), &mut bytes);
        decoded.map_err(|base64::Malformed| KeyError::Malformed)?;
        Ok(bytes)
    }

    /// RFC 7518 §6 and RFC 8037 §2.
    fn material(&self) -> Result<Material, KeyError> {
        let kind = self.text("kty")?.ok_or(KeyError::Malformed)?;
        if kind != "oct" && self.0.contains_key("d") {
            return Err(KeyError::Private);
        }
        match kind {
            "RSA" => Ok(Material::rsa(&self.bytes("n")?, &self.bytes("e")?)),
            "EC" => {
                let curve = Curve::of(self.text("crv")?.ok_or(KeyError::Malformed)?).ok_or(KeyError::Unsupported)?;
                let (x, y) = (self.bytes("x")?, self.bytes("y")?);
                // §6.2.1.2: as long as the curve's field elements, zeros in front included.
                if x.len() != curve.coordinate_bytes() || y.len() != curve.coordinate_bytes() {
                    return Err(KeyError::Malformed);
                }
                Ok(Material::Ec { curve, point: [&[UNCOMPRESSED], &*x, &*y].concat().into() })
            }
            "OKP" if self.text("crv")? == Some("Ed25519") => Ok(Material::Ed25519(self.bytes("x")?.into())),
            "oct" => Ok(Material::Secret(self.bytes("k")?.into())),
            _ => Err(KeyError::Unsupported),
        }
    }
}

impl Material {
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        let strip = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Box::from(&bytes[zeros..])
        };
        Self::Rsa { modulus: strip(modulus), exponent: strip(exponent) }
    }

    fn judge(&self) -> Result<(), KeyError> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(KeyError::Size);
                }
                // With 1 every message is its own signature; an even one has no inverse.
                let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
                if **exponent == [1] || !is_odd || exponent.len() > RSA_EXPONENT_BYTES_MAX {
                    return Err(KeyError::Malformed);
                }
                if weak::is_roca(modulus) { Err(KeyError::Weak) } else { Ok(()) }
            }
            Self::Ed25519(point) if point.len() != ED25519_BYTES => Err(KeyError::Malformed),
            Self::Ec { .. } | Self::Ed25519(_) | Self::Secret(_) => Ok(()),
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm.scheme()) {
            (Self::Rsa { .. }, Scheme::Pkcs1(_) | Scheme::Pss(_)) | (Self::Ed25519(_), Scheme::Ed25519) => true,
            (Self::Ec { curve, .. }, Scheme::Ecdsa(_, of_algorithm)) => *curve == of_algorithm,
            // RFC 7518 §3.2: a secret is at least as long as the hash.
            (Self::Secret(secret), Scheme::Hmac(hmac)) => secret.len() >= hmac.digest_algorithm().output_len(),
            _ => false,
        }
    }

    /// Both could serve the same algorithm.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ec { curve: a, .. }, Self::Ec { curve: b, .. }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// Says of what kind it is: a secret is not for logs, and the numbers of a public key help nobody.
impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { modulus, .. } => write!(formatter, "Rsa({} bits)", modulus.len() * 8),
            Self::Ec { curve, .. } => write!(formatter, "Ec({curve:?})"),
            Self::Ed25519(_) => formatter.write_str("Ed25519"),
            Self::Secret(_) => formatter.write_str("Secret"),
        }
    }
}

/// Every shard keeps each of them parsed.
pub const KEYS_MAX: usize = 64;
pub const UNCOMPRESSED: u8 = 4;
/// RFC 7518 §3.3 and §3.5.
const RSA_BITS_MIN: usize = 2048;
/// A longer one takes a shard's time with every forged token.
const RSA_BITS_MAX: usize = 8192;
const RSA_EXPONENT_BYTES_MAX: usize = 4;
const ED25519_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::kit::{Signer, base64url};

    #[track_caller]
    fn check(jwk: &str, want: Result<(), KeyError>) {
        let members = json::object(jwk.as_bytes()).unwrap_or_else(|| panic!("{jwk} is no object"));
        assert_eq!(Key::of_jwk(&members).map(|_| ()), want, "{jwk}");
    }

    fn edited(jwk: &str, from: &str, to: &str) -> String {
        assert!(jwk.contains(from), "{jwk} has no {from}");
        jwk.replacen(from, to, 1)
    }

    #[test]
    fn keys_of_each_kind_are_read() {
        for signer in Signer::all() {
            let jwk = signer.jwk(Some("a"));
            check(&jwk, Ok(()));
            check(&edited(&jwk, "{", r#"{"use":"sig","key_ops":["sign","verify"],"x5t":"abc","#), Ok(()));
            check(&edited(&jwk, "{", r#"{"use":"enc","#), Err(KeyError::OtherUse));
            check(&edited(&jwk, "{", r#"{"key_ops":["encrypt"],"#), Err(KeyError::OtherUse));
            check(&edited(&jwk, "{", r#"{"kid2":1,"#), Ok(()));
            check(&edited(&jwk, r#""kid":"a""#, r#""kid":1"#), Err(KeyError::Malformed));
            check(&edited(&jwk, r#""kty":"#, r#""kty":"x","ktx":"#), Err(KeyError::Unsupported));
        }
    }

    #[test]
    fn a_key_has_the_algorithm_that_it_says_or_one_that_fits_it() {
        let (rsa, p256) = (Signer::rsa().jwk(None), Signer::p256().jwk(None));
        for (jwk, name, want) in [
            (&rsa, "RS512", Ok(())),
            (&rsa, "PS256", Ok(())),
            (&rsa, "ES256", Err(KeyError::Algorithm)),
            (&rsa, "HS256", Err(KeyError::Algorithm)),
            (&rsa, "RSA-OAEP", Err(KeyError::Algorithm)),
            (&rsa, "none", Err(KeyError::Algorithm)),
            (&p256, "ES256", Ok(())),
            (&p256, "ES384", Err(KeyError::Algorithm)),
        ] {
            check(&edited(jwk, "{", &format!(r#"{{"alg":"{name}","#)), want);
        }
    }

    #[test]
    fn one_key_serves_one_scheme() {
        use Algorithm as A;
        let key = |signer: Signer, algorithm| Key { algorithm, ..signer.key(None) };
        for (key, allowed, want) in [
            (key(Signer::rsa(), None), &[A::Rs256, A::Ps256, A::Rs512][..], &[A::Rs256, A::Rs512][..]),
            (key(Signer::rsa(), None), &[A::Ps256, A::Rs256], &[A::Ps256]),
            (key(Signer::rsa(), Some(A::Ps256)), &[A::Rs256, A::Ps256], &[A::Ps256]),
            (key(Signer::rsa(), Some(A::Ps256)), &[A::Rs256], &[]),
            (key(Signer::rsa(), None), &[A::Hs256, A::Es256, A::EdDsa], &[]),
            (key(Signer::p256(), None), &[A::Es512, A::Es384, A::Es256], &[A::Es256]),
            (key(Signer::secret(48), None), &[A::Hs512, A::Hs384, A::Hs256], &[A::Hs384, A::Hs256]),
        ] {
            assert_eq!(key.serves(allowed).collect::<Vec<_>>(), want, "{key:?} for {allowed:?}");
        }
    }

    #[test]
    fn keys_that_are_too_weak_are_refused() {
        let rsa = |bytes: usize, exponent: &[u8]| {
            let modulus = base64url(&vec![0xc5; bytes]);
            format!(r#"{{"kty":"RSA","n":"{modulus}","e":"{}"}}"#, base64url(exponent))
        };
        check(&rsa(256, &[1, 0, 1]), Ok(()));
        check(&rsa(255, &[1, 0, 1]), Err(KeyError::Size));
        check(&rsa(0, &[1, 0, 1]), Err(KeyError::Size));
        check(&rsa(1024, &[1, 0, 1]), Ok(()));
        check(&rsa(1025, &[1, 0, 1]), Err(KeyError::Size));
        check(&rsa(256, &[0, 1, 0, 1]), Ok(()));
        for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            check(&rsa(256, exponent), Err(KeyError::Malformed));
        }
        for (bytes, want) in [(0, Err(KeyError::Size)), (31, Err(KeyError::Size)), (32, Ok(()))] {
            check(&format!(r#"{{"kty":"oct","k":"{}"}}"#, base64url(&vec![7; bytes])), want);
        }
        let secret = base64url(&[7; 32]);
        check(&format!(r#"{{"kty":"oct","alg":"HS384","k":"{secret}"}}"#), Err(KeyError::Size));
    }

    #[test]
    fn a_point_that_is_not_on_its_curve_is_refused() {
        let coordinate = base64url(&[7; 32]);
        let ec = |curve: &str, x: &str| format!(r#"{{"kty":"EC","crv":"{curve}","x":"{x}","y":"{coordinate}"}}"#);
        check(&ec("P-256", &coordinate), Err(KeyError::Malformed));
        check(&ec("P-384", &coordinate), Err(KeyError::Malformed));
        check(&ec("secp256k1", &coordinate), Err(KeyError::Unsupported));
        let jwk = Signer::p256().jwk(None);
        check(&edited(&jwk, r#""x":""#, r#""x":"AA"#), Err(KeyError::Malformed));
        check(r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#, Err(KeyError::Unsupported));
        check(r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#, Err(KeyError::Malformed));
    }

    #[test]
    fn a_private_key_that_was_published_is_not_used() {
        check(&edited(&Signer::p256().jwk(None), "{", r#"{"d":"AA","#), Err(KeyError::Private));
        check(&edited(&Signer::rsa().jwk(None), "{", r#"{"d":"AA","#), Err(KeyError::Private));
    }

    #[test]
    fn a_set_keeps_what_it_can_use_and_is_refused_when_it_says_two_things() {
        let (rsa, p256, secret) = (Signer::rsa(), Signer::p256(), Signer::secret(32));
        let unsupported = r#"{"kty":"EC","crv":"secp256k1","x":"","y":""}"#;
        let many = vec![unsupported; KEYS_MAX + 1].join(",");
        for (keys, want) in [
            ([rsa.jwk(Some("a")), p256.jwk(Some("b"))].join(","), Ok((2, 0))),
            ([rsa.jwk(None), rsa.jwk(None)].join(","), Ok((2, 0))),
            ([rsa.jwk(Some("a")), p256.jwk(Some("a"))].join(","), Ok((2, 0))),
            ([unsupported, &rsa.jwk(Some("a")), "7"].join(","), Ok((1, 2))),
            ([rsa.jwk(Some("a")), rsa.jwk(Some("a"))].join(","), Err(KeysError::SameId)),
            ([rsa.jwk(Some("a")), secret.jwk(Some("b"))].join(","), Err(KeysError::Mixed)),
            (secret.jwk(None), Ok((1, 0))),
            (unsupported.to_owned(), Err(KeysError::NoneUsable(KeyError::Unsupported))),
            (String::new(), Err(KeysError::Empty)),
            (many, Err(KeysError::TooMany)),
        ] {
            let set = KeySet::of_jwks(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
            assert_eq!(set.map(|set| (set.keys.len(), set.unusable.len())), want, "{keys}");
        }
        for garbage in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>", "{\"keys\":["] {
            assert_eq!(KeySet::of_jwks(garbage.as_bytes()), Err(KeysError::Malformed), "{garbage}");
        }
    }
}
