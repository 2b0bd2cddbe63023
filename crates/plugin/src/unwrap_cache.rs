//! Unwrapped wrapping keys, so that a Decrypt rarely costs a call, and a hundred at once cost one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyReference, KeyVersion, Material};
use keystead_provider::{Provider, ProviderError};
use keystead_runtime::Tasks;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Distinct wrapping keys in etcd: one a day and host and one at each start of a plugin, since the last rewrite. These are seven
/// years of three hosts, in about 0.5 KB each. With fewer than there are, KMS v1 costs a call of the backend for every other
/// Secret when an API server starts: its list goes through all wrapping keys in no order, one Secret after another.
const CAPACITY: usize = 8192;
/// Unwraps under way at once. kube-apiserver asks serially for each list; more is an attack or a storm.
const MAX_UNDER_WAY: usize = 256;
/// Entries that nobody asked for in this time go: what Secrets are under is asked for at least when an API server starts.
const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

type Outcome = Result<Arc<Secret32>, ProviderError>;

/// What came of a lookup, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Already unwrapped.
    Hit,
    /// Somebody else is unwrapping it.
    Joined,
    /// Asks the backend.
    Miss,
}

/// At most [`CAPACITY`] entries; the least recently used goes first.
pub(crate) struct UnwrapCache {
    entries: Mutex<Entries>,
    outage_bound: Duration,
    tasks: Tasks,
}

#[derive(Default)]
struct Entries {
    by_wrapped: HashMap<Name, Entry>,
    /// When the backend last unwrapped something of a KEK.
    confirmed: HashMap<Kek, Instant>,
    under_way: usize,
    /// Counts lookups, for the order of use.
    clock: u64,
}

/// Key id and wrapped form: what was wrapped by one version is never served for another.
type Name = (String, Vec<u8>);

/// What the backend's word about one entry holds for: a version, and of versions that hosts made apart under one number the
/// one material.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kek {
    version: KeyVersion,
    material: Option<Material>,
}

impl Kek {
    fn of(reference: &KeyReference) -> Self {
        Self { version: reference.version().clone(), material: reference.material() }
    }
}

enum Entry {
    Ready { key: Arc<Secret32>, kek: Kek, last_used: u64, asked_for: Instant },
    UnderWay(watch::Receiver<Option<Outcome>>),
}

impl UnwrapCache {
    /// Empty. `outage_bound` is how long entries live that the backend does not confirm.
    pub(crate) fn new(outage_bound: Duration, tasks: Tasks) -> Self {
        Self { entries: Mutex::default(), outage_bound, tasks }
    }

    /// Puts in a key that is known already.
    pub(crate) fn learn(&self, reference: &KeyReference, wrapped: &[u8], key: &Arc<Secret32>) {
        let name = (reference.to_string(), wrapped.to_vec());
        self.entries().insert(name, Kek::of(reference), Arc::clone(key));
    }

    /// The key that `wrapped` holds: from memory, or by one call however many ask at once.
    pub(crate) async fn unwrap(
        self: &Arc<Self>,
        provider: &Arc<dyn Provider>,
        reference: &KeyReference,
        wrapped: &[u8],
    ) -> (Lookup, Outcome) {
        let (lookup, mut outcome) = match self.find_or_start(provider, reference, wrapped) {
            Found::Ready(key) => return (Lookup::Hit, Ok(key)),
            Found::Full => return (Lookup::Miss, Err(overloaded())),
            Found::UnderWay(lookup, outcome) => (lookup, outcome),
        };
        let outcome = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        (lookup, outcome.unwrap_or_else(|| Err(ended())))
    }

    fn find_or_start(
        self: &Arc<Self>,
        provider: &Arc<dyn Provider>,
        reference: &KeyReference,
        wrapped: &[u8],
    ) -> Found {
        let name = (reference.to_string(), wrapped.to_vec());
        let mut entries = self.entries();
        entries.clock += 1;
        let now = entries.clock;
        match entries.by_wrapped.get_mut(&name) {
            Some(Entry::Ready { key, last_used, asked_for, .. }) => {
                (*last_used, *asked_for) = (now, Instant::now());
                return Found::Ready(Arc::clone(key));
            }
            Some(Entry::UnderWay(outcome)) => return Found::UnderWay(Lookup::Joined, outcome.clone()),
            None => {}
        }
        if entries.under_way >= MAX_UNDER_WAY {
            return Found::Full;
        }
        let (done, outcome) = watch::channel(None);
        entries.under_way += 1;
        entries.by_wrapped.insert(name.clone(), Entry::UnderWay(outcome.clone()));
        drop(entries);

        // A task of its own: callers may give up, the others still get the answer.
        let (cache, provider, kek) = (Arc::clone(self), Arc::clone(provider), Kek::of(reference));
        self.tasks.spawn("unwrap", async move {
            let outcome = provider.unwrap(&kek.version, &name.1).await.map(Arc::new);
            cache.entries().finish(name, kek, &outcome);
            done.send_replace(Some(outcome));
        });
        Found::UnderWay(Lookup::Miss, outcome)
    }

    /// Asks the backend again for one entry of each KEK. One that it refuses loses all its entries at once; one that it cannot
    /// answer for keeps them until the outage bound. Entries that it cannot open any more stay: nobody took
    /// the key away, and this may be the only place where it still is.
    pub(crate) async fn recheck(&self, provider: &dyn Provider) {
        self.entries().drop_idle();
        let samples = self.entries().one_of_each_kek();
        for (kek, wrapped) in samples {
            let version = kek.version.as_str();
            let confirmed = provider.recheck(&kek.version, &wrapped).await;
            let mut entries = self.entries();
            match confirmed {
                Ok(_) => {
                    entries.confirmed.insert(kek, Instant::now());
                }
                Err(error) if error.class().is_revocation() => {
                    tracing::warn!(version, %error, "cached keys dropped: the backend refuses the version");
                    entries.drop_kek(&kek);
                }
                Err(error) if error.class() == ErrorClass::Corrupt => {
                    tracing::warn!(version, %error, "the backend cannot open what it wrapped; cached keys kept");
                }
                Err(error) => {
                    let age = entries.confirmed.get(&kek).map(Instant::elapsed).unwrap_or_default();
                    if age >= self.outage_bound {
                        tracing::warn!(version, %error, "cached keys dropped: the outage bound is over");
                        entries.drop_kek(&kek);
                    }
                }
            }
        }
    }

    /// Rechecks every `interval` until told to stop, also in the middle of a recheck.
    pub(crate) async fn recheck_every(
        self: Arc<Self>,
        provider: Arc<dyn Provider>,
        interval: Duration,
        stopping: CancellationToken,
    ) {
        let rechecks = async {
            loop {
                tokio::time::sleep(interval).await;
                self.recheck(&*provider).await;
            }
        };
        let _stopped: Option<()> = stopping.run_until_cancelled(rechecks).await;
    }

    /// Entries held now.
    pub(crate) fn len(&self) -> usize {
        self.entries().by_wrapped.len()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Ready(Arc<Secret32>),
    UnderWay(Lookup, watch::Receiver<Option<Outcome>>),
    Full,
}

impl Entries {
    fn insert(&mut self, name: Name, kek: Kek, key: Arc<Secret32>) {
        if self.by_wrapped.len() >= CAPACITY && !self.by_wrapped.contains_key(&name) {
            self.evict_one();
        }
        self.clock += 1;
        self.confirmed.insert(kek.clone(), Instant::now());
        let entry = Entry::Ready { key, kek, last_used: self.clock, asked_for: Instant::now() };
        self.by_wrapped.insert(name, entry);
    }

    fn finish(&mut self, name: Name, kek: Kek, outcome: &Outcome) {
        self.under_way = self.under_way.saturating_sub(1);
        // Removed first, so that it does not count against the capacity twice.
        self.by_wrapped.remove(&name);
        if let Ok(key) = outcome {
            self.insert(name, kek, Arc::clone(key));
        }
    }

    fn evict_one(&mut self) {
        let oldest = self.by_wrapped.iter().filter_map(|(name, entry)| match entry {
            Entry::Ready { last_used, .. } => Some((*last_used, name)),
            Entry::UnderWay(_) => None,
        });
        if let Some(name) = oldest.min_by_key(|(last_used, _)| *last_used).map(|(_, name)| name.clone()) {
            self.by_wrapped.remove(&name);
        }
    }

    fn one_of_each_kek(&self) -> HashMap<Kek, Vec<u8>> {
        let mut samples = HashMap::new();
        for ((_, wrapped), entry) in &self.by_wrapped {
            if let Entry::Ready { kek, .. } = entry
                && !samples.contains_key(kek)
            {
                samples.insert(kek.clone(), wrapped.clone());
            }
        }
        samples
    }

    fn drop_idle(&mut self) {
        let idle =
            |entry: &mut Entry| matches!(entry, Entry::Ready { asked_for, .. } if asked_for.elapsed() > IDLE);
        self.by_wrapped.retain(|_, entry| !idle(entry));
    }

    fn drop_kek(&mut self, refused: &Kek) {
        self.by_wrapped.retain(|_, entry| !matches!(entry, Entry::Ready { kek, .. } if kek == refused));
        self.confirmed.remove(refused);
    }
}

fn overloaded() -> ProviderError {
    ProviderError::new(
        ErrorClass::Throttled,
        format!("{MAX_UNDER_WAY} keys are being unwrapped already; try again"),
    )
}

fn ended() -> ProviderError {
    ProviderError::new(ErrorClass::Unavailable, "the plugin is stopping")
}

#[cfg(test)]
mod tests;
