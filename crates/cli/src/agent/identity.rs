//! How a host becomes one of a cluster's, and what it shows from then on.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use keystead_model::ClusterHostName;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ConfigurationArgs;
use crate::connection::{Connection, Proof};
use crate::output::say;

/// Make this control-plane host one of a cluster's, with the token that its administrator got for it
///
/// The token counts once: for the key that is made here and never leaves this host. If the answer is lost, run the command again. Then run
/// `keystead agent run`, as the unit does that `keystead agent unit` prints.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// Address of the server
    #[arg(long, value_name = "URL")]
    server: String,
    /// File with the join token, which `keystead container clusters hosts invite` writes
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Certificates of the authority that vouches for the server, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// What is known of a host that joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joined {
    pub(super) server: String,
    /// The host's name on the server, and so its cluster's.
    pub(super) host: String,
    /// The name of its Node.
    pub(super) node: String,
    /// When the certificate was issued, and when it ends.
    issued: Timestamp,
    pub(super) expires: Timestamp,
}

/// Where the agent keeps what it shows.
pub(super) struct Identity {
    directory: PathBuf,
}

impl Identity {
    pub(super) fn of(state: &Path) -> Self {
        Self { directory: state.to_owned() }
    }

    fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// What the server is verified with; none: the system's authorities, as when the host joined.
    pub(super) fn authority(&self) -> Option<PathBuf> {
        Some(self.directory.join(AUTHORITY)).filter(|path| path.exists())
    }

    fn joined_file(&self) -> PathBuf {
        self.directory.join("joined.json")
    }

    /// Which cluster this host belongs to; none: it has not joined.
    pub(super) fn joined(&self) -> Result<Option<Joined>, Failure> {
        let path = self.joined_file();
        if !path.exists() {
            return Ok(None);
        }
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let joined = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        joined.map(Some).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }

    /// To the server, as this host.
    pub(super) fn connect(&self, joined: &Joined) -> Result<Connection, Failure> {
        let proof = Proof::Certificate { certificate: self.certificate(), key: self.key() };
        Connection::with(&joined.server, self.authority().as_deref(), proof)
    }

    /// The next certificate each week, and with it what the server is verified with from then on. None: it is not time yet.
    pub(super) fn renew_if_due(
        &self,
        joined: &Joined,
        server: &Connection,
    ) -> Result<Option<Joined>, Failure> {
        let due = joined.issued.checked_add(RENEWED_AFTER).unwrap_or(joined.expires);
        match Timestamp::now() < due {
            true => Ok(None),
            false => self.join(&joined.server, &joined.node, server).map(Some),
        }
    }

    /// Writes nothing that would not work the next time.
    fn join(&self, address: &str, node: &str, server: &Connection) -> Result<Joined, Failure> {
        let key = self.private_key()?;
        let failed = |error: rcgen::Error| Failure::new(format!("no signing request can be made: {error}"));
        let request = CertificateParams::default().serialize_request(&key).and_then(|it| it.pem());
        let body = json!({ "signingRequestPem": request.map_err(failed)?, "node": node });
        let answer = server.post("/keystead/v1/agent:join", &[], &body)?;
        let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let wrong =
            |what: &str| Failure::new(format!("the server's answer to a host that joins has no good {what}"));
        let expires =
            text("expireTime").parse::<Timestamp>().map_err(|_| wrong("time when the certificate ends"))?;
        let host =
            text("host").parse::<ClusterHostName>().map_err(|_| wrong("name of the host"))?.to_string();
        if self.joined()?.is_some_and(|before| before.host != host) {
            return Err(wrong("name of the host: it is another one than before"));
        }
        let certificate = text("certificatePem");
        if !is_identity(&certificate, &key) {
            return Err(wrong("certificate"));
        }
        let authority = self.authorities(&text("authorityPem")).ok_or_else(|| wrong("authority"))?;
        let joined = Joined {
            server: address.to_owned(),
            host,
            node: node.to_owned(),
            issued: Timestamp::now(),
            expires,
        };
        self.write(&self.certificate(), certificate.as_bytes())?;
        match authority {
            Some(authority) => self.write(&self.directory.join(AUTHORITY), authority.as_bytes())?,
            None => self.remove(AUTHORITY)?,
        }
        // Last: with it the host has joined.
        self.write(&self.joined_file(), &serde_json::to_vec(&joined).unwrap_or_default())?;
        Ok(joined)
    }

    /// What the server is verified with from now on: what the administrator gave, which may be of an authority that is not the server's own,
    /// and what the server says. Without the former it is the system's authorities, as before. None: the answer holds no certificate.
    fn authorities(&self, answered: &str) -> Option<Option<String>> {
        reqwest::Certificate::from_pem_bundle(answered.as_bytes()).ok().filter(|it| !it.is_empty())?;
        let given = std::fs::read_to_string(self.directory.join(GIVEN_AUTHORITY)).ok();
        Some(given.map(|given| format!("{given}\n{answered}")))
    }

    /// Made once, and kept: a token counts for one key.
    fn private_key(&self) -> Result<KeyPair, Failure> {
        let path = self.key();
        let made = |error: rcgen::Error| Failure::new(format!("no key can be made: {error}"));
        if !path.exists() {
            let pem = Zeroizing::new(KeyPair::generate().map_err(made)?.serialize_pem());
            self.write(&path, pem.as_bytes())?;
        }
        let (pem, _) =
            whole_file::read(&path, Readers::Owner, LONGEST).map_err(|error| Failure::from_error(&error))?;
        let pem = std::str::from_utf8(&pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok());
        pem.ok_or_else(|| Failure::new(format!("{} holds no private key", path.display())))
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::new(format!("cannot remove {}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        whole_file::replace(path, bytes, Readers::Owner)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }
}

/// What the server is verified with.
const AUTHORITY: &str = "authority.pem";
/// What the administrator gave to verify the server with.
const GIVEN_AUTHORITY: &str = "given-authority.pem";
/// A certificate lives 90 days, and another authority of the server's is announced 30 days before it signs.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A private key in PEM is far shorter.
const LONGEST: usize = 64 << 10;

pub(super) fn join(args: &JoinArgs) -> Result<(), Failure> {
    let configuration = args.configuration.read()?;
    let identity = Identity::of(&configuration.state);
    if let Some(joined) = identity.joined()? {
        return Err(Failure::new(format!("this host has joined already, as {}", joined.host)).hint(format!(
            "to join anew remove {} and have the host removed on the server",
            configuration.state.display()
        )));
    }
    let here = configuration.host()?.node()?;
    make_private_directory(&configuration.state)?;
    match &args.ca_file {
        Some(file) => {
            let given = std::fs::read(file)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())).usage())?;
            identity.write(&identity.directory.join(GIVEN_AUTHORITY), &given)?;
        }
        // An attempt before this one may have had one.
        None => identity.remove(GIVEN_AUTHORITY)?,
    }
    let proof = Proof::Token(args.token_file.clone());
    let server = Connection::with(&args.server, args.ca_file.as_deref(), proof)?;
    let joined = identity.join(&args.server, &here, &server)?;
    say(&format!("joined as {}", joined.host));
    say("next: `keystead agent run`, as the unit does that `keystead agent unit` prints");
    Ok(())
}

/// Whether a certificate is one of this key's.
fn is_identity(certificate: &str, key: &KeyPair) -> bool {
    let key = Zeroizing::new(key.serialize_pem());
    let pem = Zeroizing::new(format!("{certificate}\n{}", key.as_str()));
    !certificate.is_empty() && reqwest::Identity::from_pem(pem.as_bytes()).is_ok()
}

/// For its owner alone.
pub(super) fn make_private_directory(path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot make {}: {error}", path.display())).hint("run it as root".to_owned())
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(Failure::new(format!(
            "{} has mode {mode:04o}, and others could read what is in it",
            path.display()
        ))
        .hint(format!("run `chmod 0700 {}`", path.display()))),
    }
}
