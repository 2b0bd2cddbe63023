//! `keystead cluster status`

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use keystead_cluster::api::{ApiServer, CallError};
use keystead_cluster::executor::{
    Event, Executor, InUse, Preview, Record, Settings, read_record, shared_record,
};
use keystead_cluster::rollout::{Answer, Goal, Inventory, Loaded, Next, Observed, Plan, Provider};
use keystead_runtime::Failure;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::platform::refuse_others;
use super::reencrypt::{exit, not_connected};
use super::rollout::newer;
use super::rollout_args::FleetArgs;
use crate::output::{say, visible};
use crate::report_format::ReportFormat;

/// Show on one screen how the cluster's encryption stands: API servers, providers, plugins, key ids, what is stored, and what comes next
///
/// It changes nothing. Exit codes: 0 shown, 1 the control plane is run by a vendor or a distribution's own program, 2 usage, kubeconfig or record,
/// 4 the API server cannot be reached, 5 denied.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Do not count in etcd, which takes some seconds for a hundred thousand objects
    #[arg(long)]
    no_count: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct LookArgs {
    /// A resource to look at, besides those of the last rollout. Again for more [default: secrets, where there was none]
    #[arg(long = "resource", value_name = "NAME")]
    resources: Vec<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub(super) format: ReportFormat,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What was seen.
#[derive(Debug, Serialize)]
struct Status {
    /// Uid of the namespace kube-system.
    cluster: String,
    /// The last rollout; none is known on this host.
    rollout: Option<Rollout>,
    #[serde(flatten)]
    observed: Observed,
}

#[derive(Debug, Serialize)]
struct Rollout {
    goal: Goal,
    reached: bool,
    plan: Plan,
}

impl StatusArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        crate::runtime()?.block_on(async {
            let Look { cluster, record, observed, plan, .. } = self.look.look(!self.no_count).await?;
            let rollout = record.map(|it| Rollout { goal: it.goal, reached: it.reached, plan });
            self.look.format.print(&Status { cluster, rollout, observed })
        })
    }
}

/// What a look brings.
pub(super) struct Look {
    pub(super) cluster: String,
    /// None: no rollout is known here.
    pub(super) record: Option<Record>,
    pub(super) observed: Observed,
    plan: Plan,
    /// API servers on no host that was named.
    pub(super) unnamed: Vec<String>,
    /// [`Preview::in_use`].
    pub(super) in_use: BTreeMap<String, InUse>,
}

impl LookArgs {
    /// [`FleetArgs::refuse_over_cluster`].
    pub(super) fn refuse_over_cluster(&self) -> Result<(), Failure> {
        self.fleet.refuse_over_cluster()
    }

    pub(super) async fn look(&self, count: bool) -> Result<Look, Failure> {
        self.refuse_over_cluster()?;
        let kubeconfig = self.fleet.kubeconfig();
        let server = ApiServer::connect(&kubeconfig).await.map_err(|error| not_connected(&error))?;
        refuse_others(&server).await?;
        let cluster = server.cluster().to_owned();
        let path = self.fleet.state()?.join(format!("rollout-{cluster}.json"));
        let known = read_record(&path).map_err(|error| Failure::from_error(&error).usage())?;
        // Whoever may not read it is shown what this host knows.
        let shared = shared_record(std::slice::from_ref(&server)).await.unwrap_or_default();
        let known = newer(known, shared.filter(|it| it.cluster == cluster));
        let is_known = known.is_some();
        // Where nothing is known no goal is shown either.
        let mut record = known.unwrap_or_else(|| {
            Record::new(cluster.clone(), Goal::Disable, vec!["secrets".into()], Vec::new())
        });
        if !is_known && !self.resources.is_empty() {
            record.resources.clear();
        }
        // What a rollout promised is looked at in any case.
        for resource in &self.resources {
            if !record.resources.contains(resource) {
                record.resources.push(resource.clone());
            }
        }
        let hosts = self.fleet.hosts()?;
        self.fleet.remove(&mut record, &hosts, &server).await?;
        let settings = Settings {
            hosts,
            kubeconfig,
            lease: None,
            journals: None,
            patience: std::time::Duration::ZERO,
            stop: CancellationToken::new(),
        };
        let mut events = |event: Event<'_>| {
            if let Event::Remark { host, text } = event {
                say(&visible(&format!("{host}: {text}")));
            }
        };
        let mut executor = Executor::new(settings, server, record, None, &mut events);
        // With the resources that go together with those that were named.
        let seen = |error: CallError| Failure::from_error(&error).exit(exit(error.class()));
        executor.preview().await.map_err(seen)?;
        if count && let Err(error) = executor.count().await {
            say(&format!("not counted: {}", keystead_model::ErrorChain(error.as_ref())));
        }
        let Preview { plan, observed, unnamed, in_use, beside } = executor.preview().await.map_err(seen)?;
        if !beside.is_empty() {
            let beside = beside.into_iter().collect::<Vec<_>>().join(", ");
            say(&visible(&format!(
                "the files encrypt {beside} too, which were not looked at: name them with --resource"
            )));
        }
        unnamed.iter().for_each(|it| say(&format!("{it} is an API server too, and no host of it was named")));
        let record = is_known.then(|| executor.record().clone());
        Ok(Look { cluster, record, observed, plan, unnamed, in_use })
    }
}

impl fmt::Display for Status {
    /// Names and key ids are whatever plugins say and whoever can write to etcd wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        text.lines().try_for_each(|line| writeln!(f, "{}", visible(line)))
    }
}

impl Status {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(f, "cluster {}", self.cluster)?;
        let mut table = new_table(&["API SERVER", "ADDRESS", "VERSION", "STATE", "FILE", "USES"]);
        for server in &self.observed.servers {
            table.add_row([
                server.name.clone(),
                server.address.clone(),
                server.minor.map(|it| format!("1.{it}")).unwrap_or_default(),
                match &server.answer {
                    Answer::Ready => "ready".to_owned(),
                    Answer::NotReady { .. } => "not ready".to_owned(),
                    Answer::Silent { .. } => "silent".to_owned(),
                },
                server.on_disk.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string),
                match &server.loaded {
                    Loaded::Known(loaded) if Some(loaded) == server.on_disk.as_ref() => "its file".to_owned(),
                    Loaded::Known(loaded) => loaded.to_string(),
                    Loaded::OneOf(_) => "its file, or the one before".to_owned(),
                    Loaded::NotRunning => "does not run".to_owned(),
                    Loaded::Unknown => "unknown".to_owned(),
                },
            ]);
        }
        writeln!(f, "\n{table}")?;
        for server in &self.observed.servers {
            if let Answer::NotReady { reason } | Answer::Silent { reason } = &server.answer {
                writeln!(f, "{}: {reason}", server.name)?;
            }
        }
        let mut table = new_table(&["PLUGIN", "HOST", "STATE", "KEY ID", "SEEN BY THE API SERVER"]);
        for server in &self.observed.servers {
            for plugin in &server.plugins {
                table.add_row([
                    plugin.provider.to_string(),
                    server.name.clone(),
                    match &plugin.unhealthy {
                        None if plugin.unwraps_others => "ok".to_owned(),
                        None => "does not unwrap the others'".to_owned(),
                        Some(reason) => reason.clone(),
                    },
                    plugin.reports.clone().unwrap_or_default(),
                    plugin.seen.clone().unwrap_or_default(),
                ]);
            }
        }
        if !table.is_empty() {
            writeln!(f, "\n{table}")?;
        }
        for server in &self.observed.servers {
            for plugin in &server.plugins {
                if let Some(evidence) = &plugin.behind_cluster {
                    let (provider, host) = (&plugin.provider, &server.name);
                    writeln!(
                        f,
                        "the KMS of {provider} can be reached from {host} only through the cluster that it protects: {evidence}"
                    )?;
                }
            }
        }
        let mut table = new_table(&["RESOURCE", "STORED AS", "OBJECTS"]);
        for stored in &self.observed.stored {
            let Inventory::Counted { counts, malformed, .. } = &stored.inventory else { continue };
            for count in counts {
                let way = match &count.stored_as.provider {
                    Provider::Identity => "plain text".to_owned(),
                    _ => count.stored_as.to_string(),
                };
                table.add_row([stored.resource.clone(), way, count.objects.to_string()]);
            }
            if *malformed > 0 {
                table.add_row([stored.resource.clone(), "unreadable".to_owned(), malformed.to_string()]);
            }
        }
        if !table.is_empty() {
            writeln!(f, "\n{table}")?;
        }
        match &self.rollout {
            None => writeln!(f, "\nno rollout is known on this host"),
            Some(Rollout { goal, reached: true, .. }) => writeln!(f, "\nthe last rollout is done: {goal}"),
            Some(Rollout { plan, .. }) => {
                writeln!(f, "\n{}", plan.to_string().trim_end())?;
                match &plan.next {
                    Next::Steps(_) => writeln!(f, "Go on with `keystead cluster continue --yes`."),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec());
    table
}
