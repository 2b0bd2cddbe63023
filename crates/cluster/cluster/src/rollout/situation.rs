//! What the facts mean for the goal: the questions that all phases ask.

use std::collections::BTreeSet;

use super::configuration::{Configuration, Order, Provider};
use super::goal::Goal;
use super::observed::{Answer, Inventory, Loaded, Observed, Server};
use super::plan::{Fact, Obstacle, PlannedStep, Step};

/// A goal and what was observed.
pub(super) struct Situation<'a> {
    pub(super) goal: &'a Goal,
    pub(super) observed: &'a Observed,
    /// Without those that are gone for good.
    pub(super) servers: Vec<&'a Server>,
    /// The provider that writes in the end.
    pub(super) writer: Provider,
}

impl<'a> Situation<'a> {
    pub(super) fn new(goal: &'a Goal, observed: &'a Observed) -> Self {
        let servers = observed.servers.iter().filter(|it| !observed.removed.contains(&it.name)).collect();
        Self { goal, observed, servers, writer: goal.writer() }
    }

    /// What `server` may read and write with, now or at any moment: what it uses, and what the next start loads, which a crash
    /// or a reload can bring about any time. None if one of them is not known.
    pub(super) fn possible(&self, server: &Server) -> Option<Vec<Order>> {
        let certain = server.on_disk.is_some() && server.loaded != Loaded::Unknown;
        certain.then(|| self.known(server))
    }

    /// As [`Self::possible`], but with what is known where something is not.
    pub(super) fn known(&self, server: &Server) -> Vec<Order> {
        let loaded = match &server.loaded {
            Loaded::Known(configuration) => std::slice::from_ref(configuration),
            Loaded::OneOf(configurations) => configurations,
            Loaded::NotRunning | Loaded::Unknown => &[],
        };
        server.on_disk.iter().chain(loaded).map(Configuration::order).collect()
    }

    /// Whether `server` reads all of `providers` whatever happens.
    pub(super) fn reads_always<'p>(
        &self,
        server: &Server,
        providers: impl IntoIterator<Item = &'p Provider>,
    ) -> bool {
        let Some(orders) = self.possible(server) else { return false };
        providers.into_iter().all(|provider| orders.iter().all(|it| it.reads(provider)))
    }

    /// Whether `server` writes with the goal's provider whatever happens.
    pub(super) fn writes_always(&self, server: &Server) -> bool {
        self.possible(server).is_some_and(|orders| orders.iter().all(|it| it.writer == self.writer))
    }

    /// Everything that any server is known to write with, now or after its next start: by its configurations, or by a canary.
    pub(super) fn written(&self) -> BTreeSet<Provider> {
        let orders = self.servers.iter().flat_map(|it| self.known(it)).map(|it| it.writer);
        let canaries = self.servers.iter().filter_map(|it| self.observed.canary(it));
        orders.chain(canaries.map(|it| it.writer.stored_as.provider.clone())).collect()
    }

    /// What every server must read: what any server may write, what is stored, and the goal's provider.
    ///
    /// What is stored is only known when it was counted after every server wrote with the goal's provider. Until then, and when any
    /// server may write in another way again, everything that a configuration names or named counts as stored. After that a count
    /// is enough, even an old one: otherwise a provider that was dropped on the first server would be put back because the second
    /// still has it.
    pub(super) fn needed(&self) -> BTreeSet<Provider> {
        let orders: Vec<Order> = self.servers.iter().flat_map(|it| self.known(it)).collect();
        let mut needed = self.written();
        needed.insert(self.writer.clone());
        needed.extend(self.observed.written_since.iter().cloned());
        for stored in &self.observed.stored {
            if let Inventory::Counted { counts, .. } = &stored.inventory {
                needed.extend(
                    counts.iter().filter(|it| it.objects > 0).map(|it| it.stored_as.provider.clone()),
                );
            }
        }
        let in_another_way = orders.iter().any(|it| it.writer != self.writer);
        if in_another_way || self.unknown_while_there() || !self.is_counted() {
            needed.extend(orders.iter().flat_map(Order::providers).cloned());
            needed.extend(self.observed.seen_before.iter().cloned());
        }
        needed
    }

    /// Whether a server that is there may write in any way. One that is silent stops the plan before the next switch of writers, and
    /// a network that fails for a minute should not put back what was dropped.
    pub(super) fn unknown_while_there(&self) -> bool {
        let there = |it: &&&Server| !matches!(it.answer, Answer::Silent { .. });
        self.servers.iter().filter(there).any(|it| self.possible(it).is_none())
    }

    /// Whether everything stored was counted, or passed over with nothing found, when every server wrote as the goal asks.
    fn is_counted(&self) -> bool {
        self.observed.stored.iter().all(|it| {
            let began_with = match &it.inventory {
                Inventory::Counted { began_with, .. } => began_with,
                Inventory::NoAccess { .. } => it.last_clean.as_deref().unwrap_or_default(),
                Inventory::NotTaken => &[],
            };
            !began_with.is_empty() && began_with.iter().all(|it| self.goal.is_written_as(&it.stored_as))
        })
    }

    /// Why the plugin of `provider` on `server` cannot be relied on; none if it can, or if there is none behind it.
    pub(super) fn plugin_problem(&self, server: &Server, provider: &Provider) -> Option<Obstacle> {
        if let Some(problem) = self.plugin_unhealthy(server, provider) {
            return Some(problem);
        }
        let plugin = server.plugin(provider).filter(|_| provider.is_kms())?;
        let name = &server.name;
        if !plugin.unwraps_others {
            return Some(Obstacle::new(
                format!(
                    "the plugin of {provider} on {name} does not unwrap what the other hosts' plugins wrap"
                ),
                "Give all of them the same key.",
            ));
        }
        let foreign = self.key_ids(provider).into_iter().find(|it| !plugin.unwraps.contains(it))?;
        Some(Obstacle::new(
            format!(
                "the plugin of {provider} on {name} cannot unwrap key id {foreign}, which is stored or in use"
            ),
            "Give it that key.",
        ))
    }

    /// Why `server` should not begin to write with `writer`, as far as plugins are concerned. Where another server writes so already,
    /// a plugin that is down makes nothing worse and this may be the repair. A key of its own that others lack would.
    pub(super) fn writing_problem(&self, server: &Server, writer: &Provider) -> Option<Obstacle> {
        if !self.written().contains(writer) {
            return self.servers.iter().find_map(|it| self.plugin_problem(it, writer));
        }
        let writes_so = self.known(server).iter().any(|it| it.writer == *writer);
        let plugin = server.plugin(writer).filter(|_| writer.is_kms() && !writes_so)?;
        let unwraps = |it: &Server| {
            it.plugin(writer).is_some_and(|it| match &plugin.reports {
                Some(key_id) => it.unwraps.contains(key_id),
                None => it.unwraps_others,
            })
        };
        let other = self.servers.iter().find(|it| it.name != server.name && !unwraps(it))?;
        Some(Obstacle::new(
            format!(
                "the plugin of {writer} on {} cannot unwrap what that on {} wraps",
                other.name, server.name
            ),
            "Give both the same key.",
        ))
    }

    /// The part of [`Self::plugin_problem`] that a start or a reload depends on.
    pub(super) fn plugin_unhealthy(&self, server: &Server, provider: &Provider) -> Option<Obstacle> {
        if !provider.is_kms() {
            return None;
        }
        let name = &server.name;
        let (reason, action) = match server.plugin(provider).map(|it| &it.unhealthy) {
            Some(None) => return None,
            Some(Some(reason)) => (reason.as_str(), "Repair it."),
            None => ("there is none", "Install it."),
        };
        Some(Obstacle::new(format!("the plugin of {provider} on {name} is not healthy: {reason}"), action))
    }

    /// Every key id of `provider` that is stored, reported or seen.
    fn key_ids(&self, provider: &Provider) -> BTreeSet<String> {
        let plugins = self.servers.iter().filter_map(|it| it.plugin(provider));
        let mut key_ids: BTreeSet<String> =
            plugins.flat_map(|it| it.reports.iter().chain(&it.seen)).cloned().collect();
        for stored in &self.observed.stored {
            if let Inventory::Counted { counts, .. } = &stored.inventory {
                let stored_as = counts.iter().map(|it| &it.stored_as).filter(|it| it.provider == *provider);
                key_ids.extend(stored_as.filter_map(|it| it.key_id.clone()));
            }
        }
        key_ids
    }

    /// Waits for those of `among` that are not ready, and names what a person must do about them.
    pub(super) fn not_ready(&self, among: impl Fn(&Server) -> bool) -> (Vec<PlannedStep>, Vec<Obstacle>) {
        let (mut steps, mut obstacles) = (Vec::new(), Vec::new());
        for server in self.servers.iter().filter(|it| among(it)) {
            match &server.answer {
                Answer::Ready => {}
                Answer::Silent { .. } => obstacles.extend(self.silent(server)),
                Answer::NotReady { reason } => {
                    let orders = self.known(server);
                    let providers: BTreeSet<&Provider> = orders.iter().flat_map(Order::providers).collect();
                    let broken: Vec<Obstacle> =
                        providers.iter().filter_map(|it| self.plugin_unhealthy(server, it)).collect();
                    if broken.is_empty() {
                        steps.push(wait(server, Fact::Ready).because(format!("it is not ready: {reason}")));
                    }
                    obstacles.extend(broken);
                }
            }
        }
        (steps, obstacles)
    }

    /// The obstacle that a silent server is.
    pub(super) fn silent(&self, server: &Server) -> Option<Obstacle> {
        let Answer::Silent { reason } = &server.answer else { return None };
        let name = &server.name;
        Some(Obstacle::new(
            format!(
                "{name} ({}) does not answer ({reason}), and may be writing all the same",
                server.address
            ),
            format!("Bring it back, or, if it is gone for good, say so with --removed {name}."),
        ))
    }
}

pub(super) fn wait(server: &Server, until: Fact) -> Step {
    Step::Wait { server: server.name.clone(), until }
}
