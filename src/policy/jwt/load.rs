//! From what the operator writes to what shards run: keys are read and judged here, so that a bad one is found when the
//! file is loaded and not by a client.

use super::config::{Audiences, Config, IssuerConfig, KeyConfig, Place};
use super::jwks::Source;
use super::keys::{Key, KeySet, Material};
use super::{Issuer, Jwt, Keys, json, pem};
use crate::stdx::hash::FixedHash;
use std::hash::BuildHasher;
use std::io;
use std::time::Duration;

/// How the files are read that hold keys.
pub type Read<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

impl Jwt {
    /// Also returns where keys have to be fetched. `id` gives each place its number.
    pub fn load(
        config: Config,
        read: Read<'_>,
        id: &mut dyn FnMut(&str) -> u32,
    ) -> Result<(Self, Vec<Source>), String> {
        within("clock_skew_s", config.clock_skew_s, 0, CLOCK_SKEW_S_MAX)?;
        within("token_bytes_max", config.token_bytes_max as u64, 1, TOKEN_BYTES_CEILING)?;
        within("cache_bytes_max", config.cache_bytes_max as u64, 0, CACHE_BYTES_CEILING)?;
        within("number of issuers", config.issuers.len() as u64, 1, ISSUERS_MAX)?;
        names(&config)?;
        let (mut issuers, mut sources) = (Vec::<Issuer>::new(), Vec::new());
        for issuer in &config.issuers {
            if issuers.iter().any(|other| other.name == issuer.issuer) {
                return Err(format!("the issuer {:?} is there twice", issuer.issuer));
            }
            let of_issuer = |error| format!("the issuer {:?}: {error}", issuer.issuer);
            let keys = keys(issuer, read, id, &mut sources).map_err(of_issuer)?;
            let (name, audiences) = (issuer.issuer.clone(), issuer.audiences.clone());
            issuers.push(Issuer { name, audiences, algorithms: issuer.algorithms.clone(), keys });
        }
        let fingerprint = FixedHash.hash_one((&config, &issuers));
        Ok((Self { config, issuers, fingerprint }, sources))
    }
}

fn within(name: &str, number: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&number) {
        Ok(())
    } else {
        Err(format!("{name} is {number}, and has to be {min} to {max}"))
    }
}

/// Headers are named as headers can be, and those for services once each.
fn names(config: &Config) -> Result<(), String> {
    within("number of places", config.places.len() as u64, 1, PLACES_MAX)?;
    let in_places = config.places.iter().filter_map(|place| match place {
        Place::Header(name) => Some(name),
        Place::Query(_) | Place::Cookie(_) => None,
    });
    let for_services = config.claims_to_headers.iter().map(|(name, _)| name);
    for name in in_places.chain(for_services.clone()) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!("{name:?} is no name of a header: letters, digits and `-`"));
        }
    }
    for (place, name) in for_services.clone().enumerate() {
        if NOT_FOR_CLAIMS.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return Err(format!("the header {name} is not for claims"));
        }
        if for_services.clone().take(place).any(|other| name.eq_ignore_ascii_case(other)) {
            return Err(format!("the header {name} is there twice"));
        }
    }
    Ok(())
}

fn keys(
    issuer: &IssuerConfig,
    read: Read<'_>,
    id: &mut dyn FnMut(&str) -> u32,
    sources: &mut Vec<Source>,
) -> Result<Keys, String> {
    let secrets = issuer.algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
    if issuer.algorithms.is_empty() {
        return Err("`algorithms` is empty: name those that it signs with".to_owned());
    }
    if secrets > 0 && secrets < issuer.algorithms.len() {
        return Err(
            "`algorithms` has HS256 or the like beside others: whoever knows a public key could sign".to_owned()
        );
    }
    if issuer.audiences == Audiences::Of(Vec::new()) {
        return Err("`audiences` is empty: name those that tokens are for, or write `any`".to_owned());
    }
    match (&issuer.jwks_url, issuer.keys.is_empty()) {
        (Some(_), false) => Err("`jwks_url` and `keys` stand side by side: take one of them away".to_owned()),
        (None, true) => Err("it has no keys: write `jwks_url` or `keys`".to_owned()),
        (None, false) if issuer.refresh_s.is_some() => Err("`refresh_s` is for `jwks_url`".to_owned()),
        (None, false) => fixed(issuer, read).map(Keys::Fixed),
        (Some(_), true) if secrets > 0 => Err("HS256 and the like need a secret, which nobody publishes".to_owned()),
        (Some(url), true) => {
            let refresh_s = issuer.refresh_s.unwrap_or(REFRESH_S);
            within("refresh_s", refresh_s.into(), 1, REFRESH_S_MAX)?;
            if !url.starts_with("http://") {
                return Err(format!("`jwks_url` is {url:?}: only http:// can be fetched"));
            }
            let source = Source { id: id(url), url: url.clone(), refresh: Duration::from_secs(refresh_s.into()) };
            let id = source.id;
            sources.push(source);
            Ok(Keys::Published(id))
        }
    }
}

fn fixed(issuer: &IssuerConfig, read: Read<'_>) -> Result<KeySet, String> {
    let mut keys = Vec::new();
    for config in &issuer.keys {
        for key in of_file(config, read)? {
            if key.serves(&issuer.algorithms).next().is_none() {
                let file = config.file.as_ref().or(config.secret_file.as_ref()).map_or("", String::as_str);
                return Err(format!("the key in {file} is not one of its algorithms'"));
            }
            keys.push(key);
        }
    }
    KeySet::new(keys, Vec::new()).map_err(|error| format!("`keys`: {error}"))
}

/// The keys of one file. What is in a set and cannot be used is an error here, where somebody reads it.
fn of_file(config: &KeyConfig, read: Read<'_>) -> Result<Vec<Key>, String> {
    let (file, is_secret) = match (&config.file, &config.secret_file) {
        (Some(file), None) => (file, false),
        (None, Some(file)) => (file, true),
        _ => return Err("a key has a `file` or a `secret_file`".to_owned()),
    };
    let bytes = read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let id = config.kid.as_deref().map(Box::from);
    if is_secret {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let key = Key::new(id, None, Material::Secret(secret.into()));
        return key.map(|key| vec![key]).map_err(|error| format!("the secret in {file} is not used: {error}"));
    }
    let unusable = |error: &dyn std::fmt::Display| format!("the key in {file} is not used: {error}");
    if let Some(members) = json::object(&bytes) {
        if config.kid.is_some() {
            return Err(format!("{file} has a JSON Web Key, whose `kid` is in it"));
        }
        if members.contains_key("keys") {
            let set = KeySet::of_jwks(&bytes).map_err(|error| format!("the keys in {file} are not used: {error}"))?;
            return set.unusable.first().map_or(Ok(set.keys), |error| Err(unusable(error)));
        }
        return Key::of_jwk(&members).map(|key| vec![key]).map_err(|error| unusable(&error));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{file} is neither PEM nor JSON"))?;
    let key = pem::material(text).and_then(|material| Key::new(id, None, material));
    key.map(|key| vec![key]).map_err(|error| unusable(&error))
}

/// Headers that say how the message is framed, or who it is for.
const NOT_FOR_CLAIMS: [&str; 7] =
    ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Expect"];
const CLOCK_SKEW_S_MAX: u64 = 600;
const TOKEN_BYTES_CEILING: u64 = 65_536;
const CACHE_BYTES_CEILING: u64 = 1 << 30;
const ISSUERS_MAX: u64 = 32;
const PLACES_MAX: u64 = 8;
const REFRESH_S: u32 = 300;
const REFRESH_S_MAX: u64 = 86_400;

/// Keys that come by themselves, for tests.
#[cfg(test)]
pub fn with_keys(config: &str, files: &[(&str, String)]) -> Result<(Jwt, Vec<Source>), String> {
    let config: Config = serde_json::from_str(config).map_err(|error| error.to_string())?;
    let read = |name: &str| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    Jwt::load(config, &read, &mut |_| 0)
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
        ];
        let got = with_keys(&config, &files).err();
        let is_right = match (&got, problem) {
            (Some(got), Some(problem)) => got.contains(problem),
            (got, problem) => got.is_none() && problem.is_none(),
        };
        assert!(is_right, "{config}: {got:?}, not {problem:?}");
    }

    const EC: &str = r#""audiences":"api","algorithms":["ES256"],"keys":[{"file":"ec"}]"#;

    #[test]
    fn issuers_with_keys_are_loaded() {
        check(EC, "", None);
        check(r#""audiences":"any","algorithms":["RS256","PS256"],"keys":[{"file":"rsa"}]"#, "", None);
        check(r#""audiences":["a"],"algorithms":["RS256","ES256"],"keys":[{"file":"rsa"},{"file":"set"}]"#, "", None);
        check(r#""audiences":["a"],"algorithms":["HS256"],"keys":[{"secret_file":"secret","kid":"x"}]"#, "", None);
        check(r#""audiences":"a","algorithms":["ES256"],"jwks_url":"http://id/keys","refresh_s":60"#, "", None);
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
        check(&format!(r#"{hs},"keys":[{{"file":"rsa"}}]"#), "", Some("not one of its algorithms"));
        check(&format!(r#"{hs},"keys":[{{"secret_file":"short"}}]"#), "", Some("shorter"));
        check(&format!(r#"{hs},"jwks_url":"http://id/keys""#), "", Some("nobody publishes"));
        check(r#""audiences":"any","algorithms":["none"],"keys":[{"file":"ec"}]"#, "", Some("none"));
        check(r#""audiences":[],"algorithms":["ES256"],"keys":[{"file":"ec"}]"#, "", Some("`audiences` is empty"));
        check(r#""algorithms":["ES256"],"keys":[{"file":"ec"}]"#, "", Some("audiences"));
        check(r#""audiences":"any","algorithms":[],"keys":[{"file":"ec"}]"#, "", Some("`algorithms` is empty"));
    }

    #[test]
    fn problems_name_what_is_wrong() {
        let of_keys = |keys: &str| format!(r#""audiences":"any","algorithms":["ES256"]{keys}"#);
        for (keys, problem) in [
            ("", "it has no keys"),
            (r#","keys":[{"file":"ec"}],"jwks_url":"http://id/""#, "side by side"),
            (r#","jwks_url":"https://id/""#, "only http://"),
            (r#","jwks_url":"http://id/","refresh_s":0"#, "refresh_s is 0"),
            (r#","keys":[{"file":"ec"}],"refresh_s":5"#, "is for `jwks_url`"),
            (r#","keys":[{"file":"absent"}]"#, "absent cannot be read"),
            (r#","keys":[{"file":"rsa"}]"#, "not one of its algorithms"),
            (r#","keys":[{"file":"odd"}]"#, "it is malformed"),
            (r#","keys":[{"file":"text"}]"#, "it is malformed"),
            (r#","keys":[{"file":"ec","kid":"x"}]"#, "whose `kid` is in it"),
            (r#","keys":[{"kid":"x"}]"#, "a `file` or a `secret_file`"),
            (r#","keys":[{"file":"ec","secret_file":"secret"}]"#, "a `file` or a `secret_file`"),
            (r#","keys":[{"fiel":"ec"}]"#, "fiel"),
        ] {
            check(&of_keys(keys), "", Some(problem));
        }
        for (rest, problem) in [
            (r#","clock_skew_s":601"#, "clock_skew_s is 601"),
            (r#","token_bytes_max":0"#, "token_bytes_max is 0"),
            (r#","places":[]"#, "number of places"),
            (r#","places":[{"header":"A B"}]"#, "no name of a header"),
            (r#","claims_to_headers":{"X-A":"a","x-a":"b"}"#, "is there twice"),
            (r#","claims_to_headers":{"content-length":"a"}"#, "not for claims"),
            (r#","claims_to_headers":{"X-A\r\n":"a"}"#, "no name of a header"),
        ] {
            check(EC, rest, Some(problem));
        }
        check(&format!(r#"{EC}}},{{"issuer":"me",{EC}"#), "", Some("is there twice"));
    }
}
