//! Certificates, keys and the token of one control plane.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::files;

/// Paths of what the API servers read, and what clients need.
pub(super) struct Pki {
    pub(super) server_certificate: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_public_key: PathBuf,
    pub(super) tokens: PathBuf,
    /// The only authority that clients of this control plane trust, in PEM.
    pub(super) ca: String,
    /// Bearer token of an administrator.
    pub(super) token: String,
}

impl Pki {
    /// Makes new keys in `directory`.
    pub(super) fn write(directory: &Path) -> Result<Self> {
        files::create_directory(directory)?;
        let put = |name: &str, text: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            files::write(&path, text)?;
            Ok(path)
        };

        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "keystead testkit");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        put("ca.pem", &ca_pem)?;

        let server_key = KeyPair::generate()?;
        let mut server = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = server.signed_by(&server_key, &Issuer::new(ca, ca_key))?;

        let service_accounts = KeyPair::generate()?;
        let mut token = [0; 32];
        aws_lc_rs::rand::fill(&mut token)?;
        let token = hex::encode(token);
        Ok(Self {
            server_certificate: put("server.pem", &server.pem())?,
            server_key: put("server.key", &server_key.serialize_pem())?,
            service_account_key: put("service-accounts.key", &service_accounts.serialize_pem())?,
            service_account_public_key: put("service-accounts.pem", &service_accounts.public_key_pem())?,
            tokens: put("tokens.csv", &format!("{token},admin,admin,\"system:masters\"\n"))?,
            ca: ca_pem,
            token,
        })
    }
}
