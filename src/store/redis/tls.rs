//! Connections that are encrypted, by rustls.

use std::fs;
use std::path::Path;

use redis::{Client, ConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::{Fault, Result};
use crate::store::Kind;

/// Makes a client that encrypts, and trusts the authorities in a file, or else those that the machine trusts.
pub(super) fn client(info: ConnectionInfo, root: Option<&Path>) -> Result<Client> {
    // The driver takes what the process uses, of which the application may have chosen one.
    if CryptoProvider::get_default().is_none() {
        // If somebody else was faster there is one now, which is as well.
        drop(ring::default_provider().install_default());
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: root.map(authorities).transpose()?,
    };
    Client::build_with_tls(info, certificates).map_err(Fault::unreachable)
}

/// Reads a file of certificates, of which there must be one at least.
fn authorities(file: &Path) -> Result<Vec<u8>> {
    let unreadable = || {
        let what = format!("no certificates can be read from {}", file.display());
        Fault::from(Kind::Invalid(what))
    };
    let text = fs::read(file).map_err(|error| unreadable().because(error))?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        certificate.map_err(|error| unreadable().because(error))?;
        found += 1;
    }
    if found == 0 {
        return Err(unreadable());
    }
    Ok(text)
}
