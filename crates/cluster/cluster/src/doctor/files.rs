//! Files in whose hands keys are, and what ends by itself.

use jiff::Timestamp;

use super::check::{Check, Verdict};
use super::facts::{Facts, FileFacts, FileKind, Seen};

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
            format!("`chmod g-w,o-rwx {path}`"),
        );
    }
    let manifest = facts.manifest.as_ref().ok();
    let process = manifest.and_then(|it| it.process.as_ref()).and_then(|it| it.user);
    let known = [Some(0), Some(facts.looked_as), manifest.and_then(|it| it.run_as_user), process];
    if !known.contains(&Some(file.user)) {
        verdict.error(
            format!(
                "{path} holds {holds} and belongs to user {}, who is neither root nor kube-apiserver's",
                file.user
            ),
            format!("`chown 0 {path}`, after looking at who that user is"),
        );
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
