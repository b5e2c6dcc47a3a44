//! The algorithms of RFC 7518 §3 and RFC 8037 that a token may be signed with. `none` is not among them.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "HS384")]
    Hs384,
    #[serde(rename = "HS512")]
    Hs512,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "ES512")]
    Es512,
    /// With Ed25519.
    #[serde(rename = "EdDSA", alias = "Ed25519")]
    EdDsa,
}

/// How a signature is made. A key serves one of them only, whatever a token says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    Hmac(hmac::Algorithm),
    /// RSASSA-PKCS1-v1_5.
    Pkcs1(&'static RsaParameters),
    Pss(&'static RsaParameters),
    Ecdsa(&'static EcdsaVerificationAlgorithm, Curve),
    Ed25519,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Algorithm {
    pub const ALL: [Self; 13] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// By its exact name: `nOnE`, `rs256` and the like are no algorithms.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            // RFC 9864 gives it the second name.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    pub fn scheme(self) -> Scheme {
        match self {
            Self::Hs256 => Scheme::Hmac(hmac::HMAC_SHA256),
            Self::Hs384 => Scheme::Hmac(hmac::HMAC_SHA384),
            Self::Hs512 => Scheme::Hmac(hmac::HMAC_SHA512),
            Self::Rs256 => Scheme::Pkcs1(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Scheme::Pkcs1(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Scheme::Pkcs1(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Scheme::Pss(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Scheme::Pss(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Scheme::Pss(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Scheme::Ecdsa(&signature::ECDSA_P256_SHA256_FIXED, Curve::P256),
            Self::Es384 => Scheme::Ecdsa(&signature::ECDSA_P384_SHA384_FIXED, Curve::P384),
            Self::Es512 => Scheme::Ecdsa(&signature::ECDSA_P521_SHA512_FIXED, Curve::P521),
            Self::EdDsa => Scheme::Ed25519,
        }
    }

    /// Signed with a secret that whoever verifies could sign with too.
    pub fn is_symmetric(self) -> bool {
        matches!(self.scheme(), Scheme::Hmac(_))
    }
}

impl Curve {
    /// As JSON Web Keys have it (RFC 7518 §6.2.1.1).
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Self::P256,
            "P-384" => Self::P384,
            "P-521" => Self::P521,
            _ => return None,
        })
    }

    pub fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_known_by_its_exact_name_alone() {
        for name in
            ["none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS1", "ES256K", "A256KW", "Ed448", "HS2560"]
        {
            assert_eq!(Algorithm::of(name), None, "{name}");
        }
        for name in [
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
            "EdDSA", "Ed25519",
        ] {
            let read: Algorithm = serde_json::from_str(&format!("{name:?}")).unwrap();
            assert_eq!(Algorithm::of(name), Some(read), "{name}");
        }
    }
}
