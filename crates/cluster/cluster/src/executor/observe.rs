//! From hosts and API servers to what a plan needs to know.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use keystead_crypto::sha256;

use super::loaded::loaded;
use super::record::{Record, ServerRecord};
use super::{AccessError, Executor, HostAccess, InUse};
use crate::api::{ApiServer, ServerFacts};
use crate::host::{Answer as HostAnswer, Report, Task};
use crate::kms_socket::Wrapped;
use crate::rollout::{
    Answer, Configuration, Inventory, Loaded, Observed, Pass, Plugin, Provider, Server, Stored,
};

/// What was seen, and what is needed to act on it.
pub(super) struct Sight {
    pub(super) observed: Observed,
    pub(super) hosts: Vec<HostSight>,
}

/// One host and its API server.
pub(super) struct HostSight {
    pub(super) name: String,
    pub(super) report: Result<Report, Unseen>,
    pub(super) facts: ServerFacts,
    /// To ask it again; none if its address is not known.
    pub(super) api: Option<ApiServer>,
}

/// Why a host's report is missing.
pub(super) struct Unseen {
    pub(super) reason: String,
    /// It answered, and cannot say what is asked: it is there.
    answered: bool,
}

impl Sight {
    pub(super) fn host(&self, name: &str) -> Option<&HostSight> {
        self.hosts.iter().find(|it| it.name == name)
    }

    /// What the hosts that can say it say.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.hosts.iter().filter_map(|it| it.report.as_ref().ok())
    }
}

impl HostSight {
    /// Whether a process is to end or to start, with nothing more to be done for it.
    pub(super) fn is_restarting(&self) -> bool {
        self.report.as_ref().is_ok_and(|it| it.is_restarting)
    }

    pub(super) fn in_use(&self) -> InUse {
        InUse {
            version: self.facts.version.clone(),
            configuration: self.facts.configuration.clone(),
            file: self.report.as_ref().ok().and_then(|it| it.seen.configuration.clone()),
        }
    }

    /// Another one after each start and each reload.
    pub(super) fn epoch(&self) -> Option<String> {
        let process = self.report.as_ref().ok()?.process.as_ref()?;
        Some(format!("{}-{}", process.id, self.facts.reloads?))
    }
}

impl Executor<'_> {
    /// The servers first, then everything else.
    pub(super) async fn observe(&mut self) -> Sight {
        let hosts = join_all(self.hosts.iter().map(|host| self.look(host))).await;
        let addresses = |it: &HostSight| Some((it.name.clone(), it.report.as_ref().ok()?.address.clone()));
        let addresses: Vec<(String, String)> = hosts.iter().filter_map(addresses).collect();
        self.record.rename(&addresses);
        let unwrapped = self.unwrap_everywhere(&hosts).await;
        let servers: Vec<Server> = hosts.iter().map(|it| self.server(it, &hosts, &unwrapped)).collect();
        let written = self.record.written_since.len();
        for (host, server) in hosts.iter().zip(&servers) {
            remember(&mut self.record, host, server);
        }
        if self.record.written_since.len() > written {
            self.counted_since.clear();
        }
        let stored = self.record.resources.iter().map(|resource| {
            let pass = self.record.passes.get(resource);
            Stored {
                resource: resource.clone(),
                inventory: match self.counted.get(resource) {
                    Some((inventory, _)) => inventory.clone(),
                    None => Inventory::NotTaken,
                },
                pass: pass.map_or(Pass::NotRun, |it| it.pass.clone()),
                last_clean: pass.and_then(|it| it.last_clean.clone()),
            }
        });
        let observed = Observed {
            stored: stored.collect(),
            servers,
            removed: self.record.removed.clone(),
            seen_before: self.record.seen_before.clone(),
            written_since: self.record.written_since.clone(),
            canaries: self.canaries.clone(),
        };
        Sight { observed, hosts }
    }

    async fn look(&self, host: &HostAccess) -> HostSight {
        let name = host.name().to_owned();
        let task =
            Task::Look { resources: self.record.resources.clone(), plugins: self.record.plugins.clone() };
        let report = match host.perform(&self.under(task)).await {
            Ok(HostAnswer::Report(report)) => Ok(*report),
            Ok(_) => Err(Unseen {
                reason: "it answers something else than what was asked".to_owned(),
                answered: true,
            }),
            Err(error) => Err(Unseen {
                reason: keystead_model::ErrorChain(&error).to_string(),
                answered: !matches!(error, AccessError::NoAnswer { .. }),
            }),
        };
        let address = match &report {
            Ok(report) => Some(report.address.clone()),
            Err(_) => self.record.servers.get(&name).map(|it| it.address.clone()),
        };
        let api = match address {
            Some(address) => {
                let api = ApiServer::at(&self.kubeconfig, &address).await;
                api.map_err(|error| keystead_model::ErrorChain(&error).to_string())
            }
            None => Err("its address is not known".to_owned()),
        };
        let facts = match &api {
            Ok(api) => api.facts().await,
            Err(reason) => ServerFacts { not_ready: Some(reason.clone()), ..Default::default() },
        };
        HostSight { name, report, facts, api: api.ok() }
    }

    /// Which plugin unwraps what. By host and provider: the key ids that were unwrapped, and whether all of the other hosts' samples were.
    async fn unwrap_everywhere(&self, hosts: &[HostSight]) -> BTreeMap<(String, Provider), Unwrapped> {
        let mut results = BTreeMap::new();
        for (host, sight) in self.hosts.iter().zip(hosts) {
            let Ok(report) = &sight.report else { continue };
            for plugin in &report.plugins {
                let Ok(own) = &plugin.probe else { continue };
                let provider = &plugin.provider;
                let others = hosts.iter().filter(|it| it.name != sight.name);
                let others: Vec<Wrapped> = others.filter_map(|it| sample(it, provider)).cloned().collect();
                let stored = self.counted.values().flat_map(|(_, seeds)| seeds);
                let stored = stored.filter(|(it, _)| it == provider).map(|(_, seed)| seed.clone());
                let (theirs, mut wrapped) = (others.len(), others);
                wrapped.extend(stored);
                let mut unwrapped = Unwrapped { key_ids: BTreeSet::new(), all_others: true };
                unwrapped.key_ids.insert(own.key_id.clone());
                if !wrapped.is_empty() {
                    let task = Task::Unwrap {
                        provider: provider.clone(),
                        plugins: self.record.plugins.clone(),
                        wrapped: wrapped.clone(),
                    };
                    let problems = match host.perform(&self.under(task)).await {
                        Ok(HostAnswer::Unwrapped { problems }) => problems,
                        _ => Vec::new(),
                    };
                    for (at, wrapped) in wrapped.into_iter().enumerate() {
                        match problems.get(at) {
                            Some(None) => drop(unwrapped.key_ids.insert(wrapped.key_id)),
                            _ if at < theirs => unwrapped.all_others = false,
                            _ => {}
                        }
                    }
                }
                results.insert((sight.name.clone(), provider.clone()), unwrapped);
            }
        }
        results
    }

    fn server(
        &self,
        sight: &HostSight,
        hosts: &[HostSight],
        unwrapped: &BTreeMap<(String, Provider), Unwrapped>,
    ) -> Server {
        let known = self.record.servers.get(&sight.name);
        let report = match &sight.report {
            Ok(report) => report,
            Err(Unseen { reason, answered }) => {
                let reason = reason.clone();
                return Server {
                    name: sight.name.clone(),
                    address: known.map(|it| it.address.clone()).unwrap_or_default(),
                    answer: match answered {
                        true => Answer::NotReady { reason },
                        false => Answer::Silent { reason },
                    },
                    minor: sight.facts.minor,
                    on_disk: None,
                    loaded: Loaded::Unknown,
                    automatic_reload: false,
                    epoch: None,
                    plugins: Vec::new(),
                };
            }
        };
        let reason = match (&report.process, &sight.facts.not_ready) {
            (None, _) => Some("no kube-apiserver runs on its host"),
            (Some(_), not_ready) => not_ready.as_deref(),
        };
        Server {
            name: sight.name.clone(),
            address: report.address.clone(),
            answer: match reason {
                None => Answer::Ready,
                Some(reason) => Answer::NotReady { reason: reason.to_owned() },
            },
            minor: sight.facts.minor.or(report.minor),
            on_disk: report.on_disk.clone().ok(),
            loaded: loaded(report, &sight.facts, known),
            automatic_reload: report.automatic_reload,
            epoch: sight.epoch(),
            plugins: report.plugins.iter().map(|it| self.plugin(it, sight, hosts, unwrapped)).collect(),
        }
    }

    fn plugin(
        &self,
        plugin: &crate::host::PluginReport,
        sight: &HostSight,
        hosts: &[HostSight],
        unwrapped: &BTreeMap<(String, Provider), Unwrapped>,
    ) -> Plugin {
        let provider = &plugin.provider;
        let found = unwrapped.get(&(sight.name.clone(), provider.clone()));
        let name = match provider {
            Provider::KmsV2 { name } => Some(name),
            _ => None,
        };
        // The API server says only a hash.
        let hash = name.and_then(|it| sight.facts.key_ids.get(it));
        let seen = hash.map(|hash| {
            let reported = hosts.iter().filter_map(|it| sample(it, provider));
            let stored = self.counted.values().flat_map(|(_, seeds)| seeds).map(|(_, seed)| seed);
            let known = reported.chain(stored).find(|it| hex::encode(sha256(it.key_id.as_bytes())) == *hash);
            known.map_or_else(|| format!("sha256:{hash}"), |it| it.key_id.clone())
        });
        Plugin {
            provider: provider.clone(),
            unhealthy: plugin.probe.as_ref().err().cloned(),
            reports: plugin.probe.as_ref().ok().filter(|_| name.is_some()).map(|it| it.key_id.clone()),
            seen,
            unwraps: found.filter(|_| name.is_some()).map(|it| it.key_ids.clone()).unwrap_or_default(),
            unwraps_others: found.is_some_and(|it| it.all_others),
            behind_cluster: plugin.way.behind_cluster.clone(),
        }
    }
}

/// What one plugin unwrapped.
struct Unwrapped {
    key_ids: BTreeSet<String>,
    all_others: bool,
}

/// What the plugin of a provider wrapped on a host.
fn sample<'h>(host: &'h HostSight, provider: &Provider) -> Option<&'h Wrapped> {
    let plugins = &host.report.as_ref().ok()?.plugins;
    plugins.iter().find(|it| it.provider == *provider)?.probe.as_ref().ok()
}

/// What cannot be seen again later.
fn remember(record: &mut Record, host: &HostSight, server: &Server) {
    let configurations = server.on_disk.iter().chain(match &server.loaded {
        Loaded::Known(loaded) => std::slice::from_ref(loaded),
        Loaded::OneOf(loaded) => loaded,
        Loaded::NotRunning | Loaded::Unknown => &[],
    });
    for order in configurations.map(Configuration::order) {
        record.seen_before.extend(order.providers().cloned());
        record.written_since.insert(order.writer);
    }
    let Ok(report) = &host.report else { return };
    let process = report.process.as_ref().map(|it| it.id.clone());
    let known = record.servers.get(&server.name);
    let (loaded, written) = match (&server.loaded, known) {
        (Loaded::Known(loaded), _) => (Some(loaded.clone()), Vec::new()),
        // As long as it is the same process, what is known of it holds.
        (_, Some(known)) if known.process == process => (known.loaded.clone(), known.written.clone()),
        _ => (None, Vec::new()),
    };
    let address = report.address.clone();
    let configuration = report.seen.configuration.clone();
    let server_record = ServerRecord { address, process, configuration, loaded, written };
    record.servers.insert(server.name.clone(), server_record);
}
