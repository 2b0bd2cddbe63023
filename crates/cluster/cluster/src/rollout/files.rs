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
        return Some(Next::Steps(files.iter().map(Change::step).collect()));
    }
    // One that does not serve goes first, because nobody misses it.
    let first = flags.iter().position(|it| !it.server.is_ready());
    let Some(change) = first.and_then(|it| flags.get(it)).or(flags.first()) else {
        return Next::of(Vec::new(), obstacles);
    };
    if !change.server.is_ready() {
        return Some(Next::Steps(vec![change.step()]));
    }
    if !obstacles.is_empty() {
        // The file of some server cannot be mended yet, and it must not be restarted for the sake of this one.
        return Some(Next::Blocked(obstacles));
    }
    // Those whose file is right already.
    let written = |it: &Server| flags.iter().all(|change| change.server.name != it.name);
    let restarting: Vec<&Server> =
        situation.servers.iter().copied().filter(|it| written(it) && flag_is_pending(it)).collect();
    if let Some(next) = load::bring_up_to_date(situation, &restarting) {
        return Some(next);
    }
    let (waits, in_the_way) = situation.not_ready(|it| it.name != change.server.name);
    Next::of(waits, in_the_way).or_else(|| Some(Next::Steps(vec![change.step()])))
}

impl Change<'_> {
    fn step(&self) -> PlannedStep {
        let server = self.server.name.clone();
        match &self.to {
            Configuration::NoEncryption => Step::RemoveFlag { server },
            Configuration::Providers(order) => Step::Write { server, order: order.clone() },
        }
        .because(&self.reason)
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
