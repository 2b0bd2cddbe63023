//! API servers, plugins and etcd as Kubernetes has them (k8s-contract.md 1 and 2), and everything that happens to them.

use std::collections::{BTreeMap, BTreeSet};

use keystead_cluster::rollout::{Configuration, Order, Provider, StoredAs};

pub(crate) struct Fleet {
    pub(crate) hosts: Vec<Host>,
    pub(crate) objects: Vec<Object>,
    /// etcd's revision.
    pub(crate) revision: i64,
    /// Events so far.
    pub(crate) clock: usize,
    /// The key id that the KMS behind `kms_a` encrypts with.
    pub(crate) primary: String,
    pub(crate) trace: Vec<String>,
    /// The providers that the operator can have heard of, and since when. A stranger may have replaced a file before it first looked.
    pub(crate) only_known: Option<BTreeMap<Provider, usize>>,
}

pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) minor: u32,
    pub(crate) automatic_reload: bool,
    /// The host answers.
    pub(crate) reachable: bool,
    /// It will never come back.
    pub(crate) gone: bool,
    /// Since when the operator knows more of it than its name.
    pub(crate) heard_at: Option<usize>,
    pub(crate) on_disk: Configuration,
    pub(crate) disk_by: Author,
    /// The first providers that strangers chose for the file since the operator last chose one; none: it is the operator's choice.
    pub(crate) strange_writers_on_disk: BTreeSet<Provider>,
    /// None: no process runs.
    pub(crate) loaded: Option<Configuration>,
    pub(crate) loaded_by: Author,
    pub(crate) strange_writer: bool,
    /// What it may use as far as the operator knows: what it was last known to use, and what the operator wrote since. None: a
    /// stranger wrote there as well.
    pub(crate) maybe_loaded: Option<Vec<Configuration>>,
    pub(crate) epoch: u64,
    pub(crate) stopped_by_operator: bool,
    pub(crate) plugins: Vec<SimulatedPlugin>,
    /// Not 0: the keys in this host's file are others, under the same names.
    pub(crate) key_material: u8,
}

/// Who wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The operator, who saw the fleet at this time; 0 for how it all began.
    Operator { saw: usize },
    /// Somebody else.
    Stranger,
}

pub(crate) struct SimulatedPlugin {
    pub(crate) provider: Provider,
    pub(crate) up: bool,
    pub(crate) reports: String,
    pub(crate) unwraps: BTreeSet<String>,
    /// Key ids that it should unwrap and does not, which is nobody's fault but its own.
    pub(crate) forgotten: BTreeSet<String>,
    /// The key id in the state of this host's API server. None: there is no state, so it neither reads nor writes.
    pub(crate) state: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) stored_as: StoredAs,
    pub(crate) key_material: u8,
    pub(crate) written_at: usize,
    /// By a server that used a stranger's file.
    pub(crate) by_stranger: bool,
    /// By a server that had not answered the operator yet.
    pub(crate) by_unheard: bool,
}

pub(crate) fn kms_a() -> Provider {
    Provider::KmsV2 { name: "a".into() }
}

pub(crate) fn kms_b() -> Provider {
    Provider::KmsV2 { name: "b".into() }
}

pub(crate) fn kms_v1() -> Provider {
    Provider::KmsV1 { name: "old".into() }
}

pub(crate) fn aescbc() -> Provider {
    Provider::AesCbc { key: "k1".into() }
}

pub(crate) fn secretbox() -> Provider {
    Provider::Secretbox { key: "k2".into() }
}

pub(crate) fn order(writer: Provider, readers: &[Provider]) -> Configuration {
    Configuration::Providers(Order { writer, readers: readers.to_vec() })
}

impl Fleet {
    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        self.clock += 1;
        let line = format!("{:4} {}", self.clock, what());
        self.trace.push(line);
    }

    /// The server stops, as after a crash or at the beginning of a restart.
    pub(crate) fn stop(&mut self, at: usize) {
        self.hosts[at].loaded = None;
    }

    /// The server starts, if it does not run and its host is there.
    pub(crate) fn start(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.loaded.is_some() || !host.reachable {
            return;
        }
        host.maybe_loaded = Some(vec![host.on_disk.clone()]);
        host.load();
        host.stopped_by_operator = false;
        self.say(|| format!("h{at} starts"));
    }

    /// The minute's look at the file: a changed one is used if every plugin in it is healthy.
    pub(crate) fn reload(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(loaded) = &host.loaded else { return };
        let flags = [loaded, &host.on_disk].iter().all(|it| **it != Configuration::NoEncryption);
        if !host.automatic_reload || !flags || *loaded == host.on_disk {
            return;
        }
        let new = host.on_disk.order();
        if host.plugins.iter().all(|it| it.up || !new.reads(&it.provider)) {
            host.load();
            self.say(|| format!("h{at} reloads"));
        }
    }

    /// The minute's look at the plugins.
    pub(crate) fn poll(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(loaded) = host.loaded.as_ref().map(Configuration::order) else { return };
        for plugin in host.plugins.iter_mut().filter(|it| it.up && loaded.reads(&it.provider)) {
            plugin.state = Some(plugin.reports.clone());
        }
    }

    /// The plugin takes up the KMS's new key.
    pub(crate) fn adopt(&mut self, at: usize) {
        let primary = self.primary.clone();
        let plugin = self.hosts[at].plugin(&kms_a());
        if plugin.up && plugin.unwraps.contains(&primary) && plugin.reports != primary {
            plugin.reports = primary;
            self.say(|| format!("h{at} plugin takes up the new key"));
        }
    }

    /// All that happens by itself sooner or later.
    pub(crate) fn settle(&mut self, at: usize) {
        self.start(at);
        self.poll(at);
        self.reload(at);
        self.poll(at);
        self.adopt(at);
    }

    /// Somebody writes an object that may be there already. Whether it worked.
    pub(crate) fn write(&mut self, at: usize, object: usize) -> bool {
        let host = &self.hosts[at];
        let Some(stored_as) = host.writes() else { return false };
        // An update reads first.
        if self.objects.get(object).is_some_and(|it| !host.reads(it)) {
            return false;
        }
        let (by_stranger, by_unheard) = (host.strange_writer, host.heard_at.is_none());
        let key_material = host.key_material_of(&stored_as.provider);
        self.revision += 1;
        let line = format!("h{at} writes object {object} as {stored_as}");
        self.say(|| line);
        let object_now = Object { stored_as, key_material, written_at: self.clock, by_stranger, by_unheard };
        match self.objects.get_mut(object) {
            Some(it) => *it = object_now,
            None => self.objects.push(object_now),
        }
        true
    }

    /// An empty patch. What this server takes for stale is rewritten, and nothing else. None: it cannot be read or written here.
    pub(crate) fn rewrite(&mut self, at: usize, object: usize) -> Option<bool> {
        let host = &self.hosts[at];
        if !host.reads(&self.objects[object]) {
            return None;
        }
        let stale = host.writes()? != self.objects[object].stored_as;
        if stale && !self.write(at, object) {
            return None;
        }
        Some(stale)
    }
}

impl Host {
    /// Somebody else than the operator writes the file.
    pub(crate) fn overwrite(&mut self, file: Configuration) {
        self.maybe_loaded = None;
        self.strange_writers_on_disk.insert(file.order().writer);
        self.on_disk = file;
        self.disk_by = Author::Stranger;
    }

    pub(crate) fn plugin(&mut self, provider: &Provider) -> &mut SimulatedPlugin {
        self.plugins.iter_mut().find(|it| it.provider == *provider).expect("every host has every plugin")
    }

    fn load(&mut self) {
        self.loaded = Some(self.on_disk.clone());
        self.loaded_by = self.disk_by;
        self.strange_writer = !self.strange_writers_on_disk.is_empty();
        self.epoch += 1;
        let order = self.on_disk.order();
        for plugin in &mut self.plugins {
            let asked = plugin.up && order.reads(&plugin.provider);
            plugin.state = asked.then(|| plugin.reports.clone());
        }
    }

    /// The operator sees for certain what it uses.
    pub(crate) fn remember_loaded(&mut self, old_files_are_kept: bool) {
        if self.reachable && self.tells_loaded(old_files_are_kept) {
            self.maybe_loaded = Some(self.loaded.iter().chain([&self.on_disk]).cloned().collect());
        }
    }

    /// Whether it can be known for certain what it uses.
    pub(crate) fn tells_loaded(&self, old_files_are_kept: bool) -> bool {
        let Some(loaded) = &self.loaded else { return false };
        // Without the flag its command line says so.
        let no_flag = *loaded == Configuration::NoEncryption;
        let unchanged = self.maybe_loaded.as_ref().is_some_and(|it| it.iter().all(|it| it == loaded));
        // From 1.34 on it gives a hash, which says something to whoever has such a file.
        let by_hash = self.minor >= 34 && (*loaded == self.on_disk || old_files_are_kept);
        no_flag || unchanged || by_hash || (!self.automatic_reload && old_files_are_kept)
    }

    pub(crate) fn is_ready(&self) -> bool {
        let Some(loaded) = self.loaded.as_ref().map(Configuration::order) else { return false };
        let mut used = self.plugins.iter().filter(|it| loaded.reads(&it.provider));
        self.reachable && used.all(|it| it.up && it.state.is_some())
    }

    pub(crate) fn writes(&self) -> Option<StoredAs> {
        let provider = self.loaded.as_ref()?.order().writer;
        let Some(plugin) = self.plugins.iter().find(|it| it.provider == provider) else {
            return Some(StoredAs { provider, key_id: None });
        };
        let key_id = match provider {
            Provider::KmsV2 { .. } => Some(plugin.state.clone()?),
            _ if plugin.up => None,
            _ => return None,
        };
        Some(StoredAs { provider, key_id })
    }

    /// Whether it reads `object` now.
    pub(crate) fn reads(&self, object: &Object) -> bool {
        let provider = &object.stored_as.provider;
        let plugin = self.plugins.iter().find(|it| it.provider == *provider);
        let answers = plugin.is_none_or(|it| {
            let forgotten = object.stored_as.key_id.as_ref().is_some_and(|id| it.forgotten.contains(id));
            it.up && it.state.is_some() && !forgotten
        });
        answers
            && self.should_read(&object.stored_as)
            && self.key_material_of(provider) == object.key_material
    }

    /// Whether it reads such an object once its plugins work as they should.
    pub(crate) fn should_read(&self, stored_as: &StoredAs) -> bool {
        let Some(loaded) = self.loaded.as_ref().map(Configuration::order) else { return true };
        let plugin = self.plugins.iter().find(|it| it.provider == stored_as.provider);
        let unwraps = match (plugin, &stored_as.key_id) {
            (Some(plugin), Some(key_id)) => {
                plugin.unwraps.contains(key_id) || plugin.forgotten.contains(key_id)
            }
            _ => true,
        };
        loaded.reads(&stored_as.provider) && unwraps
    }

    pub(crate) fn key_material_of(&self, provider: &Provider) -> u8 {
        match provider {
            Provider::AesCbc { .. } | Provider::Secretbox { .. } => self.key_material,
            _ => 0,
        }
    }
}
