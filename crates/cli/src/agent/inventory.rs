//! What etcd holds under which version of a key, counted now and then and told to the server, which then knows the versions that the cluster can
//! do without. One host of a cluster counts: the one whose Node's name is the first.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use keystead_model::cluster_host::HostReport;
use keystead_runtime::Failure;
use serde_json::json;

use crate::cluster::{EncryptedValues, HostRollout};
use crate::connection::Connection;
use crate::output::{say, visible};

/// Values that somebody writes anew by hand, after a rotation, are seen within this time.
const EVERY: Duration = Duration::from_secs(3600);
/// After something changed, and after a count that failed.
const SOON: Duration = Duration::from_secs(10);
/// The longest time from one that failed to the next.
const AGAIN_MAX: Duration = Duration::from_secs(600);

/// When was counted last, and what is being counted.
#[derive(Default)]
pub(super) struct Counting {
    thread: Option<JoinHandle<Result<EncryptedValues, Failure>>>,
    /// None: at the next opportunity.
    due: Option<Instant>,
    failures: u32,
    /// What the plugins encrypted with when it was counted last.
    key_ids: Vec<String>,
    trouble: Option<String>,
}

impl Counting {
    /// Counts if it is time, and tells the server what was counted.
    pub(super) fn turn(&mut self, report: &HostReport, host: &HostRollout, server: &Connection) {
        if let Some(thread) = self.thread.take_if(|it| it.is_finished()) {
            let panicked = |_| Err(Failure::new("the agent has a fault: see its log"));
            let told = thread.join().unwrap_or_else(panicked).and_then(|values| tell(&values, server));
            self.ended(told.err());
        }
        if report.key_ids != self.key_ids {
            self.key_ids.clone_from(&report.key_ids);
            self.put_off();
        }
        let is_due = self.due.is_none_or(|due| Instant::now() >= due);
        // Where no plugin answers nothing was encrypted yet, or nobody writes.
        let has_plugins = !report.key_ids.is_empty();
        if self.thread.is_some() || !is_due || !has_plugins || !is_first(&report.control_plane) {
            return;
        }
        let host = host.clone();
        let count = move || crate::runtime()?.block_on(host.inventory());
        match std::thread::Builder::new().name("inventory".to_owned()).spawn(count) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => self.ended(Some(Failure::new(format!("no thread can be started: {error}")))),
        }
    }

    /// What is being changed now is counted when it is over.
    pub(super) fn put_off(&mut self) {
        self.due = Some(Instant::now() + SOON);
    }

    fn ended(&mut self, failure: Option<Failure>) {
        let trouble = failure.map(|it| it.to_string().lines().next().unwrap_or_default().to_owned());
        self.failures = if trouble.is_some() { self.failures.saturating_add(1) } else { 0 };
        let again = AGAIN_MAX.min(SOON.saturating_mul(1 << self.failures.min(8)));
        self.due = Some(Instant::now() + if trouble.is_some() { again } else { EVERY });
        if let Some(text) = trouble.as_ref().filter(|_| trouble != self.trouble) {
            say(&format!("what etcd holds under which version of a key is not told: {}", visible(text)));
        }
        self.trouble = trouble;
    }
}

/// Its own node is the last of them: [`HostRollout::facts`].
fn is_first(control_plane: &[String]) -> bool {
    control_plane.last().is_some_and(|own| control_plane.iter().all(|it| own <= it))
}

fn tell(values: &EncryptedValues, server: &Connection) -> Result<(), Failure> {
    let under: serde_json::Map<_, _> =
        values.under.iter().map(|(id, objects)| (id.clone(), objects.to_string().into())).collect();
    let body = json!({
        "observeTime": values.time.to_string(),
        "under": under,
        "unattributed": values.unattributed.to_string(),
    });
    server.post("/keystead/v1/agent:reportInventory", &[], &body).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_of_a_cluster_counts() {
        let nodes = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert!(is_first(&nodes(&["cp-2", "cp-3", "cp-1"])));
        assert!(!is_first(&nodes(&["cp-1", "cp-3", "cp-2"])));
        assert!(is_first(&nodes(&["cp-1"])));
        assert!(!is_first(&[]), "nothing is known of it");
    }

    #[test]
    fn a_count_that_fails_is_tried_again_and_less_often_each_time() {
        let mut counting = Counting::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            counting.ended(Some(Failure::new("etcd is away")));
            let pause = counting.due.expect("due").saturating_duration_since(Instant::now());
            assert!(pause <= AGAIN_MAX && pause + Duration::from_secs(1) >= last, "{pause:?}");
            last = pause;
        }
        counting.ended(None);
        assert!(counting.due.is_some_and(|due| due > Instant::now() + AGAIN_MAX));
    }
}
