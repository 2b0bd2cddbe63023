//! Rotation, seen from the socket: the label that etcd keeps must be that of the key.

use std::collections::BTreeSet;

use keystead_proto::kms_v2::DecryptRequest;

use super::rotation_scene::{Rotation, play};
use crate::check::{Check, Judged, Stop};
use crate::options::Kms;
use crate::plugin::{quote, side_by_side};
use crate::report::Outcome;
use crate::run::{Sample, Suite, skip};

/// What a wrong label leads to.
const LABEL: &str = "the label in etcd is all that says which key an object needs: with a wrong one the object counts as \
                     re-encrypted, and is lost when the old key is destroyed";

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-rotate-key-id",
        title: "Rotation shows",
        rule: "Status has a new key id within the limit after each rotation",
        why: "API servers learn of a rotation from the key id alone: without a new one nothing is ever re-encrypted",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id(suite)),
    },
    Check {
        id: "v2-rotate-no-reuse",
        title: "Rotation: no key id comes again",
        rule: "after several rotations no key id is that of an earlier key",
        why: "objects of the earlier key count as up to date, and are lost when it is destroyed",
        kms: Kms::V2,
        judge: |suite| Box::pin(no_reuse(suite)),
    },
    Check {
        id: "v2-rotate-no-flip",
        title: "Rotation: no flipping",
        rule: "Status never goes back to the old key id",
        why: "each flip makes all stored objects stale and costs a new seed",
        kms: Kms::V2,
        judge: |suite| Box::pin(no_flip(suite)),
    },
    Check {
        id: "v2-rotate-version",
        title: "Rotation: the version stays",
        rule: "Status has the same version throughout",
        why: "when it changes, API servers are not ready until they are restarted",
        kms: Kms::V2,
        judge: |suite| Box::pin(version(suite)),
    },
    Check {
        id: "v2-rotate-agreement",
        title: "Rotation: Status and Encrypt agree",
        rule: "Encrypt answers the key id of the Status before or after it",
        why: "API servers throw away what Encrypt answered and are not ready until the next poll; when it lasts, writes stop",
        kms: Kms::V2,
        judge: |suite| Box::pin(agreement(suite)),
    },
    Check {
        id: "v2-rotate-label",
        title: "Rotation under load: labels",
        rule: "each ciphertext made while keys rotate is opened under the key id it came with, and under no other",
        why: LABEL,
        kms: Kms::V2,
        judge: |suite| Box::pin(label(suite)),
    },
    Check {
        id: "v2-rotate-old-ciphertext",
        title: "Rotation: old ciphertexts",
        rule: "what was encrypted before each rotation is still decrypted under its old key id",
        why: "everything stored is of the old key until it is re-encrypted, and old backups stay so",
        kms: Kms::V2,
        judge: |suite| Box::pin(old_ciphertext(suite)),
    },
    Check {
        id: "v2-rotate-other-key-id",
        title: "Rotation: the key id of another version",
        rule: "a ciphertext under the key id of another version of the key is refused",
        why: LABEL,
        kms: Kms::V2,
        judge: |suite| Box::pin(other_key_id(suite)),
    },
    Check {
        id: "v2-rotate-errors",
        title: "Rotation: no call fails",
        rule: "no Status or Encrypt fails while keys rotate",
        why: "each failure makes an API server not ready until the next poll, 10 s later",
        kms: Kms::V2,
        judge: |suite| Box::pin(errors(suite)),
    },
    Check {
        id: "v1-rotate-old-ciphertext",
        title: "Rotation: old ciphers of KMS v1",
        rule: "what was encrypted with KMS v1 before a rotation is still decrypted",
        why: "KMS v1 has no key id: nothing tells when an object may be lost",
        kms: Kms::V1,
        judge: |suite| Box::pin(v1_old_ciphertext(suite)),
    },
];

async fn key_id(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let longest = scene.waits.iter().copied().flatten().max().unwrap_or_default();
    Ok(if scene.waits.iter().any(Option::is_none) {
        Outcome::fail(format!("not within {:?}", suite.options.rotate_limit))
    } else {
        Outcome::pass(format!("{} rotations, the slowest seen after {longest:.1?}", scene.waits.len()))
    })
}

async fn no_reuse(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    let mut earlier = BTreeSet::new();
    let again = scene.settled.iter().find(|id| !earlier.insert(*id));
    Ok(match again {
        Some(id) => Outcome::fail(format!("`{}` came again: {}", quote(id), in_order(&scene.settled))),
        None => Outcome::pass(in_order(&scene.settled)),
    })
}

async fn no_flip(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    let flipped = scene.seen.iter().find(|ids| ids.iter().collect::<BTreeSet<_>>().len() < ids.len());
    Ok(match flipped {
        Some(ids) => Outcome::fail(in_order(ids)),
        None => Outcome::pass("each key id came once and stayed"),
    })
}

async fn version(suite: &Suite) -> Judged {
    let versions: Vec<_> = rotated(suite).await?.versions.iter().cloned().collect();
    Ok(Outcome::pass_if(versions.len() == 1, in_order(&versions)))
}

async fn agreement(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    Ok(match &scene.disagrees {
        Some((status, sealed)) => {
            Outcome::fail(format!("at the end Status `{}`, Encrypt `{}`", quote(status), quote(sealed)))
        }
        None if scene.disagreed > 0 => {
            Outcome::warn(format!("they disagreed {} times for a moment", scene.disagreed))
        }
        None => Outcome::pass("they never disagreed"),
    })
}

async fn label(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    let lost = lost_ids(suite, scene).await;
    let busy: Vec<_> = scene.busy.iter().filter(|it| !lost.contains(&it.sealed.key_id)).cloned().collect();
    let answers = relabelled(suite, scene, &busy).await;
    let unopened = answers.iter().filter(|it| !it.own).count();
    let all = format!(
        "{} ciphertexts at {} rotations ({} made)",
        answers.len(),
        scene.waits.len(),
        scene.encrypted
    );
    if unopened > 0 {
        return Ok(Outcome::fail(format!(
            "{unopened} of {all} are not opened under the key id they came with"
        )));
    }
    let other = answers.iter().filter(|it| it.other).count();
    if other == 0 {
        return Ok(Outcome::pass(all));
    }
    // Decrypt opens them under any key id, so what it says proves nothing; perhaps the ciphertext shows its key itself.
    let readable = busy.iter().filter_map(|it| key_in_ciphertext(scene, it)).collect::<Vec<_>>();
    let wrong = readable.iter().filter(|right| !**right).count();
    Ok(if wrong > 0 {
        Outcome::fail(format!("{wrong} of {all} begin as those of another key id do"))
    } else if readable.is_empty() {
        Outcome::warn(format!("cannot be told: Decrypt opens {other} of {all} under another key id too"))
    } else {
        Outcome::pass(format!("{all}, by what they begin with: Decrypt ignores the key id"))
    })
}

async fn old_ciphertext(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    for (age, samples) in scene.quiet.iter().rev().enumerate() {
        for sample in samples.iter().take(4) {
            match suite.plugin.decrypt(sample.request()).await {
                Ok(plaintext) if plaintext == sample.seed => {}
                Ok(_) => return Ok(Outcome::fail(format!("{age} rotations later: other bytes"))),
                Err(refusal) => return Ok(Outcome::fail(format!("{age} rotations later: {refusal}"))),
            }
        }
    }
    Ok(Outcome::pass(format!("up to {} rotations later", scene.waits.len())))
}

async fn other_key_id(suite: &Suite) -> Judged {
    let scene = rotated(suite).await?;
    let samples: Vec<_> = scene.quiet.iter().flat_map(|it| it.iter().take(4)).cloned().collect();
    let answers = relabelled(suite, scene, &samples).await;
    let opened = answers.iter().filter(|it| it.other).count();
    let came = format!("{opened} of {} opened under another version's key id", answers.len());
    Ok(Outcome::pass_if(opened == 0, came))
}

async fn errors(suite: &Suite) -> Judged {
    let refused = &rotated(suite).await?.refused;
    Ok(match refused.first() {
        None => Outcome::pass("none"),
        Some(first) => Outcome::warn(format!("{} failed; first: {first}", refused.len())),
    })
}

async fn v1_old_ciphertext(suite: &Suite) -> Judged {
    if !suite.serves(Kms::V2) {
        return skip("needs KMS v2 to see when the key has rotated");
    }
    let scene = rotated(suite).await?;
    for answer in &scene.v1 {
        match answer {
            Ok(true) => {}
            Ok(false) => return Ok(Outcome::fail("other bytes")),
            Err(refusal) => return Ok(Outcome::fail(refusal.to_string())),
        }
    }
    Ok(if scene.v1.is_empty() {
        Outcome::skip("KMS v1 did not work before the rotation")
    } else {
        Outcome::pass(format!("after each of {} rotations", scene.v1.len()))
    })
}

/// The scene, played at the first call.
async fn scene(suite: &Suite) -> Result<&Rotation, Stop> {
    suite.rotation.get_or_init(|| play(suite)).await.as_ref().map_err(Clone::clone)
}

/// The same, when at least one rotation was seen.
async fn rotated(suite: &Suite) -> Result<&Rotation, Stop> {
    let scene = scene(suite).await?;
    let seen = scene.waits.iter().any(Option::is_some);
    if seen { Ok(scene) } else { Err(Stop::Skip("no rotation was seen: see v2-rotate-key-id".to_owned())) }
}

/// Key ids whose ciphertexts do not open at all any more, which is not a matter of labels.
async fn lost_ids(suite: &Suite, scene: &Rotation) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    for sample in scene.quiet.iter().filter_map(|it| it.first()) {
        if suite.plugin.decrypt(sample.request()).await.is_err() {
            lost.insert(sample.sealed.key_id.clone());
        }
    }
    lost
}

/// What Decrypt said to one ciphertext under its own and under another key id.
struct Relabelled {
    own: bool,
    other: bool,
}

/// Asks for each of `samples` under its own key id and under its neighbours in time.
async fn relabelled(suite: &Suite, scene: &Rotation, samples: &[Sample]) -> Vec<Relabelled> {
    let calls = samples.iter().cloned().map(|sample| {
        let plugin = suite.plugin.clone();
        let others = neighbours(&scene.settled, &sample.sealed.key_id);
        async move {
            let own = plugin.decrypt(sample.request()).await.is_ok_and(|it| it == sample.seed);
            let mut other = false;
            for key_id in others {
                other |= plugin.decrypt(DecryptRequest { key_id, ..sample.request() }).await.is_ok();
            }
            Relabelled { own, other }
        }
    });
    side_by_side(8, calls).await
}

/// The key ids that came just before and after `id`.
fn neighbours(settled: &[String], id: &str) -> Vec<String> {
    let pairs = settled.iter().zip(settled.iter().skip(1));
    let all = pairs.filter_map(|(a, b)| {
        if a == id {
            Some(b)
        } else if b == id {
            Some(a)
        } else {
            None
        }
    });
    all.filter(|it| *it != id).cloned().collect()
}

/// Whether a ciphertext begins as those of its own key id do, where that differs from those of its neighbours (as in
/// `vault:v1:` and `vault:v2:`). `None` when it does not show.
fn key_in_ciphertext(scene: &Rotation, sample: &Sample) -> Option<bool> {
    let own = beginning_of(scene, &sample.sealed.key_id)?;
    let mut told = None;
    for neighbour in neighbours(&scene.settled, &sample.sealed.key_id) {
        let other = beginning_of(scene, &neighbour)?;
        let telling = own.iter().zip(&other).position(|(a, b)| a != b)?;
        let byte = sample.sealed.ciphertext.get(telling)?;
        if other.get(telling) == Some(byte) {
            return Some(false);
        }
        told = own.get(telling).map(|it| it == byte);
    }
    told
}

/// What all ciphertexts begin with that were made while `key_id` was at rest.
fn beginning_of(scene: &Rotation, key_id: &str) -> Option<Vec<u8>> {
    let place = scene.settled.iter().position(|it| it == key_id)?;
    let mut samples = scene.quiet.get(place)?.iter().map(|it| &it.sealed.ciphertext);
    let first = samples.next()?.clone();
    Some(samples.fold(first, |common, it| {
        common.into_iter().zip(it).take_while(|(a, b)| a == *b).map(|(a, _)| a).collect()
    }))
}

fn in_order(ids: &[String]) -> String {
    ids.iter().map(|it| format!("`{}`", quote(it))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use keystead_proto::kms_v2::EncryptResponse;

    use super::*;

    fn sample(ciphertext: &str, key_id: &str) -> Sample {
        let sealed = EncryptResponse {
            ciphertext: ciphertext.into(),
            key_id: key_id.to_owned(),
            annotations: Default::default(),
        };
        Sample { seed: Vec::new(), sealed }
    }

    #[test]
    fn a_wrong_label_is_read_from_the_ciphertext_itself() {
        let scene = Rotation {
            settled: vec!["1".to_owned(), "2".to_owned()],
            quiet: vec![
                vec![sample("vault:v1:abc", "1"), sample("vault:v1:xyz", "1")],
                vec![sample("vault:v2:abc", "2"), sample("vault:v2:xyz", "2")],
            ],
            ..Rotation::default()
        };
        assert_eq!(key_in_ciphertext(&scene, &sample("vault:v1:new", "1")), Some(true));
        assert_eq!(key_in_ciphertext(&scene, &sample("vault:v1:new", "2")), Some(false));
        assert_eq!(key_in_ciphertext(&scene, &sample("vault:v2:new", "1")), Some(false));
        assert_eq!(key_in_ciphertext(&scene, &sample("vault:v2:new", "3")), None);
    }
}
