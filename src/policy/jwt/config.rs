//! What the operator writes of JSON Web Tokens. The comments here are the documentation of its keys.

use super::algorithm::Algorithm;
use crate::http::view::FieldName;
use crate::policy::{Invalid, Place, Read};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;

/// Requests need a JSON Web Token that one of the issuers has signed; 401 without one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who may issue tokens. Which of them did is the token's `iss`.
    pub issuers: Vec<IssuerConfig>,
    /// Where a request may have its token. One that has two is refused. Default: `Authorization: Bearer TOKEN` alone.
    #[serde(default = "usual_places")]
    pub places: Vec<Place>,
    /// Whether neither the service nor a redirect's target gets to see the token. Default: false.
    #[serde(default)]
    pub hide_token: bool,
    /// Also refuses what is merely odd: a token without `exp`, or with an `iat` in the future; `=` or unused bits in
    /// its Base64; a `typ` other than `JWT` and `at+jwt`, or a `cty`; no `kid` where several keys could be meant.
    /// Default: that of `authentication` at the top of the file, which is false.
    pub strict_validation: Option<bool>,
    /// How far the issuers' clocks may be off, in seconds. Default: 30, at most 600.
    #[serde(default = "usual_skew_s")]
    pub clock_skew_s: u64,
    /// Longer tokens are refused unread, in bytes. Default: 8192, at most 65536.
    #[serde(default = "usual_token_bytes_max")]
    pub token_bytes_max: usize,
    /// Memory of each shard for tokens it has verified, in bytes. They are known until they expire or keys change; 0
    /// verifies every one anew. Default: 4194304.
    #[serde(default = "usual_cache_bytes_max")]
    pub cache_bytes_max: usize,
    /// The claim that is the consumer's name, such as `sub`; a list is the way to a claim within others. A token
    /// without it is refused, as is one that has an empty text there, or a number that is not whole or has more than 64
    /// bits. One of the file's `consumers` has its groups, roles and scopes beside the token's. Default: none, and
    /// tokens are nobody's.
    pub consumer_claim: Option<ClaimPath>,
    /// The claim with the roles: a text, or a list of texts. Default: none.
    pub roles_claim: Option<ClaimPath>,
    /// The claim with the scopes: words between spaces, or a list of texts. Default: `scope`.
    #[serde(default = "usual_scopes_claim")]
    pub scopes_claim: Option<ClaimPath>,
    /// Headers for the service, each with the claim that it has the value of: `X-User: sub`. A list becomes elements
    /// between commas; a number that is not whole or has more than 64 bits refuses the token. What the client sent
    /// under these names is removed in any case. Default: none.
    #[serde(default, deserialize_with = "headers")]
    pub claims_to_headers: Vec<(FieldName, ClaimPath)>,
}

/// An issuer and its keys: either `jwks_url`, or `keys`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Exactly as `iss` has it.
    pub issuer: String,
    /// A token is for at least one of these, by its `aud`; or `any`, which believes tokens that were meant for others.
    pub audiences: Audiences,
    /// What it signs with: `RS256`, `PS256`, `ES256`, their longer forms, `EdDSA`, or `HS256`, `HS384` and `HS512`,
    /// which no other may stand beside.
    pub algorithms: Vec<Algorithm>,
    /// Where it publishes its keys, by `https://`, or by `http://` within a network that is trusted.
    pub jwks_url: Option<String>,
    /// A file with certificates in PEM: one of them has signed that of the server at `jwks_url`. Default: those that
    /// the system trusts.
    pub jwks_ca_file: Option<String>,
    /// How often they are fetched, in seconds; sooner when they are said to expire sooner, and on a token with a `kid`
    /// that is not known, or with none that no key fits, but not twice in 10 seconds for such tokens. When they cannot
    /// be had, those from before stay, with `--state` also over a restart. Default: 300.
    pub refresh_s: Option<u32>,
    /// Its keys, when they do not change.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// What is in `jwks_ca_file`.
    #[serde(skip)]
    pub(super) authorities: Content,
}

/// One key, or a set of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// A file with a public key in PEM, a JSON Web Key, or a set of them.
    pub file: Option<String>,
    /// A file with a secret for `HS256` and the like. A line end after it is not a part of it.
    pub secret_file: Option<String>,
    /// The `kid` of tokens that are signed with it. A token without one is held against at most 8 keys, those without
    /// one first; keys from files that none would be held against are refused. Default: any; a JSON Web Key has its
    /// own.
    pub kid: Option<String>,
    /// What is in the file.
    #[serde(skip)]
    pub(super) content: Content,
}

/// Perhaps a secret.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Content(pub Vec<u8>);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Audiences {
    Any,
    Of(Vec<String>),
}

/// A claim, or the way to one within others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimPath(pub Vec<String>);

impl Config {
    pub fn is_strict(&self) -> bool {
        self.strict_validation.unwrap_or(false)
    }

    /// Reads the files with keys and certificates.
    pub fn load(&mut self, read: Read<'_>) -> Result<(), Invalid> {
        let content = |what: &str, file: &str| {
            let unreadable = |error| format!("{what} in `{file}`, which cannot be read ({error})");
            let help = "check the path and who may read it";
            read(file).map(Content).map_err(|error| Invalid::new(unreadable(error), help))
        };
        for issuer in &mut self.issuers {
            if let Some(file) = &issuer.jwks_ca_file {
                issuer.authorities = content("certificates", file)?;
            }
            for key in &mut issuer.keys {
                let Some(file) = key.file.as_ref().or(key.secret_file.as_ref()) else { continue };
                key.content = content("a key", file)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("...")
    }
}

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) if text == "any" => Self::Any,
            OneOrMany::One(text) => Self::Of(vec![text]),
            OneOrMany::Many(texts) => Self::Of(texts),
        })
    }
}

impl<'de> Deserialize<'de> for ClaimPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A map in the order in which it is written.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(FieldName, ClaimPath)>, D::Error> {
    struct Headers;
    impl<'de> Visitor<'de> for Headers {
        type Value = Vec<(FieldName, ClaimPath)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("headers with claims")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut headers = Vec::new();
            while let Some(header) = members.next_entry()? {
                headers.push(header);
            }
            Ok(headers)
        }
    }
    deserializer.deserialize_map(Headers)
}

fn usual_places() -> Vec<Place> {
    vec![Place::Header(FieldName::fixed("Authorization"))]
}

fn usual_skew_s() -> u64 {
    30
}

fn usual_token_bytes_max() -> usize {
    8192
}

fn usual_cache_bytes_max() -> usize {
    4 << 20
}

#[expect(clippy::unnecessary_wraps, reason = "it is the default of an option")]
fn usual_scopes_claim() -> Option<ClaimPath> {
    Some(ClaimPath(vec!["scope".to_owned()]))
}
