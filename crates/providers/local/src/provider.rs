use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystead_crypto::{MESSAGE_OVERHEAD, OpenError, Purpose, Random, Secret32, open, seal};
use keystead_model::{ErrorChain, ErrorClass, KeyVersion};
use keystead_provider::{Description, Pending, Provider, ProviderError, Wrapped};
use keystead_runtime::whole_file::ReadFile;

use crate::disk::{DiskError, load_open};
use crate::{EditError, KIND, KeyFile};

/// Serves the key file as it is now. Every call looks whether the file was replaced; one that has turned bad is reported
/// and the last good one is kept, because a typo must not stop a cluster.
pub struct LocalProvider {
    path: PathBuf,
    description: Description,
    current: Mutex<Current>,
    random: Arc<dyn Random>,
}

struct Current {
    file: Arc<KeyFile>,
    read: ReadFile,
    /// Why the file that is there now is not used.
    refused: Option<String>,
}

impl LocalProvider {
    /// Reads the key file.
    pub fn open(path: &Path, random: Arc<dyn Random>) -> Result<Self, DiskError> {
        let (file, read) = load_open(path)?;
        Ok(Self {
            path: path.to_owned(),
            description: Description { kind: KIND, key_name: file.id() },
            current: Mutex::new(Current { file: Arc::new(file), read, refused: None }),
            random,
        })
    }

    /// Why the key file that is on the disk now is not the one in use, if it is not. A process that starts would have to use
    /// it, or could not start.
    pub fn refused(&self) -> Option<String> {
        self.current();
        self.lock().refused.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<KeyFile> {
        let mut current = self.lock();
        // One that cannot be used is read again each time: what kept it from being read may be over.
        if current.refused.is_some() || !current.read.is_current() {
            match self.reload(&current.file) {
                Ok((file, read)) => *current = Current { file: Arc::new(file), read, refused: None },
                Err(error) => {
                    let reason = ErrorChain(&error).to_string();
                    if current.refused.as_ref() != Some(&reason) {
                        tracing::error!(
                            error = reason,
                            "the key file cannot be used; going on with the last good one"
                        );
                    }
                    current.refused = Some(reason);
                }
            }
        }
        Arc::clone(&current.file)
    }

    fn reload(&self, last: &KeyFile) -> Result<(KeyFile, ReadFile), ReloadError> {
        let (mut file, read) = load_open(&self.path)?;
        if file.id() != self.description.key_name {
            return Err(ReloadError::OtherKey { path: self.path.clone() });
        }
        file.can_follow(last).map_err(|source| ReloadError::FallsBack { path: self.path.clone(), source })?;
        file.remember(last);
        tracing::info!(primary = file.primary(), activation = file.activation(), "key file read again");
        Ok((file, read))
    }

    fn wrap_now(&self, key: &Secret32) -> Result<Wrapped, ProviderError> {
        let file = self.current();
        let version = file.primary();
        let kek =
            file.key(version).ok_or_else(|| ProviderError::new(ErrorClass::Bug, "the primary is missing"))?;
        let mut bytes = Vec::with_capacity(MESSAGE_OVERHEAD + 32);
        seal(kek, Purpose::KeyFileWrap, &self.context(version), key.expose(), &*self.random, &mut bytes)
            .map_err(|error| ProviderError::new(ErrorClass::Bug, error.to_string()))?;
        let (activation, material) = (Some(file.activation()), file.material(version));
        Ok(Wrapped { version: KeyVersion::from(version), activation, material, bytes })
    }

    fn unwrap_now(&self, version: &KeyVersion, wrapped: &[u8]) -> Result<Secret32, ProviderError> {
        let missing = || {
            let text = format!(
                "the key file holds no version {version}: it was removed, is not here yet, or the file is an older copy"
            );
            ProviderError::new(ErrorClass::NotFound, text)
        };
        let number: u32 = version.as_str().parse().map_err(|_| missing())?;
        // `01` is no name of version 1.
        if KeyVersion::from(number) != *version {
            return Err(missing());
        }
        let file = self.current();
        let kek = file.key(number).ok_or_else(missing)?;
        let corrupt = |error: OpenError| ProviderError::new(ErrorClass::Corrupt, error.to_string());
        let key = open(kek, Purpose::KeyFileWrap, &self.context(number), wrapped).map_err(corrupt)?;
        Secret32::from_slice(key.expose()).ok_or_else(|| corrupt(OpenError::Altered))
    }

    fn context(&self, version: u32) -> Vec<u8> {
        format!("{} {version}", self.description.key_name).into_bytes()
    }
}

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("key file {} now holds another key; that needs a new provider name in the EncryptionConfiguration and a restart", path.display())]
    OtherKey { path: PathBuf },
    #[error("key file {} was replaced by one that cannot follow it, so the newer one must be put back", path.display())]
    FallsBack { path: PathBuf, source: EditError },
}

impl Provider for LocalProvider {
    fn describe(&self) -> &Description {
        &self.description
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        Box::pin(async move { self.wrap_now(key) })
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(async move { self.unwrap_now(version, wrapped) })
    }
}
