//! KMS v2 with many calls at once, as when an API server starts.

use std::collections::BTreeSet;

use crate::check::{Check, Judged, Stop};
use crate::options::Kms;
use crate::plugin::side_by_side;
use crate::report::Outcome;
use crate::run::{Sample, Suite, seed};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-load-decrypt-same",
        title: "128 Decrypts of one ciphertext at once",
        rule: "each is answered right, within the timeout",
        why: "API servers do not merge such calls: parallel lists after a start all ask for the same seed",
        kms: Kms::V2,
        judge: |suite| Box::pin(decrypt_same(suite)),
    },
    Check {
        id: "v2-load-decrypt-different",
        title: "128 Decrypts of different ciphertexts at once",
        rule: "each is answered with its own plaintext, within the timeout",
        why: "an API server asks for all seeds in etcd when it starts: one answer in another's place is a seed of wrong bytes",
        kms: Kms::V2,
        judge: |suite| Box::pin(decrypt_different(suite)),
    },
    Check {
        id: "v2-load-encrypt",
        title: "128 Encrypts at once",
        rule: "each is answered within the timeout, no ciphertext twice, and each comes back as its own plaintext",
        why: "several API servers and KMS entries may start together; a repeated nonce breaks the cipher",
        kms: Kms::V2,
        judge: |suite| Box::pin(encrypt(suite)),
    },
];

const CALLS: usize = 128;

async fn decrypt_same(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    open_all(suite, vec![sample; CALLS]).await
}

async fn decrypt_different(suite: &Suite) -> Judged {
    suite.sample().await?;
    let mut samples = Vec::new();
    for _ in 0..CALLS {
        samples.push(
            Sample::new(&suite.plugin, seed()?)
                .await
                .map_err(|it| Stop::Skip(format!("needs Encrypt: {it}")))?,
        );
    }
    open_all(suite, samples).await
}

async fn encrypt(suite: &Suite) -> Judged {
    suite.sample().await?;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let (plugin, seed) = (suite.plugin.clone(), seed()?);
        calls.push(async move { Sample::new(&plugin, seed).await });
    }
    let mut samples = Vec::new();
    for answer in side_by_side(CALLS, calls).await {
        samples.push(answer?);
    }
    let different: BTreeSet<_> = samples.iter().map(|it| &it.sealed.ciphertext).collect();
    if different.len() < CALLS {
        return Ok(Outcome::fail(format!("{} different ciphertexts in {CALLS} answers", different.len())));
    }
    // In turn: whether many can be opened at once is for the others to judge.
    for sample in &samples {
        if suite.plugin.decrypt(sample.request()).await? != sample.seed {
            return Ok(Outcome::fail("a ciphertext made beside others comes back as other bytes"));
        }
    }
    Ok(Outcome::pass(format!("{CALLS} different ciphertexts, all open")))
}

async fn open_all(suite: &Suite, samples: Vec<Sample>) -> Judged {
    let all = samples.len();
    let calls = samples.into_iter().map(|sample| {
        let plugin = suite.plugin.clone();
        async move { plugin.decrypt(sample.request()).await.map(|plaintext| plaintext == sample.seed) }
    });
    let answers = side_by_side(all, calls).await;
    let wrong = answers.iter().filter(|it| matches!(it, Ok(false))).count();
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    Ok(match refused.first() {
        _ if wrong > 0 => Outcome::fail(format!("{wrong} of {all} answered with other bytes")),
        Some(first) => Outcome::fail(format!("{} of {all} not answered; first: {first}", refused.len())),
        None => Outcome::pass(format!("{all} answered right")),
    })
}
