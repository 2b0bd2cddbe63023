//! KMS v1 (`v1beta1`): Version, Encrypt and Decrypt.

use std::collections::BTreeSet;
use std::time::Duration;

use super::hostile::{bit_flips, foreign, truncations, v1_must_refuse};
use super::v2_encrypt::{OVERSIZED, shows};
use super::v2_status::fast_enough;
use crate::check::{Check, Judged};
use crate::options::Kms;
use crate::plugin::{V1_VERSION, quote, side_by_side, timed};
use crate::report::Outcome;
use crate::run::{Served, Suite, random, seed};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v1-served",
        title: "KMS v1 is served",
        rule: "Version is answered",
        why: "clusters with KMS v1 need it until everything stored is rewritten with v2",
        kms: Kms::V1,
        judge: |suite| Box::pin(served(suite)),
    },
    Check {
        id: "v1-version",
        title: "Version",
        rule: "exactly `v1beta1`, each time",
        why: "with any other version every Encrypt and Decrypt of the API server fails",
        kms: Kms::V1,
        judge: |suite| Box::pin(version(suite)),
    },
    Check {
        id: "v1-version-runtime",
        title: "Version: name of the runtime",
        rule: "the runtime has a name and a version",
        why: "kube-apiserver does not read them; who looks into a fault wants to know what answers",
        kms: Kms::V1,
        judge: |suite| Box::pin(runtime(suite)),
    },
    Check {
        id: "v1-encrypt-ping",
        title: "Encrypt and Decrypt of `ping`",
        rule: "the 4 bytes come back",
        why: "that is the health check of KMS v1: a plugin that insists on 32 bytes makes API servers not ready",
        kms: Kms::V1,
        judge: |suite| Box::pin(roundtrip(suite, b"ping".to_vec())),
    },
    Check {
        id: "v1-encrypt-roundtrip",
        title: "Encrypt and Decrypt of a data key",
        rule: "the 32 bytes come back",
        why: "wrong bytes make the object unreadable",
        kms: Kms::V1,
        judge: |suite| Box::pin(async { roundtrip(suite, seed()?).await }),
    },
    Check {
        id: "v1-encrypt-cipher-size",
        title: "Encrypt: size of the cipher",
        rule: "1 to 65535 bytes",
        why: "its length is stored in 16 bits: a longer one makes every write fail",
        kms: Kms::V1,
        judge: |suite| Box::pin(cipher_size(suite)),
    },
    Check {
        id: "v1-encrypt-unique",
        title: "Encrypt twice",
        rule: "two answers for the same plaintext differ",
        why: "a repeated nonce breaks the cipher, and equal answers tell which keys are equal",
        kms: Kms::V1,
        judge: |suite| Box::pin(unique(suite)),
    },
    Check {
        id: "v1-encrypt-no-plaintext",
        title: "Encrypt: the plaintext does not show",
        rule: "the cipher does not contain the plaintext, in bytes, hexadecimal or base64",
        why: "it is stored in clear: every Secret would be readable from etcd",
        kms: Kms::V1,
        judge: |suite| Box::pin(no_plaintext(suite)),
    },
    Check {
        id: "v1-decrypt-bit-flips",
        title: "Decrypt with each single bit flipped",
        rule: "an error for every bit",
        why: "a cipher that can be altered is not authenticated",
        kms: Kms::V1,
        judge: |suite| Box::pin(flips(suite)),
    },
    Check {
        id: "v1-decrypt-truncation",
        title: "Decrypt of a cut cipher",
        rule: "an error for every length",
        why: "a cipher that can be altered is not authenticated",
        kms: Kms::V1,
        judge: |suite| Box::pin(cut(suite)),
    },
    Check {
        id: "v1-decrypt-junk",
        title: "Decrypt of what was never encrypted",
        rule: "an error for nothing, random bytes and what other plugins write, and the plugin serves on",
        why: "a plugin that dies of it takes the API server with it (it happened: aws-encryption-provider #169)",
        kms: Kms::V1,
        judge: |suite| Box::pin(junk(suite)),
    },
    Check {
        id: "v1-encrypt-oversized",
        title: "Encrypt of 5 MiB",
        rule: "an error, and the plugin serves on",
        why: "kube-apiserver could not read the answer (its limit is 4 MiB), and who may connect could use up the memory",
        kms: Kms::V1,
        judge: |suite| Box::pin(oversized(suite)),
    },
    Check {
        id: "v1-load",
        title: "128 Encrypts, then 128 Decrypts at once",
        rule: "each is answered with its own bytes, within the timeout",
        why: "KMS v1 calls the plugin for every write and for every object that an API server reads after its start",
        kms: Kms::V1,
        judge: |suite| Box::pin(load(suite)),
    },
    Check {
        id: "v1-time",
        title: "How fast",
        rule: "Version, Encrypt and Decrypt within the timeout, and within a third of it (1 s of 3)",
        why: "2,000 Secrets at 40 ms each keep an API server from being ready for 80 s (kubernetes #90856)",
        kms: Kms::V1,
        judge: |suite| Box::pin(time(suite)),
    },
];

async fn served(suite: &Suite) -> Judged {
    Ok(match &suite.v1_served {
        Served::Yes => Outcome::pass("yes"),
        Served::Broken(refusal) => Outcome::fail(refusal.to_string()),
        Served::No if suite.options.kms.is_none() && suite.serves(Kms::V2) => {
            Outcome::skip("the plugin serves KMS v2 only: ask with --kms to make this a failure")
        }
        Served::No => Outcome::fail("UNIMPLEMENTED"),
    })
}

async fn version(suite: &Suite) -> Judged {
    let mut versions = BTreeSet::new();
    for _ in 0..10 {
        versions.insert(suite.plugin.v1_version().await?.version);
        versions.insert(suite.connect().v1_version().await?.version);
    }
    let shown: Vec<_> = versions.iter().take(4).map(|it| format!("`{}`", quote(it))).collect();
    Ok(Outcome::pass_if(versions.iter().all(|it| it == V1_VERSION), shown.join(", ")))
}

async fn runtime(suite: &Suite) -> Judged {
    let answer = suite.plugin.v1_version().await?;
    let came = format!("`{}` `{}`", quote(&answer.runtime_name), quote(&answer.runtime_version));
    let named = !answer.runtime_name.is_empty() && !answer.runtime_version.is_empty();
    Ok(if named { Outcome::pass(came) } else { Outcome::warn(came) })
}

async fn roundtrip(suite: &Suite, plain: Vec<u8>) -> Judged {
    let cipher = suite.plugin.v1_encrypt(plain.clone()).await?;
    for plugin in [&suite.plugin, &suite.connect()] {
        let came = plugin.v1_decrypt(cipher.clone()).await?;
        if came != plain {
            return Ok(Outcome::fail(format!("{} other bytes", came.len())));
        }
    }
    Ok(Outcome::pass(format!("the same {} bytes", plain.len())))
}

async fn cipher_size(suite: &Suite) -> Judged {
    suite.v1_sample().await?;
    let size = suite.plugin.v1_encrypt(seed()?).await?.len();
    Ok(Outcome::pass_if((1..=CIPHER_MOST).contains(&size), format!("{size} bytes")))
}

async fn unique(suite: &Suite) -> Judged {
    suite.v1_sample().await?;
    let seed = seed()?;
    let first = suite.plugin.v1_encrypt(seed.clone()).await?;
    let second = suite.plugin.v1_encrypt(seed).await?;
    Ok(if first == second { Outcome::fail("the same cipher twice") } else { Outcome::pass("two ciphers") })
}

async fn no_plaintext(suite: &Suite) -> Judged {
    suite.v1_sample().await?;
    let seed = seed()?;
    let cipher = suite.plugin.v1_encrypt(seed.clone()).await?;
    Ok(if shows(&cipher, &seed) {
        Outcome::fail("the plaintext stands in the cipher")
    } else {
        Outcome::pass("it does not show")
    })
}

async fn flips(suite: &Suite) -> Judged {
    let sample = suite.v1_sample().await?;
    v1_must_refuse(suite, &sample, bit_flips(&sample.cipher)).await
}

async fn cut(suite: &Suite) -> Judged {
    let sample = suite.v1_sample().await?;
    v1_must_refuse(suite, &sample, truncations(&sample.cipher)).await
}

async fn junk(suite: &Suite) -> Judged {
    let sample = suite.v1_sample().await?;
    let mut ciphers = foreign();
    ciphers.push(("an empty cipher".to_owned(), Vec::new()));
    for length in [1, 16, 32, 60, 64, 1024, 65_536, 1 << 20, sample.cipher.len()] {
        ciphers.push((format!("{length} random bytes"), random(length)?));
    }
    v1_must_refuse(suite, &sample, ciphers).await
}

async fn oversized(suite: &Suite) -> Judged {
    let sample = suite.v1_sample().await?;
    // A connection of its own: to break it off is a fair answer to this.
    let came = match suite.connect().v1_encrypt(vec![0; OVERSIZED]).await {
        Ok(_) => return Ok(Outcome::fail("it was encrypted")),
        Err(refusal) if refusal.is_late() => return Err(refusal.into()),
        Err(refusal) => refusal.to_string(),
    };
    suite.v1_still_opens(&sample).await?;
    Ok(Outcome::pass(came))
}

async fn load(suite: &Suite) -> Judged {
    suite.v1_sample().await?;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let (plugin, seed) = (suite.plugin.clone(), seed()?);
        calls.push(async move { plugin.v1_encrypt(seed.clone()).await.map(|cipher| (seed, cipher)) });
    }
    let mut calls_back = Vec::new();
    for answer in side_by_side(CALLS, calls).await {
        let (seed, cipher) = answer?;
        let plugin = suite.plugin.clone();
        calls_back.push(async move { plugin.v1_decrypt(cipher).await.map(|plain| plain == seed) });
    }
    for answer in side_by_side(CALLS, calls_back).await {
        if !answer? {
            return Ok(Outcome::fail("a Decrypt beside others was answered with other bytes"));
        }
    }
    Ok(Outcome::pass(format!("{CALLS} answered right")))
}

async fn time(suite: &Suite) -> Judged {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let (version, first) = timed(suite.plugin.v1_version()).await;
        version?;
        let (cipher, second) = timed(suite.plugin.v1_encrypt(seed()?)).await;
        let (plain, third) = timed(suite.plugin.v1_decrypt(cipher?)).await;
        plain?;
        slowest = slowest.max(first).max(second).max(third);
    }
    Ok(fast_enough(suite, slowest))
}

/// The length stands in 16 bits in front of the stored cipher (`envelope/envelope.go`).
const CIPHER_MOST: usize = 65_535;
const CALLS: usize = 128;
