//! The record of a rollout when its command begins.

use keystead_cluster::executor::Record;
use keystead_cluster::rollout::{Configuration, Goal, Observed, Server};
use keystead_runtime::Failure;

use super::Aim;
use super::new_key::new_key;
use super::wish::no_way_back;
use crate::output::say;

/// The record to go on with. Where no `resources` are named, it is for those of the rollout before, or Secrets.
pub(super) fn record(
    aim: &Aim,
    resources: Vec<String>,
    known: Option<Record>,
    cluster: &str,
) -> Result<Record, Failure> {
    let resources = match (resources.is_empty(), &known) {
        (false, _) => resources,
        (true, Some(known)) => known.resources.clone(),
        (true, None) => vec!["secrets".to_owned()],
    };
    match (aim, known) {
        (Aim::Continue | Aim::Undo, None) => {
            Err(Failure::new("no rollout of this cluster is known on this host")
                .usage()
                .hint("begin one with `keystead cluster enable`, or name its --state directory".to_owned()))
        }
        (Aim::Continue, Some(known)) if known.reached => {
            Err(Failure::new(format!("the last rollout is done: {}", known.goal)))
        }
        (Aim::Continue | Aim::Undo, Some(mut known)) => {
            known.try_again();
            Ok(known)
        }
        (Aim::Goal(goal, plugins), Some(mut known)) => {
            if !known.reached && known.goal != *goal {
                say(&format!("another rollout is under way, and this one takes its place: {}", known.goal));
            }
            known.turn(goal.clone(), resources, plugins.clone());
            if let Goal::Undo { to } = goal {
                known.before = Some(to.clone());
            }
            Ok(known)
        }
        (Aim::Goal(goal, plugins), None) => {
            Ok(Record::new(cluster.to_owned(), goal.clone(), resources, plugins.clone()))
        }
        (Aim::Rotate(..), Some(mut known)) => {
            known.try_again();
            known.resources = resources;
            Ok(known)
        }
        // Until a look says which key id it goes to.
        (Aim::Rotate(..), None) => Ok(Record::new(cluster.to_owned(), Goal::Disable, resources, Vec::new())),
    }
}

/// What only a look tells.
pub(super) fn complete(
    record: &mut Record,
    aim: &Aim,
    begins: bool,
    observed: &Observed,
) -> Result<(), Failure> {
    match aim {
        Aim::Rotate(to, _) => {
            let (provider, to) = new_key(observed, to.as_deref())?;
            let goal = Goal::Rotate { provider, to };
            if record.reached || record.goal != goal {
                record.turn(goal, record.resources.clone(), Vec::new());
            }
        }
        Aim::Undo if !matches!(record.goal, Goal::Undo { .. }) => {
            let before = record.before.clone().ok_or_else(no_way_back)?;
            let (resources, plugins) = (record.resources.clone(), Vec::new());
            let kept = Some(before.clone());
            record.turn(Goal::Undo { to: before }, resources, plugins);
            record.before = kept;
        }
        _ => {}
    }
    // Later it would be something in the middle.
    if begins && record.before.is_none() {
        record.before = before(&observed.servers);
    }
    Ok(())
}

/// What all API servers use, if they agree.
pub(super) fn before(servers: &[Server]) -> Option<Configuration> {
    let mut files = servers.iter().map(|it| it.on_disk.as_ref());
    let first = files.next()??;
    files.all(|it| it == Some(first)).then(|| first.clone())
}
