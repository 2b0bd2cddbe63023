//! What is wrong with the encryption of a control plane, as far as one of its hosts shows it.
//!
//! [`gather`] looks and judges nothing: its answer is plain data in which no secret stands. [`diagnose`] judges that data and does no I/O.
//! What could not be seen is told as such and never taken to be well, and one part that is away keeps no other from being looked at.
//!
//! [`checks`] is the only list of checks. To add one: a [`Check`] in the file of its family, and a fault in the tests that it finds.

mod api_servers;
mod check;
mod configuration;
mod etcd;
mod facts;
mod files;
mod gather;
mod plugins;
mod stored;
mod userinfo;

use serde::Serialize;

pub use check::{Check, Finding, Severity};
pub use facts::{
    ApiServerFacts, CertificateEnd, ConfigurationFacts, EntryFacts, Facts, FileFacts, FileKind,
    KmsEntryFacts, ManifestFacts, PluginFacts, PluginProgram, ProcessFacts, Promise, Seen, SocketFacts,
    StoredFacts, TokenEnd, Unopened,
};
pub use gather::{Sources, gather};

/// Every check, in the order in which they are shown: what others depend on comes first.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let families: [&'static [Check]; 6] = [
        &configuration::CHECKS,
        &plugins::CHECKS,
        &api_servers::CHECKS,
        &stored::CHECKS,
        &etcd::CHECKS,
        &files::CHECKS,
    ];
    families.into_iter().flatten()
}

/// What one check said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// [`Check::id`].
    pub id: &'static str,
    /// The worst of it.
    pub state: State,
    /// What is wrong, each with its evidence and what to do.
    pub findings: Vec<Finding>,
    /// What of it was not checked, each with the reason.
    pub not_checked: Vec<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything was looked at, and it is well.
    Ok,
    /// At least a part could not be looked at, and nothing was found in the rest.
    NotChecked,
    /// Something is not as it should be, and nothing fails yet.
    Warning,
    /// Something fails, would fail at the next start, or lies open.
    Error,
}

/// Puts every check to the facts.
pub fn diagnose(facts: &Facts) -> Vec<Examined> {
    checks().map(|check| check.examine(facts)).map(Examined::from).collect()
}

impl From<(&'static str, check::Verdict)> for Examined {
    fn from((id, verdict): (&'static str, check::Verdict)) -> Self {
        let (findings, not_checked) = verdict.into_parts();
        let worst = findings.iter().map(|it| it.severity).max();
        let state = match worst {
            Some(Severity::Error) => State::Error,
            Some(Severity::Warning) => State::Warning,
            None if !not_checked.is_empty() => State::NotChecked,
            None => State::Ok,
        };
        Self { id, state, findings, not_checked }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_words_and_each_is_there_once() {
        let ids: Vec<&str> = checks().map(|it| it.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for id in ids {
            assert!(
                id.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-'),
                "{id}"
            );
        }
    }

    /// A host of which nothing is seen has no check that is well.
    #[test]
    fn what_is_not_seen_is_not_well() {
        let examined = diagnose(&Facts::unseen("nothing was looked at"));
        for it in &examined {
            assert_ne!(it.state, State::Ok, "{}", it.id);
        }
    }
}
