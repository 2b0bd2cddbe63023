mod admin_token;
mod first_start;
mod recover;
mod rollback;
mod store_key;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use keystead_audit::{AuditError, AuditLog};
use keystead_crypto::{Random, SecretBytes};
use keystead_model::ErrorClass;
use keystead_provider::{Provider, ProviderError};
use keystead_store::{Batch, Revision, Store, StoreError};
use tokio::sync::Semaphore;

use crate::identity::{Groups, GroupsError, IdentityState};
use crate::key_material::Sealing;
use crate::ledger::{Destinations, Ledger};
use crate::records::{self, encode, record_name};
use crate::remembered::{Feed, InStep, Remembered};
use crate::root::{RootDirectory, RootError};
use crate::service::MOST_SCANS;
use crate::{Clock, KeyService, KmsError, Settings};

pub use rollback::Rollback;
use rollback::Standing;

/// What the key service is put together from.
pub struct Parts {
    /// Keeps records.
    pub store: Arc<dyn Store>,
    /// Keeps the audit log.
    pub audit: Arc<AuditLog>,
    /// Wraps the store key.
    pub root_key: Arc<dyn Provider>,
    /// Where the witness is.
    pub root: RootDirectory,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives random bytes.
    pub random: Arc<dyn Random>,
    /// What the configuration says.
    pub settings: Settings,
    /// On the first start, and with `new_admin_token`: writes down the administrator's token, which nobody can ask for again. It is
    /// called before the token counts, so that a crash in between leaves a token that never counted, and not a server without a
    /// way in. The next first start writes over it. With `new_admin_token`, which is not to be asked for while a token is there,
    /// somebody has to remove it and start once more.
    pub keep_admin_token: KeepToken,
    /// Make another token of the administrator: nobody has one that works.
    pub new_admin_token: bool,
    /// The commit of a database that is older than its witness, as the error named it: go on from there all the same.
    pub confirm_rollback: Option<u64>,
}

/// See [`Parts::keep_admin_token`].
pub type KeepToken = Box<dyn Fn(&SecretBytes) -> io::Result<()> + Send + Sync>;

impl KeyService {
    /// Opens the service: compares database and witness, unwraps the store key (and wraps it anew after a rotation of the root
    /// key) or on the first start makes it, brings into
    /// the audit log what was committed and not recorded when the process before this one ended, and after a rollback
    /// destroys again what was destroyed.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, OpenError> {
        let groups = Groups::open(parts.settings.groups_file.clone())?;
        let directories = distinct(&parts.settings.backup_destinations).map_err(OpenError::Destination)?;
        look_for_new(parts.store.as_ref(), &directories).await?;
        let server = parts.root.server_id(parts.random.as_ref())?;
        let mut compared = rollback::compare(&parts).await?;
        let stored = store_key::read(&parts).await?;
        let new_admin_token = parts.new_admin_token && stored.is_some();
        let store_key = match stored {
            Some(store_key) => {
                store_key::follow_rotation(&parts, &server, &store_key).await?;
                store_key
            }
            None => {
                compared.standing = Standing::WitnessBehind { since: Revision(0) };
                first_start::make(
                    &parts.store,
                    &parts.audit,
                    &parts.root_key,
                    &parts.clock,
                    &parts.random,
                    &server,
                    &parts.keep_admin_token,
                )
                .await?
            }
        };
        let used = used_destinations(parts.store.as_ref()).await?;
        let restored = compared.standing.is_older();
        let destinations = Destinations::open(&directories, &used, restored, &store_key);
        let destinations = destinations.map_err(OpenError::Destination)?;
        let identity = IdentityState::new(groups, &store_key)
            .map_err(|_| KmsError::new(ErrorClass::Bug, "keys cannot be derived from the store key"))?;
        let remembered = Arc::new(Remembered::new());
        let newest = parts.store.changes(Revision(u64::MAX)).await?.up_to;
        let feed = Arc::new(Feed::start(&parts.store, Arc::clone(&remembered), newest));
        let store: Arc<dyn Store> = Arc::new(InStep::new(Arc::clone(&parts.store), Arc::clone(&feed)));
        let ledger =
            Ledger::new(parts.store, Arc::clone(&parts.audit), feed, compared.witness, destinations, server);
        let service = Self {
            identity,
            scans: Semaphore::new(MOST_SCANS),
            store,
            audit: parts.audit,
            clock: parts.clock,
            random: parts.random,
            sealing: Sealing::new(store_key),
            settings: parts.settings,
            remembered,
            ledger: Arc::new(ledger),
            figures: Default::default(),
            failed_operations: Default::default(),
            _root: parts.root,
        };
        service.ledger.deliver_everything().await?;
        if compared.standing != Standing::InStep {
            service.bring_witness_up(&compared.versions, compared.standing).await?;
        }
        service.note_destinations(used).await?;
        if new_admin_token {
            service.make_admin_token(&parts.keep_admin_token).await?;
        }
        Ok(Arc::new(service))
    }
}

impl KeyService {
    /// From now on a destination that is empty is one that went away.
    async fn note_destinations(&self, mut used: Vec<String>) -> Result<(), KmsError> {
        let before = used.len();
        for place in self.ledger.destinations().places() {
            let name = place.directory().display().to_string();
            if !used.contains(&name) {
                used.push(name);
            }
        }
        if used.len() > before {
            let batch = Batch::default().put(record_name::DESTINATIONS, encode(&used)?);
            self.ledger.commit(batch, None).await.map_err(|it| it.error)?.complete()?;
        }
        Ok(())
    }
}

/// The directories that were destinations. None is ever forgotten: what was taken out of the settings may come back into them.
async fn used_destinations(store: &dyn Store) -> Result<Vec<String>, KmsError> {
    let stored = records::read(store, record_name::DESTINATIONS).await?;
    Ok(stored.map(|it| it.value).unwrap_or_default())
}

/// Names each directory in one way, however it was written, and refuses one that is named twice: it would count as two.
fn distinct(directories: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut distinct: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let directory: PathBuf = std::path::absolute(directory)?.components().collect();
        if distinct.contains(&directory) {
            let text = format!("{} is named twice; name each destination once", directory.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        distinct.push(directory);
    }
    Ok(distinct)
}

/// Refuses a new destination that is not there, before a first start makes anything.
async fn look_for_new(store: &dyn Store, directories: &[PathBuf]) -> Result<(), OpenError> {
    let used = used_destinations(store).await?;
    for directory in directories {
        let name = directory.display().to_string();
        if !used.contains(&name) && !directory.is_dir() {
            let text = format!("{name} is not a directory; make or mount it first");
            return Err(OpenError::Destination(io::Error::new(io::ErrorKind::NotFound, text)));
        }
    }
    Ok(())
}

/// Why the service does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The audit log fails.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The audit log is not what the witness knows.
    #[error(
        "the audit log ends with record {found}, and its witness knows record {known}: records were removed or rewritten. Put \
         the log back, or move `witness` and `versions` out of the root directory to go on without this proof"
    )]
    AuditLog {
        /// The newest record.
        found: u64,
        /// What the witness knows.
        known: u64,
    },
    /// A backup destination cannot be used.
    #[error("a backup destination cannot be used: {0}")]
    Destination(#[source] io::Error),
    /// The groups cannot be used.
    #[error(transparent)]
    Groups(#[from] GroupsError),
    /// The administrator's token was not written down.
    #[error("cannot write down the administrator's token: {0}")]
    AdminToken(#[source] io::Error),
    /// A record is damaged, or cannot be written.
    #[error(transparent)]
    Records(#[from] KmsError),
    /// The database is older than its witness.
    #[error(transparent)]
    Rollback(#[from] Box<Rollback>),
    /// The root directory cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The root key does not wrap or unwrap.
    #[error("the root key cannot be used: {0}")]
    RootKey(#[from] ProviderError),
    /// The root key is not the one of this database.
    #[error("the database belongs to root key {needed}, and the root key given is {given}")]
    OtherRootKey {
        /// Kind and name of the key that the database needs.
        needed: String,
        /// Kind and name of the key that is there.
        given: String,
    },
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Decides the exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Audit(error) => error.class(),
            Self::AuditLog { .. } => ErrorClass::Corrupt,
            Self::Groups(_) | Self::OtherRootKey { .. } => ErrorClass::Misconfigured,
            Self::Destination(_) | Self::AdminToken(_) => ErrorClass::Unavailable,
            Self::Records(error) => error.class(),
            Self::Rollback(_) => ErrorClass::FailedPrecondition,
            Self::Root(error) => error.class(),
            Self::RootKey(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests;
