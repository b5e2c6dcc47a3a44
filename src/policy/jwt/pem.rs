//! Public keys in PEM (RFC 7468 §13), as `openssl` writes them.

use super::algorithm::Curve;
use super::keys::{KeyError, Material, UNCOMPRESSED};
use crate::stdx::base64::{self, Alphabet, Form};

/// The one key in a file.
pub fn material(pem: &str) -> Result<Material, KeyError> {
    let (label, der) = block(pem).ok_or(KeyError::Malformed)?;
    match label {
        "PUBLIC KEY" => subject_public_key(&der),
        "RSA PUBLIC KEY" => rsa(&der),
        _ if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        _ => Err(KeyError::Unsupported),
    }
}

/// The label and the bytes of the one block in `pem`; what is written around it is for people (§2).
fn block(pem: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (label, rest) = rest.split_once(DASHES)?;
    let (text, rest) = rest.split_once(END)?;
    let after = rest.strip_prefix(label)?.strip_prefix(DASHES)?;
    if after.contains(BEGIN) {
        return None;
    }
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mut der = Vec::new();
    base64::decode(Alphabet::Standard, Form::Lenient, &text, &mut der).ok()?;
    Some((label, der))
}

/// RFC 5280 §4.1: `SEQUENCE { SEQUENCE { algorithm, parameters }, BIT STRING }`.
fn subject_public_key(der: &[u8]) -> Result<Material, KeyError> {
    let (mut sequence, rest) = value(der, SEQUENCE)?;
    let mut algorithm = take(&mut sequence, SEQUENCE)?;
    let bits = take(&mut sequence, BIT_STRING)?;
    // The first byte says how many bits of the last are not used.
    let (Some((0, key)), [], []) = (bits.split_first(), sequence, rest) else { return Err(KeyError::Malformed) };
    match take(&mut algorithm, OBJECT_ID)? {
        RSA => rsa(key),
        EC => {
            let curve = match take(&mut algorithm, OBJECT_ID)? {
                P256 => Curve::P256,
                P384 => Curve::P384,
                P521 => Curve::P521,
                _ => return Err(KeyError::Unsupported),
            };
            if key.len() != 1 + 2 * curve.coordinate_bytes() || key[0] != UNCOMPRESSED {
                return Err(KeyError::Unsupported);
            }
            Ok(Material::Ec { curve, point: key.into() })
        }
        ED25519 => Ok(Material::Ed25519(key.into())),
        _ => Err(KeyError::Unsupported),
    }
}

/// RFC 8017 §A.1.1: `SEQUENCE { modulus, exponent }`.
pub fn rsa(der: &[u8]) -> Result<Material, KeyError> {
    let (mut sequence, rest) = value(der, SEQUENCE)?;
    let (modulus, exponent) = (take(&mut sequence, INTEGER)?, take(&mut sequence, INTEGER)?);
    if sequence.is_empty() && rest.is_empty() { Ok(Material::rsa(modulus, exponent)) } else { Err(KeyError::Malformed) }
}

fn take<'a>(input: &mut &'a [u8], tag: u8) -> Result<&'a [u8], KeyError> {
    let (content, rest) = value(input, tag)?;
    *input = rest;
    Ok(content)
}

/// The content of the first value, which must have this tag, and what follows it.
fn value(input: &[u8], tag: u8) -> Result<(&[u8], &[u8]), KeyError> {
    let (len, rest) = match input {
        [first, len @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*len), rest),
        [first, 0x81, len @ 0x80..=0xff, rest @ ..] if *first == tag => (usize::from(*len), rest),
        [first, 0x82, high @ 1..=0xff, low, rest @ ..] if *first == tag => {
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return Err(KeyError::Malformed),
    };
    rest.split_at_checked(len).ok_or(KeyError::Malformed)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::kit::Signer;

    /// As `openssl` writes it: 64 digits a line.
    fn pem(label: &str, der: &[u8]) -> String {
        let text = crate::policy::jwt::kit::base64(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{BEGIN}{label}{DASHES}\n{}\n{END}{label}{DASHES}\n", lines.join("\n"))
    }

    #[test]
    fn what_the_library_writes_is_read_back() {
        for signer in Signer::all().into_iter().filter(|signer| !signer.key(None).is_secret()) {
            assert_eq!(material(&pem("PUBLIC KEY", &signer.public_der())), Ok(signer.key(None).material), "{signer:?}");
        }
        let Material::Rsa { modulus, exponent } = Signer::rsa().key(None).material else { panic!("an RSA key") };
        let pkcs1 = Signer::rsa().rsa_der();
        assert_eq!(material(&pem("RSA PUBLIC KEY", &pkcs1)), Ok(Material::Rsa { modulus, exponent }));
    }

    #[test]
    fn no_byte_of_a_key_can_be_cut_or_added() {
        for signer in [Signer::rsa(), Signer::p256()] {
            let der = signer.public_der();
            for len in 0..der.len() {
                assert_eq!(subject_public_key(&der[..len]), Err(KeyError::Malformed), "{len} bytes");
            }
            assert_eq!(subject_public_key(&[&der[..], &[0]].concat()), Err(KeyError::Malformed));
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let good = pem("PUBLIC KEY", &Signer::p256().public_der());
        for (text, want) in [
            (String::new(), KeyError::Malformed),
            (format!("{good}{good}"), KeyError::Malformed),
            (good.replace("END PUBLIC", "END PRIVATE"), KeyError::Malformed),
            (good.replacen('M', "!", 1), KeyError::Malformed),
            (good.replace("PUBLIC KEY", "PRIVATE KEY"), KeyError::Private),
            (good.replace("PUBLIC KEY", "EC PRIVATE KEY"), KeyError::Private),
            (good.replace("PUBLIC KEY", "CERTIFICATE"), KeyError::Unsupported),
        ] {
            assert_eq!(material(&text), Err(want), "{text}");
        }
        assert!(material(&format!("Issued by nobody\n{good}for tests\n")).is_ok());
    }
}
