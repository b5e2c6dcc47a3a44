//! How a connection that the gateway opens is encrypted: as the operator writes it, and compiled.

use std::{fmt, io};

use rustls::Error;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::named::NamedFiles;
use super::store::Secret;
use crate::stdx::certificates::{self, Unusable};

/// An encrypted connection. Files lie beside this one, in PEM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Certificates of which one has signed the server's. Default: those that the system trusts.
    pub ca_file: Option<Spanned<String>>,
    /// Whom the server's certificate names. Default: the host of its address.
    pub server_name: Option<Spanned<String>>,
    /// The certificate that this gateway shows, and those between it and its authority. Default: it shows none.
    pub certificate_file: Option<Spanned<String>>,
    /// The private key of that certificate.
    pub key_file: Option<Spanned<String>>,
}

/// The same, compiled. Certificates are in DER.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Tls {
    /// Those that the system trusts if there are none.
    pub authorities: Vec<Vec<u8>>,
    pub server_name: Option<String>,
    pub identity: Option<Identity>,
}

/// Who the gateway is.
#[derive(Clone, Eq, PartialEq)]
pub struct Identity {
    pub certificates: Vec<Vec<u8>>,
    /// In PEM.
    pub key: Secret,
}

/// What is wrong, where, and what to do.
pub struct Mistake {
    pub location: Location,
    pub what: String,
    pub help: &'static str,
}

impl ClientTls {
    /// Reads what it names; blocks.
    pub fn load(self, named: &NamedFiles) -> Result<Tls, Mistake> {
        let authorities = self.ca_file.as_ref().map(|file| read(file, named, certificates::authorities)).transpose()?;
        if let Some(name) = self.server_name.as_ref().filter(|name| ServerName::try_from(&*name.value).is_err()) {
            let what = format!("`{}` is not the name of a server", name.value.escape_debug());
            return Err(Mistake { location: name.referenced, what, help: "write a host or an address" });
        }
        let identity = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => Some(identity(certificate, key, named)?),
            (Some(alone), None) | (None, Some(alone)) => {
                let what = "a certificate without its key, or a key without its certificate".to_owned();
                let help = "name both `certificate_file` and `key_file`, or none";
                return Err(Mistake { location: alone.referenced, what, help });
            }
            (None, None) => None,
        };
        let server_name = self.server_name.map(|name| name.value);
        Ok(Tls { authorities: authorities.unwrap_or_default(), server_name, identity })
    }
}

/// In DER nobody can read them, and a key is not for logs.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authorities, server_name, identity } = self;
        let certificate = if identity.is_some() { "a certificate" } else { "no certificate" };
        write!(f, "{} authorities, server name {server_name:?}, {certificate}", authorities.len())
    }
}

fn identity(certificate: &Spanned<String>, key: &Spanned<String>, named: &NamedFiles) -> Result<Identity, Mistake> {
    let certificates = read(certificate, named, certificates::read)?;
    let content = content(key, named)?;
    let mistake = |what, help| Mistake { location: key.referenced, what, help };
    let Ok(private) = PrivateKeyDer::from_pem_slice(&content) else {
        let what = format!("no private key in `{}`", key.value.escape_debug());
        return Err(mistake(what, "write it there in PEM, without a password"));
    };
    let chain = certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let (of_certificate, of_key) = (certificate.value.escape_debug(), key.value.escape_debug());
    let both = format!("the certificate in `{of_certificate}` and the key in `{of_key}`");
    match CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()) {
        Ok(_) => Ok(Identity { certificates, key: Secret(content) }),
        // They are renewed one after the other: until both are, those from before stay.
        Err(Error::InconsistentKeys(_)) => {
            Err(mistake(format!("{both}, which do not belong together"), "write those there that do"))
        }
        Err(error) => Err(mistake(format!("{both}, which cannot be used ({error})"), "write others there")),
    }
}

fn read(
    file: &Spanned<String>,
    named: &NamedFiles,
    read: impl FnOnce(&[u8]) -> Result<Vec<Vec<u8>>, Unusable>,
) -> Result<Vec<Vec<u8>>, Mistake> {
    read(&content(file, named)?).map_err(|unusable| Mistake {
        location: file.referenced,
        what: format!("certificates in `{}` {unusable}", file.value.escape_debug()),
        help: "write them there in PEM",
    })
}

fn content(file: &Spanned<String>, named: &NamedFiles) -> Result<Vec<u8>, Mistake> {
    named.read(&file.value).map_err(|error: io::Error| Mistake {
        location: file.referenced,
        what: format!("`{}` cannot be read ({error})", file.value.escape_debug()),
        help: "check the path and who may read it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[track_caller]
    fn check(config: &str, want: Result<Tls, &str>) {
        let tls: ClientTls = serde_saphyr::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        let got = tls.load(&NamedFiles::beside(Path::new("Cargo.toml")));
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{config}"),
            (Err(got), Err(want)) => assert_eq!(format!("{}: {}", got.what, got.help), want, "{config}"),
            (got, want) => panic!("{config}: {:?}, expected {want:?}", got.map_err(|mistake| mistake.what)),
        }
    }

    #[test]
    fn what_cannot_be_used_is_a_mistake() {
        check("{}", Ok(Tls::default()));
        check("server_name: cache.test", Ok(Tls { server_name: Some("cache.test".to_owned()), ..Tls::default() }));
        check("server_name: a b", Err("`a b` is not the name of a server: write a host or an address"));
        check(
            "ca_file: none.pem",
            Err("`none.pem` cannot be read (No such file or directory (os error 2)): check the \
               path and who may read it"),
        );
        check("ca_file: LICENSE", Err("certificates in `LICENSE` of which none is one: write them there in PEM"));
        let alone = "a certificate without its key, or a key without its certificate: name both `certificate_file` \
                     and `key_file`, or none";
        check("certificate_file: a.pem", Err(alone));
        check("key_file: a.pem", Err(alone));
    }
}
