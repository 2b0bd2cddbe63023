//! `keystead cluster evidence create-key`

use std::path::PathBuf;

use keystead_cluster::evidence::signed;
use keystead_crypto::{SigningKey, SystemRandom, pem};
use keystead_runtime::whole_file::{self, Readers};
use keystead_runtime::{Failure, print_result};

use crate::output_file::NewSecretFile;

/// Make a key that signs evidence: an Ed25519 key in PKCS#8 and PEM, as `openssl genpkey -algorithm ed25519` makes one
///
/// Neither file may exist. It prints the fingerprint of the key, which is in every report that the key signs. Exit codes: 0 made, 1 not.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateKeyArgs {
    /// Where the private key goes; only its owner can read it
    file: PathBuf,
    /// Where the public key goes, which auditors need
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

impl CreateKeyArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let cannot = |path: &PathBuf, error: std::io::Error| {
            Failure::new(format!("cannot write {}: {error}", path.display()))
        };
        if self.file == self.public_key {
            return Err(Failure::new("the private key and the public key cannot be one file").usage());
        }
        let place = NewSecretFile::prepare(&self.file).map_err(|error| cannot(&self.file, error))?;
        let key = SigningKey::generate(&SystemRandom).map_err(|error| Failure::from_error(&error))?;
        let public =
            SigningKey::from_pkcs8(key.expose()).map_err(|error| Failure::from_error(&error))?.public_key();
        // First: a private key that is there already is not lost, and a public one alone does no harm.
        whole_file::create(&self.public_key, public.to_string().as_bytes(), Readers::Everybody)
            .map_err(|error| cannot(&self.public_key, error))?;
        place
            .finish(pem("PRIVATE KEY", key.expose()).as_bytes())
            .map_err(|error| cannot(&self.file, error))?;
        print_result(&format!("{}\n", signed::fingerprint(&public)))
    }
}
