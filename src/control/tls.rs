//! Connections of the control thread that are encrypted.

use crate::config::tls::{Identity, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Encrypts a connection to `host`, whose server shows a certificate of that name.
pub async fn connect(stream: TcpStream, host: &str, tls: &Tls) -> io::Result<TlsStream<TcpStream>> {
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let tls = tls.clone();
    // A disk may take its time, and this thread answers for limits and probes meanwhile.
    let config = tokio::task::spawn_blocking(move || config(&tls)).await.map_err(io::Error::other)??;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The system's authorities are read anew each time, as they are replaced while the gateway runs.
fn config(Tls { authorities, identity, .. }: &Tls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if authorities.is_empty() {
        // Some of what a system has may be too old to be read; without any, no server can show who it is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for authority in authorities {
        roots.add(CertificateDer::from(authority.as_slice())).map_err(io::Error::other)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_root_certificates(roots);
    let Some(Identity { certificates, key }) = identity else { return Ok(builder.with_no_client_auth()) };
    let certificates = certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::from_pem_slice(&key.0).map_err(io::Error::other)?;
    builder.with_client_auth_cert(certificates, key).map_err(io::Error::other)
}
