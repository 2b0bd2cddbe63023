//! What one server writes is what the goal asks for, and every other server reads it.

use super::configuration::StoredAs;
use super::observed::{Canary, Server};
use super::plan::{Next, Obstacle, PlannedStep, Step};
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let (waits, obstacles) = situation.not_ready(|_| true);
    if let Some(next) = Next::of(waits, obstacles) {
        return Some(next);
    }
    let (mut steps, mut obstacles) = (Vec::new(), Vec::new());
    for server in &situation.servers {
        match verdict(situation, server) {
            Verdict::Proven(stored_as) if situation.goal.is_written_as(stored_as) => {}
            Verdict::Proven(stored_as) => steps.push(
                canary(server).because(format!("it still wrote with {stored_as} when it was last asked")),
            ),
            Verdict::Unknown(step) => steps.push(step),
            Verdict::Wrong(wrong) => obstacles.extend(wrong),
        }
    }
    if !obstacles.is_empty() {
        return Some(Next::Blocked(obstacles));
    }
    Next::of(steps, obstacles).or_else(|| differing_key_ids(situation))
}

/// Plugins take up a new key one after the other. Until then one server would rewrite back what another did.
fn differing_key_ids(situation: &Situation<'_>) -> Option<Next> {
    let writers = situation.observed.writers();
    let (a, b) = writers.iter().zip(writers.iter().skip(1)).find(|(a, b)| a.stored_as != b.stored_as)?;
    Some(Next::Blocked(vec![Obstacle::new(
        format!("{} writes with {}, and {} with {}", a.server, a.stored_as, b.server, b.stored_as),
        "Wait until both plugins have the same key id, and go on.",
    )]))
}

/// The same for one server, whatever its key id. None: it is proven.
pub(super) fn one(situation: &Situation<'_>, server: &Server) -> Option<Next> {
    match verdict(situation, server) {
        Verdict::Proven(_) => None,
        Verdict::Unknown(step) => Some(Next::Steps(vec![step])),
        Verdict::Wrong(obstacles) => Some(Next::Blocked(obstacles)),
    }
}

enum Verdict<'a> {
    /// It writes with the goal's provider in this way, and all others read it.
    Proven(&'a StoredAs),
    Unknown(PlannedStep),
    Wrong(Vec<Obstacle>),
}

fn canary(server: &Server) -> Step {
    Step::Canary { server: server.name.clone() }
}

fn verdict<'a>(situation: &Situation<'a>, server: &Server) -> Verdict<'a> {
    let step = canary(server);
    let Some(canary) = situation.observed.canary(server) else {
        return Verdict::Unknown(step.because("nobody saw yet how it writes since it started or reloaded"));
    };
    let failures = failures(situation, canary);
    if !failures.is_empty() {
        return Verdict::Wrong(failures);
    }
    let stored_as = &canary.writer.stored_as;
    if stored_as.provider != situation.writer {
        return Verdict::Wrong(vec![Obstacle::new(
            format!("{} writes with {stored_as}, which is not what it was thought to use", server.name),
            "Look at its flags and its file, restart it, and go on.",
        )]);
    }
    if is_outdated(canary, server) {
        return Verdict::Unknown(step.because("its plugin has another key since it was last asked"));
    }
    let unread = situation
        .servers
        .iter()
        .find(|reader| reader.name != server.name && reading_failed(canary, reader).is_none());
    match unread {
        None => Verdict::Proven(stored_as),
        Some(reader) => Verdict::Unknown(
            step.because(format!("{} did not read what it writes since it started or reloaded", reader.name)),
        ),
    }
}

/// Whether `server`, which wrote `canary`, writes under another key by now.
pub(super) fn is_outdated(canary: &Canary, server: &Server) -> bool {
    let stored_as = &canary.writer.stored_as;
    let seen = server.plugin(&stored_as.provider).and_then(|it| it.seen.as_ref());
    matches!((&stored_as.key_id, seen), (Some(then), Some(now)) if then != now)
}

/// None: it did not read since its last start or reload. Some(None): it read.
pub(super) fn reading_failed<'c>(canary: &'c Canary, reader: &Server) -> Option<Option<&'c str>> {
    let epoch = reader.epoch.as_ref()?;
    let reading = canary.readings.iter().find(|it| it.server == reader.name && it.epoch == *epoch)?;
    Some(reading.failed.as_deref())
}

fn failures(situation: &Situation<'_>, canary: &Canary) -> Vec<Obstacle> {
    let mut failures = Vec::new();
    for reader in &situation.servers {
        if let Some(Some(reason)) = reading_failed(canary, reader) {
            failures.push(Obstacle::new(
                format!(
                    "{} cannot read what {} writes with {}: {reason}",
                    reader.name, canary.writer.server, canary.writer.stored_as
                ),
                "Compare keys and plugins of the two hosts. What is stored in the old way stays readable; `cluster undo` goes back.",
            ));
        }
    }
    failures
}
