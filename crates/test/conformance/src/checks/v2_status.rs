//! KMS v2 Status: version, health text and key id.

use std::collections::BTreeSet;
use std::time::Duration;

use keystead_proto::kms_v2::StatusResponse;

use crate::check::{Check, Judged, Stop};
use crate::options::Kms;
use crate::plugin::{quote, timed};
use crate::report::Outcome;
use crate::run::{Served, Suite};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-served",
        title: "KMS v2 is served",
        rule: "Status is answered",
        why: "Kubernetes since 1.29 uses KMS v2 only, unless v1 is switched on by a feature gate",
        kms: Kms::V2,
        judge: |suite| Box::pin(served(suite)),
    },
    Check {
        id: "v2-status-version",
        title: "Status: version",
        rule: "`v2` or `v2beta1`",
        why: "with any other version API servers are not ready",
        kms: Kms::V2,
        judge: |suite| Box::pin(version(suite)),
    },
    Check {
        id: "v2-status-version-constant",
        title: "Status: version never changes",
        rule: "the same version in every answer, on every connection",
        why: "when it changes, API servers are not ready until they are restarted",
        kms: Kms::V2,
        judge: |suite| Box::pin(version_constant(suite)),
    },
    Check {
        id: "v2-status-healthz",
        title: "Status: healthz",
        rule: "exactly `ok`",
        why: "with any other text API servers are not ready, yet go on writing (kubernetes #138950): to stop writes a \
              plugin must answer Status with an error",
        kms: Kms::V2,
        judge: |suite| Box::pin(healthz(suite)),
    },
    Check {
        id: "v2-status-key-id-size",
        title: "Status: size of the key id",
        rule: "1 to 1024 bytes",
        why: "API servers count any other key id as invalid, and writes stop after 3 minutes",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id_size(suite)),
    },
    Check {
        id: "v2-status-key-id-stable",
        title: "Status: the key id stays",
        rule: "the same key id in every answer, on every connection, while no key is rotated",
        why: "each change makes all stored objects stale and costs a new seed",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id_stable(suite)),
    },
    Check {
        id: "v2-status-equals-encrypt",
        title: "Status and Encrypt agree",
        rule: "Encrypt answers the key id of the Status before and after it",
        why: "API servers throw away what Encrypt answered, and writes stop after 3 minutes",
        kms: Kms::V2,
        judge: |suite| Box::pin(equals_encrypt(suite)),
    },
    Check {
        id: "v2-status-time",
        title: "Status: how fast",
        rule: "within the timeout, and within a third of it (1 s of 3)",
        why: "Status is asked in readyz and at the start: a slow one makes API servers not ready",
        kms: Kms::V2,
        judge: |suite| Box::pin(time(suite)),
    },
];

async fn served(suite: &Suite) -> Judged {
    Ok(match &suite.v2_served {
        Served::Yes => Outcome::pass("yes"),
        Served::Broken(refusal) => Outcome::fail(refusal.to_string()),
        Served::No if suite.options.kms.is_none() && suite.serves(Kms::V1) => {
            Outcome::skip("the plugin serves KMS v1 only: ask with --kms to make this a failure")
        }
        Served::No => Outcome::fail("UNIMPLEMENTED"),
    })
}

async fn version(suite: &Suite) -> Judged {
    let version = suite.status().await?.version;
    Ok(Outcome::pass_if(matches!(version.as_str(), "v2" | "v2beta1"), format!("`{}`", quote(&version))))
}

async fn version_constant(suite: &Suite) -> Judged {
    let versions: BTreeSet<_> = answers(suite).await?.into_iter().map(|it| it.version).collect();
    Ok(all_equal(&versions))
}

async fn healthz(suite: &Suite) -> Judged {
    let answers = answers(suite).await?;
    let bad = answers.iter().find(|it| it.healthz != "ok");
    Ok(match bad {
        None => Outcome::pass("`ok`"),
        Some(answer) => Outcome::fail(format!("`{}`", quote(&answer.healthz))),
    })
}

async fn key_id_size(suite: &Suite) -> Judged {
    let key_id = suite.status().await?.key_id;
    let came = format!("{} bytes: `{}`", key_id.len(), quote(&key_id));
    Ok(Outcome::pass_if((1..=KEY_ID_MOST).contains(&key_id.len()), came))
}

async fn key_id_stable(suite: &Suite) -> Judged {
    let ids: BTreeSet<_> = answers(suite).await?.into_iter().map(|it| it.key_id).collect();
    Ok(all_equal(&ids))
}

async fn equals_encrypt(suite: &Suite) -> Judged {
    for _ in 0..10 {
        let before = suite.status().await?.key_id;
        let sealed = suite.sealed().await?.sealed.key_id;
        let after = suite.status().await?.key_id;
        // A rotation between the calls is no disagreement.
        if sealed != before && sealed != after {
            return Ok(Outcome::fail(format!("Status `{}`, Encrypt `{}`", quote(&before), quote(&sealed))));
        }
    }
    Ok(Outcome::pass("equal, 10 times"))
}

async fn time(suite: &Suite) -> Judged {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let (answer, took) = timed(suite.plugin.status()).await;
        answer?;
        slowest = slowest.max(took);
    }
    Ok(fast_enough(suite, slowest))
}

/// Twenty answers on one connection, and one on each of five others.
async fn answers(suite: &Suite) -> Result<Vec<StatusResponse>, Stop> {
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(suite.status().await?);
    }
    for _ in 0..5 {
        answers.push(suite.connect().status().await?);
    }
    Ok(answers)
}

fn all_equal(values: &BTreeSet<String>) -> Outcome {
    let shown: Vec<_> = values.iter().take(4).map(|it| format!("`{}`", quote(it))).collect();
    Outcome::pass_if(values.len() == 1, shown.join(", "))
}

/// The verdict on the slowest of several calls; those over the timeout have failed already.
///
/// A third of the timeout (1 s of kube-apiserver's 3 s) is slow: one readyz probe may make two calls, and there must be room for
/// the worse day.
pub(super) fn fast_enough(suite: &Suite, slowest: Duration) -> Outcome {
    let came = format!("slowest {slowest:.1?}");
    if slowest > suite.options.timeout / 3 { Outcome::warn(came) } else { Outcome::pass(came) }
}

/// `KeyIDMaxSize` in kube-apiserver's `kmsv2/envelope.go`.
const KEY_ID_MOST: usize = 1024;
