//! Decrypt requests that must be refused: for whatever is not exactly what Encrypt answered, an error and never bytes.

use std::future::Future;
use std::time::{Duration, Instant};

use keystead_proto::kms_v2::DecryptRequest;

use crate::check::Judged;
use crate::plugin::{Refusal, side_by_side};
use crate::report::Outcome;
use crate::run::{Sample, Suite, V1Sample};

/// Sends each request; the plugin must refuse all of them and open `sample` afterwards.
pub(super) async fn must_refuse(
    suite: &Suite,
    sample: &Sample,
    requests: impl IntoIterator<Item = (String, DecryptRequest)>,
) -> Judged {
    let attempts = requests.into_iter().map(|(what, request)| {
        let plugin = suite.plugin.clone();
        (what, async move { plugin.decrypt(request).await })
    });
    let outcome = refusals(&sample.seed, attempts).await;
    suite.still_opens(sample).await?;
    Ok(outcome)
}

/// The same for KMS v1.
pub(super) async fn v1_must_refuse(
    suite: &Suite,
    sample: &V1Sample,
    ciphers: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Judged {
    let attempts = ciphers.into_iter().map(|(what, cipher)| {
        let plugin = suite.plugin.clone();
        (what, async move { plugin.v1_decrypt(cipher).await })
    });
    let outcome = refusals(&sample.seed, attempts).await;
    suite.v1_still_opens(sample).await?;
    Ok(outcome)
}

/// Every ciphertext with one bit of `good` flipped; evenly spread ones when `good` is longer than a ciphertext may be.
pub(super) fn bit_flips(good: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..good.len() * 8).step_by(good.len().div_ceil(LONGEST).max(1)).filter_map(|bit| {
        let mut ciphertext = good.to_vec();
        *ciphertext.get_mut(bit / 8)? ^= 1 << (bit % 8);
        Some((format!("bit {} of byte {}", bit % 8, bit / 8), ciphertext))
    })
}

/// Every beginning of `good` that is neither empty nor whole, with the same exception.
pub(super) fn truncations(good: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let lengths = (1..good.len()).step_by(good.len().div_ceil(LONGEST).max(1));
    lengths.filter_map(|length| Some((format!("the first {length} bytes"), good.get(..length)?.to_vec())))
}

/// What other plugins write, and what no plugin writes.
pub(super) fn foreign() -> Vec<(String, Vec<u8>)> {
    let text = [
        "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..x.y.z",
        "{\"ciphertext\":\"AAAA\",\"key\":1}",
        "k8s:enc:kms:v2:local:",
        "1",
        "../../../../etc/passwd",
    ];
    let mut all: Vec<_> = text.into_iter().map(|it| (format!("`{it}`"), it.as_bytes().to_vec())).collect();
    for (byte, length) in
        [(0x00, 1), (0x00, 64), (0x00, 1024), (0xff, 64), (0xff, 1024), (b'1', 200), (0x0a, 100)]
    {
        all.push((format!("{length} bytes {byte:#04x}"), vec![byte; length]));
    }
    all
}

/// Tries all and judges. A run that would take minutes (a large ciphertext and a remote key) is cut, and says so.
async fn refusals<F>(seed: &[u8], attempts: impl IntoIterator<Item = (String, F)>) -> Outcome
where
    F: Future<Output = Result<Vec<u8>, Refusal>> + Send + 'static,
{
    let end = Instant::now() + BUDGET;
    let tried = attempts.into_iter().map(|(what, answer)| {
        let seed = seed.to_vec();
        async move {
            if Instant::now() > end {
                return (what, Reaction::NotTried);
            }
            let reaction = match answer.await {
                Ok(plaintext) if plaintext == seed => Reaction::Opened,
                Ok(plaintext) => Reaction::Wrong(plaintext.len()),
                Err(refusal) if refusal.is_clean() => Reaction::Refused,
                Err(refusal) => Reaction::Odd(refusal),
            };
            (what, reaction)
        }
    });
    let reactions = side_by_side(WIDTH, tried).await;
    let bad: Vec<_> =
        reactions.iter().filter(|(_, it)| !matches!(it, Reaction::Refused | Reaction::NotTried)).collect();
    let left = reactions.iter().filter(|(_, it)| matches!(it, Reaction::NotTried)).count();
    let all = reactions.len();
    match bad.first() {
        Some((what, first)) => Outcome::fail(format!("{} of {all} not refused; {what}: {first}", bad.len())),
        None if left > 0 => Outcome::warn(format!("refused, but {left} of {all} were not tried: too slow")),
        None => Outcome::pass(format!("{all} refused")),
    }
}

/// What a plugin did with a request that it must refuse.
enum Reaction {
    Refused,
    Opened,
    Wrong(usize),
    Odd(Refusal),
    NotTried,
}

impl std::fmt::Display for Reaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Opened => f.write_str("decrypted all the same"),
            Self::Wrong(length) => write!(f, "answered {length} wrong bytes"),
            Self::Odd(refusal) => refusal.fmt(f),
            Self::NotTried => f.write_str("not tried"),
        }
    }
}

/// The longest ciphertext of KMS v2 in bytes. One of KMS v1 may be 64 times as long, and flipping half a million bits would take
/// minutes.
const LONGEST: usize = 1024;
/// At a time: more than one, so that a remote key is not waited for 8,192 times in turn; few, so that no rate limit is hit.
const WIDTH: usize = 8;
/// For one check: 8,192 flips (1,024 bytes) at 8 in parallel and 100 ms each.
const BUDGET: Duration = Duration::from_secs(110);
