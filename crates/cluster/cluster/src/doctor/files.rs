//! Files in whose hands keys are, and what ends by itself.

use jiff::Timestamp;

use super::check::{Check, Verdict};
use super::facts::{Facts, FileFacts, FileKind, Seen};
use crate::pod_user::PodUser;

pub(super) const CHECKS: [Check; 4] = [
    Check {
        id: "private-key-readable",
        looks_at: "owner and mode of every private key that a static pod, a plugin or the kubeconfig names",
        judge: private_key_readable,
    },
    Check {
        id: "configuration-readable",
        looks_at: "owner and mode of the EncryptionConfiguration, which may hold keys and decides what is encrypted",
        judge: configuration_readable,
    },
    Check {
        id: "certificate-ends",
        looks_at: "the end of every certificate that a static pod, a plugin or the kubeconfig names: 30 days before it, and after it",
        judge: certificate_ends,
    },
    Check {
        id: "token-ends",
        looks_at: "the end of tokens, where it is written: in the plugin's credentials, and in signed tokens of the kubeconfig",
        judge: token_ends,
    },
];

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

fn private_key_readable(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let files = known(facts, &facts.files, verdict)?;
    let keys = files
        .iter()
        .filter(|it| !matches!(it.kind, FileKind::Configuration | FileKind::ConfigurationWithKeys));
    let mut is_any = false;
    for file in keys {
        is_any = true;
        in_good_hands(facts, file, "a key or a token", verdict, OTHERS_READ | OTHERS_WRITE | GROUP_WRITES);
    }
    if is_any { Ok(()) } else { Err("no private key was found on this host".to_owned()) }
}

/// What was found, unless something could not be looked into.
fn known<'f, T>(facts: &Facts, found: &'f Seen<Vec<T>>, verdict: &mut Verdict) -> Result<&'f [T], String> {
    facts.unread.iter().for_each(|it| verdict.not_checked(it));
    found.as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

fn configuration_readable(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    facts.configuration()?;
    let files = facts.files.as_ref().map_err(Clone::clone)?;
    for file in files {
        match file.kind {
            FileKind::ConfigurationWithKeys => {
                in_good_hands(facts, file, "keys", verdict, OTHERS_READ | OTHERS_WRITE | GROUP_WRITES);
            }
            FileKind::Configuration => {
                in_good_hands(facts, file, "what is encrypted", verdict, OTHERS_WRITE | GROUP_WRITES);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A group that may read is how a kube-apiserver that is not root gets its files.
fn in_good_hands(facts: &Facts, file: &FileFacts, holds: &str, verdict: &mut Verdict, forbidden: u32) {
    let path = file.path.display();
    if file.mode & forbidden != 0 {
        verdict.error(
            format!(
                "{path} has mode {:04o} and holds {holds}: more than its owner may read or change it",
                file.mode
            ),
            closing(file),
        );
    }
    let manifest = facts.manifest.as_ref().ok();
    let process = manifest.and_then(|it| it.process.as_ref()?.runs_as.as_ref());
    let api_server = [manifest.and_then(|it| it.runs_as.as_ref()), process].map(|it| it.map(|it| it.user));
    let known = [[Some(0), Some(facts.looked_as)], api_server].concat();
    let is_named_by = file.named_by.iter().any(|it| it.user == file.user);
    if !known.contains(&Some(file.user)) && !is_named_by {
        verdict.error(
            format!(
                "{path} holds {holds} and belongs to user {}, who is neither root nor kube-apiserver's, nor that of a pod that names it",
                file.user
            ),
            format!("`chown 0 {path}`, after looking at who that user is"),
        );
    }
}

/// How to take the right from others. A pod whose user reads the file as anybody may is let in by its group before that.
fn closing(file: &FileFacts) -> String {
    let path = file.path.display();
    let reads_as_others =
        |it: &&PodUser| it.user != 0 && it.user != file.user && !it.groups.contains(&file.group);
    let locked_out = file.named_by.iter().find(reads_as_others).filter(|_| file.mode & OTHERS_READ != 0);
    match locked_out.map(|it| (it.user, it.groups.first())) {
        None => format!("`chmod g-w,o-rwx {path}`"),
        Some((user, Some(group))) => format!(
            "user {user} of a pod reads it, so let it in by its group first: `chgrp {group} {path} && chmod g+r,g-w,o-rwx {path}`"
        ),
        Some((user, None)) => format!(
            "user {user} of a pod reads it as anybody may: write a runAsGroup into its securityContext, give {path} to that group by chgrp and let the group read it, and then take the right from others"
        ),
    }
}

const DAY_S: i64 = 24 * 60 * 60;
/// kubeadm renews certificates with an upgrade, and an upgrade is planned for weeks.
const SOON_S: i64 = 30 * DAY_S;

fn certificate_ends(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let certificates = known(facts, &facts.certificates, verdict)?;
    if certificates.is_empty() {
        return Err("no certificate was found on this host".to_owned());
    }
    for it in certificates {
        let advice = "renew it: `kubeadm certs renew all` on kubeadm hosts, and then restart what uses it; a plugin's certificate where it was issued";
        ends(facts, &format!("the certificate in {}", it.from), it.at, advice, verdict);
    }
    Ok(())
}

fn token_ends(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let tokens = known(facts, &facts.tokens, verdict)?;
    if tokens.is_empty() {
        return Err("no token was found whose end is written".to_owned());
    }
    for it in tokens {
        let advice = "make a new one and write it beside the old one, which is used no longer then: `keystead iam tokens create` for a plugin's credentials";
        ends(facts, &it.from, it.at, advice, verdict);
    }
    Ok(())
}

fn ends(facts: &Facts, what: &str, at: i64, advice: &str, verdict: &mut Verdict) {
    let date = Timestamp::from_second(at).map_or_else(|_| at.to_string(), |it| it.to_string());
    let left = at.saturating_sub(facts.now);
    if left <= 0 {
        verdict.error(format!("{what} ended at {date}"), advice);
    } else if left <= SOON_S {
        verdict.warning(format!("{what} ends at {date}, in {} days", left / DAY_S), advice);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn file(mode: u32, user: u32, group: u32, named_by: &[(u32, &[u32])]) -> FileFacts {
        let pod = |(user, groups): &(u32, &[u32])| PodUser { user: *user, groups: groups.to_vec() };
        let named_by: BTreeSet<PodUser> = named_by.iter().map(pod).collect();
        FileFacts { path: "/k".into(), kind: FileKind::PrivateKey, mode, user, group, named_by }
    }

    /// What a pod that is not root needs is neither taken from it nor told to be wrong.
    #[test]
    fn the_user_of_the_pod_that_names_a_file_keeps_it() {
        let found = |file: FileFacts| {
            let mut facts = Facts::unseen("not in this test");
            facts.files = Ok(vec![file]);
            let mut verdict = Verdict::default();
            private_key_readable(&facts, &mut verdict).expect("judged");
            verdict.into_parts().0.into_iter().map(|it| it.advice).collect::<Vec<_>>()
        };
        assert_eq!(found(file(0o600, 2002, 2002, &[(2002, &[])])), [""; 0]);
        assert_eq!(found(file(0o600, 2003, 2002, &[(2002, &[])])).len(), 1);
        assert_eq!(found(file(0o644, 0, 0, &[])), ["`chmod g-w,o-rwx /k`"]);
        assert_eq!(found(file(0o644, 0, 7, &[(2002, &[7])])), ["`chmod g-w,o-rwx /k`"]);
        let by_group = found(file(0o644, 0, 0, &[(2002, &[7])]));
        assert!(by_group[0].contains("`chgrp 7 /k && chmod g+r,g-w,o-rwx /k`"), "{by_group:?}");
        let without = found(file(0o644, 0, 0, &[(2002, &[])]));
        assert!(!without[0].contains('`') && without[0].contains("runAsGroup"), "{without:?}");
    }
}
