//! Re-encryption by what Kubernetes has itself: an object of the kind StorageVersionMigration for each resource, which
//! kube-controller-manager carries out. Here they are made, watched and counted.
//!
//! The controller takes the objects that were stored before its checkpoint (`status.resourceVersion`) one after the other, sends each an
//! empty patch, and says nothing of how far it is (`pkg/controller/storageversionmigrator` of Kubernetes). An object whose resource version is
//! behind the checkpoint was written since, which is how progress is counted here. It skips objects that were written
//! after the checkpoint, and an API server that had not seen the key by then wrote those under the old one: so a pass of our own follows.

mod object;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keystead_model::ErrorClass;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::{ApiServer, CallError, Resource};

use super::Interrupted;
use super::objects::{self, Place};
use super::outcome::{Outcome, Verdict, judge};
use super::plan::{Plan, Step};
use super::tally::Tally;
use super::walk::{PAGE, Sending};
use object::State;
pub use served::NotServed;
pub(super) use served::served;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// After so long without one more object written it is told that it stands still. The controller goes over objects that are current too.
const STILL: Duration = Duration::from_secs(60);
/// A count lists all metadata. After one that took some time it rests so many times as long.
const REST: u32 = 10;

/// Why the migrations are not watched any more.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The API is gone.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// Somebody else's object has our name.
    #[error("there is a StorageVersionMigration {0} that this command did not make")]
    NameTaken(String),
    /// The controller does not run.
    #[error("kube-controller-manager has not begun with {names} in {} s: no condition is set", waited.as_secs())]
    Ignored {
        /// The migrations.
        names: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The API server refuses.
    #[error("the API server refuses")]
    Call(#[from] CallError),
}

impl MigrationError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotServed(error) => error.class(),
            Self::NameTaken(_) | Self::Ignored { .. } => ErrorClass::FailedPrecondition,
            Self::Call(error) => error.class(),
        }
    }

    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotServed(error) => return Some(error.hint()),
            Self::NameTaken(name) => format!("look at it with kubectl get storageversionmigrations {name} -o yaml, and remove it if nobody needs it"),
            Self::Ignored { .. } => "check that kube-controller-manager runs, with the feature gate StorageVersionMigrator (up to 1.34 InformerResourceVersion too) and its garbage collector on, then run the same command again; or run it without --via, which needs none of that".to_owned(),
            Self::Call(error) if error.class() == ErrorClass::Denied => "grant the verbs list, create and delete on storageversionmigrations.storagemigration.k8s.io".to_owned(),
            Self::Call(_) => return None,
        })
    }
}

/// How the migrations ended.
pub(super) enum Migrated {
    /// All of them ended: counts by resource, as of one pass.
    Ended(BTreeMap<String, Tally>),
    /// It was told to stop watching. They go on.
    Stopped,
}

/// Makes what is not there, and watches until each has ended. `resumed`: those that are there were made by the run that this one goes on
/// with. Otherwise one that has ended is of another day, and is made anew.
pub(super) async fn migrate(
    sending: &mut Sending<'_>,
    plan: &Plan,
    resumed: bool,
) -> Result<Migrated, Interrupted> {
    let version = served(sending.server).await.map_err(MigrationError::from)?;
    let mut watch = Watch {
        version,
        resumed,
        known: BTreeSet::new(),
        ended: BTreeMap::new(),
        running: BTreeMap::new(),
        next_count: Instant::now(),
        idle: Instant::now(),
        grew: Instant::now(),
    };
    let mut failing: Option<Instant> = None;
    loop {
        if sending.stop.is_cancelled() {
            return Ok(Migrated::Stopped);
        }
        match watch.look(sending, &plan.steps).await {
            Ok(waits) => {
                failing = None;
                sending.reporter.waits(waits);
            }
            Err(Interrupted::Migration(MigrationError::Call(error))) => {
                let now = Instant::now();
                match judge(&error) {
                    Verdict::NoCredentials => return Err(Interrupted::Credentials(error)),
                    Verdict::EtcdFull => return Err(Interrupted::EtcdFull(error)),
                    Verdict::Final(_) => return Err(MigrationError::from(error).into()),
                    _ if now - *failing.get_or_insert(now) > sending.patience => {
                        return Err(Interrupted::Unreachable {
                            waited: sending.patience,
                            source: Some(error),
                        });
                    }
                    _ => sending.reporter.waits(Some(AWAY.to_owned())),
                }
            }
            Err(error) => return Err(error),
        }
        sending.reporter.tick(Instant::now(), 0);
        if watch.ended.len() == plan.steps.len() {
            return Ok(Migrated::Ended(watch.ended));
        }
        tokio::select! {
            () = sending.stop.cancelled() => {}
            () = sleep(LOOK) => {}
        }
    }
}

const AWAY: &str = "the API server asks to wait, or cannot be reached";

/// Removes what this run made and has counted. One that failed stays for whoever looks into it.
pub(super) async fn clear(server: &ApiServer, plan: &Plan) -> Result<(), MigrationError> {
    let version = served(server).await?;
    for migration in object::list(server, version).await? {
        let ours = plan.steps.iter().any(|it| object::name(&it.resource) == migration.metadata.name);
        if ours && migration.is_ours() && migration.state() == State::Succeeded {
            object::delete(server, version, &migration).await?;
        }
    }
    Ok(())
}

struct Watch {
    version: &'static str,
    resumed: bool,
    /// Uids of those that this run made, or saw before they had ended.
    known: BTreeSet<String>,
    /// By resource.
    ended: BTreeMap<String, Tally>,
    /// How many objects each has written so far.
    running: BTreeMap<String, u64>,
    next_count: Instant,
    /// When something last happened, where no migration has begun.
    idle: Instant,
    /// When a count last grew, where one has begun.
    grew: Instant,
}

impl Watch {
    /// Looks once, and says what is waited for.
    async fn look(
        &mut self,
        sending: &mut Sending<'_>,
        steps: &[Step],
    ) -> Result<Option<String>, Interrupted> {
        let server = sending.server;
        let all = object::list(server, self.version).await.map_err(MigrationError::from)?;
        let (mut waiting, mut begun, mut queued) = (Vec::new(), Vec::new(), false);
        let mut words = String::new();
        for Step { resource, .. } in steps {
            if self.ended.contains_key(&resource.full_name()) {
                continue;
            }
            let name = object::name(resource);
            let Some(migration) = all.iter().find(|it| it.metadata.name == name) else {
                let made =
                    object::create(server, self.version, resource).await.map_err(MigrationError::from)?;
                self.known.extend(made);
                (self.idle, queued) = (Instant::now(), true);
                continue;
            };
            if !migration.is_ours() || !migration.is_of(resource) {
                return Err(MigrationError::NameTaken(name).into());
            }
            let state = migration.state();
            let is_over = matches!(state, State::Succeeded | State::Failed(_));
            if is_over && !self.resumed && !self.known.contains(&migration.metadata.uid) {
                object::delete(server, self.version, migration).await.map_err(MigrationError::from)?;
                (self.idle, queued) = (Instant::now(), true);
                continue;
            }
            self.known.insert(migration.metadata.uid.clone());
            match state {
                State::Waiting => {
                    queued |= all.iter().any(|it| {
                        it.is_of(resource) && !it.is_ours() && matches!(it.state(), State::Running(_))
                    });
                    waiting.push(name);
                }
                State::Running(message) => {
                    words = message;
                    begun.push((resource, migration.checkpoint()));
                }
                State::Succeeded => {
                    let Some(tally) = count(server, resource, migration.checkpoint(), &sending.stop).await?
                    else {
                        return Ok(None);
                    };
                    self.ended.insert(resource.full_name(), tally);
                }
                State::Failed(reason) => {
                    let mut tally = Tally::default();
                    tally.add_named("", "*", Outcome::NotMigrated, &format!("{name}: {reason}"));
                    self.ended.insert(resource.full_name(), tally);
                }
            }
        }
        if !begun.is_empty() || queued || waiting.is_empty() {
            self.idle = Instant::now();
        }
        if self.idle.elapsed() > sending.patience {
            return Err(
                MigrationError::Ignored { names: waiting.join(", "), waited: sending.patience }.into()
            );
        }
        self.count_running(sending, &begun).await;
        self.tell(sending, steps);
        Ok(match (begun.is_empty(), waiting.is_empty(), queued) {
            (true, false, false) => {
                Some(format!("kube-controller-manager has not begun with {}", waiting.join(", ")))
            }
            (true, false, true) => Some("another migration of the same resource runs".to_owned()),
            (false, ..) if self.grew.elapsed() > STILL => Some(still(&words)),
            _ => None,
        })
    }

    /// Now and then: what cannot be counted now is counted later.
    async fn count_running(&mut self, sending: &Sending<'_>, begun: &[(&Resource, Option<u64>)]) {
        if Instant::now() < self.next_count {
            return;
        }
        let start = Instant::now();
        for (resource, checkpoint) in begun.iter().filter(|(_, checkpoint)| checkpoint.is_some()) {
            if let Ok(Some(tally)) = count(sending.server, resource, *checkpoint, &sending.stop).await {
                let written = tally.count(Outcome::Rewritten);
                if self.running.insert(resource.full_name(), written).is_none_or(|before| before < written) {
                    self.grew = Instant::now();
                }
            }
        }
        self.next_count = Instant::now() + start.elapsed() * REST;
    }

    fn tell(&self, sending: &mut Sending<'_>, steps: &[Step]) {
        let open: Vec<&Step> =
            steps.iter().filter(|it| !self.ended.contains_key(&it.resource.full_name())).collect();
        let resource = match open.as_slice() {
            [] => return,
            [step] => step.resource.full_name(),
            several => format!("{} resources", several.len()),
        };
        let ended = || self.ended.values();
        let running: u64 = self
            .running
            .iter()
            .filter(|(name, _)| !self.ended.contains_key(*name))
            .map(|(_, count)| count)
            .sum();
        let rewritten = running + ended().map(|it| it.count(Outcome::Rewritten)).sum::<u64>();
        let done = running + ended().map(Tally::objects).sum::<u64>();
        let failed = ended().map(Tally::unsettled).sum();
        sending.reporter.migrated(resource, done, rewritten, failed);
    }
}

/// The controller tries again for ever where the API server or a webhook fails: what that is only it knows, from 1.37 on.
fn still(words: &str) -> String {
    let words = if words.is_empty() { String::new() } else { format!(", and says: {words}") };
    format!("kube-controller-manager has written nothing for more than {} s{words}", STILL.as_secs())
}

/// How many objects were written since the checkpoint, and how many were not. None: it was told to stop.
async fn count(
    server: &ApiServer,
    resource: &Resource,
    checkpoint: Option<u64>,
    stop: &CancellationToken,
) -> Result<Option<Tally>, Interrupted> {
    let place = Place { resource, namespace: None };
    let (mut tally, mut token) = (Tally::default(), String::new());
    loop {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let page = match objects::list(server, place, PAGE, &token).await {
            Ok(page) => page,
            Err(error) => match (error.refusal().and_then(|it| it.continue_token.clone()), judge(&error)) {
                (Some(next), _) => {
                    token = next;
                    continue;
                }
                // The pass that follows goes around what cannot be read, and names it; and it takes shorter pages.
                (None, Verdict::Retry(Outcome::Undecryptable)) => return Ok(Some(tally)),
                (None, _) if matches!(error, CallError::TooLong { .. }) => return Ok(Some(tally)),
                (None, _) => return Err(MigrationError::from(error).into()),
            },
        };
        for item in page.items.unwrap_or_default() {
            let version = item.metadata.resource_version.parse::<u64>().ok();
            let is_new = version.zip(checkpoint).is_some_and(|(version, checkpoint)| version > checkpoint);
            tally.add(if is_new { Outcome::Rewritten } else { Outcome::Current });
        }
        token = page.metadata.continue_token;
        if token.is_empty() {
            return Ok(Some(tally));
        }
    }
}
