//! What an API server uses now, from what it says, from its process and files, and from what was known before.

use super::record::ServerRecord;
use crate::api::ServerFacts;
use crate::host::Report;
use crate::rollout::{Configuration, Loaded, TELLS_LOADED_FILE};

/// A file that was changed less than this before the start may have been read before the change or after it: the clock may have been
/// set between the two.
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
    // A kubelet may be quick. Where the file is as it was before this process, nothing hangs on a clock but that it was so all the time.
    let as_before = known.is_some_and(|it| {
        it.process.as_ref() != Some(&process.id)
            && it.configuration.is_some()
            && it.configuration == report.seen.configuration
    });
    let margin = if as_before { 0.0 } else { MARGIN_S };
    match &report.on_disk {
        Ok(on_disk) if process.started > report.changed + margin => Loaded::Known(on_disk.clone()),
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

#[cfg(test)]
mod tests {
    use super::loaded;
    use crate::api::ServerFacts;
    use crate::executor::ServerRecord;
    use crate::host::{Process, Report, Seen};
    use crate::rollout::{Configuration, Loaded, Order, Provider};

    fn identity() -> Configuration {
        Configuration::Providers(Order { writer: Provider::Identity, readers: Vec::new() })
    }

    fn started(started: f64) -> Report {
        Report {
            address: "https://10.0.0.1:6443".to_owned(),
            minor: Some(31),
            has_flag: true,
            seen: Seen { start: "m".to_owned(), configuration: Some("c".to_owned()) },
            on_disk: Ok(identity()),
            resources: Vec::new(),
            earlier: std::collections::BTreeMap::new(),
            changed: 100.0,
            automatic_reload: false,
            settings: Err(String::new()),
            others: Vec::new(),
            is_restarting: false,
            remarks: Vec::new(),
            process: Some(Process { id: "2".to_owned(), started, has_flag: true }),
            etcd: crate::host::EtcdAccess::default(),
            plugins: Vec::new(),
        }
    }

    fn known(process: &str, configuration: &str) -> ServerRecord {
        ServerRecord {
            address: String::new(),
            process: Some(process.to_owned()),
            configuration: Some(configuration.to_owned()),
            loaded: None,
            written: Vec::new(),
        }
    }

    #[test]
    fn a_start_soon_after_a_change_is_certain_only_if_the_file_was_seen_before_it() {
        let facts = ServerFacts::default();
        let certain = Loaded::Known(identity());
        assert_eq!(loaded(&started(102.0), &facts, None), certain);
        assert_eq!(loaded(&started(100.2), &facts, None), Loaded::Unknown);
        assert_eq!(loaded(&started(100.2), &facts, Some(&known("1", "c"))), certain);
        let none = ServerRecord { process: None, ..known("1", "c") };
        assert_eq!(loaded(&started(100.2), &facts, Some(&none)), certain);
        assert_eq!(loaded(&started(100.2), &facts, Some(&known("1", "other"))), Loaded::Unknown);
        assert_eq!(loaded(&started(100.2), &facts, Some(&known("2", "c"))), Loaded::Unknown);
        assert_eq!(loaded(&started(99.9), &facts, Some(&known("1", "c"))), Loaded::Unknown);
    }
}
