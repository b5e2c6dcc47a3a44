//! How a connection that the gateway opens is encrypted: as the operator writes it, and compiled.

use std::io;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::named::NamedFiles;
use super::store::Secret;

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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tls {
    /// Those that the system trusts if there are none.
    pub authorities: Vec<Vec<u8>>,
    pub server_name: Option<String>,
    pub identity: Option<Identity>,
}

/// Who the gateway is.
#[derive(Clone, Debug, Eq, PartialEq)]
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
        let authorities = self.ca_file.as_ref().map(|file| certificates(file, named)).transpose()?;
        if let Some(name) = self.server_name.as_ref().filter(|name| ServerName::try_from(&*name.value).is_err()) {
            let what = format!("`{}` is not the name of a server", name.value.escape_debug());
            return Err(Mistake { location: name.referenced, what, help: "write a host or an address" });
        }
        let identity = match (&self.certificate_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificates: certificates(certificate, named)?, key: private_key(key, named)? })
            }
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

fn certificates(file: &Spanned<String>, named: &NamedFiles) -> Result<Vec<Vec<u8>>, Mistake> {
    let content = read(file, named)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates.iter().map(|der| der.to_vec()).collect()),
        _ => {
            let what = format!("certificates in `{}` of which none is one", file.value.escape_debug());
            Err(Mistake { location: file.referenced, what, help: "write them there in PEM" })
        }
    }
}

fn private_key(file: &Spanned<String>, named: &NamedFiles) -> Result<Secret, Mistake> {
    let content = read(file, named)?;
    match PrivateKeyDer::from_pem_slice(&content) {
        Ok(_) => Ok(Secret(content)),
        Err(_) => {
            let what = format!("no private key in `{}`", file.value.escape_debug());
            Err(Mistake { location: file.referenced, what, help: "write it there in PEM, without a password" })
        }
    }
}

fn read(file: &Spanned<String>, named: &NamedFiles) -> Result<Vec<u8>, Mistake> {
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
