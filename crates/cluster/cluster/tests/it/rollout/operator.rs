//! Who runs the plan: looks, asks the planner, does some of the steps, is killed, and looks again.

use std::collections::{BTreeMap, BTreeSet};

use keystead_cluster::rollout::{
    Answer, Canary, Configuration, Count, Goal, Inventory, Loaded, Observed, Pass, Plugin, Provider, Reading,
    Server, Step, Stored, StoredAs, Writing, refusal,
};

use super::choices::Choices;
use super::fleet::{Author, Fleet, Host, Object, kms_a};

pub(crate) struct Operator {
    pub(crate) goal: Goal,
    pub(crate) etcd_access: bool,
    /// Has the contents of every file that it ever saw.
    pub(crate) keeps_files: bool,
    /// The KMS runs inside the cluster.
    pub(crate) kms_inside: bool,
    pub(crate) removed: BTreeSet<String>,
    /// In memory: gone with the process.
    pub(crate) canaries: Vec<Canary>,
    /// In files: these stay.
    seen_before: BTreeSet<Provider>,
    written_since: BTreeSet<Provider>,
    inventory: Option<Inventory>,
    pass: Pass,
    last_clean: Option<Vec<Writing>>,
    /// Where an interrupted pass stopped.
    pass_at: usize,
}

/// What a plan was made of.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) observed: &'a Observed,
    /// The same, except to a planner with a flaw.
    pub(crate) believed: &'a Observed,
    pub(crate) flawed: bool,
    /// When that was.
    pub(crate) saw: usize,
}

/// Something happens while the operator is at work.
pub(crate) type Meanwhile<'a> = &'a mut dyn FnMut(&mut Fleet, &mut Choices) -> Result<(), String>;

impl Operator {
    pub(crate) fn new(goal: Goal, choices: &mut Choices) -> Self {
        Self {
            goal,
            etcd_access: !choices.one_in(4),
            keeps_files: choices.below(2) == 0,
            kms_inside: choices.one_in(40),
            removed: BTreeSet::new(),
            canaries: Vec::new(),
            seen_before: BTreeSet::new(),
            written_since: BTreeSet::new(),
            inventory: None,
            pass: Pass::NotRun,
            last_clean: None,
            pass_at: 0,
        }
    }

    /// The process is killed. The next one knows what is in files, and tries again what failed.
    pub(crate) fn killed(&mut self) {
        self.canaries.clear();
        if matches!(self.pass, Pass::Done { refused: 1.., .. }) {
            self.pass = Pass::NotRun;
        }
    }

    /// One server after the other, and the world goes on meanwhile.
    pub(crate) fn observe(
        &mut self,
        fleet: &mut Fleet,
        choices: &mut Choices,
        meanwhile: Meanwhile<'_>,
    ) -> Result<(Observed, usize), String> {
        let saw = fleet.clock;
        let mut servers = Vec::new();
        for at in 0..fleet.hosts.len() {
            let host = &mut fleet.hosts[at];
            host.heard_at = host.heard_at.or(host.reachable.then_some(saw));
            servers.push(self.server(fleet, at));
            if choices.one_in(12) {
                meanwhile(fleet, choices)?;
            }
        }
        let loaded = servers.iter().filter_map(|it| match &it.loaded {
            Loaded::Known(loaded) => Some(loaded),
            _ => None,
        });
        for configuration in servers.iter().filter_map(|it| it.on_disk.as_ref()).chain(loaded) {
            self.seen_before.extend(configuration.order().providers().cloned());
            self.written_since.insert(configuration.order().writer);
        }
        let before = fleet.only_known.take().unwrap_or_default();
        fleet.only_known = self.known_providers().map(|it| {
            let since = |it: &Provider| before.get(it).copied().unwrap_or(saw);
            it.into_iter().map(|it| (it.clone(), since(&it))).collect()
        });
        let inventory = match &self.inventory {
            _ if !self.etcd_access => Inventory::NoAccess { reason: "no certificate".into() },
            Some(inventory) => inventory.clone(),
            None => Inventory::NotTaken,
        };
        let (pass, last_clean) = (self.pass.clone(), self.last_clean.clone());
        let stored = vec![Stored { resource: "secrets".into(), inventory, pass, last_clean }];
        let observed = Observed {
            servers,
            removed: self.removed.clone(),
            seen_before: self.seen_before.clone(),
            written_since: self.written_since.clone(),
            stored,
            canaries: self.canaries.clone(),
        };
        Ok((observed, saw))
    }

    /// All that it can have heard of; none as long as a count would say more.
    fn known_providers(&self) -> Option<BTreeSet<Provider>> {
        let mut known = self.seen_before.clone();
        match &self.inventory {
            Some(Inventory::Counted { counts, .. }) => {
                known.extend(counts.iter().map(|it| it.stored_as.provider.clone()));
            }
            _ if self.etcd_access => return None,
            _ => {}
        }
        Some(known)
    }

    fn server(&self, fleet: &mut Fleet, at: usize) -> Server {
        fleet.hosts[at].remember_loaded(self.keeps_files);
        let host = &fleet.hosts[at];
        let answer = match (host.reachable, host.is_ready()) {
            (false, _) => Answer::Silent { reason: "no route".into() },
            (true, true) => Answer::Ready,
            (true, false) => Answer::NotReady { reason: "readyz failed".into() },
        };
        let loaded = match &host.loaded {
            _ if !host.reachable => Loaded::Unknown,
            None => Loaded::NotRunning,
            Some(loaded) if host.tells_loaded(self.keeps_files) => Loaded::Known(loaded.clone()),
            Some(_) => host.maybe_loaded.clone().map_or(Loaded::Unknown, Loaded::OneOf),
        };
        Server {
            name: host.name.clone(),
            address: format!("https://10.0.0.{at}:6443"),
            answer,
            minor: host.reachable.then_some(host.minor),
            on_disk: host.reachable.then(|| host.on_disk.clone()),
            loaded,
            automatic_reload: host.automatic_reload,
            epoch: (host.reachable && host.loaded.is_some()).then(|| host.epoch.to_string()),
            plugins: if host.reachable { self.plugins(fleet, at) } else { Vec::new() },
        }
    }

    fn plugins(&self, fleet: &Fleet, at: usize) -> Vec<Plugin> {
        let plugins = fleet.hosts[at].plugins.iter();
        plugins
            .map(|it| {
                let v2 = matches!(it.provider, Provider::KmsV2 { .. });
                Plugin {
                    provider: it.provider.clone(),
                    unhealthy: (!it.up).then(|| "connection refused".into()),
                    reports: (v2 && it.up).then(|| it.reports.clone()),
                    seen: it.state.clone().filter(|_| v2),
                    unwraps: it.unwraps.iter().filter(|_| v2).cloned().collect(),
                    unwraps_others: true,
                    behind_cluster: self.kms_inside.then(|| "10.96.0.7 is a Service".into()),
                }
            })
            .collect()
    }

    /// Does one step of a plan that was made of `observed`, seen at the time `saw`.
    pub(crate) fn perform(
        &mut self,
        step: &Step,
        View { observed, believed, saw, flawed }: View<'_>,
        fleet: &mut Fleet,
        choices: &mut Choices,
        meanwhile: Meanwhile<'_>,
    ) -> Result<(), String> {
        let line = format!("operator, who saw {saw}: {step}");
        fleet.say(|| line);
        // A planner with a flaw has to be found without it.
        if let Some(why) = refusal(step, observed).filter(|_| !flawed) {
            return Err(format!("an agent would refuse: {why}"));
        }
        match step {
            Step::Write { server, order } => write_file(
                fleet,
                Configuration::Providers(order.clone()),
                (seen(observed, server), saw),
                choices,
            ),
            Step::RemoveFlag { server } => {
                write_file(fleet, Configuration::NoEncryption, (seen(observed, server), saw), choices)
            }
            Step::Restart { server } => {
                let at = index(fleet, server);
                let seen = seen(observed, server);
                let used = seen.on_disk.as_ref().ok_or("a restart into an unknown file")?.order();
                let known_down = |it: &&Plugin| used.reads(&it.provider) && it.unhealthy.is_some();
                let known_down = seen.plugins.iter().find(known_down);
                if known_down.is_some_and(|it| !fleet.hosts[at].plugin(&it.provider).up) {
                    return Err(format!("{server} is restarted although its plugin is known to be down"));
                }
                restart(fleet, at, seen)
            }
            Step::Wait { .. } => Ok(()),
            Step::PromoteKey { key_id, .. } => {
                fleet.primary.clone_from(key_id);
                let lacking = fleet.hosts.iter_mut().filter(|it| it.reachable).find_map(|it| {
                    let plugin = it.plugin(&kms_a());
                    (!plugin.unwraps.contains(key_id) && !plugin.forgotten.contains(key_id))
                        .then(|| it.name.clone())
                });
                match lacking {
                    Some(name) => Err(format!("{key_id} becomes primary, and {name} cannot unwrap it")),
                    None => Ok(()),
                }
            }
            Step::Canary { server } => {
                self.canary(fleet, index(fleet, server));
                Ok(())
            }
            Step::Reencrypt { resume, .. } => {
                self.reencrypt(*resume, believed.writers(), fleet, choices, meanwhile)
            }
            Step::TakeInventory { .. } => {
                self.take_inventory(believed.writers(), fleet);
                Ok(())
            }
        }
    }

    /// The plan is at its end.
    pub(crate) fn reached(&mut self) {
        self.seen_before.clear();
    }

    fn canary(&mut self, fleet: &mut Fleet, at: usize) {
        let host = &fleet.hosts[at];
        let Some(stored_as) = host.writes().filter(|_| host.reachable) else { return };
        let object = Object {
            key_material: host.key_material_of(&stored_as.provider),
            stored_as: stored_as.clone(),
            written_at: fleet.clock,
            by_stranger: false,
            by_unheard: false,
        };
        let writer = Writing { server: host.name.clone(), epoch: host.epoch.to_string(), stored_as };
        let readers = fleet.hosts.iter().filter(|it| it.reachable && it.loaded.is_some());
        let readings = readers
            .filter(|it| it.name != writer.server)
            .map(|it| Reading {
                server: it.name.clone(),
                epoch: it.epoch.to_string(),
                failed: (!it.reads(&object)).then(|| "500".into()),
            })
            .collect();
        self.canaries.push(Canary { writer, readings });
    }

    fn take_inventory(&mut self, began_with: Vec<Writing>, fleet: &Fleet) {
        if !self.etcd_access {
            return;
        }
        self.written_since.clear();
        let mut counts: BTreeMap<StoredAs, u64> = BTreeMap::new();
        for object in &fleet.objects {
            *counts.entry(object.stored_as.clone()).or_default() += 1;
        }
        let counts = counts.into_iter().map(|(stored_as, objects)| Count { stored_as, objects }).collect();
        self.inventory =
            Some(Inventory::Counted { revision: fleet.revision, began_with, counts, malformed: 0 });
    }

    /// Once through all objects. The first time misses some, as a list does whose token expired.
    fn reencrypt(
        &mut self,
        resume: bool,
        began_with: Vec<Writing>,
        fleet: &mut Fleet,
        choices: &mut Choices,
        meanwhile: Meanwhile<'_>,
    ) -> Result<(), String> {
        all_write_alike(fleet)?;
        let before = match &self.pass {
            Pass::Done { began_with: before, rounds, .. } if *before == began_with => *rounds,
            _ => 0,
        };
        let from = if resume { self.pass_at } else { 0 };
        let (mut last_found, mut refused) = (0, 0);
        for object in from..fleet.objects.len() {
            if choices.one_in(25) {
                meanwhile(fleet, choices)?;
            }
            if choices.one_in(40) {
                if last_found > 0 {
                    self.last_clean = None;
                }
                self.pass = Pass::Partial { began_with };
                self.pass_at = object;
                fleet.say(|| "re-encryption is cut".into());
                return Ok(());
            }
            if choices.one_in(5) && before == 0 {
                continue;
            }
            let through = choices.below(fleet.hosts.len());
            let mut through = (through..fleet.hosts.len()).chain(0..through);
            let through = through.find(|it| fleet.hosts[*it].is_ready());
            match through.and_then(|it| fleet.rewrite(it, object)) {
                Some(stale) => last_found += u64::from(stale),
                None => refused += 1,
            }
        }
        if last_found > 0 {
            self.last_clean = None;
        } else if before > 0 && refused == 0 {
            self.last_clean = Some(began_with.clone());
            if !self.etcd_access {
                self.written_since.clear();
            }
        }
        // There is nothing to resume any more, whatever an older plan says.
        self.pass_at = 0;
        let (rounds, ended_revision) = (before + 1, fleet.revision);
        self.pass = Pass::Done { began_with, rounds, ended_revision, last_found, refused };
        Ok(())
    }
}

fn seen<'a>(observed: &'a Observed, name: &str) -> &'a Server {
    observed.servers.iter().find(|it| it.name == name).expect("a plan names servers that were observed")
}

fn index(fleet: &Fleet, name: &str) -> usize {
    fleet.hosts.iter().position(|it| it.name == name).expect("servers stay")
}

/// A changed flag is a changed manifest, which the kubelet answers with a restart.
fn write_file(
    fleet: &mut Fleet,
    new: Configuration,
    (seen, saw): (&Server, usize),
    choices: &mut Choices,
) -> Result<(), String> {
    let at = index(fleet, &seen.name);
    let host = &mut fleet.hosts[at];
    if !host.reachable {
        return Ok(());
    }
    let flag = |it: &Configuration| *it != Configuration::NoEncryption;
    let flag_changes = flag(&new) != flag(&host.on_disk);
    let foreseen = seen.on_disk.as_ref().is_none_or(|it| flag(&new) != flag(it));
    host.maybe_loaded = host.maybe_loaded.take().map(|mut files| {
        files.push(new.clone());
        files
    });
    // What the operator cannot mend yet it leaves as it saw it, even if a stranger was there again since.
    let writer = new.order().writer;
    let left = seen.on_disk.as_ref().is_some_and(|it| it.order().writer == writer);
    if !(left && host.strange_writers_on_disk.contains(&writer)) {
        host.strange_writers_on_disk.clear();
    }
    host.on_disk = new;
    host.disk_by = Author::Operator { saw };
    if flag_changes && choices.below(2) == 1 {
        if foreseen {
            return restart(fleet, at, seen);
        }
        // A stranger changed the flag after the operator looked: that could not be known, and is as a crash.
        fleet.stop(at);
    }
    Ok(())
}

fn restart(fleet: &mut Fleet, at: usize, seen: &Server) -> Result<(), String> {
    // Nobody misses one that does not serve anyway.
    let missed = seen.answer == Answer::Ready;
    let others = fleet.hosts.iter().enumerate().filter(|(it, _)| *it != at && missed);
    for (_, other) in others {
        if other.stopped_by_operator && other.reachable {
            return Err(format!("{} is restarted while {} still starts", fleet.hosts[at].name, other.name));
        }
    }
    if fleet.hosts[at].reachable {
        fleet.stop(at);
        fleet.hosts[at].stopped_by_operator = true;
    }
    Ok(())
}

/// Nothing is rewritten while two servers write in different ways, or under one name with different keys: one of them would
/// rewrite back what the other did.
fn all_write_alike(fleet: &Fleet) -> Result<(), String> {
    let mut up = fleet.hosts.iter().filter(|it| it.is_ready() && !it.strange_writer);
    let ways = |it: &Host| it.writes().map(|way| (it.key_material_of(&way.provider), way));
    let Some((first, way)) = up.next().and_then(|it| Some((it, ways(it)?))) else { return Ok(()) };
    match up.find(|it| ways(it).is_some_and(|it| it != way)) {
        Some(other) => {
            Err(format!("all is rewritten while {} and {} write differently", first.name, other.name))
        }
        None => Ok(()),
    }
}
