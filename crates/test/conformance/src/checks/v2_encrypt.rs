//! KMS v2 Encrypt: what comes out, for 32-byte seeds and for what a plugin might be asked.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keystead_proto::kms_v2::EncryptRequest;

use super::v2_status::fast_enough;
use crate::check::{Check, Judged};
use crate::options::Kms;
use crate::plugin::{quote, timed};
use crate::report::Outcome;
use crate::run::{Sample, Suite, random, seed, uid};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-encrypt-roundtrip",
        title: "Encrypt and Decrypt of a seed",
        rule: "Decrypt returns the 32 bytes that Encrypt was given",
        why: "wrong bytes are kept in the API server's cache: what was written with that seed cannot be read",
        kms: Kms::V2,
        judge: |suite| Box::pin(roundtrip(suite)),
    },
    Check {
        id: "v2-encrypt-ciphertext-size",
        title: "Encrypt: size of the ciphertext",
        rule: "1 to 1024 bytes",
        why: "API servers throw away any other, and writes stop after 3 minutes",
        kms: Kms::V2,
        judge: |suite| Box::pin(ciphertext_size(suite)),
    },
    Check {
        id: "v2-encrypt-annotations-size",
        title: "Encrypt: size of the annotations",
        rule: "at most 32768 bytes, keys and values together",
        why: "API servers throw away the answer, and writes stop after 3 minutes",
        kms: Kms::V2,
        judge: |suite| Box::pin(annotations_size(suite)),
    },
    Check {
        id: "v2-encrypt-annotations-keys",
        title: "Encrypt: names of the annotations",
        rule: "each is a fully qualified domain name in lower case, such as `kms.example.com`",
        why: "API servers throw away the answer, and writes stop after 3 minutes",
        kms: Kms::V2,
        judge: |suite| Box::pin(annotations_keys(suite)),
    },
    Check {
        id: "v2-encrypt-overhead",
        title: "Encrypt: what is stored with every object",
        rule: "ciphertext, key id and annotations take at most 1024 bytes together",
        why: "they are stored in every object: each 100 bytes are 100 MB of etcd for a million objects",
        kms: Kms::V2,
        judge: |suite| Box::pin(overhead(suite)),
    },
    Check {
        id: "v2-encrypt-unique",
        title: "Encrypt twice",
        rule: "two answers for the same plaintext differ, and both can be decrypted",
        why: "a repeated nonce breaks the cipher, and equal answers tell which seeds are equal",
        kms: Kms::V2,
        judge: |suite| Box::pin(unique(suite)),
    },
    Check {
        id: "v2-encrypt-no-plaintext",
        title: "Encrypt: the plaintext does not show",
        rule: "neither ciphertext, annotations nor key id contain the plaintext, in bytes, hexadecimal or base64",
        why: "they are stored in clear: every Secret would be readable from etcd",
        kms: Kms::V2,
        judge: |suite| Box::pin(no_plaintext(suite)),
    },
    Check {
        id: "v2-encrypt-lengths",
        title: "Encrypt of other lengths",
        rule: "0 to 256 bytes come back as they were",
        why: "kube-apiserver sends 32 bytes today; tools and later versions may send others. Wrong bytes would be a failure",
        kms: Kms::V2,
        judge: |suite| Box::pin(lengths(suite)),
    },
    Check {
        id: "v2-encrypt-uid",
        title: "An odd uid",
        rule: "Encrypt and Decrypt work whatever stands in `uid`",
        why: "the uid is for logs only: it must neither break a call nor forge a log line",
        kms: Kms::V2,
        judge: |suite| Box::pin(odd_uid(suite)),
    },
    Check {
        id: "v2-encrypt-oversized",
        title: "Encrypt of 5 MiB",
        rule: "an error, and the plugin serves on",
        why: "kube-apiserver could not read the answer (its limit is 4 MiB), and who may connect could use up the memory",
        kms: Kms::V2,
        judge: |suite| Box::pin(oversized(suite)),
    },
    Check {
        id: "v2-encrypt-time",
        title: "Encrypt: how fast",
        rule: "within the timeout, and within a third of it (1 s of 3)",
        why: "an API server that starts waits for it; a late answer counts as none",
        kms: Kms::V2,
        judge: |suite| Box::pin(time(suite)),
    },
];

async fn roundtrip(suite: &Suite) -> Judged {
    for _ in 0..5 {
        let sample = Sample::new(&suite.plugin, seed()?).await?;
        // On another connection too: what is opened must not depend on who asks.
        for plugin in [&suite.plugin, &suite.connect()] {
            let plaintext = plugin.decrypt(sample.request()).await?;
            if plaintext != sample.seed {
                return Ok(Outcome::fail(format!("{} other bytes", plaintext.len())));
            }
        }
    }
    Ok(Outcome::pass("the same 32 bytes, 5 times"))
}

async fn ciphertext_size(suite: &Suite) -> Judged {
    let size = suite.sealed().await?.sealed.ciphertext.len();
    Ok(Outcome::pass_if((1..=CIPHERTEXT_MOST).contains(&size), format!("{size} bytes")))
}

async fn annotations_size(suite: &Suite) -> Judged {
    let annotations = suite.sealed().await?.sealed.annotations;
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    Ok(Outcome::pass_if(
        size <= ANNOTATIONS_MOST,
        format!("{size} bytes in {} annotations", annotations.len()),
    ))
}

async fn annotations_keys(suite: &Suite) -> Judged {
    let annotations = suite.sealed().await?.sealed.annotations;
    if annotations.is_empty() {
        return Ok(Outcome::pass("none"));
    }
    let bad: Vec<_> = annotations.keys().filter(|it| !is_domain_name(it)).map(|it| quote(it)).collect();
    Ok(Outcome::pass_if(bad.is_empty(), format!("{} names; not a domain name: {bad:?}", annotations.len())))
}

async fn overhead(suite: &Suite) -> Judged {
    let sealed = suite.sealed().await?.sealed;
    let annotations: usize = sealed.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    let (ciphertext, key_id) = (sealed.ciphertext.len(), sealed.key_id.len());
    let came = format!("{ciphertext} of ciphertext, {key_id} of key id, {annotations} of annotations");
    let fits = ciphertext + key_id + annotations <= 1024;
    Ok(if fits { Outcome::pass(came) } else { Outcome::warn(came) })
}

async fn unique(suite: &Suite) -> Judged {
    suite.sample().await?;
    let seed = seed()?;
    let first = Sample::new(&suite.plugin, seed.clone()).await?;
    let second = Sample::new(&suite.plugin, seed).await?;
    if first.sealed.ciphertext == second.sealed.ciphertext {
        return Ok(Outcome::fail("the same ciphertext twice"));
    }
    for sample in [first, second] {
        if suite.plugin.decrypt(sample.request()).await? != sample.seed {
            return Ok(Outcome::fail("they differ, but one does not come back"));
        }
    }
    Ok(Outcome::pass("two ciphertexts, both open"))
}

async fn no_plaintext(suite: &Suite) -> Judged {
    let sample = suite.sealed().await?;
    let sealed = &sample.sealed;
    let mut places = vec![("ciphertext", sealed.ciphertext.as_slice()), ("key id", sealed.key_id.as_bytes())];
    places.extend(sealed.annotations.values().map(|it| ("annotations", it.as_slice())));
    let found = places.into_iter().find(|(_, bytes)| shows(bytes, &sample.seed));
    Ok(match found {
        Some((place, _)) => Outcome::fail(format!("the plaintext stands in the {place}")),
        None => Outcome::pass("it does not show"),
    })
}

async fn lengths(suite: &Suite) -> Judged {
    suite.sample().await?;
    let mut refused = Vec::new();
    for length in [0, 1, 4, 15, 16, 17, 31, 33, 64, 128, 255, 256] {
        let sample = match Sample::new(&suite.plugin, random(length)?).await {
            Ok(sample) => sample,
            Err(refusal) if refusal.is_clean() => {
                refused.push(length.to_string());
                continue;
            }
            Err(refusal) => return Err(refusal.into()),
        };
        match suite.plugin.decrypt(sample.request()).await {
            Ok(plaintext) if plaintext == sample.seed => {}
            Ok(_) => return Ok(Outcome::fail(format!("other bytes came back for {length}"))),
            Err(refusal) => {
                return Ok(Outcome::fail(format!(
                    "{length} bytes are encrypted and not decrypted: {refusal}"
                )));
            }
        }
    }
    Ok(match refused.is_empty() {
        true => Outcome::pass("0 to 256 bytes"),
        false => Outcome::warn(format!("refused: {} bytes", refused.join(", "))),
    })
}

async fn odd_uid(suite: &Suite) -> Judged {
    suite.sample().await?;
    let long = "u".repeat(8192);
    for uid in ["", "\n\"level\":\"error\"", "\0", "\u{1b}[2J", "%s%n{}", "\u{202e}\u{1F511}", &long] {
        let seed = seed()?;
        let request = EncryptRequest { plaintext: seed.clone(), uid: uid.to_owned() };
        let sample = Sample { seed, sealed: suite.plugin.encrypt(request).await? };
        let mut request = sample.request();
        request.uid = uid.to_owned();
        if suite.plugin.decrypt(request).await? != sample.seed {
            return Ok(Outcome::fail(format!("other bytes came back for uid `{}`", quote(uid))));
        }
    }
    Ok(Outcome::pass("7 odd uids"))
}

async fn oversized(suite: &Suite) -> Judged {
    let sample = suite.sample().await?;
    // A connection of its own: to break it off is a fair answer to this.
    let request = EncryptRequest { plaintext: vec![0; OVERSIZED], uid: uid() };
    let came = match suite.connect().encrypt(request).await {
        Ok(_) => return Ok(Outcome::fail("it was encrypted")),
        Err(refusal) if refusal.is_late() => return Err(refusal.into()),
        Err(refusal) => refusal.to_string(),
    };
    suite.still_opens(&sample).await?;
    Ok(Outcome::pass(came))
}

async fn time(suite: &Suite) -> Judged {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let (answer, took) = timed(Sample::new(&suite.plugin, seed()?)).await;
        answer?;
        slowest = slowest.max(took);
    }
    Ok(fast_enough(suite, slowest))
}

/// Whether `bytes` contain `plaintext`, or half of it, in one of the forms in which a mistake would leave it.
pub(super) fn shows(bytes: &[u8], plaintext: &[u8]) -> bool {
    let half = plaintext.get(..plaintext.len() / 2).unwrap_or_default();
    let hexadecimal = hex::encode(half).into_bytes();
    // A third of the letters of base64 depend on what follows, so the last are left off.
    let mut base64 = BASE64_STANDARD.encode(half).into_bytes();
    base64.truncate(half.len());
    [half, &hexadecimal, &base64]
        .iter()
        .any(|it| !it.is_empty() && bytes.windows(it.len()).any(|part| part == *it))
}

/// The rule of `IsFullyQualifiedDomainName` in apimachinery: lower-case RFC 1123 labels, at least two, one trailing dot
/// allowed.
fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let label = |it: &str| {
        let bytes = it.as_bytes();
        let ends = bytes.first().copied().is_some_and(letter) && bytes.last().copied().is_some_and(letter);
        ends && bytes.len() <= 63 && bytes.iter().all(|it| letter(*it) || *it == b'-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// `encryptedDEKSourceMaxSize` in kube-apiserver's `kmsv2/envelope.go`.
const CIPHERTEXT_MOST: usize = 1024;
/// `annotationsMaxSize` in the same file.
const ANNOTATIONS_MOST: usize = 32 * 1024;
/// Over the 4 MiB that gRPC libraries accept unless told otherwise.
pub(super) const OVERSIZED: usize = 5 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_names_follow_apimachinery() {
        for good in [
            "a.b",
            "kms.example.com",
            "kms.example.com.",
            "10.0.0.1",
            "x-1.y",
            ".a.b".trim_start_matches('.'),
        ] {
            assert!(is_domain_name(good), "{good}");
        }
        for bad in [
            "", "a", "a..b", "A.b", "a_b.c", "*.b.c", "a/b.c", "a:1.b", "a@b.c", "-a.b", "a-.b", ".a.b",
            "a.b..",
        ] {
            assert!(!is_domain_name(bad), "{bad}");
        }
        assert!(!is_domain_name(&format!("{}.b", "a".repeat(64))));
        assert!(!is_domain_name(&vec!["a".repeat(50); 6].join(".")));
    }

    #[test]
    fn plaintext_is_found_in_each_form() {
        let plaintext: Vec<u8> = (100..132).collect();
        for text in
            [plaintext.clone(), hex::encode(&plaintext).into(), BASE64_STANDARD.encode(&plaintext).into()]
        {
            assert!(shows(&[b"vault:v1:", text.as_slice(), b"x"].concat(), &plaintext));
        }
        assert!(!shows(&[7; 64], &plaintext));
    }
}
