//! For tests: whoever signs tokens, and the texts that keys and tokens are made of.

use super::algorithm::{Algorithm, Curve};
use super::keys::{Key, Material};
use super::{json, pem};
pub use crate::stdx::base64::encode_url as base64url;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use std::fmt;
use std::sync::OnceLock;

/// The same keys at every call.
#[derive(Clone)]
pub enum Signer {
    Rsa(&'static RsaKeyPair),
    Ec(&'static EcdsaKeyPair, Curve),
    Ed25519(&'static Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    pub fn all() -> Vec<Self> {
        vec![
            Self::rsa(),
            Self::p256(),
            Self::ec(Curve::P384, 0),
            Self::ec(Curve::P521, 0),
            Self::ed25519(0),
            Self::secret(64),
        ]
    }

    pub fn rsa() -> Self {
        Self::Rsa(&rsa_keys()[0])
    }

    pub fn p256() -> Self {
        Self::ec(Curve::P256, 0)
    }

    pub fn secret(bytes: usize) -> Self {
        Self::Secret(vec![b's'; bytes])
    }

    pub fn secret_of(bytes: &[u8]) -> Self {
        Self::Secret(bytes.to_vec())
    }

    /// Another one with a key of the same kind.
    pub fn other(&self) -> Self {
        match self {
            Self::Rsa(_) => Self::Rsa(&rsa_keys()[1]),
            Self::Ec(_, curve) => Self::ec(*curve, 1),
            Self::Ed25519(_) => Self::ed25519(1),
            Self::Secret(secret) => Self::Secret(vec![b'o'; secret.len()]),
        }
    }

    fn ec(curve: Curve, which: usize) -> Self {
        static KEYS: OnceLock<Vec<[EcdsaKeyPair; 2]>> = OnceLock::new();
        let curves = [Curve::P256, Curve::P384, Curve::P521];
        let pair = |curve| [(); 2].map(|()| EcdsaKeyPair::generate(signing(curve)).expect("a key"));
        let keys = KEYS.get_or_init(|| curves.map(pair).into());
        let place = curves.iter().position(|one| *one == curve).expect("a curve");
        Self::Ec(&keys[place][which], curve)
    }

    fn ed25519(which: usize) -> Self {
        static KEYS: OnceLock<[Ed25519KeyPair; 2]> = OnceLock::new();
        Self::Ed25519(&KEYS.get_or_init(|| [(); 2].map(|()| Ed25519KeyPair::generate().expect("a key")))[which])
    }

    pub fn key(&self, id: Option<&str>) -> Key {
        let material = match self {
            Self::Rsa(_) => pem::rsa(&self.rsa_der()).expect("a public key"),
            Self::Ec(pair, curve) => Material::Ec { curve: *curve, point: pair.public_key().as_ref().into() },
            Self::Ed25519(pair) => Material::Ed25519(pair.public_key().as_ref().into()),
            Self::Secret(secret) => Material::Secret(secret.clone().into()),
        };
        Key::new(id.map(Box::from), None, material).expect("a good key")
    }

    pub fn jwk(&self, id: Option<&str>) -> String {
        let members = match self.key(None).material {
            Material::Rsa { modulus, exponent } => {
                format!(r#""kty":"RSA","n":"{}","e":"{}""#, base64url(&modulus), base64url(&exponent))
            }
            Material::Ec { curve, point } => {
                let (x, y) = point[1..].split_at(curve.coordinate_bytes());
                let name = match curve {
                    Curve::P256 => "P-256",
                    Curve::P384 => "P-384",
                    Curve::P521 => "P-521",
                };
                format!(r#""kty":"EC","crv":"{name}","x":"{}","y":"{}""#, base64url(x), base64url(y))
            }
            Material::Ed25519(point) => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, base64url(&point)),
            Material::Secret(secret) => format!(r#""kty":"oct","k":"{}""#, base64url(&secret)),
        };
        match id {
            Some(id) => format!(r#"{{{members},"kid":"{id}"}}"#),
            None => format!("{{{members}}}"),
        }
    }

    /// As in a file that `openssl` writes.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(pair) => pair.public_key().as_der().expect("DER"),
            Self::Ec(pair, _) => pair.public_key().as_der().expect("DER"),
            Self::Ed25519(pair) => pair.public_key().as_der().expect("DER"),
            Self::Secret(_) => panic!("a secret is not published"),
        };
        der.as_ref().to_vec()
    }

    pub fn rsa_der(&self) -> Vec<u8> {
        let Self::Rsa(pair) = self else { panic!("not an RSA key") };
        pair.public_key().as_ref().to_vec()
    }

    /// Those that it can sign with.
    pub fn algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Rsa(_) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Self::Ec(_, Curve::P256) => &["ES256"],
            Self::Ec(_, Curve::P384) => &["ES384"],
            Self::Ec(_, Curve::P521) => &["ES512"],
            Self::Ed25519(_) => &["EdDSA", "Ed25519"],
            Self::Secret(_) => &["HS256", "HS384", "HS512"],
        }
    }

    /// A token with this header and payload, signed as the header says, if this one can.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let members = json::object(header.as_bytes()).expect("a header");
        let algorithm = members.get("alg").and_then(|alg| Algorithm::of(alg.as_str()?));
        format!("{signed}.{}", base64url(&self.signature(algorithm, signed.as_bytes())))
    }

    fn signature(&self, algorithm: Option<Algorithm>, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &dyn RsaEncoding = match algorithm {
                    Some(Algorithm::Rs384) => &signature::RSA_PKCS1_SHA384,
                    Some(Algorithm::Rs512) => &signature::RSA_PKCS1_SHA512,
                    Some(Algorithm::Ps256) => &signature::RSA_PSS_SHA256,
                    Some(Algorithm::Ps384) => &signature::RSA_PSS_SHA384,
                    Some(Algorithm::Ps512) => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut bytes).expect("a signature");
                bytes
            }
            Self::Ec(pair, _) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Secret(secret) => {
                let hmac = match algorithm {
                    Some(Algorithm::Hs384) => hmac::HMAC_SHA384,
                    Some(Algorithm::Hs512) => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hmac, secret), message).as_ref().to_vec()
            }
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.algorithms())
    }
}

fn rsa_keys() -> &'static [RsaKeyPair; 2] {
    static KEYS: OnceLock<[RsaKeyPair; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [(); 2].map(|()| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
}

fn signing(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let word = group.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = |place: usize| char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
        (0..4).map(|place| if place <= group.len() { digit(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
