//! The JOSE vectors of Wycheproof: our verdict on each signed token and key set is theirs, or differs for a reason.

use serde::Deserialize;
use serde_json::{Value, json};
use shardgate::policy::jwt::algorithm::Algorithm;
use shardgate::policy::jwt::keys::KeySet;
use shardgate::policy::jwt::token::Token;
use shardgate::policy::jwt::verify::Verifiers;

/// Where we differ: file, number, and why.
const DIFFERENCES: [(&str, u32, &str); 9] = [
    (SIGNATURE, 346, OTHER_ALGORITHM),
    (SIGNATURE, 350, OTHER_ALGORITHM),
    (SIGNATURE, 347, NO_SUCH_ALGORITHM),
    (SIGNATURE, 351, NO_SUCH_ALGORITHM),
    (SIGNATURE, 367, LOST_PADDING),
    (SIGNATURE, 370, LOST_PADDING),
    (SIGNATURE, 372, FOREIGN_CHARACTER),
    (SIGNATURE, 373, FOREIGN_CHARACTER),
    (KEY, 4, ONE_KEY_IS_NONE),
];

const OTHER_ALGORITHM: &str = "the key says PS256 and the token PS384: a key is for the one algorithm that it says";
const NO_SUCH_ALGORITHM: &str = "the key says ES521, which is no algorithm (RFC 7518 §3.1), and is not used";
const LOST_PADDING: &str = "the padding that its comment speaks of is not in it: byte for byte the valid vector 357";
const FOREIGN_CHARACTER: &str = "a `?` in it is no digit of Base64 and is refused, not skipped (RFC 4648 §3.3)";
const ONE_KEY_IS_NONE: &str = "of two keys of the same name one is not canonical Base64: the other stands alone";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    /// A key or a set of keys, for whoever signs.
    private: Value,
    /// The same for whoever verifies, unless it is secret.
    public: Option<Value>,
    tests: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    tc_id: u32,
    comment: String,
    result: String,
    jws: Option<Value>,
    jwe: Option<Value>,
}

#[test]
fn every_vector_is_judged_as_wycheproof_does_or_differs_for_a_named_reason() {
    let (mut agree, mut encrypted, mut wrong, mut seen) = (0, 0, Vec::new(), Vec::new());
    for file in FILES {
        for group in read(file).test_groups {
            let keys = group.public.as_ref().unwrap_or(&group.private);
            for vector in group.tests {
                let named = DIFFERENCES.iter().find(|(of, number, _)| *of == file && *number == vector.tc_id);
                let name = format!("{file} {}: {}", vector.tc_id, vector.comment);
                seen.push((file, vector.tc_id));
                let token = vector.jws.as_ref().or(vector.jwe.as_ref()).expect("a token");
                let (theirs, ours) = (vector.result == "valid", accepts(keys, &text(token)));
                match (theirs == ours, named) {
                    // What it would say cannot be read, whether its encryption holds or not.
                    _ if vector.jwe.is_some() && !ours => encrypted += 1,
                    (true, None) => agree += 1,
                    (false, Some(_)) => {}
                    (false, None) => wrong.push(format!("{name}: Wycheproof accepts: {theirs}, we: {ours}")),
                    (true, Some((_, _, reason))) => wrong.push(format!("{name}: named as different ({reason})")),
                }
            }
        }
    }
    let absent = DIFFERENCES.iter().filter(|(file, number, _)| !seen.contains(&(file, *number)));
    wrong.extend(absent.map(|(file, number, _)| format!("{file} {number}: there is no such vector")));
    assert!(wrong.is_empty(), "{} verdicts:\n{}", wrong.len(), wrong.join("\n"));
    let differ = DIFFERENCES.len();
    println!(
        "wycheproof: {agree} signed tokens agree, {differ} differ for a named reason; {encrypted} encrypted refused"
    );
}

fn read(file: &str) -> File {
    let path = crate::vectors("wycheproof-jose").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A token in its JSON form is sent as the JSON that it is.
fn text(token: &Value) -> String {
    token.as_str().map_or_else(|| token.to_string(), str::to_owned)
}

/// Whether a token is let in by the signature alone: the payloads of the vectors are no claims. Strictly, as an issuer
/// that may use every algorithm of its kind of keys.
fn accepts(keys: &Value, token: &str) -> bool {
    let set = if keys.get("keys").is_some() { keys.clone() } else { json!({ "keys": [keys] }) };
    let Ok(set) = KeySet::of_jwks(set.to_string().as_bytes()) else { return false };
    let is_secret = set.is_secret();
    let allowed: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|it| it.is_symmetric() == is_secret).collect();
    let token = Token::parse(token.as_bytes(), 65_536, true);
    token.is_ok_and(|token| {
        allowed.contains(&token.header.algorithm) && Verifiers::new(&set, &allowed).verify(&token, true).is_ok()
    })
}

const SIGNATURE: &str = "json_web_signature_test.json";
const KEY: &str = "json_web_key_test.json";
const FILES: [&str; 4] = [SIGNATURE, KEY, "json_web_crypto_test.json", "json_web_encryption_test.json"];
