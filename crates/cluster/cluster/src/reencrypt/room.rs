//! Whether etcd has room for what is written anew.
//!
//! A rewrite is one more revision; the one before it stays until kube-apiserver has etcd compact it, which it asks for every 5 minutes by default
//! (`--etcd-compaction-interval`) for what is older than one such interval. When the database reaches its quota, etcd raises the alarm NOSPACE and takes
//! no write from anybody until a person acts: a run must never be what gets it there.

use std::pin::Pin;
use std::time::Duration;

use keystead_etcd::{Alarm, Etcd, ReadError, Space};
use tokio::time::{Instant, sleep};

use super::Interrupted;
use super::plan::Plan;
use crate::encryption_configuration::GroupResource;
use crate::etcd_path::etcd_path;

/// Between two looks. In it a run writes some MiB at most: far less than what is left above [`FULL`].
const LOOK: Duration = Duration::from_millis(250);
/// In hundredths of the quota: from here on nothing more is written until there is room. The rest is for everybody else.
const FULL: u64 = 80;

/// The etcd behind the API server, and how it is shared with others.
#[derive(Clone, Debug)]
pub struct Room {
    /// Where to look.
    pub etcd: Etcd,
    /// How long no room may come before the run gives up. Two intervals of compaction pass before what is written now is gone.
    pub patience: Duration,
}

impl Room {
    /// With the time for compaction as kube-apiserver has it by default.
    pub fn of(etcd: Etcd) -> Self {
        Self { etcd, patience: Duration::from_secs(11 * 60) }
    }

    /// What a person should know before the start: an alarm, or that all of it does not fit at once. None: there is room.
    ///
    /// # Errors
    ///
    /// etcd does not answer, or does not tell this user.
    pub async fn forecast(&self, plan: &Plan, etcd_prefix: &str) -> Result<Option<String>, ReadError> {
        if let Some(Alarm { kind, member }) = self.etcd.alarms().await?.into_iter().next() {
            return Ok(Some(format!("etcd has the alarm {kind} of member {member}: nothing can be written")));
        }
        let Space { in_use, quota } = self.etcd.space().await?;
        let Some(quota) = quota else {
            return Ok(Some(
                "this etcd does not say its quota, as before 3.6: only its alarms are watched".to_owned(),
            ));
        };
        let mut growth = 0;
        for step in &plan.steps {
            let Some(objects) = step.objects else { continue };
            let resource =
                GroupResource { resource: step.resource.name.clone(), group: step.resource.group.clone() };
            let prefix = format!("/{}/{}/", etcd_prefix.trim_matches('/'), etcd_path(&resource));
            // The first page stands for all.
            let Some(page) = self.etcd.scan(&prefix).next_page().await? else { continue };
            let bytes: usize = page.entries.iter().map(|it| it.key.len() + it.value.len()).sum();
            growth += (bytes as u64 / (page.entries.len() as u64).max(1)).saturating_mul(objects);
        }
        let fits = in_use.saturating_add(growth) < limit(quota);
        Ok((!fits).then(|| {
            format!(
                "etcd has used {} of its quota of {}, and all objects anew are about {} more: the run waits above {FULL} % until kube-apiserver has compacted",
                mib(in_use),
                mib(quota),
                mib(growth)
            )
        }))
    }
}

/// What a run knows of it.
pub(super) struct Watch {
    room: Room,
    next: Pin<Box<dyn Future<Output = Seen> + Send>>,
    /// Since when there is none, with the least that was in use since.
    full: Option<(Instant, u64)>,
}

enum Seen {
    Unknown,
    Space(Space),
    Alarm(Alarm),
}

/// What follows.
pub(super) enum Advice {
    GoOn,
    /// Nothing is sent for this long, for this reason.
    Rest(Duration, String),
    Stop(Interrupted),
}

impl Watch {
    pub(super) fn new(room: Room) -> Self {
        let next = Box::pin(look(room.etcd.clone(), Duration::ZERO));
        Self { room, next, full: None }
    }

    /// Waits for the next look. May be dropped and called again.
    pub(super) async fn advice(&mut self) -> Advice {
        let seen = (&mut self.next).await;
        self.next = Box::pin(look(self.room.etcd.clone(), LOOK));
        match seen {
            // The API server says it too where it has no room.
            Seen::Unknown => Advice::GoOn,
            Seen::Alarm(Alarm { kind, member }) => Advice::Stop(Interrupted::EtcdAlarm { kind, member }),
            Seen::Space(Space { in_use, quota: Some(quota) }) if in_use >= limit(quota) => {
                self.rest(in_use, quota)
            }
            Seen::Space(_) => {
                self.full = None;
                Advice::GoOn
            }
        }
    }

    fn rest(&mut self, in_use: u64, quota: u64) -> Advice {
        let now = Instant::now();
        let (since, least) = *self.full.get_or_insert((now, in_use));
        if in_use < least {
            self.full = Some((now, in_use));
        } else if now - since > self.room.patience {
            return Advice::Stop(Interrupted::NoRoom { in_use, quota });
        }
        let reason = format!(
            "etcd has used {} of its quota of {}; kube-apiserver is to compact it",
            mib(in_use),
            mib(quota)
        );
        // Longer than a look takes.
        Advice::Rest(LOOK * 8, reason)
    }
}

async fn look(etcd: Etcd, pause: Duration) -> Seen {
    sleep(pause).await;
    match (etcd.alarms().await, etcd.space().await) {
        (Ok(alarms), space) => match (alarms.into_iter().next(), space) {
            (Some(alarm), _) => Seen::Alarm(alarm),
            (None, Ok(space)) => Seen::Space(space),
            (None, Err(_)) => Seen::Unknown,
        },
        (Err(_), Ok(space)) => Seen::Space(space),
        (Err(_), Err(_)) => Seen::Unknown,
    }
}

fn limit(quota: u64) -> u64 {
    quota / 100 * FULL
}

/// In MiB, which quotas are given in.
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
