//! KMS v2 Decrypt: gives back exactly what was encrypted under exactly this key id, and refuses all else.

use std::time::Duration;

use keystead_proto::kms_v2::DecryptRequest;

use super::hostile::{bit_flips, foreign, must_refuse, truncations};
use super::v2_encrypt::OVERSIZED;
use super::v2_status::fast_enough;
use crate::check::{Check, Judged};
use crate::options::Kms;
use crate::plugin::timed;
use crate::report::Outcome;
use crate::run::{Sample, Suite, random, skip};

/// Why nothing but the real ciphertext may be opened.
const WRONG_BYTES: &str = "kube-apiserver trusts what Decrypt answers and keeps it in its cache for a day: wrong bytes make \
                           objects unreadable, and a ciphertext that can be altered is not authenticated";
/// Why key ids must match.
const KEY_ID: &str = "the key id is what says, in etcd, which key an object needs; a plugin that ignores it hides \
                      mislabelled objects until the old key is destroyed";

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-decrypt-repeat",
        title: "Decrypt again",
        rule: "the same bytes each time, on every connection, also after bad requests",
        why: "kube-apiserver asks again after each restart and once a day",
        kms: Kms::V2,
        judge: |suite| Box::pin(repeat(suite)),
    },
    Check {
        id: "v2-decrypt-wrong-key-id",
        title: "Decrypt with another key id",
        rule: "an error",
        why: KEY_ID,
        kms: Kms::V2,
        judge: |suite| Box::pin(wrong_key_id(suite)),
    },
    Check {
        id: "v2-decrypt-empty-key-id",
        title: "Decrypt without a key id",
        rule: "an error",
        why: KEY_ID,
        kms: Kms::V2,
        judge: |suite| Box::pin(empty_key_id(suite)),
    },
    Check {
        id: "v2-decrypt-missing-annotations",
        title: "Decrypt without the annotations",
        rule: "an error, when Encrypt gave annotations",
        why: "annotations that are not needed are not authenticated either",
        kms: Kms::V2,
        judge: |suite| Box::pin(missing_annotations(suite)),
    },
    Check {
        id: "v2-decrypt-altered-annotations",
        title: "Decrypt with altered annotations",
        rule: "an error for each annotation that is altered, emptied or renamed",
        why: "who can write to etcd could change them unseen",
        kms: Kms::V2,
        judge: |suite| Box::pin(altered_annotations(suite)),
    },
    Check {
        id: "v2-decrypt-extra-annotations",
        title: "Decrypt with one annotation more",
        rule: "an error",
        why: "who can write to etcd could add them unseen",
        kms: Kms::V2,
        judge: |suite| Box::pin(extra_annotations(suite)),
    },
    Check {
        id: "v2-decrypt-bit-flips",
        title: "Decrypt with each single bit flipped",
        rule: "an error for every bit",
        why: WRONG_BYTES,
        kms: Kms::V2,
        judge: |suite| Box::pin(flips(suite)),
    },
    Check {
        id: "v2-decrypt-truncation",
        title: "Decrypt of a cut ciphertext",
        rule: "an error for every length",
        why: WRONG_BYTES,
        kms: Kms::V2,
        judge: |suite| Box::pin(cut(suite)),
    },
    Check {
        id: "v2-decrypt-extended",
        title: "Decrypt of a longer ciphertext",
        rule: "an error for bytes added at either end",
        why: WRONG_BYTES,
        kms: Kms::V2,
        judge: |suite| Box::pin(extended(suite)),
    },
    Check {
        id: "v2-decrypt-spliced",
        title: "Decrypt of two ciphertexts spliced",
        rule: "an error for the head of one with the tail of another",
        why: WRONG_BYTES,
        kms: Kms::V2,
        judge: |suite| Box::pin(spliced(suite)),
    },
    Check {
        id: "v2-decrypt-empty",
        title: "Decrypt of nothing",
        rule: "an error, and the plugin serves on",
        why: "a plugin that dies of it takes the API server with it (it happened: aws-encryption-provider #169)",
        kms: Kms::V2,
        judge: |suite| Box::pin(empty(suite)),
    },
    Check {
        id: "v2-decrypt-random",
        title: "Decrypt of random bytes",
        rule: "an error, for 1 to 4096 random bytes",
        why: WRONG_BYTES,
        kms: Kms::V2,
        judge: |suite| Box::pin(random_bytes(suite)),
    },
    Check {
        id: "v2-decrypt-foreign",
        title: "Decrypt of what other plugins write",
        rule: "an error",
        why: "with a wrong order of KMS entries a plugin is given another's ciphertexts",
        kms: Kms::V2,
        judge: |suite| Box::pin(foreign_ciphertext(suite)),
    },
    Check {
        id: "v2-decrypt-oversized",
        title: "Decrypt of more than a ciphertext can be",
        rule: "an error for 1025 bytes to 5 MiB, and the plugin serves on",
        why: "no ciphertext is over 1024 bytes; who may connect could use up memory or the quota of the KMS",
        kms: Kms::V2,
        judge: |suite| Box::pin(oversized(suite)),
    },
    Check {
        id: "v2-decrypt-time",
        title: "Decrypt: how fast",
        rule: "within the timeout, and within a third of it (1 s of 3)",
        why: "an API server that starts waits for one Decrypt after another; a late answer counts as none",
        kms: Kms::V2,
        judge: |suite| Box::pin(time(suite)),
    },
];

async fn repeat(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    for round in 0..10 {
        // What it answers to this is for v2-decrypt-random to judge; here it must only do no harm.
        let junk = sample.request_with(random(sample.sealed.ciphertext.len())?);
        drop(suite.plugin.decrypt(junk).await);
        let plugin = if round % 2 == 0 { suite.plugin.clone() } else { suite.connect() };
        if plugin.decrypt(sample.request()).await? != sample.seed {
            return Ok(Outcome::fail("other bytes than the first time"));
        }
    }
    Ok(Outcome::pass("the same bytes, 10 times"))
}

async fn wrong_key_id(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let real = &sample.sealed.key_id;
    let swapped: String = real
        .chars()
        .map(|it| if it.is_lowercase() { it.to_ascii_uppercase() } else { it.to_ascii_lowercase() })
        .collect();
    let mut shorter = real.clone();
    shorter.pop();
    let ids = [
        format!("{real}x"),
        format!("x{real}"),
        shorter,
        swapped,
        "keystead-conformance/other".to_owned(),
        "k".repeat(1025),
    ];
    let requests = ids.into_iter().filter(|it| it != real && !it.is_empty());
    must_refuse(suite, &sample, requests.map(|id| (format!("key id `{id}`"), with_key_id(&sample, id)))).await
}

async fn empty_key_id(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    if sample.sealed.key_id.is_empty() {
        return skip("the key id is empty: see v2-status-key-id-size");
    }
    must_refuse(suite, &sample, [("no key id".to_owned(), with_key_id(&sample, String::new()))]).await
}

async fn missing_annotations(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    if sample.sealed.annotations.is_empty() {
        return skip(NO_ANNOTATIONS);
    }
    let mut request = sample.request();
    request.annotations.clear();
    must_refuse(suite, &sample, [("no annotations".to_owned(), request)]).await
}

async fn altered_annotations(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    if sample.sealed.annotations.is_empty() {
        return skip(NO_ANNOTATIONS);
    }
    let mut requests = Vec::new();
    for (key, value) in &sample.sealed.annotations {
        let mut flipped = value.clone();
        match flipped.first_mut() {
            Some(byte) => *byte ^= 1,
            None => flipped.push(0),
        }
        let mut altered = sample.request();
        altered.annotations.insert(key.clone(), flipped);
        requests.push((format!("`{key}` altered"), altered));
        let mut renamed = sample.request();
        renamed.annotations.remove(key);
        renamed.annotations.insert(format!("x{key}"), value.clone());
        requests.push((format!("`{key}` renamed"), renamed));
        if !value.is_empty() {
            let mut emptied = sample.request();
            emptied.annotations.insert(key.clone(), Vec::new());
            requests.push((format!("`{key}` emptied"), emptied));
        }
    }
    must_refuse(suite, &sample, requests).await
}

async fn extra_annotations(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let mut request = sample.request();
    request.annotations.insert("conformance.keystead.example".to_owned(), b"1".to_vec());
    let judged = must_refuse(suite, &sample, [("one more annotation".to_owned(), request)]).await?;
    // Bytes that nobody reads do no harm by themselves.
    Ok(if judged.verdict == crate::report::Verdict::Fail { Outcome::warn(judged.came) } else { judged })
}

async fn flips(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let requests = bit_flips(&sample.sealed.ciphertext).map(|(what, it)| (what, sample.request_with(it)));
    must_refuse(suite, &sample, requests).await
}

async fn cut(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let requests = truncations(&sample.sealed.ciphertext).map(|(what, it)| (what, sample.request_with(it)));
    must_refuse(suite, &sample, requests).await
}

async fn extended(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let good = sample.sealed.ciphertext.as_slice();
    let longer = [
        ("a zero byte added", [good, &[0]].concat()),
        ("a newline added", [good, b"\n"].concat()),
        ("the whole added again", [good, good].concat()),
        ("a zero byte in front", [&[0], good].concat()),
    ];
    let requests: Vec<_> =
        longer.into_iter().map(|(what, it)| (what.to_owned(), sample.request_with(it))).collect();
    must_refuse(suite, &sample, requests).await
}

async fn spliced(suite: &Suite) -> Judged {
    let (first, second) = (suite.sample().await?, suite.sample().await?);
    let (head, tail) = (&first.sealed.ciphertext, &second.sealed.ciphertext);
    let places = head.len().min(tail.len());
    let mut requests = Vec::new();
    for place in (1..places).step_by((places / 64).max(1)) {
        let (Some(head), Some(tail)) = (head.get(..place), tail.get(place..)) else { continue };
        let both = [head, tail].concat();
        // Where the beginnings (or ends) are equal, this is one of the two.
        if both != first.sealed.ciphertext && both != second.sealed.ciphertext {
            requests.push((format!("spliced at byte {place}"), first.request_with(both)));
        }
    }
    must_refuse(suite, &first, requests).await
}

async fn empty(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    must_refuse(suite, &sample, [("an empty ciphertext".to_owned(), sample.request_with(Vec::new()))]).await
}

async fn random_bytes(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let mut requests = Vec::new();
    for length in
        [1, 2, 12, 16, 28, 32, 60, 61, 64, 128, 256, 512, 1023, 1024, 4096, sample.sealed.ciphertext.len()]
    {
        requests.push((format!("{length} random bytes"), sample.request_with(random(length)?)));
    }
    must_refuse(suite, &sample, requests).await
}

async fn foreign_ciphertext(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let requests = foreign().into_iter().map(|(what, it)| (what, sample.request_with(it)));
    must_refuse(suite, &sample, requests).await
}

async fn oversized(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    let mut requests = Vec::new();
    for length in [1025, 4096, 65_536, 1 << 20] {
        requests.push((format!("{length} random bytes"), sample.request_with(random(length)?)));
        let mut longer = sample.sealed.ciphertext.clone();
        if longer.len() < length {
            longer.resize(length, 0);
            requests
                .push((format!("the ciphertext, filled up to {length} bytes"), sample.request_with(longer)));
        }
    }
    let judged = must_refuse(suite, &sample, requests).await?;
    // A connection of its own: to break it off is a fair answer to this one.
    match suite.connect().decrypt(sample.request_with(vec![0; OVERSIZED])).await {
        Ok(_) => return Ok(Outcome::fail("5 MiB were decrypted")),
        Err(refusal) if refusal.is_late() => return Err(refusal.into()),
        Err(_) => {}
    }
    suite.still_opens(&sample).await?;
    Ok(judged)
}

async fn time(suite: &Suite) -> Judged {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let sample = suite.sample().await?;
        let (answer, took) = timed(suite.connect().decrypt(sample.request())).await;
        answer?;
        slowest = slowest.max(took);
    }
    Ok(fast_enough(suite, slowest))
}

fn with_key_id(sample: &Sample, key_id: String) -> DecryptRequest {
    DecryptRequest { key_id, ..sample.request() }
}

const NO_ANNOTATIONS: &str = "the plugin makes no annotations";
