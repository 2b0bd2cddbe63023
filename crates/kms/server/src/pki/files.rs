//! Files of `tls/`: written whole or not at all, keys for the owner only.

use std::fs;
use std::path::Path;

use keystead_crypto::pem;
use keystead_runtime::whole_file::{self, FileError, Readers};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::PkiError;

/// Longest file that is read, in bytes. Each authority that was retired and has not ended adds less than 1 KiB.
const MAX_LEN: usize = 1024 * 1024;

/// Reads a key and its certificate from one file; none when there is no file.
pub(super) fn read_pair(path: &Path) -> Result<Option<(KeyPair, CertificateDer<'static>)>, PkiError> {
    let Some(bytes) = read(path, Readers::Owner)? else { return Ok(None) };
    let certificate = CertificateDer::from_pem_slice(&bytes)
        .map_err(|_| content(path, "there is no certificate in PEM in it".to_owned()))?;
    // rcgen wants the key alone.
    let text = str::from_utf8(&bytes).unwrap_or_default();
    let end = text.find("-----BEGIN CERTIFICATE-----").unwrap_or(text.len());
    let key = KeyPair::from_pem(text.get(..end).unwrap_or_default())
        .map_err(|_| content(path, "there is no key in PEM in it".to_owned()))?;
    if !belongs(&key, &certificate) {
        return Err(content(path, "key and certificate do not belong together".to_owned()));
    }
    Ok(Some((key, certificate)))
}

/// Writes a key and its certificate into one file.
pub(super) fn write_pair(
    path: &Path,
    key: &KeyPair,
    certificate: &CertificateDer<'_>,
) -> Result<(), PkiError> {
    let key = Zeroizing::new(key.serialize_pem());
    let certificate = certificate_to_pem(certificate);
    let text = Zeroizing::new([key.as_str(), &certificate].concat());
    write(path, text.as_bytes(), Readers::Owner)
}

/// Reads certificates; none when there is no file.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = read(path, Readers::Everybody)?.unwrap_or_default();
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| content(path, "it holds something else than certificates".to_owned()))
}

/// Writes certificates, for everyone to read.
pub(super) fn write_certificates(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<(), PkiError> {
    write(path, certificates_to_pem(certificates).as_bytes(), Readers::Everybody)
}

/// One after the other.
pub(super) fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|certificate| certificate_to_pem(certificate)).collect()
}

/// Puts one file in the place of another.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), PkiError> {
    fs::rename(from, to).and_then(|()| whole_file::sync_directory_of(to)).map_err(|source| io(to, source))
}

fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    // Not secret, so that it need not be wiped.
    pem("CERTIFICATE", certificate).to_string()
}

fn belongs(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().subject_public_key.data == key.public_key_raw())
}

fn read(path: &Path, readers: Readers) -> Result<Option<Zeroizing<Vec<u8>>>, PkiError> {
    match whole_file::read(path, readers, MAX_LEN) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(FileError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), PkiError> {
    whole_file::replace(path, bytes, readers).map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::Io { path: path.to_owned(), source }
}

fn content(path: &Path, problem: String) -> PkiError {
    PkiError::Content { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use keystead_model::ErrorChain;

    use super::*;

    #[test]
    fn an_error_does_not_repeat_what_stands_in_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("authority.pem");
        let key = KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        write_pair(&path, &key, certificate.der()).expect("written");
        let good = fs::read_to_string(&path).expect("read");
        let (_, certificate) = good.split_at(good.find("-----BEGIN CERTIFICATE").expect("a certificate"));
        for (key, problem) in [
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "there is no key in PEM in it"),
            ("-----BEGIN PRIVATE KEY----- MC4CAQAwBQYDK2VwBCIE", "there is no certificate in PEM in it"),
        ] {
            fs::write(&path, format!("{key}\n{certificate}")).expect("written");
            let error = read_pair(&path).expect_err("broken");
            assert_eq!(ErrorChain(&error).to_string(), format!("{}: {problem}", path.display()));
        }
    }
}
