//! A token in its compact form (RFC 7515 §7.1), taken apart: nothing here is believed yet.

use super::Refusal;
use super::algorithm::Algorithm;
use super::json;
use crate::stdx::base64::{self, Alphabet, Form};
use serde_json::{Map, Value};

#[derive(Debug)]
pub struct Token<'a> {
    pub header: Header,
    /// Header and payload as sent: what the signature is of.
    pub signed: &'a [u8],
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What a token says of itself, as far as it is used: an algorithm that its issuer must allow, and which of the
/// issuer's keys to try.
#[derive(Debug, Eq, PartialEq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub key_id: Option<Box<str>>,
}

impl<'a> Token<'a> {
    /// Takes a token of at most `bytes_max` apart. `strict` also refuses what is merely odd: `=` at the end of a part,
    /// bits that no byte needed, a type that is not an access token's, and the content type that only nested tokens
    /// need.
    pub fn parse(text: &'a [u8], bytes_max: usize, strict: bool) -> Result<Self, Refusal> {
        if text.len() > bytes_max {
            return Err(Refusal::TooLong);
        }
        let mut dots = memchr::memchr_iter(b'.', text);
        // Five parts are an encrypted token, which none here can read.
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Refusal::Malformed);
        };
        let form = if strict { Form::Canonical } else { Form::Lenient };
        let header = json::object(&decode(form, &text[..first])?).ok_or(Refusal::Malformed)?;
        Ok(Self {
            header: Header::read(&header, strict)?,
            signed: &text[..second],
            payload: decode(form, &text[first + 1..second])?,
            signature: decode(form, &text[second + 1..])?,
        })
    }
}

impl Header {
    fn read(members: &Map<String, Value>, strict: bool) -> Result<Self, Refusal> {
        // RFC 7515 §4.1.11: whoever does not understand one that is critical must refuse. None is understood here.
        if members.contains_key("crit") {
            return Err(Refusal::CriticalHeader);
        }
        // A token that brings its key, or says where to fetch it, asks to be believed by itself (RFC 8725 §3.10).
        if KEYS_FROM_STRANGERS.iter().any(|name| members.contains_key(*name)) {
            return Err(Refusal::KeyInHeader);
        }
        let text = |name| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Refusal::Malformed),
        };
        let algorithm = text("alg")?.ok_or(Refusal::Malformed)?;
        let algorithm = Algorithm::of(algorithm).ok_or(Refusal::AlgorithmForbidden)?;
        let typ = text("typ")?;
        if strict && (text("cty")?.is_some() || typ.is_some_and(|typ| !is_access_token(typ))) {
            return Err(Refusal::OddType);
        }
        let key_id = text("kid")?;
        if key_id.is_some_and(|key_id| key_id.len() > KEY_ID_BYTES_MAX) {
            return Err(Refusal::Malformed);
        }
        Ok(Self { algorithm, key_id: key_id.map(Box::from) })
    }
}

/// RFC 7519 §5.1 and RFC 9068 §2.1; media types are compared without case, and `application/` may be left out.
fn is_access_token(typ: &str) -> bool {
    let typ = match typ.get(..APPLICATION.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION) => &typ[APPLICATION.len()..],
        _ => typ,
    };
    typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt")
}

fn decode(form: Form, text: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    base64::decode(Alphabet::Url, form, text, &mut bytes).map_err(|base64::Malformed| Refusal::Malformed)?;
    Ok(bytes)
}

const APPLICATION: &str = "application/";
const KEYS_FROM_STRANGERS: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];
/// What is compared with every key of an issuer.
pub const KEY_ID_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::kit::base64url;

    #[track_caller]
    fn check(header: &str, lenient: Result<(), Refusal>, strict: Result<(), Refusal>) {
        let text = format!("{}.e30.AAAA", base64url(header.as_bytes()));
        for (is_strict, want) in [(false, lenient), (true, strict)] {
            let got = Token::parse(text.as_bytes(), 1000, is_strict).map(|_| ());
            assert_eq!(got, want, "{header}, strict: {is_strict}");
        }
    }

    #[track_caller]
    fn check_refused(header: &str, refusal: Refusal) {
        check(header, Err(refusal), Err(refusal));
    }

    #[test]
    fn a_header_says_algorithm_and_key() {
        check(r#"{"alg":"RS256"}"#, Ok(()), Ok(()));
        check(
            r#"{"alg":"ES256","kid":"../../dev/null","typ":"JWT","x5t":"abc","anything":{"else":[1]}}"#,
            Ok(()),
            Ok(()),
        );
        for header in
            ["", "[]", "{}", r#"{"alg":1}"#, r#"{"alg":null}"#, r#"{"alg":"RS256","kid":7}"#, r#"{"Alg":"RS256"}"#]
        {
            check_refused(header, Refusal::Malformed);
        }
        check_refused(r#"{"alg":"RS256","alg":"RS256"}"#, Refusal::Malformed);
        let key_id = "k".repeat(KEY_ID_BYTES_MAX + 1);
        check_refused(&format!(r#"{{"alg":"RS256","kid":"{key_id}"}}"#), Refusal::Malformed);
    }

    #[test]
    fn no_algorithm_is_none() {
        for name in ["none", "None", "nOnE", "NONE", "", "rs256", "A256KW"] {
            check_refused(&format!(r#"{{"alg":"{name}"}}"#), Refusal::AlgorithmForbidden);
        }
    }

    #[test]
    fn a_token_brings_no_key_and_names_no_place_to_fetch_one() {
        for name in KEYS_FROM_STRANGERS {
            check_refused(&format!(r#"{{"alg":"RS256","{name}":"http://127.0.0.1/"}}"#), Refusal::KeyInHeader);
        }
    }

    #[test]
    fn what_is_critical_is_not_understood() {
        check_refused(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, Refusal::CriticalHeader);
        check_refused(r#"{"alg":"RS256","crit":[]}"#, Refusal::CriticalHeader);
    }

    #[test]
    fn odd_types_are_refused_when_strict() {
        for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "APPLICATION/JWT"] {
            check(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#), Ok(()), Ok(()));
        }
        for typ in ["logout+jwt", "dpop+jwt", "JOSE", "", "application/"] {
            check(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#), Ok(()), Err(Refusal::OddType));
        }
        check(r#"{"alg":"RS256","cty":"JWT"}"#, Ok(()), Err(Refusal::OddType));
        check_refused(r#"{"alg":"RS256","typ":["JWT"]}"#, Refusal::Malformed);
    }

    #[test]
    fn a_token_has_three_parts_of_bounded_length() {
        let header = base64url(br#"{"alg":"HS256"}"#);
        let parse = |text: &str, strict| Token::parse(text.as_bytes(), 40, strict).map(|token| token.payload);
        for (rest, lenient, strict) in [
            (".e30.AAAA", Ok(()), Ok(())),
            ("..", Ok(()), Ok(())),
            ("", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e30", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e30.AAAA.", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e30.AA.AA.AA", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e30.A", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e3 0.AAAA", Err(Refusal::Malformed), Err(Refusal::Malformed)),
            (".e30=.AAAA", Ok(()), Err(Refusal::Malformed)),
            (".e31.AAAA", Ok(()), Err(Refusal::Malformed)),
            (".e30.AAAAAAAAAAAAAAAAAAAAAAAA", Err(Refusal::TooLong), Err(Refusal::TooLong)),
        ] {
            let text = format!("{header}{rest}");
            assert_eq!(parse(&text, false).map(|_| ()), lenient, "{text}");
            assert_eq!(parse(&text, true).map(|_| ()), strict, "{text}, strict");
        }
    }
}
