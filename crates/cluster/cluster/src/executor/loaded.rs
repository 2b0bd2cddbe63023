//! What an API server uses now, from what it says, from its process and files, and from what was known before.

use super::record::ServerRecord;
use crate::api::ServerFacts;
use crate::host::Report;
use crate::rollout::{Configuration, Loaded, TELLS_LOADED_FILE};

/// A file that was changed less than this before the start may have been read before the change or after it: times of files are as
/// old as the kernel's last tick, and a start takes a moment.
const MARGIN_S: f64 = 1.0;

/// What the API server of a host uses.
pub(super) fn loaded(report: &Report, facts: &ServerFacts, known: Option<&ServerRecord>) -> Loaded {
    let Some(process) = &report.process else { return Loaded::NotRunning };
    if !process.has_flag {
        return Loaded::Known(Configuration::NoEncryption);
    }
    if let Some(digest) = &facts.configuration {
        return by_digest(report, digest).map_or(Loaded::Unknown, Loaded::Known);
    }
    let answers = facts.reloads.is_some();
    if answers && facts.minor.is_some_and(|minor| minor >= TELLS_LOADED_FILE) {
        return Loaded::Unknown;
    }
    // What is remembered of this process comes first: a clock that was set makes times of files and of starts lie.
    if known.is_some_and(|it| it.process.as_ref() == Some(&process.id) && it.loaded.is_some()) {
        return by_record(report, known);
    }
    match &report.on_disk {
        Ok(on_disk) if process.started > report.changed + MARGIN_S => Loaded::Known(on_disk.clone()),
        _ => Loaded::Unknown,
    }
}

fn by_digest(report: &Report, digest: &str) -> Option<Configuration> {
    if report.seen.configuration.as_deref() == Some(digest) {
        return report.on_disk.clone().ok();
    }
    report.earlier.get(digest).cloned()
}

/// The same process: it uses what it used, or, if it reloads, what was written since. That holds as long as nobody else wrote.
fn by_record(report: &Report, known: Option<&ServerRecord>) -> Loaded {
    let Some((loaded, written)) = known.and_then(|it| Some((it.loaded.clone()?, &it.written))) else {
        return Loaded::Unknown;
    };
    if !report.automatic_reload {
        return Loaded::Known(loaded);
    }
    let Ok(on_disk) = &report.on_disk else { return Loaded::Unknown };
    let ours = *on_disk == loaded || written.contains(on_disk);
    match (written.is_empty(), ours) {
        (_, false) => Loaded::Unknown,
        (true, true) => Loaded::Known(loaded),
        (false, true) => Loaded::OneOf(std::iter::once(loaded).chain(written.iter().cloned()).collect()),
    }
}
