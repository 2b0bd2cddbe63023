//! What must be so before anything is changed.

use super::configuration::Provider;
use super::goal::Goal;
use super::observed::{Answer, Count, Inventory, Loaded, Server, Stored, Writing};
use super::plan::{Next, Obstacle, Step};
use super::situation::Situation;

/// The first minor version with today's KMS v2 storage type. Below and above it, one rewrites what the other wrote.
const STORAGE_TYPE_CHANGED: u32 = 29;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let mut obstacles = fleet(situation);
    obstacles.extend(goal(situation));
    if !obstacles.is_empty() {
        return Some(Next::Blocked(obstacles));
    }
    ask_first(situation).or_else(|| count_first(situation)).or_else(|| undo(situation))
}

/// How a server writes whose file somebody else changed is asked of the server itself before anything else is done: another one
/// could start without what this one writes.
fn ask_first(situation: &Situation<'_>) -> Option<Next> {
    let unasked = |it: &&Server| it.is_ready() && situation.observed.canary(it).is_none();
    let canary = |it: &Server| {
        Step::Canary { server: it.name.clone() }
            .because("somebody else changed its file, and it does not say how it writes")
    };
    Next::of(unknown(situation).filter(unasked).map(canary).collect(), Vec::new())
}

/// Configurations say what may be stored only until somebody overwrites them. A server that uses what nobody knows may have written
/// in another way before it came to write in this one.
fn count_first(situation: &Situation<'_>) -> Option<Next> {
    let asked: Vec<&Writing> =
        unknown(situation).filter_map(|it| situation.observed.canary(it)).map(|it| &it.writer).collect();
    let is_late = |it: &&Stored| match &it.inventory {
        Inventory::NotTaken => true,
        Inventory::NoAccess { .. } => false,
        Inventory::Counted { began_with, .. } => asked.iter().any(|it| !began_with.contains(it)),
    };
    let count = |it: &Stored| {
        Step::TakeInventory { resource: it.resource.clone() }
            .because("what is stored decides what every API server must read")
    };
    Next::of(situation.observed.stored.iter().filter(is_late).map(count).collect(), Vec::new())
}

fn unknown<'a>(situation: &Situation<'a>) -> impl Iterator<Item = &'a Server> {
    situation.servers.iter().copied().filter(|it| it.loaded == Loaded::Unknown)
}

fn fleet(situation: &Situation<'_>) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    if situation.servers.is_empty() {
        obstacles.push(Obstacle::new("no API server is known", "Name the API servers."));
    }
    if situation.observed.stored.is_empty() {
        obstacles.push(Obstacle::new("no resource is named", "Name the resources to encrypt."));
    }
    for server in &situation.observed.servers {
        let name = &server.name;
        if situation.observed.removed.contains(name) && !matches!(server.answer, Answer::Silent { .. }) {
            obstacles.push(Obstacle::new(
                format!("{name} was said to be removed, but it is there"),
                "Stop it for good, or leave out --removed.",
            ));
        }
    }
    let minors = || situation.servers.iter().filter_map(|it| it.minor);
    let (newer, older): (Vec<u32>, Vec<u32>) = minors().partition(|it| *it >= STORAGE_TYPE_CHANGED);
    if let (Some(newer), Some(older)) = (newer.first(), older.first()) {
        obstacles.push(Obstacle::new(
            format!(
                "API servers of 1.{older} and 1.{newer} run together, and KMS v2 values differ below 1.{STORAGE_TYPE_CHANGED}"
            ),
            "Finish the upgrade first.",
        ));
    }
    obstacles
}

fn goal(situation: &Situation<'_>) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    match situation.goal {
        Goal::Enable { to, .. } if !to.is_kms() => {
            obstacles.push(Obstacle::new(
                format!("{to} is not a KMS entry"),
                "Use `cluster migrate` for keys in the file.",
            ));
        }
        Goal::Migrate { to: Provider::Identity, .. } => {
            obstacles.push(Obstacle::new(
                "a migration to identity is the end of encryption",
                "Use `cluster disable`.",
            ));
        }
        // A value of another kind does not say which key it needs, so that nothing would be stale (k8s-contract 1.9).
        Goal::Rotate { provider, .. } if !matches!(provider, Provider::KmsV2 { .. }) => {
            obstacles.push(Obstacle::new(
                format!("values of {provider} do not say under which key they are"),
                "Give the new key a name of its own and use `cluster migrate`.",
            ));
        }
        Goal::Rotate { provider, .. } if !situation.written().contains(provider) => {
            obstacles.push(Obstacle::new(
                format!("no API server writes with {provider}"),
                "Use `cluster migrate` first.",
            ));
        }
        _ => {}
    }
    if matches!(situation.goal, Goal::Enable { .. } | Goal::Migrate { .. }) {
        for server in &situation.servers {
            let evidence = server.plugin(&situation.writer).and_then(|it| it.behind_cluster.as_ref());
            if let Some(evidence) = evidence {
                obstacles.push(Obstacle::new(
                    format!(
                        "the KMS of {} can be reached from {} only through the cluster that it would protect: {evidence}",
                        situation.writer, server.name
                    ),
                    "Put the KMS, or the way to it, outside the cluster.",
                ));
            }
        }
    }
    obstacles
}

/// An undo rewrites nothing, so that nothing may be stored that the earlier configuration cannot read. That is asked before the
/// first change, and again before the last one.
fn undo(situation: &Situation<'_>) -> Option<Next> {
    let Goal::Undo { to } = situation.goal else { return None };
    let (mut steps, mut obstacles) = (Vec::new(), Vec::new());
    for stored in &situation.observed.stored {
        let resource = &stored.resource;
        let way = match to.order().writer {
            Provider::Identity => "Use `keystead cluster disable`.".to_owned(),
            writer => format!("Use `keystead cluster migrate` to {writer}."),
        };
        match &stored.inventory {
            Inventory::NotTaken => {}
            Inventory::NoAccess { reason } => obstacles.push(Obstacle::new(
                format!("an undo depends on what is stored, and etcd cannot be read: {reason}"),
                way,
            )),
            Inventory::Counted { counts, began_with, .. } => {
                let left = |it: &&Count| it.objects > 0 && !situation.goal.leaves(&it.stored_as);
                if *began_with != situation.observed.writers() && counts.iter().any(|it| left(&it)) {
                    steps.push(
                        Step::TakeInventory { resource: resource.clone() }
                            .because("what the last count found in its way may be gone"),
                    );
                    continue;
                }
                obstacles.extend(counts.iter().filter(left).map(|it| {
                    Obstacle::new(
                        format!(
                            "{} {resource} are stored as {}, which {to} cannot read",
                            it.objects, it.stored_as
                        ),
                        way.clone(),
                    )
                }));
            }
        }
    }
    Next::of(steps, obstacles)
}
