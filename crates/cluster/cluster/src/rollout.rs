//! How the encryption of a control plane is changed while it serves.
//!
//! The rule: at every moment each API server can read what any API server writes, and everything that is stored. A server may
//! crash at any moment and start with whatever is in its file, so a file counts as if it were in use from the moment it is written.
//!
//! [`plan()`] is a function from a goal and from facts to the next safe steps. It remembers nothing: whoever was interrupted
//! observes and plans again. The phases below are asked in their order, and the first that is not finished says what comes next. A
//! phase that was finished can come again: an installer that overwrites a file in the middle is repaired before anything goes on.
//!
//! [`refusal()`] asks the rule itself of a single step, for whoever applies what somebody else planned.
//!
//! Read `situation.rs` next, then the phases in their order, each a file.

mod adopt_key;
mod check;
mod configuration;
mod drop_unused;
mod files;
mod goal;
mod guard;
mod load;
mod observed;
mod plan;
mod prove;
mod read_everywhere;
mod reencrypt;
mod situation;
mod verify;
mod write_everywhere;

pub use configuration::{Configuration, NotAProvider, Order, Provider, StoredAs};
pub use goal::Goal;
pub use guard::refusal;
pub(crate) use observed::TELLS_LOADED_FILE;
pub use observed::{
    Answer, Canary, Count, Inventory, Loaded, Observed, Pass, Plugin, Reading, Server, Stored, Writing,
};
pub use plan::{Fact, Next, Obstacle, Phase, PhaseLine, Plan, PlannedStep, Progress, Step};
use situation::Situation;
pub use verify::{broken_promises, stored_otherwise};

type PhaseRule = fn(&Situation<'_>) -> Option<Next>;

const PHASES: [(Phase, PhaseRule); 8] = [
    (Phase::Check, check::next),
    (Phase::Read, read_everywhere::next),
    (Phase::Write, write_everywhere::next),
    (Phase::Load, load::next),
    (Phase::Adopt, adopt_key::next),
    (Phase::Prove, prove::next),
    (Phase::Reencrypt, reencrypt::next),
    (Phase::Drop, drop_unused::next),
];

/// What to do next to reach `goal`, and what is left after that. The same facts give the same plan.
pub fn plan(goal: &Goal, observed: &Observed) -> Plan {
    let situation = Situation::new(goal, observed);
    let current = PHASES.iter().enumerate().find_map(|(at, (_, rule))| Some((at, rule(&situation)?)));
    let (at, next) = current.unwrap_or_else(|| (PHASES.len(), Next::Done(remarks(&situation))));
    let phases = PHASES
        .iter()
        .enumerate()
        // The only phase that not every goal has.
        .filter(|(_, (phase, _))| *phase != Phase::Adopt || matches!(goal, Goal::Rotate { .. }))
        .map(|(index, (phase, _))| PhaseLine {
            phase: *phase,
            progress: match index.cmp(&at) {
                std::cmp::Ordering::Less => Progress::Done,
                std::cmp::Ordering::Equal => Progress::Now,
                std::cmp::Ordering::Greater => Progress::Later,
            },
        })
        .collect();
    Plan { goal: goal.to_string(), phases, next }
}

/// What a person may do after the goal is reached.
fn remarks(situation: &Situation<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    // An API server may encrypt others in another way. Nobody looked at those.
    let resources: Vec<&str> = situation.observed.stored.iter().map(|it| it.resource.as_str()).collect();
    let resources = resources.join(", ");
    let in_use = |provider: &Provider| {
        situation.servers.iter().any(|it| it.on_disk.as_ref().is_some_and(|it| it.order().reads(provider)))
    };
    let mut idle: Vec<&Provider> =
        situation.servers.iter().flat_map(|it| &it.plugins).map(|it| &it.provider).collect();
    idle.sort();
    idle.dedup();
    for provider in idle.into_iter().filter(|it| !in_use(it)) {
        remarks.push(format!(
            "No API server uses {provider} for {resources} any more: its plugin may be stopped if nothing else uses it."
        ));
    }
    if let Goal::Rotate { provider, to } = situation.goal {
        remarks.push(format!(
            "No value of {resources} needs a key id of {provider} other than {to}. Other resources were not looked at."
        ));
    }
    if !matches!(situation.goal, Goal::Undo { .. }) {
        remarks.push(
            "Backups and etcd's older revisions still hold values of before: keep what reads them."
                .to_owned(),
        );
    }
    remarks
}
