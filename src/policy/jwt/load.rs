//! From what the operator writes to what shards run: keys are judged here, so that a bad one is found when the file is
//! loaded and not by a client.

use super::config::{Audiences, Config, IssuerConfig, KeyConfig};
use super::jwks::Source;
use super::keys::{Key, KeySet, Material};
use super::verify::KEYS_TRIED_MAX;
use super::{Issuer, Jwt, Keys, json, pem};
use crate::http::view::FieldNames;
use crate::policy::{Invalid, Place};
use crate::stdx::certificates;
use crate::stdx::hash::{FixedHash, StableHasher};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

impl Jwt {
    pub(super) fn load(config: Config) -> Result<Self, Invalid> {
        within("clock_skew_s", config.clock_skew_s, 0, CLOCK_SKEW_S_MAX)?;
        within("token_bytes_max", config.token_bytes_max as u64, 1, TOKEN_BYTES_CEILING)?;
        within("cache_bytes_max", config.cache_bytes_max as u64, 0, CACHE_BYTES_CEILING)?;
        count("issuers", config.issuers.len(), ISSUERS_MAX)?;
        count("places", config.places.len(), PLACES_MAX)?;
        names(&config)?;
        let mut issuers = Vec::<Issuer>::new();
        for issuer in &config.issuers {
            if issuers.iter().any(|other| other.name == issuer.issuer) {
                return Err(Invalid::new(format!("the issuer `{}` twice", issuer.issuer), "keep one"));
            }
            let keys = keys(issuer).map_err(|Invalid { what, help }| {
                Invalid::new(format!("an issuer `{}` with {what}", issuer.issuer), help)
            })?;
            let (name, audiences) = (issuer.issuer.clone(), issuer.audiences.clone());
            issuers.push(Issuer { name, audiences, algorithms: issuer.algorithms.clone(), keys });
        }
        let fingerprint = FixedHash.hash_one((format!("{config:?}"), &issuers));
        let told = FieldNames::new(config.claims_to_headers.iter().map(|(name, _)| name.clone()));
        Ok(Self { config, told, issuers, fingerprint })
    }
}

fn within(name: &str, number: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(Invalid::new(format!("`{name}` {number}"), format!("write {min} to {max}")))
}

fn count(name: &str, number: usize, max: usize) -> Result<(), Invalid> {
    if (1..=max).contains(&number) {
        return Ok(());
    }
    Err(Invalid::new(format!("{number} `{name}`"), format!("write 1 to {max}")))
}

/// Headers for services are named once each, and none is the gateway's own.
fn names(config: &Config) -> Result<(), Invalid> {
    if config.hide_token && config.places.iter().any(Place::is_cookie) {
        return Err(Invalid::new("`hide_token` and a cookie", "take one of them away: cookies are sent on whole"));
    }
    let for_services = config.claims_to_headers.iter().map(|(name, _)| name);
    for (place, name) in for_services.clone().enumerate() {
        if name.is_the_gateways() {
            return Err(Invalid::new(
                format!("claims for `{}`", name.text()),
                "choose a header that is not the gateway's",
            ));
        }
        if for_services.clone().take(place).any(|other| other.is(name.text().as_bytes())) {
            return Err(Invalid::new(format!("two claims for `{}`", name.text()), "keep one"));
        }
    }
    Ok(())
}

fn keys(issuer: &IssuerConfig) -> Result<Keys, Invalid> {
    let secrets = issuer.algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
    if issuer.algorithms.is_empty() {
        return Err(Invalid::new("no `algorithms`", "name those that it signs with"));
    }
    if secrets > 0 && secrets < issuer.algorithms.len() {
        let help = "take one of them away: whoever knows a public key could sign";
        return Err(Invalid::new("HS256 or the like beside other `algorithms`", help));
    }
    if issuer.audiences == Audiences::Of(Vec::new()) {
        return Err(Invalid::new("no `audiences`", "name those that tokens are for, or write `any`"));
    }
    match (&issuer.jwks_url, issuer.keys.is_empty()) {
        (Some(_), false) => Err(Invalid::new("`jwks_url` and `keys`", "take one of them away")),
        (None, true) => Err(Invalid::new("no keys", "write `jwks_url` or `keys`")),
        (None, false) if issuer.refresh_s.is_some() => {
            Err(Invalid::new("`refresh_s` and no `jwks_url`", "take it away: `keys` are read once"))
        }
        (None, false) if issuer.jwks_ca_file.is_some() => {
            Err(Invalid::new("`jwks_ca_file` and no `jwks_url`", "take it away: nobody is asked for `keys`"))
        }
        (None, false) => fixed(issuer).map(Keys::Fixed),
        (Some(_), true) if secrets > 0 => {
            Err(Invalid::new("HS256 or the like and `jwks_url`", "write `keys`: nobody publishes a secret"))
        }
        (Some(url), true) => published(url, issuer).map(Keys::Published),
    }
}

fn published(url: &str, issuer: &IssuerConfig) -> Result<Source, Invalid> {
    let refresh_s = issuer.refresh_s.unwrap_or(REFRESH_S);
    within("refresh_s", refresh_s.into(), 1, REFRESH_S_MAX)?;
    let (is_https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, rest) => (false, rest.unwrap_or_default()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Nor a name and a password, which would be said in the log.
    let is_host = !authority.is_empty() && !authority.contains('@');
    if !is_host || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new("a `jwks_url` that is none", "write `https://HOST/PATH`"));
    }
    if issuer.jwks_ca_file.is_some() && !is_https {
        return Err(Invalid::new("`jwks_ca_file` and `http://`", "take it away, or write `https://`"));
    }
    let authorities = authorities(issuer)?;
    // Whoever trusts others does not get the same answer.
    let mut id = StableHasher::new(SOURCE_SEED);
    for part in [url.as_bytes()].into_iter().chain(authorities.iter().map(Vec::as_slice)) {
        id.write(&(part.len() as u64).to_le_bytes());
        id.write(part);
    }
    Ok(Source { id: id.finish(), url: url.to_owned(), authorities, refresh: Duration::from_secs(refresh_s.into()) })
}

fn authorities(issuer: &IssuerConfig) -> Result<Vec<Vec<u8>>, Invalid> {
    let Some(file) = &issuer.jwks_ca_file else { return Ok(Vec::new()) };
    certificates::authorities(&issuer.authorities.0)
        .map_err(|unusable| Invalid::new(format!("certificates in `{file}` {unusable}"), "write them there in PEM"))
}

fn fixed(issuer: &IssuerConfig) -> Result<KeySet, Invalid> {
    let mut keys = Vec::new();
    for config in &issuer.keys {
        let of_file = of_file(config)?;
        if let Some(key) = of_file.iter().find(|key| key.serves(&issuer.algorithms).next().is_none()) {
            let help = format!("name its algorithm in `algorithms`, or take the key away ({:?})", key.material);
            return Err(Invalid::new(format!("{} that is not one of its `algorithms`", described(config)), help));
        }
        keys.extend(of_file);
    }
    for algorithm in &issuer.algorithms {
        let serves = |key: &&Key| key.serves(&issuer.algorithms).any(|served| served == *algorithm);
        let nameless = keys.iter().filter(|key| key.id.is_none()).filter(serves).count();
        if nameless > KEYS_TRIED_MAX {
            let help = format!("give each its `kid`: a token is held against {KEYS_TRIED_MAX} at most");
            return Err(Invalid::new(format!("{nameless} keys for one algorithm that have no `kid`"), help));
        }
    }
    KeySet::new(keys, Vec::new()).map_err(|error| Invalid::new(format!("`keys` of which {error}"), "keep one of them"))
}

fn described(config: &KeyConfig) -> String {
    match (&config.file, &config.secret_file) {
        (Some(file), _) => format!("a key in `{file}`"),
        (_, Some(file)) => format!("a secret in `{file}`"),
        (None, None) => "a key".to_owned(),
    }
}

/// The keys of one file. What is in a set and cannot be used is an error here, where somebody reads it.
fn of_file(config: &KeyConfig) -> Result<Vec<Key>, Invalid> {
    let bytes = &config.content.0;
    let unusable = |error: &dyn std::fmt::Display| {
        Invalid::new(format!("{} that is not used: {error}", described(config)), "write a good one there")
    };
    let id = config.kid.as_deref().map(Box::from);
    match (&config.file, &config.secret_file) {
        (Some(_), None) => {}
        (None, Some(_)) => {
            let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
            let key = Key::new(id, None, Material::Secret(secret.into()));
            return key.map(|key| vec![key]).map_err(|error| unusable(&error));
        }
        _ => return Err(Invalid::new("a key", "write its `file` or its `secret_file`")),
    }
    if let Some(members) = json::object(bytes) {
        if config.kid.is_some() {
            return Err(Invalid::new(format!("{} and a `kid`", described(config)), "take it away: the file has it"));
        }
        if members.contains_key("keys") {
            let set = KeySet::of_jwks(bytes).map_err(|error| unusable(&error))?;
            return set.unusable.first().map_or(Ok(set.keys), |error| Err(unusable(error)));
        }
        return Key::of_jwk(&members).map(|key| vec![key]).map_err(|error| unusable(&error));
    }
    let material = std::str::from_utf8(bytes).map_err(|_| unusable(&"it is neither PEM nor JSON"))?;
    let key = pem::material(material).and_then(|material| Key::new(id, None, material));
    key.map(|key| vec![key]).map_err(|error| unusable(&error))
}

const CLOCK_SKEW_S_MAX: u64 = 600;
const TOKEN_BYTES_CEILING: u64 = 65_536;
const CACHE_BYTES_CEILING: u64 = 1 << 30;
const ISSUERS_MAX: usize = 32;
const PLACES_MAX: usize = 8;
/// Any: operators choose sources.
const SOURCE_SEED: u64 = 0;
const REFRESH_S: u32 = 300;
const REFRESH_S_MAX: u64 = 86_400;

/// With files that are not there, for tests.
#[cfg(test)]
pub fn with_files(config: &str, files: &[(&str, String)]) -> Result<Jwt, String> {
    let mut config: Config = serde_saphyr::from_str(config).map_err(|error| error.to_string())?;
    let read = |name: &str| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    };
    let loaded = config.load(&read).and_then(|()| Jwt::load(config));
    loaded.map_err(|Invalid { what, help }| format!("{what}: {help}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::kit::Signer;

    /// The problem with an issuer that has this beside its name, or with the rest.
    #[track_caller]
    fn check(issuer: &str, rest: &str, problem: Option<&str>) {
        let config = format!(r#"{{"issuers":[{{"issuer":"me",{issuer}}}]{rest}}}"#);
        let files = [
            ("rsa", Signer::rsa().jwk(Some("a"))),
            ("ec", Signer::p256().jwk(None)),
            ("set", format!(r#"{{"keys":[{},{}]}}"#, Signer::p256().jwk(None), Signer::p256().other().jwk(None))),
            ("odd", format!(r#"{{"keys":[{},{{}}]}}"#, Signer::p256().jwk(None))),
            ("secret", format!("{}\n", "s".repeat(32))),
            ("short", "s".repeat(31)),
            ("text", "text".to_owned()),
            ("nameless", secrets(KEYS_TRIED_MAX, |_| None)),
            ("one more", secrets(KEYS_TRIED_MAX + 1, |_| None)),
            ("named", secrets(KEYS_TRIED_MAX + 1, Some)),
        ];
        let got = with_files(&config, &files).err();
        let is_right = match (&got, problem) {
            (Some(got), Some(problem)) => got.contains(problem),
            (got, problem) => got.is_none() && problem.is_none(),
        };
        assert!(is_right, "{config}: {got:?}, not {problem:?}");
    }

    /// A set of so many secrets with these names.
    fn secrets(count: usize, name: impl Fn(usize) -> Option<usize>) -> String {
        let jwk = |number: usize| {
            let name = name(number).map(|name| name.to_string());
            Signer::secret_of(&[number as u8; 32]).jwk(name.as_deref())
        };
        format!(r#"{{"keys":[{}]}}"#, (0..count).map(jwk).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn keys_that_no_token_is_tried_with_are_not_loaded() {
        for (file, problem) in [("nameless", None), ("named", None), ("one more", Some("9 keys for one algorithm"))] {
            let keys = format!(r#""audiences":"any","algorithms":["HS512","HS256"],"keys":[{{"file":"{file}"}}]"#);
            check(&keys, "", problem);
        }
    }

    const EC: &str = r#""audiences":"api","algorithms":["ES256"],"keys":[{"file":"ec"}]"#;

    #[test]
    fn issuers_with_keys_are_loaded() {
        check(EC, "", None);
        check(r#""audiences":"any","algorithms":["RS256","PS256"],"keys":[{"file":"rsa"}]"#, "", None);
        check(r#""audiences":["a"],"algorithms":["RS256","ES256"],"keys":[{"file":"rsa"},{"file":"set"}]"#, "", None);
        check(r#""audiences":["a"],"algorithms":["HS256"],"keys":[{"secret_file":"secret","kid":"x"}]"#, "", None);
        check(r#""audiences":"a","algorithms":["ES256"],"jwks_url":"http://id/keys","refresh_s":60"#, "", None);
        check(r#""audiences":"a","algorithms":["ES256"],"jwks_url":"https://id/keys""#, "", None);
        check(
            EC,
            r#","claims_to_headers":{"X-A":"a","X-B":["a","b"]},"places":[{"header":"X-Token"},{"query":"t"}]"#,
            None,
        );
    }

    #[test]
    fn what_would_let_anybody_sign_is_not_loaded() {
        let hs = r#""audiences":"any","algorithms":["HS256"]"#;
        check(r#""audiences":"any","algorithms":["HS256","RS256"],"keys":[{"file":"rsa"}]"#, "", Some("could sign"));
        check(&format!(r#"{hs},"keys":[{{"file":"rsa"}}]"#), "", Some("not one of its `algorithms`"));
        check(&format!(r#"{hs},"keys":[{{"secret_file":"short"}}]"#), "", Some("shorter"));
        check(&format!(r#"{hs},"jwks_url":"http://id/keys""#), "", Some("nobody publishes"));
        check(r#""audiences":"any","algorithms":["none"],"keys":[{"file":"ec"}]"#, "", Some("none"));
        check(r#""audiences":[],"algorithms":["ES256"],"keys":[{"file":"ec"}]"#, "", Some("no `audiences`"));
        check(r#""algorithms":["ES256"],"keys":[{"file":"ec"}]"#, "", Some("audiences"));
        check(r#""audiences":"any","algorithms":[],"keys":[{"file":"ec"}]"#, "", Some("no `algorithms`"));
    }

    #[test]
    fn problems_name_what_is_wrong() {
        let of_keys = |keys: &str| format!(r#""audiences":"any","algorithms":["ES256"]{keys}"#);
        for (keys, problem) in [
            ("", "an issuer `me` with no keys: write"),
            (r#","keys":[{"file":"ec"}],"jwks_url":"http://id/""#, "`jwks_url` and `keys`: take one"),
            (r#","jwks_url":"ftp://id/""#, "write `https://HOST/PATH`"),
            (r#","jwks_url":"http:///x""#, "write `https://HOST/PATH`"),
            (r#","jwks_url":"https://user:secret@id/""#, "write `https://HOST/PATH`"),
            (r#","jwks_url":"http://id/a b""#, "write `https://HOST/PATH`"),
            (r#","jwks_url":"https://id/","jwks_ca_file":"absent""#, "`absent`, which cannot be read"),
            (r#","jwks_url":"https://id/","jwks_ca_file":"text""#, "`text` of which none is one"),
            (r#","jwks_url":"http://id/","jwks_ca_file":"text""#, "`jwks_ca_file` and `http://`"),
            (r#","keys":[{"file":"ec"}],"jwks_ca_file":"text""#, "`jwks_ca_file` and no `jwks_url`"),
            (r#","jwks_url":"http://id/","refresh_s":0"#, "`refresh_s` 0: write 1 to 86400"),
            (r#","keys":[{"file":"ec"}],"refresh_s":5"#, "`refresh_s` and no `jwks_url`"),
            (r#","keys":[{"file":"absent"}]"#, "`absent`, which cannot be read"),
            (r#","keys":[{"file":"rsa"}]"#, "not one of its `algorithms`"),
            (r#","keys":[{"file":"odd"}]"#, "it is malformed"),
            (r#","keys":[{"file":"text"}]"#, "it is malformed"),
            (r#","keys":[{"file":"ec","kid":"x"}]"#, "the file has it"),
            (r#","keys":[{"kid":"x"}]"#, "write its `file` or its `secret_file`"),
            (r#","keys":[{"file":"ec","secret_file":"secret"}]"#, "write its `file` or its `secret_file`"),
            (r#","keys":[{"fiel":"ec"}]"#, "fiel"),
        ] {
            check(&of_keys(keys), "", Some(problem));
        }
        for (rest, problem) in [
            (r#","clock_skew_s":601"#, "`clock_skew_s` 601"),
            (r#","token_bytes_max":0"#, "`token_bytes_max` 0"),
            (r#","hide_token":true,"places":[{"cookie":"t"}]"#, "cookies are sent on whole"),
            (r#","places":[]"#, "0 `places`"),
            (r#","places":[{"header":"A B"}]"#, "a header's name"),
            (r#","claims_to_headers":{"X-A":"a","x_a":"b"}"#, "two claims for `x_a`"),
            (r#","claims_to_headers":{"content-length":"a"}"#, "not the gateway's"),
            (r#","claims_to_headers":{"X-A\r\n":"a"}"#, "a header's name"),
        ] {
            check(EC, rest, Some(problem));
        }
        check(&format!(r#"{EC}}},{{"issuer":"me",{EC}"#), "", Some("the issuer `me` twice"));
    }
}
