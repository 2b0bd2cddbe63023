use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::ApiServer;

use super::Interrupted;
use super::journal::Journal;
use super::migration::{Migrated, clear, migrate};
use super::objects::{Patch, Place};
use super::outcome::Outcome;
use super::pace::Pace;
use super::plan::{Plan, Request, Via};
use super::progress::{Progress, Reporter};
use super::report::{Ending, Pass, Report};
use super::room::{Advice, Room, Watch};
use super::tally::Tally;
use super::walk::{Ended, Sending, Walk, walk};

/// How a run goes about it.
#[derive(Clone, Debug)]
pub struct Control {
    /// Never more patches at once.
    pub concurrency_max: usize,
    /// Never begins more passes. One that another run began is gone through to its end in addition.
    pub passes_max: u32,
    /// How long an API server that is down or overloaded is waited for.
    pub patience: Duration,
    /// Ends the run at the next object; it can go on later.
    pub stop: CancellationToken,
    /// The etcd behind the API server, where it can be reached: how full it is decides when to wait.
    pub room: Option<Room>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            // An API server has 49 seats for users that nothing is said about.
            concurrency_max: 32,
            // The second finds zero where all API servers have the key; more than two others mean that they have not.
            passes_max: 4,
            // A control-plane host that restarts is back in less.
            patience: Duration::from_secs(5 * 60),
            stop: CancellationToken::new(),
            room: None,
        }
    }
}

/// A run that ended in whatever way.
#[derive(Debug)]
pub struct Run {
    /// What was done.
    pub report: Report,
    /// Why it ended before it was through, if it was not told to.
    pub interrupted: Option<Interrupted>,
}

/// Does what the plan says, from where the journal is, until a pass over all objects finds nothing stale, which this run itself has
/// begun. Running it twice does no harm.
pub async fn run(
    server: &ApiServer,
    plan: &Plan,
    mut journal: Journal,
    control: Control,
    observer: &mut (dyn FnMut(&Progress) + Send),
) -> Run {
    let start = Instant::now();
    let mut sending = Sending {
        server,
        pace: Pace::new(control.concurrency_max),
        patience: control.patience,
        stop: control.stop.clone(),
        reporter: Reporter::new(observer),
        room: control.room.map(Watch::new),
    };
    // A file that another run has or that cannot be written is found out before anything is changed.
    let taken = journal.take(plan);
    let resumed = journal.resumed().is_some();
    let ended = match taken {
        Ok(()) => passes(&mut sending, plan, &mut journal, control.passes_max).await,
        Err(error) => Err(error.into()),
    };
    let (ending, interrupted) = match ended.and_then(|ending| {
        match ending {
            Ending::Stopped => journal.save(),
            _ => journal.remove(),
        }
        .map_err(Interrupted::from)?;
        Ok(ending)
    }) {
        Ok(ending) => (ending, None),
        Err(interrupted) => {
            // Saved as far as that goes: the interruption is what matters.
            if journal.is_taken() {
                drop(journal.save());
            }
            (Ending::Interrupted, Some(interrupted))
        }
    };
    let passes =
        journal.record.passes.iter().map(|resources| Pass { resources: resources.clone() }).collect();
    let report = Report {
        cluster: plan.cluster.clone(),
        server: plan.server.clone(),
        via: plan.request.via,
        ending,
        resumed,
        passes,
        left_out: plan.left_out.clone(),
        objects_sent: sending.reporter.sent,
        seconds: start.elapsed().as_secs_f64(),
    };
    Run { report, interrupted }
}

async fn passes(
    sending: &mut Sending<'_>,
    plan: &Plan,
    journal: &mut Journal,
    passes_max: u32,
) -> Result<Ending, Interrupted> {
    // Looked at before anything is sent: an alarm is no time to begin.
    if let Some(room) = &mut sending.room
        && let Advice::Stop(interrupted) = room.advice().await
    {
        return Err(interrupted);
    }
    if plan.request.via == Via::StorageVersionMigration
        && journal.record.pass == 1
        && let Some(ending) = first_by_migration(sending, plan, journal).await?
    {
        return Ok(ending);
    }
    let mut whole = journal.begins_pass();
    let mut begun = u32::from(whole);
    loop {
        if pass(sending, &plan.request, journal).await? == Ended::Stopped {
            return Ok(Ending::Stopped);
        }
        let tallies = journal.record.passes.last().into_iter().flat_map(|pass| pass.values());
        let (rewritten, unsettled) = tallies.fold((0, 0), |(rewritten, unsettled), tally| {
            (rewritten + tally.count(Outcome::Rewritten), unsettled + tally.unsettled())
        });
        if rewritten == 0 && whole {
            let all = unsettled == 0 && !plan.left_out.iter().any(|it| it.unseen);
            return Ok(if all { Ending::AllCurrent } else { Ending::Refused });
        }
        if rewritten > 0 && begun >= passes_max {
            return Ok(Ending::StillRewriting);
        }
        journal.next_pass()?;
        (whole, begun) = (true, begun + 1);
    }
}

/// The in-tree migrations as the first pass. None: a pass of our own follows.
async fn first_by_migration(
    sending: &mut Sending<'_>,
    plan: &Plan,
    journal: &mut Journal,
) -> Result<Option<Ending>, Interrupted> {
    let total = Some(plan.objects()).filter(|it| *it > 0);
    sending.reporter.begin(1, total, &Tally::default());
    let resources = match migrate(sending, plan, journal.resumed().is_some()).await? {
        Migrated::Ended(resources) => resources,
        Migrated::Stopped => return Ok(Some(Ending::Stopped)),
    };
    let failed = resources.values().any(|it| it.count(Outcome::NotMigrated) > 0);
    journal.migrated(resources);
    if failed {
        return Ok(Some(Ending::Refused));
    }
    // Saved first: what is removed would be made again by a run that goes on.
    journal.next_pass()?;
    clear(sending.server, plan).await?;
    Ok(None)
}

async fn pass(
    sending: &mut Sending<'_>,
    request: &Request,
    journal: &mut Journal,
) -> Result<Ended, Interrupted> {
    let pass = journal.record.pass;
    let before = journal.record.passes.last().into_iter().flat_map(|pass| pass.values());
    let before = before.fold(Tally::default(), |mut sum, tally| {
        sum.merge(tally.clone());
        sum
    });
    let total: u64 = journal.record.steps.iter().filter_map(|step| step.objects).sum();
    sending.reporter.begin(pass, Some(total).filter(|it| *it > 0), &before);
    while let Some(step) = journal.record.steps.get(journal.record.step).cloned() {
        let progress = &mut sending.reporter.progress;
        progress.resource = step.resource.full_name();
        progress.namespace.clone_from(&step.namespace);
        let skip = if step.namespace.is_none() { request.namespaces.as_slice() } else { &[] };
        let list = Walk {
            place: Place { resource: &step.resource, namespace: step.namespace.as_deref() },
            // The first pass finds nearly everything stale, and whether others were faster does not matter. A later one must not
            // take their writes for stale objects, or it would never find zero.
            patch: Patch { annotate: request.annotate.as_deref(), exact: pass > 1 },
            skip,
        };
        let from = journal.record.continue_token.clone();
        let ended = walk(sending, &list, &from, &mut |tally, token| Ok(journal.page(tally, token)?)).await?;
        if ended == Ended::Stopped {
            return Ok(ended);
        }
        if !journal.next_step()? {
            break;
        }
    }
    Ok(Ended::Complete)
}
