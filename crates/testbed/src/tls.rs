//! Certificates of a private authority, for servers that encrypt.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::error::{Error, Result};

/// The files of a server's certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The certificate of the authority that signed it.
    pub(crate) root: PathBuf,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Where the files in a folder are.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            root: folder.join("root.pem"),
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// Makes an authority, has it sign a certificate for this machine by its names, and writes both to a folder.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let files = Self::in_folder(folder);
        files.write().map_err(Error::system("make a certificate"))?;
        Ok(files)
    }

    fn write(&self) -> std::io::Result<()> {
        let other = std::io::Error::other::<rcgen::Error>;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().map_err(other)?;
        let root = authority.self_signed(&authority_key).map_err(other)?;
        let issuer = Issuer::new(authority, authority_key);
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let server = CertificateParams::new(names).map_err(other)?;
        let key = KeyPair::generate().map_err(other)?;
        let chain = server.signed_by(&key, &issuer).map_err(other)?;
        fs::write(&self.root, root.pem())?;
        fs::write(&self.chain, chain.pem())?;
        fs::write(&self.key, key.serialize_pem())?;
        // Servers refuse a key that others may read.
        fs::set_permissions(&self.key, fs::Permissions::from_mode(0o600))
    }
}

/// Writes the certificate of another authority to a folder, one that has signed nothing; returns the file.
///
/// # Errors
/// If the file cannot be written.
pub fn other_authority(folder: &Path) -> Result<PathBuf> {
    Certificate::make(folder).map(|files| files.root)
}
