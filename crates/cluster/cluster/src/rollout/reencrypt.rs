//! Everything stored is as the goal asks for, and that is counted in etcd after the last moment in which it could have been
//! written otherwise.

use super::goal::Goal;
use super::observed::{Count, Inventory, Pass, Stored, Writing};
use super::plan::{Next, Obstacle, PlannedStep, Step};
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let writers = situation.observed.writers();
    let (mut steps, mut obstacles) = (Vec::new(), Vec::new());
    for stored in &situation.observed.stored {
        match verdict(situation, stored, &writers) {
            Verdict::Clean => {}
            Verdict::Next(step) => steps.push(step),
            Verdict::Stuck(obstacle) => obstacles.push(obstacle),
        }
    }
    Next::of(steps, obstacles)
}

/// Whether everything is proven to be as the goal asks for, with the servers as they are now.
pub(super) fn is_clean(situation: &Situation<'_>) -> bool {
    let writers = situation.observed.writers();
    situation.observed.stored.iter().all(|it| matches!(verdict(situation, it, &writers), Verdict::Clean))
}

enum Verdict {
    Clean,
    Next(PlannedStep),
    Stuck(Obstacle),
}

fn verdict(situation: &Situation<'_>, stored: &Stored, writers: &[Writing]) -> Verdict {
    let resource = stored.resource.clone();
    let (finished, refused, ended_revision) = match &stored.pass {
        Pass::Done { began_with, rounds, last_found, refused, ended_revision } if began_with == writers => {
            (*rounds >= 2 && *last_found == 0, *refused, *ended_revision)
        }
        _ => (false, 0, 0),
    };
    // Seen after the last count, even if every server writes as it should by now.
    let strayed = situation.observed.written_since.iter().any(|it| *it != situation.writer);
    let (counts, malformed) = match &stored.inventory {
        Inventory::NotTaken => {
            return count(resource, "what is stored is not known");
        }
        Inventory::NoAccess { .. } if finished && refused == 0 && !strayed => return Verdict::Clean,
        Inventory::NoAccess { .. } if finished && refused > 0 => return stuck(&resource, refused),
        Inventory::NoAccess { .. } => {
            return pass(stored, writers, "etcd cannot be asked what is left".into());
        }
        Inventory::Counted { began_with, .. } if began_with != writers || strayed => {
            return count(
                resource,
                "API servers started or reloaded, or write in another way, since the last count",
            );
        }
        Inventory::Counted { revision, .. } if finished && *revision < ended_revision => {
            return count(resource, "re-encryption ended after the last count");
        }
        Inventory::Counted { counts, malformed, .. } => (counts, *malformed),
    };
    let left: Vec<&Count> =
        counts.iter().filter(|it| it.objects > 0 && !situation.goal.leaves(&it.stored_as)).collect();
    if malformed > 0 {
        return Verdict::Stuck(Obstacle::new(
            format!("{malformed} {resource} cannot be read by any API server"),
            "`keystead cluster inventory` names them. Restore or delete them.",
        ));
    }
    // A removed server may have written with a key that nobody else has, and no canary tells any more: a pass reads each value. An
    // undo rewrites nothing, so it has none.
    let unproven = !situation.observed.removed.is_empty() && !matches!(situation.goal, Goal::Undo { .. });
    if left.is_empty() && !unproven {
        return Verdict::Clean;
    }
    if finished && refused > 0 {
        return stuck(&resource, refused);
    }
    if left.is_empty() && finished {
        return Verdict::Clean;
    }
    if left.is_empty() {
        return pass(
            stored,
            writers,
            "it is not certain that what a removed server wrote can be read".into(),
        );
    }
    let left: Vec<String> = left.iter().map(|it| format!("{} as {}", it.objects, it.stored_as)).collect();
    let left = left.join(", ");
    if matches!(situation.goal, Goal::Undo { .. }) {
        // Only what was written on the way; the check before the first change found nothing.
        return Verdict::Stuck(Obstacle::new(
            format!("{resource} are stored that the earlier configuration cannot read: {left}"),
            "Everything stays readable as it is. Use `cluster disable` or `cluster migrate`.",
        ));
    }
    pass(stored, writers, format!("stored are still {left}"))
}

fn count(resource: String, reason: &str) -> Verdict {
    Verdict::Next(Step::TakeInventory { resource }.because(reason))
}

fn pass(stored: &Stored, writers: &[Writing], reason: String) -> Verdict {
    // What an interrupted pass left behind may have been rewritten back if servers changed since.
    let resume = matches!(&stored.pass, Pass::Partial { began_with } if began_with == writers);
    Verdict::Next(Step::Reencrypt { resource: stored.resource.clone(), resume }.because(reason))
}

fn stuck(resource: &str, refused: u64) -> Verdict {
    Verdict::Stuck(Obstacle::new(
        format!("{refused} {resource} could not be rewritten"),
        "The report of the re-encryption names each with what refused it. Settle that, and go on.",
    ))
}
