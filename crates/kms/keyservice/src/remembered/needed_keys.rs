use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keystead_model::{Cluster, CryptoKeyName};
use keystead_store::Revision;

use crate::KmsError;
use crate::records::{decode, record_name};

/// Which clusters need which key to be read, as their records say. It is asked before a version of a key is destroyed, so
/// that it answers only while it knows the records of all clusters.
#[derive(Default)]
pub(crate) struct NeededKeys(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// All commits up to this one are known; none: not all records are.
    known: Option<Revision>,
    /// By the record of a cluster.
    keys: HashMap<String, Vec<CryptoKeyName>>,
    clusters: HashMap<CryptoKeyName, BTreeSet<String>>,
    /// Records that cannot be read: such a cluster may need any key.
    damaged: BTreeSet<String>,
}

impl NeededKeys {
    /// Takes what the record of a cluster says now; `None`: the record is gone.
    pub(super) fn note(&self, record: &str, bytes: Option<&[u8]>) -> Result<(), KmsError> {
        if !record.starts_with(record_name::CLUSTERS) {
            return Ok(());
        }
        let cluster = bytes.map(|bytes| decode::<Cluster>(record, bytes)).transpose();
        let mut inner = self.lock();
        inner.forget(record);
        match cluster {
            Ok(cluster) => inner.keep(record, cluster.map(|it| it.needed_to_read()).unwrap_or_default()),
            Err(error) => {
                inner.damaged.insert(record.to_owned());
                return Err(error);
            }
        }
        Ok(())
    }

    /// The records of all clusters that need the key, in order; `None`: not everything up to this commit is known.
    pub(crate) fn clusters(&self, key: &CryptoKeyName, up_to: Revision) -> Option<Vec<String>> {
        let inner = self.lock();
        inner.known.filter(|known| *known >= up_to)?;
        let clusters = inner.clusters.get(key).into_iter().flatten();
        Some(clusters.chain(&inner.damaged).cloned().collect())
    }

    /// Everything up to this commit was noted; `None`: that is not known.
    pub(super) fn set_known(&self, up_to: Option<Revision>) {
        self.lock().known = up_to;
    }

    /// Forgets every record, before all of them are noted again.
    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, record: &str, keys: Vec<CryptoKeyName>) {
        for key in &keys {
            self.clusters.entry(key.clone()).or_default().insert(record.to_owned());
        }
        if !keys.is_empty() {
            self.keys.insert(record.to_owned(), keys);
        }
    }

    fn forget(&mut self, record: &str) {
        self.damaged.remove(record);
        for key in self.keys.remove(record).unwrap_or_default() {
            let Some(clusters) = self.clusters.get_mut(&key) else { continue };
            clusters.remove(record);
            if clusters.is_empty() {
                self.clusters.remove(&key);
            }
        }
    }
}
