//! Looks at everything that the checks judge, and judges nothing.
//!
//! Secrets are read here, because only their files say whom they are for; what is kept is where they stand and when they end.

mod cluster;
mod directory;
mod end_of_life;
mod etcd;
mod host;
mod kubeadm;
mod limit;
mod mounts;
mod permissions;
mod plugins;
mod programs;
mod record;
mod secrets;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystead_model::ErrorChain;

use super::facts::{Facts, Seen};
use crate::api::{ApiServer, Kubeconfig};
use crate::host::{Answer, LocalHost, Report, Task};

use directory::Directory;
use end_of_life::Files;

/// Where to look.
pub struct Sources {
    /// This host.
    pub host: LocalHost,
    /// How the API servers are reached.
    pub kubeconfig: Kubeconfig,
    /// Where rollouts are remembered: `rollout-UID.json` for each cluster.
    pub state: PathBuf,
    /// Resources to count; none: those of the last rollout, or Secrets.
    pub resources: Vec<String>,
}

/// Looks. Nothing is changed, and whatever is away is told in its place.
pub async fn gather(sources: &Sources) -> Facts {
    let connected = cluster::connect(&sources.kubeconfig).await;
    let record = record::read(&sources.state, connected.as_ref().ok().map(ApiServer::cluster));
    let known = record.as_ref().ok().and_then(Option::as_ref);
    let resources = match (known, sources.resources.is_empty()) {
        (_, false) => sources.resources.clone(),
        (Some(record), true) => record.resources.clone(),
        (None, true) => vec!["secrets".to_owned()],
    };
    let report = report(&sources.host, &resources).await;
    let host = host::read(&sources.host, &report);
    // Each of them may wait for something that is away.
    let (etcd, api_server, others, kubeadm) = tokio::join!(
        look_into_etcd(&report, &resources, &connected),
        cluster::own(&sources.kubeconfig, &report),
        cluster::others(&sources.kubeconfig, &connected, known, &report),
        kubeadm::look(&report, &connected),
    );
    let stored = etcd.stored;
    let seeds = stored.as_ref().map(|it| it.seeds.as_slice()).unwrap_or_default();
    let plugins = plugins::look(&host, &report, seeds).await;
    let directory = Directory::read(&sources.host.manifest, &host);
    let programs = match &plugins {
        Ok(plugins) => Ok(programs::find(directory.as_ref().ok(), plugins).await),
        Err(reason) => Err(reason.clone()),
    };
    let files =
        Files::of(directory.as_ref(), &sources.kubeconfig, &host.configuration, &host.users, &programs);
    Facts {
        now: now(),
        looked_as: rustix::process::geteuid().as_raw(),
        manifest: host.manifest,
        twins: directory.map(|it| it.twins),
        configuration: host.configuration,
        promise: record.map(|it| it.as_ref().map(record::promise)),
        api_server,
        others,
        plugins,
        programs: programs.map(|it| it.into_iter().map(|it| it.facts).collect()),
        uncounted: stored.as_ref().map(|it| it.uncounted.clone()).unwrap_or_default(),
        stored: stored.map(|it| it.resources),
        alarms: etcd.alarms,
        is_own_etcd: etcd.is_own,
        kubeadm,
        files: Ok(files.files),
        unread: files.unread,
        certificates: Ok(files.certificates),
        tokens: Ok(files.tokens),
    }
}

/// A look asks each plugin, for some seconds at most.
const LOOK: Duration = Duration::from_secs(120);
/// Some million objects take minutes.
const COUNT: Duration = Duration::from_secs(900);

async fn report(host: &LocalHost, resources: &[String]) -> Seen<Report> {
    let task = Task::Look { resources: resources.to_vec(), plugins: Vec::new() };
    let host = host.clone();
    limit::apart("this host", LOOK, || async move {
        match host.perform(&task).await {
            Ok(Answer::Report(report)) => Ok(*report),
            Ok(_) => Err("the host answers something else than what was asked".to_owned()),
            Err(error) => Err(ErrorChain(&error).to_string()),
        }
    })
    .await
}

/// Its certificates are files that the manifest names, whatever they are.
async fn look_into_etcd(
    report: &Seen<Report>,
    resources: &[String],
    connected: &Seen<ApiServer>,
) -> etcd::Answers {
    let (report, resources) = (report.clone(), resources.to_vec());
    let cluster = connected.as_ref().map(|it| it.cluster().to_owned()).map_err(Clone::clone);
    let look = || async move { Ok(etcd::look(&report, &resources, &cluster).await) };
    limit::apart("etcd", COUNT, look).await.unwrap_or_else(|reason| etcd::Answers::unseen(&reason))
}

/// What depends on the manifest need not repeat what is wrong with it.
fn with_manifest<T>(seen: &Seen<T>) -> Result<&T, String> {
    seen.as_ref().map_err(|_| "kube-apiserver's manifest cannot be read".to_owned())
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
