//! What the TLS port shows and whom it lets in; changed under way, connection by connection.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use keystead_audit::ClockWatch;
use keystead_keyservice::Clock;
use keystead_model::ErrorChain;
use keystead_runtime::whole_file::{self, FileError, ReadFile, Readers};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::blocking_work::BlockingWork;
use crate::metrics::Metrics;
use crate::pki::{Pki, PkiError};

/// How soon a replaced file is seen.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// A disk that takes longer does not answer, and somebody should know.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Longest certificate or key file that is read, in bytes: a bundle of every public certificate authority has 250 KiB.
const MAX_LEN: usize = 1024 * 1024;

/// How the TLS port is set up.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Certificate chain and key in PEM, when the server's own authority is not to sign.
    pub given: Option<CertificateFiles>,
    /// Authorities of client certificates besides our own, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Admit TLS 1.2 besides 1.3.
    pub allow_tls12: bool,
}

/// Files that somebody else keeps up to date.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The server's certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why the TLS port cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Our own certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A given file cannot be read, or everyone could read the key.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no certificates, or something that is not PEM. What the parser says is left out, here and for keys: it
    /// repeats what stands in the file, which may be a key.
    #[error("{}: there is no certificate in PEM in it", .0.display())]
    NoCertificates(PathBuf),
    /// A file holds no key.
    #[error("{}: there is no key in PEM in it", .0.display())]
    NoKey(PathBuf),
    /// Key and certificate together.
    #[error("the server's certificate and key cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The TLS port's settings of the moment.
pub struct Tls {
    settings: TlsSettings,
    pki: Arc<Pki>,
    now: ArcSwap<Loaded>,
    /// Why what is on the disk now is not what is in use.
    refused: Mutex<Option<String>>,
    /// Something was renewed, or may have been, that is not in use yet: its reading failed.
    behind: AtomicBool,
}

struct Loaded {
    config: Arc<ServerConfig>,
    /// Who signs client certificates.
    authorities: Vec<CertificateDer<'static>>,
    /// Grows with each other set of authorities.
    generation: u64,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    not_after: Timestamp,
    /// What was read for it, besides our own certificates.
    files: Vec<ReadFile>,
}

impl Tls {
    /// Reads everything once.
    pub fn open(settings: TlsSettings, pki: Arc<Pki>) -> Result<Arc<Self>, TlsError> {
        let loaded = settings.load(&pki)?;
        Ok(Arc::new(Self {
            settings,
            pki,
            now: ArcSwap::from_pointee(loaded),
            refused: Mutex::default(),
            behind: AtomicBool::default(),
        }))
    }

    /// For the next connection, and by which authorities it verifies the client.
    pub(crate) fn acceptor(&self) -> (TlsAcceptor, AuthoritiesSeen) {
        let now = self.now.load();
        (TlsAcceptor::from(Arc::clone(&now.config)), AuthoritiesSeen(now.generation))
    }

    /// Whether the server goes by this name or address, as its own certificate says.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        self.pki.names().iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Renews what is due and reads again what was replaced. Says whether the next connection sees something new; on an
    /// error it sees what it saw before.
    pub fn refresh(&self, now: Timestamp, clock_is_trusted: bool) -> Result<bool, TlsError> {
        let refreshed = self.refreshed(now, clock_is_trusted);
        self.set_refused(refreshed.as_ref().err().map(|error| ErrorChain(error).to_string()));
        refreshed
    }

    fn set_refused(&self, reason: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn refreshed(&self, now: Timestamp, clock_is_trusted: bool) -> Result<bool, TlsError> {
        let behind = self.behind.swap(true, Ordering::Relaxed);
        let renewed = self.pki.tend(now, clock_is_trusted)?;
        if !renewed && !behind && self.now.load().files.iter().all(ReadFile::is_current) {
            self.behind.store(false, Ordering::Relaxed);
            return Ok(false);
        }
        let mut loaded = self.settings.load(&self.pki)?;
        let before = self.now.load();
        loaded.generation = before.generation + u64::from(loaded.authorities != before.authorities);
        self.now.store(Arc::new(loaded));
        self.behind.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Why the certificates, the key or the authorities that are on the disk now are not those in use, if they are not. A server
    /// that starts could not use them.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the certificate that is shown ends.
    pub fn not_after(&self) -> Timestamp {
        self.now.load().not_after
    }

    /// Refreshes until the process ends. `last_alive`: the last time that is known of the process before.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        last_alive: Option<Timestamp>,
        metrics: Arc<Metrics>,
        stopping: CancellationToken,
    ) {
        let mut last_error = String::new();
        let mut watch = ClockWatch::new(last_alive, Instant::now());
        // Files may be on a file system that does not answer.
        let refreshing = BlockingWork::default();
        loop {
            let now = clock.now();
            let trusted = watch.look(now, Instant::now()).trusted;
            let tls = Arc::clone(&self);
            let refreshed = tokio::select! {
                refreshed = refreshing.ask(SILENCE_LIMIT, move || tls.refresh(now, trusted)) => refreshed,
                () = stopping.cancelled() => return,
            };
            let text = match refreshed {
                Some(Ok(true)) => {
                    tracing::info!(until = %self.not_after(), "certificates are new");
                    String::new()
                }
                Some(Ok(false)) => String::new(),
                Some(Err(error)) => ErrorChain(&error).to_string(),
                None => {
                    let text = format!("the files were not read within {} s", SILENCE_LIMIT.as_secs());
                    self.set_refused(Some(text.clone()));
                    text
                }
            };
            if !text.is_empty() && text != last_error {
                tracing::warn!(error = text, "certificates stay as they are");
            }
            last_error = text;
            metrics.certificate("server", self.not_after());
            metrics.certificate("authority", self.pki.authority_not_after());
            tokio::select! {
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
                () = stopping.cancelled() => return,
            }
        }
    }
}

/// By which set of authorities a client was verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuthoritiesSeen(u64);

/// What a client has proved itself with. It is verified again once the authorities are others: one that was removed must not
/// count for as long as its clients keep their connections.
pub(crate) struct ClientChain {
    tls: Arc<Tls>,
    /// The client's certificate first.
    chain: Vec<CertificateDer<'static>>,
    good_in: AtomicU64,
}

impl ClientChain {
    pub(crate) fn new(tls: Arc<Tls>, chain: &[CertificateDer<'_>], seen: AuthoritiesSeen) -> Self {
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { tls, chain, good_in: AtomicU64::new(seen.0) }
    }

    /// Whether an authority of now has signed it.
    pub(crate) fn is_trusted(&self) -> bool {
        let now = self.tls.now.load();
        if self.good_in.load(Ordering::Relaxed) == now.generation {
            return true;
        }
        let Some((own, others)) = self.chain.split_first() else { return false };
        let verified = now.verifier.as_ref().map(|it| it.verify_client_cert(own, others, UnixTime::now()));
        let trusted = verified.is_some_and(|verified| verified.is_ok());
        if trusted {
            self.good_in.store(now.generation, Ordering::Relaxed);
        }
        trusted
    }
}

impl TlsSettings {
    /// Reads what is named, and lets go of it again. What is wrong with each.
    pub(crate) fn check(&self) -> Vec<TlsError> {
        let given = self.given.as_ref().map(|given| {
            let ((chain, _), (key, _)) = (read_chain(&given.certificate)?, read_key(&given.key)?);
            self.config(None, chain, key).map(drop)
        });
        let client_ca = self.client_ca.as_deref().map(|path| {
            let (authorities, _) = read_chain(path)?;
            client_verifier(roots(&authorities)?).map(drop)
        });
        [given, client_ca].into_iter().flatten().filter_map(Result::err).collect()
    }

    fn load(&self, pki: &Pki) -> Result<Loaded, TlsError> {
        let mut files = Vec::new();
        let (chain, key) = match &self.given {
            None => {
                let own = pki.server_identity();
                let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes());
                (own.chain, key.map_err(|_| TlsError::Unusable("the key is not PEM".into()))?)
            }
            Some(given) => {
                let ((chain, certificate), (key, key_file)) =
                    (read_chain(&given.certificate)?, read_key(&given.key)?);
                files.extend([certificate, key_file]);
                (chain, key)
            }
        };
        let not_after = chain
            .first()
            .and_then(|leaf| X509Certificate::from_der(leaf).ok())
            .and_then(|(_, leaf)| Timestamp::from_second(leaf.validity().not_after.timestamp()).ok())
            .ok_or_else(|| TlsError::Unusable("the certificate cannot be read".into()))?;
        let mut authorities = pki.trusted();
        if let Some(path) = &self.client_ca {
            let (given, file) = read_chain(path)?;
            authorities.extend(given);
            files.push(file);
        }
        let verifier = client_verifier(roots(&authorities)?)?;
        let config = Arc::new(self.config(verifier.clone(), chain, key)?);
        Ok(Loaded { config, authorities, generation: 0, verifier, not_after, files })
    }

    fn config(
        &self,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Unusable(error.into());
        let versions: &[&'static SupportedProtocolVersion] =
            if self.allow_tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(unusable)?;
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Each connection proves itself anew: a resumed one would live on a certificate that has ended meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|error| TlsError::Unusable(error.into()))?;
    }
    Ok(roots)
}

fn client_verifier(roots: RootCertStore) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let built = builder.allow_unauthenticated().build();
    built.map(Some).map_err(|error| TlsError::Unusable(error.into()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn read_chain(path: &Path) -> Result<(Vec<CertificateDer<'static>>, ReadFile), TlsError> {
    let (text, file) = whole_file::read(path, Readers::Everybody, MAX_LEN)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.map(|chain| (chain, file)).ok_or_else(|| TlsError::NoCertificates(path.to_owned()))
}

fn read_key(path: &Path) -> Result<(PrivateKeyDer<'static>, ReadFile), TlsError> {
    let (text, file) = whole_file::read(path, Readers::Group, MAX_LEN)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKey(path.to_owned()))?;
    Ok((key, file))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_error_does_not_repeat_what_stands_in_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        // A key that was pasted into one line: the parser quotes a line that begins like this.
        fs::write(&path, "-----BEGIN PRIVATE KEY----- MC4CAQAwBQYDK2VwBCIEIE\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        let shown = |error: TlsError| format!("{} {error:?}", ErrorChain(&error));
        let name = path.display();
        let key = shown(read_key(&path).expect_err("no key"));
        assert_eq!(key, format!("{name}: there is no key in PEM in it NoKey({path:?})"));
        let chain = shown(read_chain(&path).expect_err("no certificate"));
        assert_eq!(chain, format!("{name}: there is no certificate in PEM in it NoCertificates({path:?})"));
    }
}
