//! What somebody should know of clusters although nobody has changed anything: silent agents, inventories that get old, values
//! under old versions. Read from records, so that every server on the store says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use keystead_model::cluster_host::SILENT_AFTER;
use keystead_model::{Cluster, ClusterHost, CryptoKeyName, ErrorClass};
use keystead_store::{Batch, Entry};

use crate::records::notice::{Event, EventKind, Lasting};
use crate::records::usage::Inventory;
use crate::records::{decode, encode, record_name};
use crate::{ClusterFigures, KeyService, KmsError};

/// After a look there is none for so many times as long as it took: 1,000 clusters of three hosts are some thousand reads, and calls come
/// first.
const RESTS: u32 = 20;
/// Receivers hear of a host that is silent for so long: a host that restarts is back by then.
const AWAY_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// Receivers hear of values that are under old versions for so long: the shortest rotation period of a key is a day.
const OLD_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Records that are read at once.
const READ: usize = 250;

/// What one process knows of its looks.
#[derive(Default)]
pub(crate) struct ClusterWatch {
    rests_until: Option<Instant>,
    /// Since when this process sees a host away that its record says is: after a start, or a jump of the clock, agents are given the
    /// time to say something.
    away: BTreeMap<String, Instant>,
}

/// What a look has seen.
#[derive(Default)]
struct Seen {
    figures: ClusterFigures,
    /// Hosts that have joined, by the record of their silence: since when they are away, if they are, and what is told of them.
    hosts: BTreeMap<String, (Option<Timestamp>, Told)>,
    /// What is told of values under old versions, by its record.
    old: BTreeMap<String, Told>,
}

struct Told {
    resource: String,
    text: String,
}

impl ClusterWatch {
    /// Looks at all clusters, unless the last look was a moment ago; answers what it saw. `counted` is the clock that nobody sets.
    pub(crate) async fn look(
        &mut self,
        service: &KeyService,
        counted: Instant,
    ) -> Result<Option<ClusterFigures>, KmsError> {
        if self.rests_until.is_some_and(|until| counted < until) {
            return Ok(None);
        }
        let began = Instant::now();
        let seen = service.see_clusters().await?;
        self.rests_until = counted.checked_add(began.elapsed().saturating_mul(RESTS));
        let is_away = |record: &String| seen.hosts.get(record).is_some_and(|(since, _)| since.is_some());
        self.away.retain(|record, _| is_away(record));
        for record in seen.hosts.keys().filter(|it| is_away(it)) {
            self.away.entry(record.clone()).or_insert(counted);
        }
        if !service.settings.webhooks.is_empty() {
            let long = SILENT_AFTER.unsigned_abs();
            let away =
                self.away.iter().filter(|(_, since)| counted.saturating_duration_since(**since) >= long);
            let away = away.map(|(record, _)| record.clone()).collect();
            service.tell_of_silent_hosts(&seen, &away).await?;
            service.tell_of_old_versions(&seen).await?;
        }
        Ok(Some(seen.figures))
    }
}

impl KeyService {
    async fn see_clusters(&self) -> Result<Seen, KmsError> {
        let (mut seen, mut after) = (Seen::default(), String::new());
        loop {
            let entries = self.store.list(record_name::CLUSTERS, &after, READ).await?;
            for entry in &entries {
                match self.see_cluster(entry, &mut seen).await {
                    // The log says which record it is; the other clusters are looked at all the same.
                    Err(error) if error.class() != ErrorClass::Corrupt => return Err(error),
                    _ => {}
                }
            }
            match entries.last() {
                Some(last) if entries.len() == READ => after.clone_from(&last.name),
                _ => return Ok(seen),
            }
        }
    }

    async fn see_cluster(&self, entry: &Entry, seen: &mut Seen) -> Result<(), KmsError> {
        let cluster: Cluster = decode(&entry.name, &entry.value)?;
        let figures = &mut seen.figures;
        *match (&cluster.running, &cluster.encryption.key) {
            (Some(_), _) => &mut figures.in_operation,
            (None, Some(_)) => &mut figures.encrypted,
            (None, None) => &mut figures.plain,
        } += 1;
        for host in self.hosts_of(&cluster.name).await? {
            self.see_host(&host, seen);
        }
        let (oldest, old_values) = self.count_inventories(&cluster).await?;
        let figures = &mut seen.figures;
        figures.oldest_inventory = figures.oldest_inventory.into_iter().chain(oldest).min();
        figures.old_values = figures.old_values.saturating_add(old_values);
        if old_values > 0 {
            figures.clusters_with_old_values += 1;
            let text = format!(
                "{old_values} values of cluster {} are not under the primary version of its key, for {} hours. Re-encrypt them: give the \
                 cluster the key that it has once more.",
                cluster.name.cluster,
                OLD_AFTER.as_hours()
            );
            let told = Told { resource: cluster.name.to_string(), text };
            seen.old.insert(record_name::old_versions(&cluster.name), told);
        }
        Ok(())
    }

    fn see_host(&self, host: &ClusterHost, seen: &mut Seen) {
        let Some(joined) = &host.joined else {
            seen.figures.hosts_invited += 1;
            return;
        };
        let now = self.clock.now();
        match host.is_heard(now) {
            true => seen.figures.hosts_heard += 1,
            false => seen.figures.hosts_silent += 1,
        }
        let last = host.reported.as_ref().map_or(joined.time, |it| it.time);
        let away = Some(last).filter(|last| now.duration_since(*last) >= AWAY_AFTER);
        let text = match away {
            Some(last) => format!(
                "The agent on host {} of cluster {} was last heard at {last}. Operations of the cluster wait for it, and its values are not \
                 counted.",
                host.node, host.name.cluster.cluster
            ),
            None => format!(
                "The agent on host {} of cluster {} is heard again.",
                host.node, host.name.cluster.cluster
            ),
        };
        let told = Told { resource: host.name.to_string(), text };
        seen.hosts.insert(record_name::silent_host(&host.name), (away, told));
    }

    /// When the oldest inventory of a cluster with a key was taken, and how many values are under something else than that key's primary
    /// version. While a task is on its way, the key is where it goes.
    async fn count_inventories(&self, cluster: &Cluster) -> Result<(Option<Timestamp>, u64), KmsError> {
        let has = cluster.encryption.key.as_ref();
        let uncounted = has.is_some_and(|key| !cluster.counted_keys.contains(key));
        let (mut oldest, mut old_values) = (uncounted.then_some(cluster.create_time), 0_u64);
        let wanted = match cluster.heading_for() {
            Some(target) => target.key.as_ref(),
            None => has,
        };
        for key in &cluster.counted_keys {
            let record = record_name::inventory(key, &Inventory::source_of(cluster));
            let Some(inventory) = self.read::<Inventory>(&record).await? else { continue };
            if has.is_some() {
                oldest = oldest.into_iter().chain([inventory.value.observe_time]).min();
            }
            let primary = match wanted {
                Some(wanted) if wanted == key => self.primary_of(key).await?,
                _ => None,
            };
            let old = inventory.value.counts.iter().filter(|(version, _)| Some(**version) != primary);
            old_values = old.fold(old_values, |sum, (_, count)| sum.saturating_add(*count));
        }
        Ok((oldest, old_values))
    }

    async fn primary_of(
        &self,
        key: &CryptoKeyName,
    ) -> Result<Option<keystead_model::VersionNumber>, KmsError> {
        match self.key(key).await {
            Ok(key) => Ok(key.primary),
            Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells once of each host that is away, and once when it is back.
    async fn tell_of_silent_hosts(&self, seen: &Seen, away: &BTreeSet<String>) -> Result<(), KmsError> {
        let known = self.store_of_lasting(record_name::SILENT_HOSTS).await?;
        for record in away.iter().filter(|record| !known.contains_key(*record)) {
            let Some((Some(since), told)) = seen.hosts.get(record) else { continue };
            let lasting = encode(&Lasting { since: *since, told: true })?;
            let batch = Batch::default().create(record.clone(), lasting);
            self.tell(batch, Some(event(EventKind::AgentAway, told))).await?;
        }
        for (record, entry) in known {
            let event = match seen.hosts.get(&record) {
                Some((Some(_), _)) => continue,
                Some((None, told)) => Some(event(EventKind::AgentBack, told)),
                // Somebody removed it.
                None => None,
            };
            self.tell(Batch::default().delete(record, entry.revision), event).await?;
        }
        Ok(())
    }

    /// Tells once of each cluster that has values under old versions for long.
    async fn tell_of_old_versions(&self, seen: &Seen) -> Result<(), KmsError> {
        let (known, now) = (self.store_of_lasting(record_name::OLD_VERSIONS).await?, self.clock.now());
        for (record, told) in &seen.old {
            let Some(entry) = known.get(record) else {
                let lasting = encode(&Lasting { since: now, told: false })?;
                self.tell(Batch::default().create(record.clone(), lasting), None).await?;
                continue;
            };
            let lasting: Lasting = decode(record, &entry.value)?;
            if !lasting.told && now.duration_since(lasting.since) >= OLD_AFTER {
                let lasting = encode(&Lasting { told: true, ..lasting })?;
                let batch = Batch::default().replace(record.clone(), entry.revision, lasting);
                self.tell(batch, Some(event(EventKind::OldVersions, told))).await?;
            }
        }
        for (record, entry) in known.into_iter().filter(|(record, _)| !seen.old.contains_key(record)) {
            self.tell(Batch::default().delete(record, entry.revision), None).await?;
        }
        Ok(())
    }

    async fn store_of_lasting(&self, prefix: &str) -> Result<BTreeMap<String, Entry>, KmsError> {
        let (mut all, mut after) = (BTreeMap::new(), String::new());
        loop {
            let entries = self.store.list(prefix, &after, READ).await?;
            let full = entries.len() == READ;
            after = entries.last().map(|entry| entry.name.clone()).unwrap_or_default();
            all.extend(entries.into_iter().map(|entry| (entry.name.clone(), entry)));
            if !full {
                return Ok(all);
            }
        }
    }

    /// Commits what is known, and what is told of it.
    async fn tell(&self, batch: Batch, event: Option<Event>) -> Result<(), KmsError> {
        let batch = self.telling(batch, event.as_slice())?;
        match self.ledger.commit(batch, None).await {
            Ok(committed) => committed.complete().map(drop),
            // Another process was faster.
            Err(uncommitted) if is_taken(uncommitted.error.class()) => Ok(()),
            Err(uncommitted) => Err(uncommitted.error),
        }
    }
}

fn is_taken(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Aborted | ErrorClass::AlreadyExists)
}

fn event(kind: EventKind, told: &Told) -> Event {
    Event::new(kind, &told.resource, told.text.as_str())
}
