//! Whose certificates are believed: one decision for every encrypted connection that wardwatch makes, so that broker and
//! centre cannot come to differ in it. Reads the authority's file; connects to nobody.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::base::{Error, ErrorKind, Result};

/// TLS for a connection to `peer` (for example `the broker`), whose certificate an authority in the PEM file `ca` must
/// have signed, or without one an authority of the system.
///
/// # Errors
/// `Config` when the file cannot be read or holds none, or when the system knows no authority.
pub fn tls_client(ca: Option<&Path>, peer: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let bad = |e: rustls::pki_types::pem::Error| {
                let text = format!("the certificate of {peer}'s authority cannot be read");
                Error::new(ErrorKind::Config, text).at(path.display()).source(e)
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(bad)? {
                roots.add(certificate.map_err(bad)?).map_err(|e| {
                    Error::new(ErrorKind::Config, "not a certificate to trust").at(path.display()).source(e)
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let text = format!("there is no authority to check the certificate of {peer} against");
        return Err(Error::new(ErrorKind::Config, text)
            .hint("set `ca` to a PEM file that holds one, or install the package ca-certificates"));
    }
    believing(roots)
}

/// TLS that believes no certificate at all: for a client that wants a configuration even where it must not use it.
///
/// # Errors
/// None that is known.
pub fn tls_believing_nobody() -> Result<ClientConfig> {
    believing(RootCertStore::empty())
}

fn believing(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "TLS cannot be set up").source(e))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
