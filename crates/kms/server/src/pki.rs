//! The server's own certificate authority: what it signs with, whom its clients trust, and when both change.
//!
//! Everything lies in `tls/` of the data directory. `authority.pem` and `server.pem` hold key and certificate in one file
//! of mode 0600, so that neither can be replaced without the other; `ca.pem` is the bundle for clients.

mod authority;
mod client;
mod files;
mod renewal;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keystead_runtime::whole_file::FileError;
use rustls::pki_types::CertificateDer;

pub use client::{ClientKey, IssuedCertificate, public_key_digest};
pub use renewal::{Authorities, AuthorityStep, Renewal, plan_authority, plan_renewal};

use authority::Authority;
use server::ServerIdentity;

/// Clocks of clients may be behind ours. For what clients look at, which their own certificates are not.
const BACKDATED: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// The authority and the server's certificate.
pub struct Pki {
    dir: PathBuf,
    /// What the server's certificate must say: host names and addresses.
    names: Vec<String>,
    state: Mutex<State>,
}

struct State {
    current: Authority,
    /// Signed before, and does so again should the present one turn out to be of the future.
    previous: Option<Authority>,
    /// In the bundle, and not yet used for signing.
    next: Option<Authority>,
    /// No longer used for signing, and trusted until they expire.
    retired: Vec<CertificateDer<'static>>,
    server: ServerIdentity,
}

/// Why the certificates cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read, or others could read a key.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should. What the parser says is left out: it repeats what stands there, which may be
    /// a key.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Making a key or a certificate failed.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The system has no random bytes.
    #[error("no random bytes")]
    Random(#[from] keystead_crypto::CryptoFailed),
    /// What is asked for is not possible.
    #[error("{0}")]
    Invalid(String),
}

impl Pki {
    /// Opens `dir`, and makes what is not there. Nobody has compared clocks yet, so the authority stays as it is until
    /// [`Pki::tend`] says that they agree.
    pub fn open(dir: &Path, names: Vec<String>, now: Timestamp) -> Result<Self, PkiError> {
        let current = match Authority::read(&dir.join(CURRENT))? {
            Some(current) => current,
            None => Authority::make(now)?.write(&dir.join(CURRENT))?,
        };
        let previous = Authority::read(&dir.join(PREVIOUS))?;
        let next = Authority::read(&dir.join(NEXT))?;
        let retired = files::read_certificates(&dir.join(RETIRED))?;
        let server = match ServerIdentity::read(&dir.join(SERVER))? {
            Some(server) => server,
            None => ServerIdentity::make(&current, &names, now)?.write(&dir.join(SERVER))?,
        };
        let state = Mutex::new(State { current, previous, next, retired, server });
        let pki = Self { dir: dir.to_owned(), names, state };
        pki.tend(now, false)?;
        pki.write_bundle(&pki.state())?;
        Ok(pki)
    }

    /// Reads what [`Pki::open`] would read, and makes nothing.
    pub(crate) fn check(dir: &Path) -> Result<(), PkiError> {
        for name in [CURRENT, PREVIOUS, NEXT] {
            Authority::read(&dir.join(name))?;
        }
        files::read_certificates(&dir.join(RETIRED))?;
        ServerIdentity::read(&dir.join(SERVER)).map(drop)
    }

    /// Does what is due now, and says whether anything has changed. Running it twice is harmless. While the clock is not trusted
    /// only the server's certificate changes, which the next look makes good again.
    pub fn tend(&self, now: Timestamp, clock_is_trusted: bool) -> Result<bool, PkiError> {
        let mut state = self.state();
        let mut changed = true;
        match plan_authority(now, clock_is_trusted, &state.authorities()) {
            AuthorityStep::Keep => changed = false,
            AuthorityStep::Prepare => {
                state.next = Some(Authority::make(now)?.write(&self.dir.join(NEXT))?);
            }
            AuthorityStep::Switch => {
                self.retire_current(&mut state)?;
                state.current.keep(&self.dir.join(PREVIOUS))?;
                files::rename(&self.dir.join(NEXT), &self.dir.join(CURRENT))?;
                if let Some(next) = state.next.take() {
                    state.previous = Some(std::mem::replace(&mut state.current, next));
                }
            }
            AuthorityStep::Return => {
                self.retire_current(&mut state)?;
                files::rename(&self.dir.join(PREVIOUS), &self.dir.join(CURRENT))?;
                if let Some(previous) = state.previous.take() {
                    state.current = previous;
                }
                let until = state.current.validity.until;
                tracing::warn!(%until, "the authority is of the future: the one before it signs again");
            }
        }
        if clock_is_trusted {
            let before = state.retired.len();
            state.retired.retain(|certificate| authority::expires(certificate).is_none_or(|end| end > now));
            if state.retired.len() != before {
                files::write_certificates(&self.dir.join(RETIRED), &state.retired)?;
                changed = true;
            }
        }
        if changed {
            self.write_bundle(&state)?;
        }
        let fits = state.server.fits(&state.current, &self.names);
        let renewal = plan_renewal(now, state.server.validity.from, state.server.validity.until);
        // An authority that has ended signs nothing that anybody accepts.
        let can_sign = now < state.current.validity.until;
        if !fits || (renewal != Renewal::Keep && can_sign) {
            let server = ServerIdentity::make(&state.current, &self.names, now)?;
            state.server = server.write(&self.dir.join(SERVER))?;
            changed = true;
        }
        Ok(changed)
    }

    /// Names and addresses in the server's certificate.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The bundle for clients.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join(BUNDLE)
    }

    /// The text of the bundle for clients.
    pub fn ca_pem(&self) -> String {
        files::certificates_to_pem(&self.state().trusted())
    }

    /// Authorities that a client certificate may come from.
    pub fn trusted(&self) -> Vec<CertificateDer<'static>> {
        self.state().trusted()
    }

    /// What the server shows.
    pub fn server_identity(&self) -> ServerMaterial {
        let state = self.state();
        ServerMaterial {
            chain: vec![state.server.certificate.clone()],
            key_pem: zeroize::Zeroizing::new(state.server.key.serialize_pem()),
        }
    }

    /// When the authority that signs now ends.
    pub fn authority_not_after(&self) -> Timestamp {
        self.state().current.validity.until
    }

    /// Signs a certificate for a client, whose identity is `uri`.
    pub fn issue_client_certificate(
        &self,
        key: ClientKey<'_>,
        uri: &str,
        lifetime: std::time::Duration,
        now: Timestamp,
    ) -> Result<IssuedCertificate, PkiError> {
        client::issue(&self.state().current, key, uri, lifetime, now)
    }

    /// The bundle keeps the present one whatever happens between this and the step to the other.
    fn retire_current(&self, state: &mut State) -> Result<(), PkiError> {
        let retired = state.current.certificate.clone();
        if !state.retired.contains(&retired) {
            state.retired.push(retired);
        }
        files::write_certificates(&self.dir.join(RETIRED), &state.retired)
    }

    fn write_bundle(&self, state: &State) -> Result<(), PkiError> {
        files::write_certificates(&self.dir.join(BUNDLE), &state.trusted())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key and certificates for TLS.
pub struct ServerMaterial {
    /// The server's certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    pub key_pem: zeroize::Zeroizing<String>,
}

const CURRENT: &str = "authority.pem";
const PREVIOUS: &str = "previous-authority.pem";
const NEXT: &str = "next-authority.pem";
const RETIRED: &str = "retired-authorities.pem";
const SERVER: &str = "server.pem";
const BUNDLE: &str = "ca.pem";

impl State {
    fn authorities(&self) -> Authorities {
        let validity = |it: &Authority| it.validity;
        Authorities {
            previous: self.previous.as_ref().map(validity),
            current: self.current.validity,
            next: self.next.as_ref().map(validity),
        }
    }

    fn trusted(&self) -> Vec<CertificateDer<'static>> {
        let mut all = vec![self.current.certificate.clone()];
        let others = self.next.iter().map(|next| &next.certificate).chain(&self.retired);
        for certificate in others {
            if !all.contains(certificate) {
                all.push(certificate.clone());
            }
        }
        all
    }
}

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: Timestamp,
    /// The last moment.
    pub until: Timestamp,
}

/// 127 random bits: nobody can know the number before, and none comes twice.
fn serial() -> Result<rcgen::SerialNumber, PkiError> {
    use keystead_crypto::Random as _;
    let mut bytes = [0_u8; 16];
    keystead_crypto::SystemRandom.fill(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(rcgen::SerialNumber::from_slice(&bytes))
}

/// Sets both ends, to the second.
fn set_validity(
    params: &mut rcgen::CertificateParams,
    now: Timestamp,
    backdated: jiff::SignedDuration,
    lifetime: jiff::SignedDuration,
) -> Validity {
    let from = now.as_second() - backdated.as_secs();
    let until = now.as_second().saturating_add(lifetime.as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(u64::try_from(from).unwrap_or(0));
    params.not_after = epoch + std::time::Duration::from_secs(u64::try_from(until).unwrap_or(0));
    Validity {
        from: Timestamp::from_second(from).unwrap_or(now),
        until: Timestamp::from_second(until).unwrap_or(Timestamp::MAX),
    }
}
