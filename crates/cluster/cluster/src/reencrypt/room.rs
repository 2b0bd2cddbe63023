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
/// In hundredths of the quota: a file as large as this takes hardly a write more (`Quota.Available` of etcd).
const FILE_FULL: u64 = 99;

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
        let space = self.etcd.space().await?;
        if let Some(error) = fragmented(&space) {
            return Ok(Some(error.to_string()));
        }
        let in_use = space.in_use;
        let Some(quota) = space.quota else {
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
    full: Option<Full>,
}

/// Since when there is no room.
#[derive(Clone, Copy)]
struct Full {
    since: Instant,
    /// The least that was in use since.
    in_use: u64,
    quota: u64,
}

enum Seen {
    Unknown,
    Space(Space),
    Alarm(Alarm),
}

/// What follows.
pub(super) enum Advice {
    GoOn,
    /// Nothing is sent until something else is said, for this reason.
    Rest(String),
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
            Seen::Alarm(Alarm { kind, member }) => Advice::Stop(Interrupted::EtcdAlarm { kind, member }),
            Seen::Space(space) => {
                if let Some(fragmented) = fragmented(&space) {
                    return Advice::Stop(fragmented);
                }
                self.full = space.quota.filter(|quota| space.in_use >= limit(*quota)).map(|quota| {
                    let known = self.full.filter(|it| it.in_use <= space.in_use);
                    known.unwrap_or(Full { since: Instant::now(), in_use: space.in_use, quota })
                });
                self.rest()
            }
            // It is as full as it was. Where it had room, the API server says it too when it has none.
            Seen::Unknown => self.rest(),
        }
    }

    fn rest(&self) -> Advice {
        let Some(Full { since, in_use, quota }) = self.full else { return Advice::GoOn };
        if since.elapsed() > self.room.patience {
            return Advice::Stop(Interrupted::NoRoom { in_use, quota });
        }
        Advice::Rest(format!(
            "etcd has used {} of its quota of {}; kube-apiserver is to compact it",
            mib(in_use),
            mib(quota)
        ))
    }
}

/// Alarms are only asked for where the member says that something is wrong: that question is a write for etcd.
async fn look(etcd: Etcd, pause: Duration) -> Seen {
    sleep(pause).await;
    let Ok(space) = etcd.space().await else { return Seen::Unknown };
    if space.troubled
        && let Ok(alarms) = etcd.alarms().await
        && let Some(alarm) = alarms.into_iter().next()
    {
        return Seen::Alarm(alarm);
    }
    Seen::Space(space)
}

/// What etcd compares with its quota is the file, whose free pages do not count as room: where they are all that is left, waiting
/// for compaction does not help.
fn fragmented(space: &Space) -> Option<Interrupted> {
    let quota = space.quota?;
    let is_it = space.size >= quota / 100 * FILE_FULL && space.in_use < limit(quota);
    is_it.then_some(Interrupted::Fragmented { size: space.size, in_use: space.in_use, quota })
}

fn limit(quota: u64) -> u64 {
    quota / 100 * FULL
}

/// In MiB, which quotas are given in.
pub(super) fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
