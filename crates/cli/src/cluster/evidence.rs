//! What `keystead cluster verify --evidence` writes, and `keystead cluster evidence check|create-key`.

mod check;
mod create_key;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keystead_cluster::evidence::{Evidence, Verification, signed};
use keystead_cluster::executor::InUse;
use keystead_cluster::rollout::Observed;
use keystead_crypto::SigningKey;
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

use crate::output::say;
use crate::output_file::replace_public;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum EvidenceCommand {
    Check(check::CheckArgs),
    CreateKey(create_key::CreateKeyArgs),
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Evidence")]
pub(super) struct EvidenceArgs {
    /// Write a signed report of what was found, whether it holds or not
    #[arg(long, value_name = "FILE", requires = "signing_key")]
    evidence: Option<PathBuf>,
    /// The Ed25519 key that signs it, in PKCS#8 and PEM; only its owner may read the file. `keystead cluster evidence create-key` makes one
    #[arg(long, value_name = "FILE", requires = "evidence")]
    signing_key: Option<PathBuf>,
    /// Write it over a file that is there
    #[arg(long, requires = "evidence")]
    replace: bool,
}

/// All that a report needs besides what is found.
pub(super) struct EvidenceFile {
    path: PathBuf,
    key: SigningKey,
    replace: bool,
}

/// Bytes of the longest key file: one of Ed25519 has some hundred.
const KEY_MAX: usize = 16 << 10;

impl EvidenceCommand {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Check(args) => args.run(),
            Self::CreateKey(args) => args.run(),
        }
    }
}

impl EvidenceArgs {
    /// Reads the key, and sees that the file can be written.
    pub(super) fn prepare(&self) -> Result<Option<EvidenceFile>, Failure> {
        let Some((path, key)) = self.evidence.clone().zip(self.signing_key.as_deref()) else {
            return Ok(None);
        };
        if !self.replace && path.symlink_metadata().is_ok() {
            return Err(there_already(&path));
        }
        if is_same_file(&path, key) {
            return Err(Failure::new("the evidence would be written over the key that signs it").usage());
        }
        let directory = whole_file::directory_of(&path);
        if !directory.is_dir() {
            return Err(Failure::new(format!("there is no directory {}", directory.display())).usage());
        }
        let (text, _) = whole_file::read(key, Readers::Owner, KEY_MAX)
            .map_err(|error| Failure::from_error(&error).hint(error.hint()).usage())?;
        let key = SigningKey::from_pem(&text).map_err(|error| {
            Failure::new(format!("{} cannot sign", key.display()))
                .because(&error)
                .caused_by(error.to_string())
                .usage()
                .hint("make one with `keystead cluster evidence create-key`".to_owned())
        })?;
        Ok(Some(EvidenceFile { path, key, replace: self.replace }))
    }
}

impl EvidenceFile {
    pub(super) fn write(
        &self,
        found: Verification,
        observed: &Observed,
        in_use: &BTreeMap<String, InUse>,
    ) -> Result<(), Failure> {
        let program = concat!("keystead ", env!("CARGO_PKG_VERSION")).to_owned();
        let evidence = Evidence::new(Timestamp::now(), program, found, observed, in_use);
        let text = signed::sign(evidence, &self.key).map_err(|error| Failure::from_error(&error))?;
        let written = match self.replace {
            true => replace_public(&self.path, text.as_bytes()),
            false => whole_file::create(&self.path, text.as_bytes(), Readers::Everybody),
        };
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => there_already(&self.path),
            _ => Failure::new(format!("cannot write {}: {error}", self.path.display())),
        })?;
        let fingerprint = signed::fingerprint(&self.key.public_key());
        say(&format!("{} has the evidence, signed by {fingerprint}", self.path.display()));
        Ok(())
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| path.metadata().map(|it| (it.dev(), it.ino())).ok();
    of(one).is_some_and(|it| of(other) == Some(it))
}

fn there_already(path: &Path) -> Failure {
    Failure::new(format!("{} exists already, and was left as it is", path.display()))
        .hint("name another file, or add --replace".to_owned())
}
