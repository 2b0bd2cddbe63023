//! Writing files. Those of several hosts may be written at once, but not flags: a changed flag is a changed manifest, and the kubelet
//! restarts the API server at once.

use super::configuration::Configuration;
use super::load;
use super::observed::{Loaded, Server};
use super::plan::{Next, Obstacle, PlannedStep, Step};
use super::situation::Situation;

/// A file that ought to change.
pub(super) struct Change<'a> {
    pub(super) server: &'a Server,
    pub(super) to: Configuration,
    pub(super) reason: String,
}

/// The steps for `changes`, or what is in the way of all of them. None: there is nothing to change.
pub(super) fn write(
    situation: &Situation<'_>,
    changes: Vec<Change<'_>>,
    obstacles: Vec<Obstacle>,
) -> Option<Next> {
    let (flags, files): (Vec<Change<'_>>, Vec<Change<'_>>) = changes.into_iter().partition(changes_flag);
    if !files.is_empty() {
        return Some(Next::Steps(files.into_iter().map(Change::step).collect()));
    }
    // One that does not serve goes first, because nobody misses it.
    let ready = |it: &Change<'_>| it.server.is_ready();
    let (ready, not_ready): (Vec<Change<'_>>, Vec<Change<'_>>) = flags.into_iter().partition(ready);
    if let Some(change) = not_ready.into_iter().next() {
        return Some(Next::Steps(vec![change.step()]));
    }
    let Some(change) = ready.into_iter().next() else { return Next::of(Vec::new(), obstacles) };
    let others = || situation.servers.iter().copied().filter(|it| it.name != change.server.name);
    let restarting: Vec<&Server> = others().filter(|it| flag_is_pending(it)).collect();
    if let Some(next) = load::bring_up_to_date(situation, &restarting) {
        return Some(next);
    }
    let (waits, in_the_way) = situation.not_ready(|it| it.name != change.server.name);
    Next::of(waits, in_the_way).or_else(|| Some(Next::Steps(vec![change.step()])))
}

impl Change<'_> {
    fn step(self) -> PlannedStep {
        let server = self.server.name.clone();
        match self.to {
            Configuration::NoEncryption => Step::RemoveFlag { server },
            Configuration::Providers(order) => Step::Write { server, order },
        }
        .because(self.reason)
    }
}

fn changes_flag(change: &Change<'_>) -> bool {
    let has_flag = |it: &Configuration| *it != Configuration::NoEncryption;
    change.server.on_disk.as_ref().is_none_or(|it| has_flag(it) != has_flag(&change.to))
}

/// Whether its next start, which may have begun, sets or drops the flag.
fn flag_is_pending(server: &Server) -> bool {
    let Some(on_disk) = &server.on_disk else { return true };
    let has_flag = |it: &Configuration| *it != Configuration::NoEncryption;
    matches!(&server.loaded, Loaded::Known(loaded) if has_flag(loaded) != has_flag(on_disk))
}
