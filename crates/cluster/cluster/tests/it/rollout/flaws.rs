//! Planner bugs. A planner that forgets to look at a fact plans as if the fact were the best possible, so that most of these are what
//! it then believes; the others are what it says. The planner itself has no switch.

use keystead_cluster::rollout::{
    Answer, Canary, Configuration, Goal, Inventory, Loaded, Next, Observed, Pass, Plan, PlannedStep,
    Provider, Reading, Server, Step, StoredAs, Writing, plan,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    WritesBeforeAllRead,
    TakesUnknownForLoaded,
    LooksAtNoFile,
    TakesSilentForGone,
    IgnoresBrokenPlugins,
    RestartsAllAtOnce,
    SkipsCanaries,
    PromotesBeforeAllUnwrap,
    ReencryptsBeforeAdoption,
    TrustsTheFirstPass,
    TakesACutPassForDone,
    DropsUncounted,
    TrustsAnOldCount,
    RemovesTheFlagUncounted,
    UndoesByFileCopy,
}

impl Flaw {
    pub(crate) const ALL: [Self; 15] = [
        Self::WritesBeforeAllRead,
        Self::TakesUnknownForLoaded,
        Self::LooksAtNoFile,
        Self::TakesSilentForGone,
        Self::IgnoresBrokenPlugins,
        Self::RestartsAllAtOnce,
        Self::SkipsCanaries,
        Self::PromotesBeforeAllUnwrap,
        Self::ReencryptsBeforeAdoption,
        Self::TrustsTheFirstPass,
        Self::TakesACutPassForDone,
        Self::DropsUncounted,
        Self::TrustsAnOldCount,
        Self::RemovesTheFlagUncounted,
        Self::UndoesByFileCopy,
    ];

    /// What a planner with this flaw plans, and what it believes.
    pub(crate) fn planned(self, goal: &Goal, observed: &Observed) -> (Plan, Observed) {
        let mut believed = observed.clone();
        self.mislead(goal, &mut believed);
        let mut plan = plan(goal, &believed);
        self.bend(goal, &believed, &mut plan);
        (plan, believed)
    }

    fn mislead(self, goal: &Goal, observed: &mut Observed) {
        match self {
            Self::WritesBeforeAllRead => {
                for server in &mut observed.servers {
                    if let Loaded::Known(loaded) = &mut server.loaded {
                        *loaded = reading(loaded, goal.writer());
                    }
                    server.on_disk = server.on_disk.as_ref().map(|it| reading(it, goal.writer()));
                }
            }
            Self::TakesUnknownForLoaded => {
                for server in &mut observed.servers {
                    if let (Loaded::Unknown | Loaded::OneOf(_), Some(file)) =
                        (&server.loaded, &server.on_disk)
                    {
                        server.loaded = Loaded::Known(file.clone());
                    }
                }
            }
            Self::LooksAtNoFile => {
                for server in &mut observed.servers {
                    if let Loaded::Known(loaded) = &server.loaded {
                        server.on_disk = Some(loaded.clone());
                    }
                }
            }
            Self::TakesSilentForGone => {
                observed.servers.retain(|it| !matches!(it.answer, Answer::Silent { .. }));
            }
            Self::IgnoresBrokenPlugins => {
                for server in &mut observed.servers {
                    server.plugins.iter_mut().for_each(|it| it.unhealthy = None);
                }
            }
            Self::SkipsCanaries => {
                observed.canaries = observed.servers.iter().filter_map(|it| believed(it, observed)).collect()
            }
            Self::PromotesBeforeAllUnwrap => {
                if let Goal::Rotate { provider, to } = goal {
                    let plugins = observed.servers.iter_mut().flat_map(|it| &mut it.plugins);
                    plugins.filter(|it| it.provider == *provider).for_each(|it| {
                        it.unwraps.insert(to.clone());
                    });
                }
            }
            Self::ReencryptsBeforeAdoption => {
                for server in &mut observed.servers {
                    server.plugins.iter_mut().for_each(|it| it.seen.clone_from(&it.reports));
                }
                if let Goal::Rotate { to, .. } = goal {
                    for canary in &mut observed.canaries {
                        if canary.writer.stored_as.key_id.is_some() {
                            canary.writer.stored_as.key_id = Some(to.clone());
                        }
                    }
                }
            }
            Self::TrustsTheFirstPass => {
                for stored in &mut observed.stored {
                    if let Pass::Done { began_with, rounds, last_found, .. } = &mut stored.pass {
                        (*rounds, *last_found) = (2, 0);
                        stored.last_clean = Some(began_with.clone());
                    }
                }
            }
            Self::TakesACutPassForDone => {
                for stored in &mut observed.stored {
                    if let Pass::Partial { began_with } = &stored.pass {
                        let began_with = began_with.clone();
                        let (rounds, last_found, refused) = (2, 0, 0);
                        stored.last_clean = Some(began_with.clone());
                        stored.pass =
                            Pass::Done { began_with, rounds, ended_revision: 0, last_found, refused };
                    }
                }
            }
            Self::DropsUncounted => count_nothing(observed),
            Self::RemovesTheFlagUncounted => {
                if *goal == Goal::Disable {
                    count_nothing(observed);
                }
            }
            Self::TrustsAnOldCount => {
                observed.written_since.clear();
                let writers = observed.writers();
                for stored in &mut observed.stored {
                    if let Inventory::Counted { began_with, .. } = &mut stored.inventory {
                        began_with.clone_from(&writers);
                    }
                }
            }
            Self::RestartsAllAtOnce | Self::UndoesByFileCopy => {}
        }
    }

    fn bend(self, goal: &Goal, observed: &Observed, plan: &mut Plan) {
        let Next::Steps(steps) = &mut plan.next else { return };
        let said = |step| PlannedStep { step, reason: "a flaw".into() };
        match (self, goal) {
            (Self::RestartsAllAtOnce, _)
                if steps.iter().any(|it| matches!(it.step, Step::Restart { .. })) =>
            {
                let behind = observed.servers.iter().filter(|it| match (&it.loaded, &it.on_disk) {
                    (Loaded::Known(loaded), Some(file)) => loaded != file,
                    _ => false,
                });
                steps.extend(behind.map(|it| said(Step::Restart { server: it.name.clone() })));
            }
            (Self::UndoesByFileCopy, Goal::Undo { to }) => {
                *steps = copies(observed, to).map(said).collect();
            }
            _ => {}
        }
    }
}

fn count_nothing(observed: &mut Observed) {
    let writers = observed.writers();
    for stored in &mut observed.stored {
        let (revision, began_with, counts, malformed) = (i64::MAX, writers.clone(), Vec::new(), 0);
        stored.inventory = Inventory::Counted { revision, began_with, counts, malformed };
    }
}

fn reading(configuration: &Configuration, provider: Provider) -> Configuration {
    let mut order = configuration.order();
    if !order.reads(&provider) {
        order.readers.push(provider);
    }
    Configuration::Providers(order)
}

/// A canary as it should be.
fn believed(server: &Server, observed: &Observed) -> Option<Canary> {
    let Loaded::Known(loaded) = &server.loaded else { return None };
    let provider = loaded.order().writer;
    let plugin = server.plugins.iter().find(|it| it.provider == provider);
    let stored_as = StoredAs { provider, key_id: plugin.and_then(|it| it.seen.clone()) };
    let writer = Writing { server: server.name.clone(), epoch: server.epoch.clone()?, stored_as };
    let reading =
        |it: &Server| Some(Reading { server: it.name.clone(), epoch: it.epoch.clone()?, failed: None });
    Some(Canary { writer, readings: observed.servers.iter().filter_map(reading).collect() })
}

fn copies<'a>(observed: &'a Observed, to: &'a Configuration) -> impl Iterator<Item = Step> + 'a {
    observed.servers.iter().map(|it| it.name.clone()).map(move |server| match to {
        Configuration::NoEncryption => Step::RemoveFlag { server },
        Configuration::Providers(order) => Step::Write { server, order: order.clone() },
    })
}
