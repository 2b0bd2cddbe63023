//! Stopping all clusters of a machine, for a person.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keystead_runtime::Failure;

use crate::{files, lock};

/// A cluster stops in seconds. Where its programs do not end, agents are ended after 30 s, then what stands in manifests after 10 s and 30 s, then
/// etcd after 30 s.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Stops the clusters that are in `directory`, each in one of its own, and waits until they are. It says what it did, cluster by cluster.
///
/// # Errors
///
/// Where a file cannot be written, or some still run after two minutes.
pub fn stop_all(directory: &Path, mut say: impl FnMut(&str)) -> Result<(), Failure> {
    let mut running = Vec::new();
    let clusters = clusters(directory)?;
    if clusters.is_empty() {
        say("no cluster is there");
    }
    for cluster in clusters {
        let was_running = lock::is_taken(&cluster)?;
        // Also where none runs: one that is about to start sees it.
        files::write(&cluster.join("stop"), "")?;
        match was_running {
            true => running.push(cluster),
            false => say(&format!("{}: did not run", name(&cluster))),
        }
    }
    let end = Instant::now() + PATIENCE;
    while !running.is_empty() {
        let mut left = Vec::new();
        for cluster in running {
            // One that is deleted meanwhile has stopped, too.
            match cluster.exists() && lock::is_taken(&cluster)? {
                true => left.push(cluster),
                false => say(&format!("{}: stopped", name(&cluster))),
            }
        }
        running = left;
        if !running.is_empty() && Instant::now() >= end {
            let names: Vec<String> = running.iter().map(|it| name(it)).collect();
            return Err(Failure::new(format!(
                "after {} s these still run: {}",
                PATIENCE.as_secs(),
                names.join(", ")
            ))
            .hint("the file `log` of each says what it waits for".to_owned()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn clusters(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| files::failed("read", directory, &error).usage();
    let entries = std::fs::read_dir(directory).map_err(unreadable)?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.join("cluster.json").is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name(cluster: &Path) -> String {
    cluster.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_is_told_to_stop_and_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        stop_all(directory.path(), |_| {}).expect("nothing to do");
        for name in ["a", "b", "other"] {
            std::fs::create_dir(directory.path().join(name)).expect("made");
        }
        for name in ["a", "b"] {
            std::fs::write(directory.path().join(name).join("cluster.json"), "{}").expect("written");
        }
        let runs = directory.path().join("b");
        let lock = lock::take(&runs).expect("opened").expect("free");
        // A supervisor that ends when it is told to.
        let supervisor = std::thread::spawn(move || {
            while !runs.join("stop").exists() {
                std::thread::yield_now();
            }
            drop(lock);
        });
        let mut said = Vec::new();
        stop_all(directory.path(), |text| said.push(text.to_owned())).expect("stopped");
        supervisor.join().expect("it ended");
        assert_eq!(said, ["a: did not run", "b: stopped"]);
        assert!(directory.path().join("a/stop").exists() && !directory.path().join("other/stop").exists());
    }
}
