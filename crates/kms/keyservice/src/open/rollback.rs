use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use keystead_audit::{Destruction, Event, EventKind, Head, Record, SafeFields};
use keystead_model::{
    CryptoKey, CryptoKeyName, CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, KeyUid, VersionState,
    to_microseconds,
};
use keystead_store::{Batch, Revision, Store};

use super::{OpenError, Parts};
use crate::records::usage::Restored;
use crate::records::{self, decode, encode, record_name};
use crate::root::{Known, VersionEvent, VersionEventKind, VersionId, Witness};
use crate::{KeyService, KmsError};

/// Records that are read at once.
const PAGE: usize = 1000;
/// What the store knows of each version.
const VERSIONS: &str = "version/";
/// The witness may know a commit and not yet the ones before it, of calls that were under way with it. Noting a version twice does no harm.
const UNDER_WAY: u64 = 1024;
/// Most versions that an error names.
const NAMED: usize = 20;

/// The database is older than what its witness knows: an old copy was put back. Callers were told of commits that it lacks.
#[derive(Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The newest commit of the database.
    pub database: u64,
    /// The newest commit that the witness knows.
    pub witness: u64,
    /// Key versions that were made and are not in the database. Whatever is encrypted with them cannot be read.
    pub missing: Vec<CryptoKeyVersionName>,
}

impl std::error::Error for Rollback {}

impl fmt::Display for Rollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, witness, missing } = self;
        write!(
            f,
            "the database ends with commit {database}, and its witness knows commit {witness}: an older copy was put back. "
        )?;
        match missing.len() {
            0 => f.write_str("It lacks no key version.")?,
            count => write!(
                f,
                "It lacks {count} key version(s), and what is encrypted with them cannot be read: "
            )?,
        }
        let named: Vec<String> = missing.iter().take(NAMED).map(ToString::to_string).collect();
        f.write_str(&named.join(", "))?;
        if missing.len() > NAMED {
            f.write_str(", ...")?;
        }
        write!(
            f,
            " Put the newest copy back, or confirm commit {database} to go on from there; then versions that a backup \
             destination holds come back."
        )
    }
}

/// What comparing database and witness gave.
pub(super) struct Compared {
    pub(super) witness: Witness,
    /// Read only where the database may lack some, or the witness: there may be a million.
    pub(super) versions: Known,
    pub(super) standing: Standing,
}

/// How database and witness stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The witness knows the newest commit, and so every version.
    InStep,
    /// The process before this one ended between a commit and its note. Whatever came until `since` is noted.
    WitnessBehind { since: Revision },
    /// There is no witness: this is the first start, or a restore on another machine.
    NoWitness,
    /// The database is older, and somebody has confirmed it; or a start that recovered an older one ended before it was done.
    RolledBack,
}

impl Standing {
    /// Whether there may be versions that the database does not have.
    pub(super) fn is_older(self) -> bool {
        matches!(self, Self::NoWitness | Self::RolledBack)
    }
}

/// Refuses a database that is older than its witness, unless its commit is confirmed.
pub(super) async fn compare(parts: &Parts) -> Result<Compared, OpenError> {
    let (witness, point) = Witness::open(&parts.root)?;
    let database = newest_commit(parts.store.as_ref()).await?;
    let Some(point) = point else {
        if database != 0 {
            tracing::warn!(
                commit = database,
                "there is no witness: whether the database is the newest cannot be known"
            );
        }
        let versions = Known::read(&parts.root)?;
        return Ok(Compared { witness, versions, standing: Standing::NoWitness });
    };
    let (known, hash) = (point.audit_sequence, point.audit_hash);
    // A record that is damaged is told as damage, and is no reason not to start.
    if !parts.audit.extends(&Head { sequence: known, hash, time: Timestamp::UNIX_EPOCH })? {
        return Err(OpenError::AuditLog { found: parts.audit.head().sequence, known });
    }
    if database >= point.counter && recovery_is_unfinished(parts.store.as_ref()).await? {
        let versions = Known::read(&parts.root)?;
        return Ok(Compared { witness, versions, standing: Standing::RolledBack });
    }
    if database >= point.counter {
        if database == point.counter {
            return Ok(Compared { witness, versions: Known::default(), standing: Standing::InStep });
        }
        let since = Revision(point.counter.saturating_sub(UNDER_WAY));
        let versions = match parts.store.changes(since).await?.names {
            Some(_) => Known::default(),
            None => Known::read(&parts.root)?,
        };
        return Ok(Compared { witness, versions, standing: Standing::WitnessBehind { since } });
    }
    let versions = Known::read(&parts.root)?;
    let mut missing = Vec::new();
    for (id, name) in versions.made() {
        if !is_there(parts.store.as_ref(), id, name).await? {
            missing.push(name.clone());
        }
    }
    if parts.confirm_rollback != Some(database) {
        return Err(Box::new(Rollback { database, witness: point.counter, missing }).into());
    }
    let (witness_at, missing) = (point.counter, missing.len());
    tracing::warn!(database, witness = witness_at, missing, "going on from an older database, as confirmed");
    Ok(Compared { witness, versions, standing: Standing::RolledBack })
}

async fn recovery_is_unfinished(store: &dyn Store) -> Result<bool, KmsError> {
    let restored = records::read::<Restored>(store, record_name::RESTORED).await?;
    Ok(restored.is_some_and(|restored| restored.value.unfinished))
}

async fn newest_commit(store: &dyn Store) -> Result<u64, OpenError> {
    // Nothing is newer than the newest: the answer is only where the store is.
    Ok(store.changes(Revision(u64::MAX)).await?.up_to.0)
}

async fn is_there(store: &dyn Store, id: VersionId, name: &CryptoKeyVersionName) -> Result<bool, KmsError> {
    let Some(entry) = store.get(&record_name::key(&name.key)).await? else { return Ok(false) };
    let key: CryptoKey = decode(&entry.name, &entry.value)?;
    Ok(key.uid == id.uid && store.get(&record_name::version(name)).await?.is_some())
}

impl KeyService {
    /// Lets the witness go on from where the database is, after a crash, a restore or a rollback: what was destroyed is
    /// destroyed again, what a backup destination holds comes back, and the witness learns what it had no time to note.
    pub(super) async fn bring_witness_up(&self, known: &Known, standing: Standing) -> Result<(), KmsError> {
        // After a mere crash a destination holds at most what nobody was told of.
        let mut recovered = Vec::new();
        if standing.is_older() {
            let kept = self.kept_versions().await?;
            self.note_restored(true).await?;
            for (id, name) in known.destroyed() {
                self.destroy_again(id, name).await?;
            }
            recovered = self.recover_versions(kept, known).await?;
            self.note_restored(false).await?;
        }
        let mut events = self.unnoted(known, standing).await?;
        let newest = self.store.changes(Revision(u64::MAX)).await?.up_to;
        if standing != Standing::RolledBack {
            return self.ledger.witness().advance(self.ledger.point(newest), events).await;
        }
        for (id, name) in known.made() {
            let back = recovered.contains(&id);
            if !back && !is_there(self.store.as_ref(), id, name).await? {
                events.push(VersionEvent { kind: VersionEventKind::Lost, id, name: name.clone() });
            }
        }
        self.ledger.witness().reset(self.ledger.point(newest), events).await
    }

    /// Versions of the database whose making or destruction the witness does not know: the process ended in between, or the
    /// witness is new.
    async fn unnoted(&self, known: &Known, standing: Standing) -> Result<Vec<VersionEvent>, KmsError> {
        let (mut events, mut uids) = (Vec::new(), HashMap::new());
        if let Standing::WitnessBehind { since } = standing
            && let Some(names) = self.store.changes(since).await?.names
        {
            for name in names.iter().filter(|name| name.starts_with(VERSIONS)) {
                // One that was deleted was destroyed before, and that is noted.
                if let Some(stored) = self.read::<CryptoKeyVersion>(name).await? {
                    events.extend(self.unless_noted(stored.value, known, &mut uids).await?);
                }
            }
            return Ok(events);
        }
        let mut after = String::new();
        loop {
            let page = self.store.list(VERSIONS, &after, PAGE).await?;
            for entry in &page {
                let version = decode(&entry.name, &entry.value)?;
                events.extend(self.unless_noted(version, known, &mut uids).await?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Ok(events),
            }
        }
    }

    async fn unless_noted(
        &self,
        version: CryptoKeyVersion,
        known: &Known,
        uids: &mut HashMap<CryptoKeyName, KeyUid>,
    ) -> Result<Option<VersionEvent>, KmsError> {
        let name = version.name;
        let uid = match uids.get(&name.key) {
            Some(uid) => *uid,
            None => {
                let uid = self.read_key(&name.key).await?.value.uid;
                uids.insert(name.key.clone(), uid);
                uid
            }
        };
        let id = VersionId { uid, number: name.version };
        let kind = match version.state {
            VersionState::Destroyed => VersionEventKind::Destroyed,
            _ => VersionEventKind::Made,
        };
        // What it knows as destroyed stays destroyed, whatever an older database says.
        let noted = known.kind(id);
        let is_noted = noted == Some(VersionEventKind::Destroyed) || noted == Some(kind);
        Ok((!is_noted).then_some(VersionEvent { kind, id, name }))
    }

    /// Destroys the material of a version that an older database has brought back.
    async fn destroy_again(&self, id: VersionId, name: &CryptoKeyVersionName) -> Result<(), KmsError> {
        let Some(key) = self.read::<CryptoKey>(&record_name::key(&name.key)).await? else { return Ok(()) };
        let record = record_name::version(name);
        let Some(stored) = self.read::<CryptoKeyVersion>(&record).await? else { return Ok(()) };
        if key.value.uid != id.uid || stored.value.state == VersionState::Destroyed {
            return Ok(());
        }
        let now = self.clock.now();
        let destroyed = CryptoKeyVersion {
            state: VersionState::Destroyed,
            destroy_time: None,
            destroy_event_time: Some(to_microseconds(now)),
            ..stored.value
        };
        let mut batch = Batch::default().replace(record, stored.revision, encode(&destroyed)?).erasing();
        let material = record_name::material(name);
        if let Some(entry) = self.store.get(&material).await? {
            batch = batch.delete(material, entry.revision);
        }
        let mut event_id = [0; 16];
        self.random
            .fill(&mut event_id)
            .map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
        let event_id = hex::encode(event_id);
        let (service, method) = ("cloudkms.googleapis.com", "DestroyAgain");
        let mut event =
            Event::new(event_id.as_str(), now, service, method, name.to_string(), EventKind::System);
        event.destruction = Some(Destruction::Destroyed);
        event.response =
            SafeFields::new().with("reason", "it was destroyed before an older database was put back");
        let event = Record::of(&event);
        self.ledger.commit(batch, Some((&event_id, event))).await.map_err(|it| it.error)?.complete()?;
        tracing::warn!(version = %name, "destroyed again: an older database had brought it back");
        Ok(())
    }
}
