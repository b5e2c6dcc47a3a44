//! Certificates, from PEM (RFC 7468) to DER.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why a file of certificates cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    #[error("of which none is one")]
    None,
    /// Counted from 1.
    #[error("of which number {0} is no authority's ({1})")]
    Odd(usize, rustls::Error),
}

/// All that are there, one at least.
pub fn read(pem: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.ok().filter(|all| !all.is_empty()).ok_or(Unusable::None)?;
    Ok(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

/// The same of certificates that are to vouch for others.
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
    let (authorities, mut roots) = (read(pem)?, RootCertStore::empty());
    for (number, authority) in (1..).zip(&authorities) {
        roots.add(CertificateDer::from(authority.as_slice())).map_err(|error| Unusable::Odd(number, error))?;
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_vouches_for_nobody() {
        let other = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(read(b"words"), Err(Unusable::None));
        assert_eq!(read(other.as_bytes()), Err(Unusable::None));
        let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(read(format!("{other}{odd}").as_bytes()), Ok(vec![vec![0; 3]]));
        let refused = authorities(odd.as_bytes()).unwrap_err().to_string();
        assert!(refused.starts_with("of which number 1 is no authority's"), "{refused}");
    }
}
