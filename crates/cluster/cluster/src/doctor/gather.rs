//! Looks at everything that the checks judge, and judges nothing.
//!
//! Secrets are read here, because only their files say whom they are for; what is kept is where they stand and when they end.

mod directory;
mod end_of_life;
mod permissions;
mod programs;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keystead_etcd::Etcd;
use keystead_model::ErrorChain;

use super::facts::{
    ApiServerFacts, ConfigurationFacts, Facts, KmsEntryFacts, ManifestFacts, PluginFacts, ProcessFacts,
    Promise, Refusal, Seen, StoredFacts, Unopened,
};
use crate::api::{ApiServer, ConnectError, Kubeconfig};
use crate::api_server_flags::KMS_V1;
use crate::api_server_manifest::{ApiServerManifest, Facts as ManifestText};
use crate::encryption_configuration::{
    ApiServer as Taker, EncryptionConfiguration, GroupResource, KmsVersion, Problem, Provider as FileProvider,
};
use crate::executor::{Record, kubeadm_patch, read_record};
use crate::host::{Answer, LocalHost, Report, Task};
use crate::kms_socket::{KmsSocket, Wrapped};
use crate::owned_file::OwnedFile;
use crate::rollout::Provider;
use crate::stored_values;
use crate::yaml::MAX_LEN;

use directory::Directory;

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
    let mut facts = Facts::unseen("it was not looked for");
    facts.now = now();
    facts.looked_as = rustix::process::geteuid().as_raw();
    let connected = ApiServer::connect(&sources.kubeconfig).await;
    let record = record(sources, connected.as_ref().ok().map(ApiServer::cluster));
    facts.promise = record.as_ref().map(|it| it.as_ref().map(promise)).map_err(Clone::clone);
    let record = record.unwrap_or_default();
    let resources = match (&record, sources.resources.is_empty()) {
        (_, false) => sources.resources.clone(),
        (Some(record), true) => record.resources.clone(),
        (None, true) => vec!["secrets".to_owned()],
    };
    let task = Task::Look { resources: resources.clone(), plugins: Vec::new() };
    let report = match sources.host.perform(&task).await {
        Ok(Answer::Report(report)) => Ok(*report),
        Ok(_) => Err("the host answers something else than what was asked".to_owned()),
        Err(error) => Err(ErrorChain(&error).to_string()),
    };
    let text = manifest_text(&sources.host.manifest);
    let read = text.as_ref().ok().map(|(_, text)| configuration(text));
    facts.manifest = match (&report, &text) {
        (Ok(report), Ok((manifest, text))) => {
            Ok(manifest_facts(&sources.host.manifest, report, manifest, text))
        }
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let no_manifest = || "kube-apiserver's manifest cannot be read".to_owned();
    let taker = text.as_ref().ok().map(|(_, text)| taker(text));
    facts.configuration = match (&read, &taker) {
        (Some(Ok(Some((path, file)))), Some(taker)) => Ok(Some(configuration_facts(path, file, taker))),
        (Some(Err(reason)), _) => Err(reason.clone()),
        (Some(Ok(None)), _) => Ok(None),
        _ => Err(no_manifest()),
    };
    let stored = match &report {
        Ok(report) => count(report, &resources).await,
        Err(_) => Err(no_manifest()),
    };
    facts.alarms = match &report {
        Ok(report) => alarms(report).await,
        Err(_) => Err(no_manifest()),
    };
    let seeds = stored.as_ref().map(|(_, seeds)| seeds.as_slice()).unwrap_or_default();
    facts.plugins = match (&facts.configuration, &report, &text) {
        (Ok(file), Ok(report), Ok((_, text))) => Ok(plugins(file.as_ref(), report, text, seeds).await),
        (Err(reason), ..) => Err(reason.clone()),
        _ => Err(no_manifest()),
    };
    facts.stored = stored.map(|(stored, _)| stored);
    let own = report.as_ref().map(|it| it.address.clone()).map_err(Clone::clone);
    facts.api_server = match &own {
        Ok(address) => {
            ask(&sources.kubeconfig, address).await.map_err(|error| ErrorChain(&error).to_string())
        }
        Err(_) => Err(no_manifest()),
    };
    facts.others = others(sources, &connected, record.as_ref(), own.as_deref().unwrap_or_default()).await;
    facts.kubeadm = match (&report, &connected) {
        (Ok(report), Ok(server)) => kubeadm(report, server).await,
        (Err(_), _) => Err(no_manifest()),
        (_, Err(error)) => Err(ErrorChain(error).to_string()),
    };
    let directory = Directory::read(&sources.host.manifest, text.as_ref().ok().map(|(_, text)| text));
    let sockets: Vec<(String, Provider)> = match &facts.plugins {
        Ok(plugins) => plugins.iter().map(|it| (it.socket.clone(), it.provider.clone())).collect(),
        Err(_) => Vec::new(),
    };
    let programs = programs::find(directory.as_ref().ok(), &sockets).await;
    let mut files = end_of_life::Files::default();
    if let Ok(directory) = &directory {
        directory.words.iter().for_each(|path| files.look_at(path));
    }
    let kubeconfig = sources.kubeconfig.files.as_deref().unwrap_or("/etc/kubernetes/admin.conf");
    kubeconfig.split(':').filter(|it| !it.is_empty()).for_each(|it| files.look_at(Path::new(it)));
    if let Ok(Some(file)) = &facts.configuration {
        files.configuration(&file.path, file.has_keys);
    }
    for program in &programs {
        files.of_program(program);
    }
    facts.programs = match &facts.plugins {
        Ok(_) => Ok(programs.into_iter().map(|it| it.facts).collect()),
        Err(reason) => Err(reason.clone()),
    };
    facts.unread = files.unread;
    if let Err(reason) = &directory {
        facts.unread.push(reason.clone());
    }
    (facts.files, facts.certificates, facts.tokens) =
        (Ok(files.files), Ok(files.certificates), Ok(files.tokens));
    facts.twins = directory.map(|it| it.twins);
    facts
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The record of this cluster. While no API server says which cluster it is, the only one that there is.
fn record(sources: &Sources, cluster: Option<&str>) -> Seen<Option<Record>> {
    let read = |path: &Path| read_record(path).map_err(|error| ErrorChain(&error).to_string());
    if let Some(cluster) = cluster {
        return read(&sources.state.join(format!("rollout-{cluster}.json")));
    }
    let is_record = |path: &PathBuf| {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        name.starts_with("rollout-") && name.ends_with(".json")
    };
    let entries = match fs::read_dir(&sources.state) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", sources.state.display())),
    };
    let records: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_record).take(2).collect();
    match records.as_slice() {
        [] => Ok(None),
        [only] => read(only),
        _ => {
            Err("the API server does not say which cluster it is, and several are remembered here".to_owned())
        }
    }
}

fn promise(record: &Record) -> Promise {
    Promise {
        goal: record.goal.clone(),
        reached: record.reached,
        seen_before: record.seen_before.iter().cloned().collect(),
    }
}

fn manifest_text(path: &Path) -> Seen<(ApiServerManifest, ManifestText)> {
    let file = OwnedFile::read(path, MAX_LEN).map_err(|error| ErrorChain(&error).to_string())?;
    let manifest = ApiServerManifest::read(file.bytes()).map_err(|error| file.located(error).to_string())?;
    let text = manifest.facts().map_err(|error| file.located(error).to_string())?;
    Ok((manifest, text))
}

fn manifest_facts(
    path: &Path,
    report: &Report,
    manifest: &ApiServerManifest,
    text: &ManifestText,
) -> ManifestFacts {
    let process = report.process.as_ref().map(|it| {
        let pid = it.id.split('-').next().unwrap_or_default().to_owned();
        let (user, groups) = permissions::of_process(&pid);
        ProcessFacts { pid, started: it.started, has_flag: it.has_flag, user, groups }
    });
    let configuration = text.encryption_provider_config.clone();
    let host = configuration.as_ref().and_then(|it| text.host_path(it)).map(PathBuf::from);
    let mount = configuration.as_ref().map(|file| {
        let at = |it: &&crate::api_server_manifest::Mount| it.mount_path.trim_end_matches('/') == file;
        text.mounts.iter().any(|it| at(&it))
    });
    let ranges = manifest.flag("service-cluster-ip-range").ok().flatten();
    let (run_as_user, run_as_groups) = permissions::of_pod(path);
    ManifestFacts {
        path: path.to_owned(),
        address: report.address.clone(),
        minor: report.minor,
        configuration,
        configuration_on_host: host,
        mounted_alone: mount.unwrap_or_default(),
        automatic_reload: report.automatic_reload,
        run_as_user,
        run_as_groups,
        service_ranges: ranges.iter().flat_map(|it| it.split(',')).map(str::to_owned).collect(),
        changed: report.changed,
        digest: report.seen.configuration.clone(),
        on_disk: report.on_disk.clone(),
        process,
    }
}

/// The file, with its path on the host; none: the flag is not set.
fn configuration(text: &ManifestText) -> Seen<Option<(PathBuf, EncryptionConfiguration)>> {
    let Some(given) = &text.encryption_provider_config else { return Ok(None) };
    let host = text.host_path(given);
    let host = host.ok_or_else(|| {
        format!("kube-apiserver reads {given}, which no mount of its manifest brings there")
    })?;
    let path = PathBuf::from(host);
    let file = OwnedFile::read(&path, MAX_LEN).map_err(|error| ErrorChain(&error).to_string())?;
    let read =
        EncryptionConfiguration::read(file.bytes()).map_err(|error| file.located(error).to_string())?;
    Ok(Some((path, read)))
}

/// Of a version that the image does not tell, it is taken to be new.
fn taker(text: &ManifestText) -> Taker {
    Taker {
        minor: text.version.map_or(u32::MAX, |(_, minor, _)| minor),
        automatic_reload: text.automatic_reload,
        kms_v1: text.feature_gates.get(KMS_V1).copied(),
    }
}

fn configuration_facts(path: &Path, file: &EncryptionConfiguration, taker: &Taker) -> ConfigurationFacts {
    let providers = || file.entries().iter().flat_map(|it| &it.providers).map(|it| &it.provider);
    let mut kms: Vec<KmsEntryFacts> = Vec::new();
    for provider in providers() {
        let FileProvider::Kms(entry) = provider else { continue };
        let name = entry.name.clone();
        let facts = KmsEntryFacts {
            provider: match entry.api_version {
                KmsVersion::V1 => Provider::KmsV1 { name },
                KmsVersion::V2 => Provider::KmsV2 { name },
            },
            socket: entry.endpoint.socket().to_owned(),
            cache_size: entry.cache_size,
        };
        // The same entry may stand in the lists of several resources.
        if !kms.iter().any(|it| (&it.provider, &it.socket) == (&facts.provider, &facts.socket)) {
            kms.push(facts);
        }
    }
    let refused = file.check(taker).into_iter().map(|it| {
        let refusal = match &it.problem {
            Problem::NameTwice(_) => Refusal::NameTwice,
            Problem::KmsV1Gate { .. } => Refusal::KmsV1Gate,
            _ => Refusal::Other,
        };
        (refusal, it.to_string())
    });
    ConfigurationFacts {
        path: path.to_owned(),
        has_keys: providers().any(|it| !matches!(it, FileProvider::Identity | FileProvider::Kms(_))),
        refused: refused.collect(),
        kms,
    }
}

async fn count(report: &Report, resources: &[String]) -> Seen<(Vec<StoredFacts>, Vec<(Provider, Wrapped)>)> {
    let etcd = Etcd::connect(&report.etcd.connection()).await;
    let etcd = etcd.map_err(|error| ErrorChain(&error).to_string())?;
    let (mut stored, mut seeds) = (Vec::new(), Vec::new());
    let mut all = resources.to_vec();
    all.extend(report.resources.iter().filter(|it| !resources.contains(it)).cloned());
    // What a wildcard covers has no one place in etcd.
    for resource in all.into_iter().filter(|it| !it.contains('*')) {
        let found =
            stored_values::count(&etcd, &report.etcd.layout(), &GroupResource::parse(&resource)).await;
        let found = found.map_err(|error| ErrorChain(&error).to_string())?;
        stored.push(StoredFacts { resource, counts: found.counts, malformed: found.malformed });
        seeds.extend(found.seeds);
    }
    Ok((stored, seeds))
}

async fn alarms(report: &Report) -> Seen<Vec<(String, String)>> {
    let etcd = Etcd::connect(&report.etcd.connection()).await;
    let etcd = etcd.map_err(|error| ErrorChain(&error).to_string())?;
    let alarms = etcd.alarms().await.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(alarms.into_iter().map(|it| (it.kind, it.member)).collect())
}

async fn plugins(
    file: Option<&ConfigurationFacts>,
    report: &Report,
    text: &ManifestText,
    seeds: &[(Provider, Wrapped)],
) -> Vec<PluginFacts> {
    let mut plugins = Vec::new();
    for entry in file.into_iter().flat_map(|it| &it.kms) {
        let probe = report.plugins.iter().find(|it| it.provider == entry.provider).map(|it| &it.probe);
        let key_id = match probe {
            Some(Ok(wrapped)) => Ok(wrapped.key_id.clone()),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("it was not asked".to_owned()),
        };
        let mut unopened = Vec::new();
        if key_id.is_ok() && matches!(entry.provider, Provider::KmsV2 { .. }) {
            let socket = KmsSocket::new(&entry.socket, KmsVersion::V2);
            for (_, seed) in seeds.iter().filter(|(provider, _)| *provider == entry.provider) {
                if let Err(problem) = socket.unwrap(seed).await {
                    unopened.push(Unopened { key_id: seed.key_id.clone(), reason: problem.to_string() });
                }
            }
        }
        let directory = Path::new(&entry.socket).parent().unwrap_or(Path::new("/")).display().to_string();
        plugins.push(PluginFacts {
            provider: entry.provider.clone(),
            socket: entry.socket.clone(),
            key_id,
            is_mounted: entry.socket.starts_with('@')
                || text.host_path(&directory).is_some_and(|it| it.trim_end_matches('/') == directory),
            path: permissions::of_socket(&entry.socket),
            unopened,
        });
    }
    plugins
}

async fn ask(kubeconfig: &Kubeconfig, address: &str) -> Result<ApiServerFacts, ConnectError> {
    let server = ApiServer::at(kubeconfig, address).await?;
    let facts = server.facts().await;
    Ok(ApiServerFacts::of(address.to_owned(), facts, server.clock_ahead().await))
}

/// Those that publish themselves, and those that the record knows.
async fn others(
    sources: &Sources,
    connected: &Result<ApiServer, ConnectError>,
    record: Option<&Record>,
    own: &str,
) -> Seen<Vec<ApiServerFacts>> {
    let mut addresses: Vec<String> = match connected {
        Ok(server) => server.published().await.map_err(|error| ErrorChain(&error).to_string())?,
        Err(error) => return Err(ErrorChain(error).to_string()),
    };
    if let Some(record) = record {
        let known = record.servers.iter().filter(|(name, _)| !record.removed.contains(*name));
        addresses.extend(known.map(|(_, it)| it.address.clone()));
    }
    addresses.sort();
    addresses.dedup();
    addresses.retain(|it| it != own && !it.is_empty());
    let mut others = Vec::new();
    for address in addresses.iter().take(OTHERS_MAX) {
        let asked = ask(&sources.kubeconfig, address).await;
        others.push(asked.map_err(|error| ErrorChain(&error).to_string())?);
    }
    Ok(others)
}

/// API servers that are asked; who can write Endpoints decides how many there are.
const OTHERS_MAX: usize = 32;

async fn kubeadm(report: &Report, server: &ApiServer) -> Seen<Vec<String>> {
    if !report.has_flag {
        return Ok(Vec::new());
    }
    let settings = report.settings.as_ref().map_err(Clone::clone)?;
    let patch = kubeadm_patch(server, settings, true).await;
    let patch = patch.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(patch.map(|it| it.lines()).unwrap_or_default())
}

/// What this host makes of a name. An address is itself.
async fn resolve(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, 443))).await;
    found.ok().and_then(Result::ok).map(|it| it.map(|it| it.ip()).collect()).unwrap_or_default()
}

/// A resolver that answers does so at once.
const RESOLVE: std::time::Duration = std::time::Duration::from_secs(3);
