//! A rollout that the agent of a host carries out, because a server said where its cluster is to go. Every control-plane host has an agent,
//! and they find each other through the cluster, as commands with `--over cluster` do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_cluster::api::ApiServer;
use keystead_cluster::host::{Answer, Task};
use keystead_cluster::provider_order::KmsPlugin;
use keystead_cluster::rollout::{Goal, Provider};
use keystead_cluster::stored_values::is_of_cluster;
use keystead_etcd::{Encryption, Etcd, inventory};
use keystead_model::Exit;
use keystead_model::cluster_host::HostReport;
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::{Aim, RunArgs};
use crate::cluster::reencrypt::not_connected;

/// How long kube-apiserver waits for a plugin: one that has a wrapping key not in memory asks the key service, for which kube-apiserver's own
/// 3 s are few where a network or a host is in trouble.
const TIMEOUT: &str = "10s";

/// This host, and how a rollout runs on it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HostRollout {
    #[command(flatten)]
    run: RunArgs,
}

/// How many values are stored under which key.
#[derive(Debug)]
pub(crate) struct EncryptedValues {
    /// Before the first was read.
    pub(crate) time: Timestamp,
    /// By key id.
    pub(crate) under: BTreeMap<String, u64>,
    /// Encrypted by a KMS that the value does not name a key of.
    pub(crate) unattributed: u64,
}

/// Where a cluster is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AgentGoal {
    /// Everything is stored through this plugin, whatever it is stored with now.
    Encrypt { provider: String, endpoint: String },
    /// Everything is stored through the plugin that writes, under its newest key.
    Reencrypt,
    /// Everything is stored plainly.
    Decrypt,
}

impl HostRollout {
    /// The name of this host's Node.
    pub(crate) fn node(&self) -> Result<String, Failure> {
        Ok(self.run.fleet.here()?.name)
    }

    /// Goes there, as a part or as the one that drives, until everything is so on every host. `stop` ends it at the next place where it is
    /// safe; `now` is told each step.
    pub(crate) async fn go(
        mut self,
        goal: AgentGoal,
        stop: &CancellationToken,
        now: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Failure> {
        let aim = match goal {
            AgentGoal::Encrypt { provider, endpoint } => {
                let to = Provider::KmsV2 { name: provider };
                let timeout = Some(TIMEOUT.to_owned());
                let plugin = KmsPlugin { provider: to.clone(), endpoint, timeout };
                Aim::Goal(Goal::Migrate { to, keep_identity: false }, vec![plugin])
            }
            AgentGoal::Reencrypt => {
                self.run.may_be_settled = true;
                Aim::Rotate(None, None)
            }
            AgentGoal::Decrypt => Aim::Goal(Goal::Disable, Vec::new()),
        };
        self.run.until(aim, stop, now).await
    }

    /// What is on this host, without what the agent itself has to say. What is not known is left empty.
    pub(crate) async fn facts(&self) -> HostReport {
        let mut facts = HostReport::default();
        if let Ok(server) = self.server().await {
            let says = server.facts().await;
            facts.api_server_version = says.version.unwrap_or_default();
            facts.configuration_hash = says.configuration.unwrap_or_default();
            if let (Ok(nodes), Ok(own)) = (server.control_plane_nodes().await, self.node()) {
                facts.control_plane = nodes.into_iter().map(|it| it.name).filter(|it| *it != own).collect();
                // Where systemd runs the API server, its host may be no Node.
                facts.control_plane.push(own);
            }
        }
        let Ok(here) = self.run.fleet.here() else { return facts };
        let look = Task::Look { resources: vec!["secrets".to_owned()], plugins: Vec::new() };
        if let Ok(Answer::Report(report)) = here.perform(&look).await {
            facts.writes = report.on_disk.map(|it| it.order().writer.to_string()).unwrap_or_default();
            let probed = report.plugins.iter().filter_map(|it| it.probe.as_ref().ok());
            facts.key_ids = probed.map(|it| it.key_id.clone()).filter(|it| !it.is_empty()).collect();
        }
        facts
    }

    /// What etcd holds under which key, all of it: a cluster has encrypted more than it does now, perhaps.
    pub(crate) async fn inventory(&self) -> Result<EncryptedValues, Failure> {
        let here = self.run.fleet.here()?;
        let look = Task::Look { resources: vec!["secrets".to_owned()], plugins: Vec::new() };
        let Ok(Answer::Report(report)) = here.perform(&look).await else {
            return Err(Failure::new("how etcd is reached from this host is not known"));
        };
        let (layout, connection) = (report.etcd.layout(), report.etcd.connection());
        // Before the first value is read: what is written later is not counted for sure.
        let time = Timestamp::now();
        let failed =
            |error: &(dyn std::error::Error + 'static)| Failure::from_error(error).exit(Exit::Unreachable);
        let etcd = Etcd::connect(&connection).await.map_err(|error| failed(&error))?;
        // An etcd of somebody else has no values of this cluster, and that would say that no key is needed.
        let cluster = self.server().await?;
        let is_ours = is_of_cluster(&etcd, &layout.etcd_prefix, cluster.cluster()).await;
        if cluster.cluster().is_empty() || !is_ours.map_err(|error| failed(&error))? {
            return Err(Failure::new(format!("the etcd at {} is not this cluster's", etcd.endpoint())));
        }
        let counted = inventory(&mut etcd.scan_all(&layout.prefixes(&[])), &layout).await;
        let counted = counted.map_err(|error| failed(&error))?;
        let mut values =
            EncryptedValues { time, under: BTreeMap::new(), unattributed: counted.objects_left_out };
        for group in counted.groups {
            match group.encryption {
                Encryption::KmsV2 { key_id, .. } => *values.under.entry(key_id).or_default() += group.objects,
                Encryption::KmsV1 { .. } | Encryption::Malformed => values.unattributed += group.objects,
                Encryption::Plain { .. } | Encryption::StaticKey { .. } => {}
            }
        }
        Ok(values)
    }

    async fn server(&self) -> Result<ApiServer, Failure> {
        ApiServer::connect(&self.run.fleet.kubeconfig()).await.map_err(|error| not_connected(&error))
    }
}
