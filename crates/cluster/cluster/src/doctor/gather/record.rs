//! What the last rollout left on this host.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use keystead_model::ErrorChain;

use crate::doctor::facts::{Promise, Seen};
use crate::executor::{Record, read_record};

/// The record of this cluster. While no API server says which cluster it is, the only one that there is.
pub(super) fn read(state: &Path, cluster: Option<&str>) -> Seen<Option<Record>> {
    let read = |path: &Path| read_record(path).map_err(|error| ErrorChain(&error).to_string());
    if let Some(cluster) = cluster {
        return read(&state.join(format!("rollout-{cluster}.json")));
    }
    let is_record = |path: &PathBuf| {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        name.starts_with("rollout-") && name.ends_with(".json")
    };
    let entries = match fs::read_dir(state) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", state.display())),
    };
    let records: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_record).take(2).collect();
    match records.as_slice() {
        [] => Ok(None),
        [only] => read(only),
        _ => {
            Err("the API server does not say which cluster it is, and several are remembered here".to_owned())
        }
    }
}

pub(super) fn promise(record: &Record) -> Promise {
    Promise { goal: record.goal.clone(), reached: record.reached }
}
