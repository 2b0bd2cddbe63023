//! `keystead cluster verify`

use std::fmt;

use keystead_cluster::evidence::{PromisedBy, Verification};
use keystead_cluster::rollout::{Goal, Observed, Provider, broken_promises, stored_otherwise};
use keystead_model::Exit;
use keystead_runtime::Failure;
use serde::Serialize;

use super::evidence::EvidenceArgs;
use super::status::{Look, LookArgs};
use crate::output::visible;

/// See whether what the last rollout promised holds: counted in etcd, and asked of every API server and plugin
///
/// Without a rollout: that everything is stored as the API servers' files say. It changes nothing in the cluster. With --evidence it also
/// writes what it found, signed, for somebody who checks it elsewhere with `keystead cluster evidence check`.
///
/// Exit codes: 0 it holds, 6 it does not, 1 the evidence was not written or the control plane is run by others, 2 usage, kubeconfig, record or
/// signing key, 4 the API server cannot be reached, 5 denied.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    evidence: EvidenceArgs,
}

#[derive(Debug, Serialize)]
struct Verdict {
    /// Uid of the namespace kube-system.
    cluster: String,
    promise: String,
    /// Nothing: it holds.
    broken: Vec<String>,
}

impl VerifyArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.look.refuse_over_cluster()?;
        // Before anything is looked at: a count in etcd may take a while.
        let evidence = self.evidence.prepare()?;
        let look = crate::runtime()?.block_on(self.look.look(true))?;
        let found = verification(&look);
        if let Some(evidence) = &evidence {
            evidence.write(found.clone(), &look.observed, &look.in_use)?;
        }
        let Verification { cluster, promise, findings: broken, .. } = found;
        let count = broken.len();
        self.look.format.print(&Verdict { cluster, promise, broken })?;
        match count {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{count} things are not as promised"))
                .exit(Exit::Problem)
                .hint("`keystead cluster status` shows what comes next".to_owned())),
        }
    }
}

fn verification(look: &Look) -> Verification {
    let Look { cluster, record, observed, unnamed, .. } = look;
    let (promise, promised_by, mut findings) = match record {
        Some(record) => {
            (record.goal.to_string(), PromisedBy::Rollout, broken_promises(&record.goal, observed))
        }
        None => {
            let (promise, findings) = as_files_say(observed);
            (promise, PromisedBy::Files, findings)
        }
    };
    findings.sort();
    findings.dedup();
    findings
        .extend(unnamed.iter().map(|it| format!("{it} is an API server too, and no host of it was named")));
    Verification { cluster: cluster.clone(), promise, promised_by, findings }
}

/// What the files of the API servers promise, and what of it does not hold. If they differ, there is nothing that could.
fn as_files_say(observed: &Observed) -> (String, Vec<String>) {
    let mut files = observed.servers.iter().filter_map(|it| it.on_disk.as_ref());
    let first = files.next();
    let Some(to) = first.filter(|first| files.all(|it| it == *first)) else {
        let promise = "what the files of the API servers say".to_owned();
        return (promise, vec!["the API servers have different files, or none that can be read".to_owned()]);
    };
    let goal = Goal::Undo { to: to.clone() };
    let mut findings = match goal.writer() {
        Provider::Identity => vec!["the API servers' files encrypt nothing".to_owned()],
        writer => stored_otherwise(&writer, observed),
    };
    findings.extend(broken_promises(&goal, observed));
    (goal.to_string(), findings)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster {}\npromised: {}", visible(&self.cluster), visible(&self.promise))?;
        match self.broken.is_empty() {
            true => writeln!(f, "it holds"),
            false => self.broken.iter().try_for_each(|it| writeln!(f, "  broken: {}", visible(it))),
        }
    }
}
