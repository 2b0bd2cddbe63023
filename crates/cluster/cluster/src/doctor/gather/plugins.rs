//! The plugins of the EncryptionConfiguration, at their sockets.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use futures_util::future::join_all;

use super::host::Host;
use super::{permissions, with_manifest};
use crate::doctor::facts::{PluginFacts, Seen, Unopened};
use crate::encryption_configuration::KmsVersion;
use crate::host::Report;
use crate::kms_socket::{KmsSocket, PluginProblem, Wrapped};
use crate::rollout::Provider;

/// With wrapped seeds of what is stored.
pub(super) async fn look(
    host: &Host,
    report: &Seen<Report>,
    seeds: &[(Provider, Wrapped)],
) -> Seen<Vec<PluginFacts>> {
    let file = host.configuration.as_ref().map_err(Clone::clone)?;
    let (report, text) = (with_manifest(report)?, host.text.as_ref());
    let mut plugins = Vec::new();
    for entry in file.iter().flat_map(|it| &it.kms) {
        let asked = report.plugins.iter().find(|it| it.provider == entry.provider);
        let key_id = match asked.map(|it| &it.probe) {
            Some(Ok(wrapped)) => Ok(wrapped.key_id.clone()),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("it was not asked".to_owned()),
        };
        let mut answers = Answers::default();
        if key_id.is_ok() && matches!(entry.provider, Provider::KmsV2 { .. }) {
            let is_lost =
                |provider: &Provider| !file.iter().flat_map(|it| &it.kms).any(|it| it.provider == *provider);
            answers =
                ask(&KmsSocket::new(&entry.socket, KmsVersion::V2), &entry.provider, is_lost, seeds).await;
        }
        plugins.push(PluginFacts {
            provider: entry.provider.clone(),
            socket: entry.socket.clone(),
            key_id,
            is_mounted: entry.socket.starts_with('@')
                || text
                    .and_then(|it| it.host_path(&entry.socket))
                    .is_some_and(|it| leads_to(&it, &entry.socket)),
            path: permissions::of_socket(&entry.socket),
            way: asked.map(|it| it.way.clone()).unwrap_or_default(),
            unopened: answers.unopened,
            unasked: answers.unasked,
            opens: answers.opens,
        });
    }
    Ok(plugins)
}

/// Whether what kube-apiserver's container sees is the socket: in the same directory, by whatever links, or a socket under another path of the
/// host. Where neither path has one, that is another check's.
fn leads_to(host: &str, socket: &str) -> bool {
    let directory = |it: &str| {
        let directory = Path::new(it).parent().unwrap_or(Path::new("/"));
        fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
    };
    let is_socket = |it: &str| fs::metadata(it).is_ok_and(|it| it.file_type().is_socket());
    directory(host) == directory(socket) || is_socket(host) || !is_socket(socket)
}

/// Seeds that one plugin is asked for: each may take some seconds.
const ASKED_MAX: usize = 64;
/// Of those at once: a plugin refuses more than it has room for.
const AT_ONCE: usize = 8;

#[derive(Default)]
struct Answers {
    unopened: Vec<Unopened>,
    unasked: Vec<Unopened>,
    opens: Vec<Provider>,
}

/// What is stored under its own name, and under names that no entry has any more: whoever opens that is the same plugin under a new name.
async fn ask(
    socket: &KmsSocket,
    own: &Provider,
    is_lost: impl Fn(&Provider) -> bool,
    seeds: &[(Provider, Wrapped)],
) -> Answers {
    let mut wanted: Vec<&(Provider, Wrapped)> = Vec::new();
    for seed in seeds.iter().filter(|(provider, _)| provider == own || is_lost(provider)) {
        // Several resources may be under one key.
        if !wanted.iter().any(|it| (&it.0, &it.1.key_id) == (&seed.0, &seed.1.key_id)) {
            wanted.push(seed);
        }
    }
    // What is under its own name first.
    wanted.sort_by_key(|(provider, _)| provider != own);
    let mut answers = Answers::default();
    let (asked, left) = wanted.split_at_checked(ASKED_MAX).unwrap_or((&wanted, &[]));
    for some in asked.chunks(AT_ONCE) {
        let outcomes = join_all(some.iter().map(|(_, seed)| socket.unwrap(seed))).await;
        for ((provider, seed), outcome) in some.iter().copied().zip(outcomes) {
            answers.take(own, provider, seed, outcome);
        }
    }
    let too_many = || format!("more than {ASKED_MAX} key ids are stored, and it was not asked for this one");
    let left = left.iter().filter(|(provider, _)| provider == own);
    answers.unasked.extend(left.map(|(_, it)| Unopened { key_id: it.key_id.clone(), reason: too_many() }));
    answers
}

impl Answers {
    fn take(
        &mut self,
        own: &Provider,
        provider: &Provider,
        seed: &Wrapped,
        outcome: Result<(), PluginProblem>,
    ) {
        match outcome {
            Ok(()) if provider != own && !self.opens.contains(provider) => self.opens.push(provider.clone()),
            Err(problem) if provider == own => {
                let list = if says_nothing(&problem) { &mut self.unasked } else { &mut self.unopened };
                list.push(Unopened { key_id: seed.key_id.clone(), reason: problem.to_string() });
            }
            _ => {}
        }
    }
}

/// Whether nothing follows from it for the key: nobody answered in time, or the plugin did not get to its KMS.
fn says_nothing(problem: &PluginProblem) -> bool {
    let away =
        ["Unavailable", "DeadlineExceeded", "Cancelled", "ResourceExhausted", "Aborted", "Unauthenticated"];
    match problem {
        PluginProblem::Late { .. } | PluginProblem::Unreachable { .. } | PluginProblem::Unwell(_) => true,
        PluginProblem::Refused { message, .. } => {
            message.split_once(':').is_some_and(|(code, _)| away.contains(&code))
        }
        PluginProblem::Wrong(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_socket_is_seen_through_links_and_other_mounts() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |it: &str| directory.path().join(it).display().to_string();
        for it in ["run", "other", "empty"] {
            fs::create_dir(at(it)).expect("a directory");
        }
        std::os::unix::fs::symlink(at("run"), at("link")).expect("a link");
        let _sockets = ["run/kms.sock", "other/kms.sock"]
            .map(|it| std::os::unix::net::UnixListener::bind(at(it)).expect("bound"));
        assert!(leads_to(&at("run/kms.sock"), &at("link/kms.sock")));
        assert!(leads_to(&at("other/kms.sock"), &at("run/kms.sock")));
        assert!(!leads_to(&at("empty/kms.sock"), &at("run/kms.sock")));
    }

    #[test]
    fn what_was_late_is_no_other_key() {
        let own = Provider::KmsV2 { name: "own".into() };
        let lost = Provider::KmsV2 { name: "lost".into() };
        let seed = Wrapped {
            key_id: "k".into(),
            ciphertext: Vec::new(),
            annotations: BTreeMap::new(),
            digest: None,
        };
        let refused = |code: &str| PluginProblem::Refused { call: "Decrypt", message: format!("{code}: no") };
        let mut answers = Answers::default();
        answers.take(&own, &own, &seed, Err(PluginProblem::Late { call: "Decrypt" }));
        answers.take(&own, &own, &seed, Err(refused("Unavailable")));
        answers.take(&own, &lost, &seed, Err(refused("NotFound")));
        assert!(answers.unopened.is_empty() && answers.opens.is_empty());
        assert_eq!(answers.unasked.len(), 2);
        answers.take(&own, &own, &seed, Err(refused("NotFound")));
        answers.take(&own, &own, &seed, Ok(()));
        answers.take(&own, &lost, &seed, Ok(()));
        assert_eq!((answers.unopened.len(), answers.opens), (1, vec![lost]));
    }
}
