//! What a token says (RFC 7519 §4): whether it holds here and now, and what of it goes on to policies and services.

use super::Refusal;
use super::config::{Audiences, ClaimPath, Config};
use super::json;
use crate::policy::{Consumers, Identity};
use serde_json::{Map, Value};
use std::rc::Rc;

#[derive(Debug)]
pub struct Claims(Map<String, Value>);

/// A token that holds, as far as the gateway uses it.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Verified {
    pub identity: Rc<Identity>,
    /// Those of `claims_to_headers` that the token has, as header lines.
    pub lines: Box<[u8]>,
    /// In seconds since the Unix epoch; from then on it has to be verified anew. `u64::MAX` without one.
    pub expires_at_s: u64,
}

impl Claims {
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        json::object(payload).map(Self).ok_or(Refusal::Malformed)
    }

    pub fn issuer(&self) -> Result<&str, Refusal> {
        match self.0.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(Refusal::Malformed),
            None => Err(Refusal::UnknownIssuer),
        }
    }

    /// Whether the token is for one of `audiences`, and its time is now, `skew_s` seconds either way. `strict` also
    /// refuses one without `exp`, and one that was issued in the future.
    pub fn hold(&self, audiences: &Audiences, skew_s: u64, strict: bool, now_s: u64) -> Result<(), Refusal> {
        let expires_at_s = self.time("exp")?;
        if expires_at_s.is_some_and(|at| now_s >= at.saturating_add(skew_s)) {
            return Err(Refusal::Expired);
        }
        let latest_s = now_s.saturating_add(skew_s);
        if self.time("nbf")?.is_some_and(|at| at > latest_s) {
            return Err(Refusal::NotYetValid);
        }
        let issued_at_s = self.time("iat")?;
        if strict && expires_at_s.is_none() {
            return Err(Refusal::WithoutExpiry);
        }
        if strict && issued_at_s.is_some_and(|at| at > latest_s) {
            return Err(Refusal::IssuedInFuture);
        }
        self.is_for(audiences)
    }

    fn is_for(&self, audiences: &Audiences) -> Result<(), Refusal> {
        let Audiences::Of(audiences) = audiences else { return Ok(()) };
        let is_ours = |value: &Value| audiences.iter().any(|audience| value == audience.as_str());
        match self.0.get("aud") {
            Some(value @ Value::String(_)) if is_ours(value) => Ok(()),
            Some(Value::Array(values)) if values.iter().any(is_ours) => Ok(()),
            _ => Err(Refusal::WrongAudience),
        }
    }

    /// A NumericDate, of which whole seconds count.
    fn time(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64));
        seconds.map(Some).ok_or(Refusal::Malformed)
    }

    /// What policies and services get of it. A claim that cannot be what it is configured to be refuses the token:
    /// without it a service could take the request for another one.
    pub fn verified(&self, config: &Config, consumers: &Consumers) -> Result<Verified, Refusal> {
        let consumer = match &config.consumer_claim {
            None => None,
            Some(path) => {
                let name = scalar(self.find(path).ok_or(Refusal::ClaimMissing)?);
                // The service may be told of it in a header.
                Some(sendable(name.filter(|name| !name.is_empty()))?)
            }
        };
        let words = |path: &Option<ClaimPath>, spaces| {
            path.as_ref().map_or(Ok(Box::default()), |path| self.words(path, spaces))
        };
        let (roles, scopes) = (words(&config.roles_claim, false)?, words(&config.scopes_claim, true)?);
        let identity = Identity::new(consumer, self.0.get("sub").and_then(scalar), roles, scopes);
        let declared = identity.consumer.as_deref().and_then(|name| consumers.find(name));
        let identity = match declared {
            Some(consumer) => consumer.joins(identity),
            None => identity,
        };
        let mut lines = Vec::new();
        for (name, path) in &config.claims_to_headers {
            if let Some(value) = self.find(path).map_or(Ok(None), header)? {
                lines.extend_from_slice(format!("{}: {value}\r\n", name.text()).as_bytes());
            }
        }
        Ok(Verified {
            identity: Rc::new(identity),
            lines: lines.into(),
            expires_at_s: self.time("exp")?.unwrap_or(u64::MAX),
        })
    }

    fn find(&self, path: &ClaimPath) -> Option<&Value> {
        let (first, rest) = path.0.split_first()?;
        rest.iter().try_fold(self.0.get(first)?, |value, name| value.as_object()?.get(name))
    }

    /// A list of texts, or one text, which may hold several between spaces (RFC 8693 §4.2).
    fn words(&self, path: &ClaimPath, spaces: bool) -> Result<Box<[Box<str>]>, Refusal> {
        match self.find(path) {
            None | Some(Value::Null) => Ok(Box::default()),
            Some(Value::String(text)) if spaces => {
                Ok(text.split(' ').filter(|word| !word.is_empty()).map(Box::from).collect())
            }
            Some(Value::String(text)) => Ok([Box::from(&**text)].into()),
            Some(Value::Array(values)) => {
                let words = values.iter().map(|value| value.as_str().map(Box::from).ok_or(Refusal::ClaimUnusable));
                words.collect()
            }
            Some(_) => Err(Refusal::ClaimUnusable),
        }
    }
}

impl Verified {
    /// About what it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.identity.bytes() + self.lines.len()
    }
}

/// As the value of a header; a list has commas between its elements.
fn header(value: &Value) -> Result<Option<Box<str>>, Refusal> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => {
            let elements: Option<Vec<Box<str>>> = values.iter().map(scalar).collect();
            let elements = elements.ok_or(Refusal::ClaimUnusable)?;
            // One with a comma in it would be two to whoever splits the list.
            if elements.iter().any(|element| element.contains(',') || has_spaces_around(element)) {
                return Err(Refusal::ClaimUnusable);
            }
            elements.join(",").into()
        }
        _ => return sendable(scalar(value)).map(Some),
    };
    sendable(Some(text)).map(Some)
}

/// A text that is all of a header's value, and no line more.
fn sendable(text: Option<Box<str>>) -> Result<Box<str>, Refusal> {
    let is_sendable = |text: &str| !has_spaces_around(text) && !text.bytes().any(|byte| byte.is_ascii_control());
    text.filter(|text| is_sendable(text)).ok_or(Refusal::ClaimUnusable)
}

/// Nobody who reads a header sees them (RFC 9110 §5.5): `ann ` would be `ann`.
fn has_spaces_around(text: &str) -> bool {
    text.trim() != text
}

fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(_) => Some(value.to_string().into()),
        // Of any other what was read is the nearest that fits: two subjects would be one.
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Declared;

    /// Whether these claims hold at 1000 s with a skew of 10 s: leniently, and strictly.
    #[track_caller]
    fn check(claims: &str, lenient: Result<(), Refusal>, strict: Result<(), Refusal>) {
        let read = Claims::parse(claims.as_bytes()).expect("claims");
        let audiences = Audiences::Of(vec!["api".to_owned(), "other".to_owned()]);
        for (is_strict, want) in [(false, lenient), (true, strict)] {
            assert_eq!(read.hold(&audiences, 10, is_strict, 1000), want, "{claims}, strict: {is_strict}");
        }
    }

    #[track_caller]
    fn check_both(claims: &str, want: Result<(), Refusal>) {
        check(claims, want, want);
    }

    #[test]
    fn a_token_has_its_time() {
        for (exp, want) in [
            ("2000", Ok(())),
            ("1000", Ok(())),
            ("991", Ok(())),
            ("990.9", Err(Refusal::Expired)),
            ("990", Err(Refusal::Expired)),
            ("0", Err(Refusal::Expired)),
            ("-1", Err(Refusal::Expired)),
            ("1e300", Ok(())),
            ("\"2000\"", Err(Refusal::Malformed)),
            ("null", Err(Refusal::Malformed)),
        ] {
            check_both(&format!(r#"{{"aud":"api","exp":{exp}}}"#), want);
        }
        check(r#"{"aud":"api"}"#, Ok(()), Err(Refusal::WithoutExpiry));
        check_both(r#"{"aud":"api","exp":2000,"nbf":1010,"iat":1010}"#, Ok(()));
        check_both(r#"{"aud":"api","exp":2000,"nbf":1011}"#, Err(Refusal::NotYetValid));
        check(r#"{"aud":"api","exp":2000,"iat":1011}"#, Ok(()), Err(Refusal::IssuedInFuture));
        check_both(r#"{"aud":"api","exp":2000,"nbf":"x"}"#, Err(Refusal::Malformed));
        check_both(r#"{"aud":"api","exp":2000,"iat":{}}"#, Err(Refusal::Malformed));
    }

    #[test]
    fn a_token_is_for_somebody() {
        for (aud, want) in [
            (r#""api""#, Ok(())),
            (r#"["x","other"]"#, Ok(())),
            (r#""API""#, Err(Refusal::WrongAudience)),
            (r#""api ""#, Err(Refusal::WrongAudience)),
            (r#"[]"#, Err(Refusal::WrongAudience)),
            (r#"[["api"]]"#, Err(Refusal::WrongAudience)),
            (r#"{"api":1}"#, Err(Refusal::WrongAudience)),
            ("null", Err(Refusal::WrongAudience)),
        ] {
            check_both(&format!(r#"{{"exp":2000,"aud":{aud}}}"#), want);
        }
        check_both(r#"{"exp":2000}"#, Err(Refusal::WrongAudience));
        let claims = Claims::parse(br#"{"exp":2000}"#).unwrap();
        assert_eq!(claims.hold(&Audiences::Any, 0, true, 1000), Ok(()));
    }

    fn verified(config: &str, claims: &str) -> Result<Verified, Refusal> {
        let config = format!(r#"{{"issuers":[],{config}}}"#);
        let config: Config = serde_json::from_str(&config).expect("a configuration");
        Claims::parse(claims.as_bytes())?.verified(&config, &Consumers::default())
    }

    #[test]
    fn consumer_roles_and_scopes_come_from_claims() {
        let config = r#""consumer_claim":["account","name"],"roles_claim":"roles""#;
        for (claims, want) in [
            (r#"{"account":{"name":"ann"},"roles":["a","b c"],"scope":"x  y"}"#, Ok(("ann", 2, 2))),
            (r#"{"account":{"name":7},"roles":"a b","scope":["x y"]}"#, Ok(("7", 1, 1))),
            (r#"{"account":{"name":"ann"}}"#, Ok(("ann", 0, 0))),
            (r#"{"account":{"name":18446744073709551615}}"#, Ok(("18446744073709551615", 0, 0))),
            (r#"{"account":{"name":-9223372036854775808}}"#, Ok(("-9223372036854775808", 0, 0))),
            (r#"{"account":{"name":18446744073709551616}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":-9223372036854775809}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":7.0}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":""}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":"ann"}"#, Err(Refusal::ClaimMissing)),
            (r#"{"account":{"name":["ann"]}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":"ann\r\nX-Admin: 1"}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":"ann "}}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":"ann"},"roles":[1]}"#, Err(Refusal::ClaimUnusable)),
            (r#"{"account":{"name":"ann"},"roles":{"admin":true}}"#, Err(Refusal::ClaimUnusable)),
        ] {
            let got = verified(config, claims);
            let got = got.map(|got| {
                let Identity { consumer, roles, scopes, .. } = &*got.identity;
                (consumer.clone().unwrap_or_default(), roles.len(), scopes.len())
            });
            assert_eq!(got, want.map(|(consumer, roles, scopes)| (consumer.into(), roles, scopes)), "{claims}");
        }
    }

    #[test]
    fn a_consumer_that_the_file_knows_has_what_it_was_given_beside_what_the_token_says() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (roles, scopes) = (words("editor reader"), words("read"));
        let ann = Declared { id: 3, name: "ann", groups: &[7], roles: &roles, scopes: &scopes, ..Declared::default() };
        let consumers = Consumers::new([(7, "gold")], &[ann], None);
        let config = r#"{"issuers":[],"consumer_claim":"sub","roles_claim":"roles"}"#;
        let config: Config = serde_json::from_str(config).expect("a configuration");
        let identity = |claims: &str| Claims::parse(claims.as_bytes()).unwrap().verified(&config, &consumers).unwrap();
        let ann = identity(r#"{"sub":"ann","roles":["reader","admin"],"scope":"write"}"#).identity;
        let text = |words: &[Box<str>]| words.join(" ");
        assert_eq!((text(&ann.roles), text(&ann.scopes)), ("reader admin editor".into(), "write read".into()));
        let belonging = ann.belonging.as_ref().expect("it is known");
        assert_eq!((belonging.consumer, &belonging.groups[..]), (3, &[7][..]));
        let eve = identity(r#"{"sub":"eve","roles":["admin"]}"#).identity;
        assert!(eve.belonging.is_none() && text(&eve.roles) == "admin");
    }

    #[test]
    fn claims_become_headers_or_refuse_the_token() {
        for (claim, want) in [
            (r#""ann""#, Ok(Some("ann"))),
            (r#""J\u00f6rg""#, Ok(Some("J\u{f6}rg"))),
            ("7", Ok(Some("7"))),
            ("-7", Ok(Some("-7"))),
            ("18446744073709551616", Err(Refusal::ClaimUnusable)),
            ("1.5", Err(Refusal::ClaimUnusable)),
            (r#""""#, Ok(Some(""))),
            ("true", Ok(Some("true"))),
            ("null", Ok(None)),
            (r#"["a",1,"b"]"#, Ok(Some("a,1,b"))),
            ("[]", Ok(Some(""))),
            (r#"["a",1e3]"#, Err(Refusal::ClaimUnusable)),
            (r#"["a,admin"]"#, Err(Refusal::ClaimUnusable)),
            (r#"[["a"]]"#, Err(Refusal::ClaimUnusable)),
            (r#"{"a":1}"#, Err(Refusal::ClaimUnusable)),
            (r#""a\r\nX-Admin: 1""#, Err(Refusal::ClaimUnusable)),
            (r#""a\u0000""#, Err(Refusal::ClaimUnusable)),
            (r#""a b""#, Ok(Some("a b"))),
            (r#""ann ""#, Err(Refusal::ClaimUnusable)),
            (r#"" ann""#, Err(Refusal::ClaimUnusable)),
            (r#""ann\u00a0""#, Err(Refusal::ClaimUnusable)),
            (r#"["a"," admin"]"#, Err(Refusal::ClaimUnusable)),
        ] {
            let got = verified(r#""claims_to_headers":{"X-Name":"name"}"#, &format!(r#"{{"name":{claim}}}"#));
            let lines = |text: Option<&str>| text.map_or_else(String::new, |text| format!("X-Name: {text}\r\n"));
            assert_eq!(got.map(|got| got.lines), want.map(|text| lines(text).into_bytes().into()), "{claim}");
        }
        let two = r#""claims_to_headers":{"X-A":"a","X-B":"b","X-C":"c"}"#;
        assert_eq!(*verified(two, r#"{"a":1,"c":2}"#).unwrap().lines, *b"X-A: 1\r\nX-C: 2\r\n");
    }
}
