//! What is on a host.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{ConfigurationFile, Files, digest};
use super::plugins::PluginAt;
use super::{EtcdAccess, HostError, LocalHost, PluginReport, Report, plugins};
use crate::api::url;
use crate::api_server_facts::Facts;
use crate::encryption_configuration::{EncryptionConfiguration, GroupResource};
use crate::owned_file::OwnedFile;
use crate::provider_order::{self, KmsPlugin};
use crate::rollout::Configuration;
use crate::yaml::MAX_LEN;

impl LocalHost {
    pub(super) async fn look(&self, resources: &[String], more: &[KmsPlugin]) -> Result<Report, HostError> {
        let files = self.files()?;
        let read = files.configuration();
        let file = read.as_ref().ok().and_then(Option::as_ref);
        let resources: Vec<GroupResource> = resources.iter().map(|it| GroupResource::parse(it)).collect();
        let known = plugins::known(file.map(|it| &it.text), more);
        let facts = &files.facts;
        let process = files.api_server.process(facts);
        let has_flag = facts.encryption_provider_config.is_some();
        let in_rollout = provider_order::resources(file.map(|it| &it.text), &resources);
        let file_changed = file.map_or(0.0, |it| changed(it.file.path()));
        Ok(Report {
            address: address(facts),
            minor: facts.version.map(|(_, minor, _)| minor),
            has_flag,
            seen: files.seen(file),
            others: file.map(|it| it.others(&in_rollout)).unwrap_or_default(),
            is_restarting: files.api_server.is_restarting(process.as_ref(), has_flag),
            resources: in_rollout,
            earlier: self.earlier(&resources),
            automatic_reload: facts.automatic_reload,
            settings: match file.and_then(|it| files.settings(it)) {
                Some(settings) => files.same_elsewhere(settings),
                None => Ok(self.new_settings(&files, &plugins::known(None, more))),
            },
            process,
            remarks: files.api_server.remarks().iter().map(ToString::to_string).collect(),
            etcd: files.etcd(file),
            plugins: self.plugins(known, &files).await,
            changed: files.api_server.changed().max(file_changed),
            on_disk: self.on_disk(&files, &resources, read),
        })
    }

    /// Also whether anything may be changed there: what comes of that must be known.
    fn on_disk(
        &self,
        files: &Files,
        resources: &[GroupResource],
        read: Result<Option<ConfigurationFile>, HostError>,
    ) -> Result<Configuration, String> {
        let order = files.order(resources, read).map_err(|error| chain(&error))?;
        if let Some(doubt) = files.api_server.unsettled() {
            return Err(doubt.to_string());
        }
        let new = self.configuration.display().to_string();
        // A mount can be added.
        let is_hidden = files.facts.view.hides(&new).is_some();
        match order == Configuration::NoEncryption && is_hidden {
            true => Err(chain(&HostError::NotMounted(new))),
            false => Ok(order),
        }
    }

    async fn plugins(&self, known: Vec<PluginAt>, files: &Files) -> Vec<PluginReport> {
        let probes = plugins::probe(&known, &files.facts).await;
        let probes = probes.into_iter().zip(&known).map(|(probe, plugin)| {
            // It may answer us, and not whom it is for.
            files.api_server.refusal(plugin).map_or(probe, |error| Err(chain(&error)))
        });
        let probes: Vec<_> = probes.collect();
        // Behind them: systemd may start a plugin only when it is asked.
        let ways = self.kms_ways(&known, files).await;
        let found = known.into_iter().zip(probes).zip(ways);
        found.map(|((plugin, probe), way)| PluginReport { provider: plugin.provider, probe, way }).collect()
    }

    /// What the texts said that were replaced on this host. One that cannot be read says nothing.
    fn earlier(&self, resources: &[GroupResource]) -> BTreeMap<String, Configuration> {
        let Ok(entries) = fs::read_dir(&self.places.previous) else { return BTreeMap::new() };
        let read = |path: PathBuf| {
            let file = OwnedFile::read(&path, MAX_LEN).ok()?;
            let text = EncryptionConfiguration::read(file.bytes()).ok()?;
            let order = provider_order::read(&text, resources).ok()?;
            Some((digest(file.bytes()), order))
        };
        entries.filter_map(|entry| read(entry.ok()?.path())).take(EARLIER_MAX).collect()
    }
}

impl Files {
    fn order(
        &self,
        resources: &[GroupResource],
        read: Result<Option<ConfigurationFile>, HostError>,
    ) -> Result<Configuration, HostError> {
        let Some(ConfigurationFile { file, text }) = read? else { return Ok(Configuration::NoEncryption) };
        if let Some(finding) = text.check(&self.taker()).into_iter().find(|it| it.problem.is_refused()) {
            return Err(file.located(finding).into());
        }
        Ok(provider_order::read(&text, resources).map_err(|error| file.located(error))?)
    }

    fn etcd(&self, file: Option<&ConfigurationFile>) -> EtcdAccess {
        let flags = &self.facts.etcd;
        let host = |path: &Option<String>| {
            path.as_ref().map(|it| PathBuf::from(self.facts.host_path(it).unwrap_or_else(|| it.clone())))
        };
        EtcdAccess {
            endpoints: flags.servers.clone(),
            ca_file: host(&flags.ca_file),
            certificate_file: host(&flags.certificate_file),
            key_file: host(&flags.key_file),
            prefix: flags.prefix.clone(),
            known_names: file.map(|it| it.text.known_names()).unwrap_or_default(),
        }
    }
}

/// Earlier texts that are looked at; the directory is ours, and nobody changes a cluster's providers a thousand times.
const EARLIER_MAX: usize = 1000;

/// Where the kubelet asks too: kubeadm writes the flag, and without it the API server listens on all addresses.
fn address(facts: &Facts) -> String {
    url(facts.advertise_address.as_deref().unwrap_or("127.0.0.1"), facts.secure_port)
}

/// When content, name, owner or mode last changed, in seconds since 1970: the later time of a link and of what it leads to. Nobody can set
/// that time, and it never says less than that something changed.
pub(super) fn changed(path: &Path) -> f64 {
    let time = |it: Metadata| it.ctime() as f64 + it.ctime_nsec() as f64 / 1e9;
    let all = [path.symlink_metadata(), path.metadata()];
    all.into_iter().flatten().map(time).fold(0.0, f64::max)
}

fn chain(error: &HostError) -> String {
    keystead_model::ErrorChain(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::Path;

    use super::changed;

    /// Seconds and nanoseconds.
    fn time(path: &Path) -> (i64, i64) {
        path.symlink_metadata().map(|it| (it.ctime(), it.ctime_nsec())).expect("it is there")
    }

    /// A link that leads to another file from now on is a change, however old that file is.
    #[test]
    fn a_link_changes_with_itself_and_with_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "A=1").expect("written");
        symlink(&file, &link).expect("linked");
        // The kernel's clock of files has ticks of some milliseconds.
        while time(&link) <= time(&file) {
            fs::remove_file(&link).expect("removed");
            symlink(&file, &link).expect("linked");
        }
        let before = changed(&link);
        assert!(before > changed(&file));
        while time(&file) <= time(&link) {
            fs::write(&file, "A=2").expect("written");
        }
        assert!(changed(&link) > before);
        assert_eq!(changed(&directory.path().join("absent")), 0.0);
    }
}
