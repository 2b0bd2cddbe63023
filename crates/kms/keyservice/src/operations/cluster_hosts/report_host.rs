use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster::Failure;
use keystead_model::cluster_host::{
    HostReport, Instruction, Next, Reported, Work, instruction, next, versions_fit,
};
use keystead_model::{
    Cluster, ClusterHost, ClusterOperation, ClusterOperationName, ErrorClass, to_microseconds,
};
use keystead_store::Batch;

use super::{calling_host, method};
use crate::records::{Stored, encode, record_name};
use crate::service::FailureReason;
use crate::{Authorised, Credential, KmsError, Method, MethodKind, Operation, Resource};

/// A host that says the same again is written down once in this time.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A host that says something new is written down at most once in this time, however often it does.
const WRITTEN_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// The same of what decides about a task. Agents report once a second at most.
const DECIDES_AFTER: SignedDuration = SignedDuration::from_millis(250);
/// When an agent is to report again while its cluster has a task, and while it has none.
const NEXT_AT_WORK: Duration = Duration::from_secs(1);
const NEXT_IDLE: Duration = Duration::from_secs(5);

/// What the agent of a host says, and hears in turn. A report changes the cluster's task only where all its hosts agree; everything else
/// that it says is only shown.
pub struct ReportHost {
    /// What it says.
    pub report: HostReport,
}

/// What an agent is told.
pub struct HostAnswer {
    /// What its host is to be brought to; none: nothing, and whatever it does for an earlier task is to stop.
    pub instruction: Option<Instruction>,
    /// When it is to report again.
    pub report_after: Duration,
}

impl Operation for ReportHost {
    type Output = HostAnswer;

    fn method(&self) -> Method {
        method("ReportHost", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<HostAnswer, KmsError> {
        let name = calling_host(authorised)?;
        let (service, now) = (authorised.service(), to_microseconds(authorised.now()));
        let stored = service.read_host(&name).await?;
        require_joined(authorised, &stored.value)?;
        let mut report = authorised.command().report.clone();
        let last = stored.value.reported.as_ref();
        require_fit(&report, last, now)?;
        let cluster_record = record_name::cluster(&name.cluster);
        let cluster = service.read::<Cluster>(&cluster_record).await?;
        let cluster = cluster.ok_or_else(|| KmsError::not_found("Cluster", &name.cluster))?;

        // What it says of a task that nobody was told of is about something else.
        let is_told =
            |work: &Work| instruction(&cluster.value).is_some_and(|it| it.operation == work.operation);
        report.work = report.work.filter(is_told);
        let is_due = is_due(last, &report, now)?;
        let host = ClusterHost { reported: Some(Reported { time: now, report }), ..stored.value.clone() };
        let mut batch = Batch::default();
        let mut told = cluster.value.clone();
        if cluster.value.running.is_some() {
            let mut hosts = service.hosts_of(&name.cluster).await?;
            hosts.iter_mut().filter(|it| it.name == name).for_each(|it| it.clone_from(&host));
            let outcome = advanced(&cluster.value, &hosts, now);
            if let Some((changed, ended)) = outcome {
                batch = batch.replace(cluster_record, cluster.revision, encode(&changed)?);
                if let Some(failure) = ended {
                    batch = ending(authorised, batch, &cluster, failure, now).await?;
                }
                told = changed;
            }
        }
        let changes_cluster = !batch.writes.is_empty();
        // Heard with its certificate, so that the token has done its work.
        let spent = stored.value.join_token.clone();
        let host = ClusterHost { join_token: None, ..host };
        if changes_cluster || is_due || spent.is_some() {
            batch = batch.replace(record_name::cluster_host(&name), stored.revision, encode(&host)?);
        }
        if changes_cluster || spent.is_some() {
            let batch = service.revoking(batch, spent.iter(), now).await?;
            authorised.commit(batch).await?;
        } else {
            // What a host says of itself is no change that anybody ordered, and there is no end to it.
            authorised.outcome().unrecorded = true;
            if !batch.writes.is_empty() {
                match service.ledger.commit(batch, None).await {
                    Ok(committed) => committed.complete().map(drop)?,
                    Err(uncommitted) if uncommitted.error.class() == ErrorClass::Aborted => {
                        return Err(authorised.start_over(uncommitted.error));
                    }
                    Err(uncommitted) => return Err(uncommitted.error),
                }
            }
        }
        let report_after = if told.running.is_some() { NEXT_AT_WORK } else { NEXT_IDLE };
        Ok(HostAnswer { instruction: instruction(&told), report_after })
    }
}

/// Refuses a host that did not join, and an agent that shows anything but its certificate.
pub(super) fn require_joined<O: Operation>(
    authorised: &Authorised<'_, O>,
    host: &ClusterHost,
) -> Result<(), KmsError> {
    match (&authorised.call().caller().credential, &host.joined) {
        (Credential::Certificate(_), Some(_)) => Ok(()),
        _ => {
            let text =
                format!("Host {} calls with the certificate that `keystead agent join` gets it.", host.node);
            Err(KmsError::new(ErrorClass::Denied, text))
        }
    }
}

fn require_fit(report: &HostReport, last: Option<&Reported>, now: Timestamp) -> Result<(), KmsError> {
    report.check(last, now).map_err(|error| KmsError::invalid(sentence(&error.to_string())))?;
    let ours = env!("CARGO_PKG_VERSION");
    if versions_fit(&report.agent_version, ours) {
        return Ok(());
    }
    let theirs = report.agent_version.escape_default();
    let text = format!(
        "The agent has version {theirs:.64} and the server {ours}: one minor version apart is the most. Install the server's version on the host."
    );
    Err(KmsError::new(ErrorClass::FailedPrecondition, text))
}

/// Whether a report is to be written down. What decides about a task always is, and so it is refused where it comes too often.
fn is_due(last: Option<&Reported>, report: &HostReport, now: Timestamp) -> Result<bool, KmsError> {
    let Some(last) = last else { return Ok(true) };
    let since = now.duration_since(last.time).abs();
    if report.decides_more_than(&last.report) {
        return match since < DECIDES_AFTER {
            true => Err(too_often(DECIDES_AFTER)),
            false => Ok(true),
        };
    }
    Ok(since >= if report.says_more_than(&last.report) { WRITTEN_AFTER } else { RENEWED_AFTER })
}

/// Somebody asks again and again for what is written down each time.
pub(super) fn too_often(after: SignedDuration) -> KmsError {
    let text =
        format!("This host asked for the same a moment ago: ask again after {} ms.", after.as_millis());
    KmsError::new(ErrorClass::Throttled, text)
}

/// The cluster as it becomes, and whether its operation ends with that, well or not; none: it stays as it is.
fn advanced(
    cluster: &Cluster,
    hosts: &[ClusterHost],
    now: Timestamp,
) -> Option<(Cluster, Option<Option<Failure>>)> {
    match next(cluster, hosts, now)? {
        Next::Wait(_) => None,
        Next::Begin => Some((cluster.begin(), None)),
        Next::Succeed => Some((cluster.succeed(), Some(None))),
        Next::Fail(message) => {
            let failed = cluster.fail(&message, now);
            Some((failed, Some(Some(Failure { cancelled: false, message }))))
        }
    }
}

async fn ending(
    authorised: &mut Authorised<'_, ReportHost>,
    batch: Batch,
    cluster: &Stored<Cluster>,
    failure: Option<Failure>,
    now: Timestamp,
) -> Result<Batch, KmsError> {
    let Some(running) = &cluster.value.running else { return Ok(batch) };
    let name = ClusterOperationName {
        location: cluster.value.name.location.clone(),
        operation: running.operation.clone(),
    };
    authorised.outcome().response = SafeFields::new()
        .with("operation", name.operation.as_str())
        .with_some("failure", failure.as_ref().map(|it| it.message.as_str()));
    let record = record_name::cluster_operation(&name);
    let stored = authorised.service().read::<ClusterOperation>(&record).await?;
    let Some(stored) = stored else { return Ok(batch) };
    if let Some(failure) = &failure {
        authorised.tell_failure(&stored.value, FailureReason::Host, &failure.message);
    }
    let ended = stored.value.ended(now, failure);
    Ok(batch.replace(record, stored.revision, encode(&ended)?))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}
