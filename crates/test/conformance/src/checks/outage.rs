//! The plugin's backend is away for a while, and comes back.

use std::time::{Duration, Instant};

use keystead_proto::kms_v2::StatusResponse;

use super::v2_status::fast_enough;
use crate::check::{Check, Judged, Stop};
use crate::hook;
use crate::options::Kms;
use crate::plugin::{Refusal, quote, timed};
use crate::report::Outcome;
use crate::run::{Sample, Suite, seed};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "v2-outage-status",
        title: "Outage: what Status says",
        rule: "`ok`, or an error; never another health text beside a key id",
        why: "with a health text other than `ok` API servers are not ready, yet writes never stop (kubernetes #138950)",
        kms: Kms::V2,
        judge: |suite| Box::pin(status(suite)),
    },
    Check {
        id: "v2-outage-status-time",
        title: "Outage: Status is fast",
        rule: "within the timeout, and within a third of it (1 s of 3)",
        why: "a Status that waits for a dead backend makes every readyz probe of every API server time out",
        kms: Kms::V2,
        judge: |suite| Box::pin(status_time(suite)),
    },
    Check {
        id: "v2-outage-key-id",
        title: "Outage: the key id stays",
        rule: "an `ok` Status has the key id of before",
        why: "each change makes all stored objects stale and costs a new seed",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id(suite)),
    },
    Check {
        id: "v2-outage-encrypt",
        title: "Outage: Encrypt",
        rule: "an answer or an error within the timeout, and what was answered can be decrypted afterwards",
        why: "a call that hangs holds up the API server; a ciphertext that never opens is lost data",
        kms: Kms::V2,
        judge: |suite| Box::pin(encrypt(suite)),
    },
    Check {
        id: "v2-outage-decrypt",
        title: "Outage: Decrypt of what was decrypted before",
        rule: "answered from memory, with the right bytes",
        why: "an API server that restarts in an outage cannot read anything otherwise, and does not get ready",
        kms: Kms::V2,
        judge: |suite| Box::pin(decrypt(suite)),
    },
    Check {
        id: "v2-outage-recovery",
        title: "Outage: heals by itself",
        rule: "Status, Encrypt and Decrypt work within the limit after the backend is back",
        why: "otherwise somebody must restart the plugin on every control plane",
        kms: Kms::V2,
        judge: |suite| Box::pin(recovery(suite)),
    },
];

/// What was seen while the backend was away, and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    key_id: String,
    statuses: Vec<(Result<StatusResponse, Refusal>, Duration)>,
    /// Whether what was decrypted before came back right.
    decrypted: Vec<Result<bool, Refusal>>,
    encrypted: Vec<Result<Sample, Refusal>>,
    /// How long it took until all worked again; `None` when it did not within the limit.
    healed: Option<Duration>,
    /// How many of `encrypted` did not open afterwards.
    lost: usize,
}

async fn status(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let answers = scene.statuses.iter().filter_map(|(answer, _)| answer.as_ref().ok());
    let bad = answers.clone().find(|it| it.healthz != "ok" && !it.key_id.is_empty());
    let (ok, all) = (answers.count(), scene.statuses.len());
    Ok(match bad {
        Some(answer) => Outcome::fail(format!(
            "healthz `{}` with key id `{}`",
            quote(&answer.healthz),
            quote(&answer.key_id)
        )),
        None => Outcome::pass(format!("{ok} of {all} answers `ok`, else an error")),
    })
}

async fn status_time(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let late =
        scene.statuses.iter().filter(|(answer, _)| answer.as_ref().is_err_and(Refusal::is_late)).count();
    if late > 0 {
        return Ok(Outcome::fail(format!("{late} of {} not answered in time", scene.statuses.len())));
    }
    Ok(fast_enough(suite, scene.statuses.iter().map(|(_, took)| *took).max().unwrap_or_default()))
}

async fn key_id(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let answers = scene.statuses.iter().filter_map(|(answer, _)| answer.as_ref().ok());
    let other = answers.filter(|it| it.healthz == "ok").find(|it| it.key_id != scene.key_id);
    Ok(match other {
        Some(answer) => {
            Outcome::fail(format!("`{}` became `{}`", quote(&scene.key_id), quote(&answer.key_id)))
        }
        None => Outcome::pass(format!("`{}`", quote(&scene.key_id))),
    })
}

async fn encrypt(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let answered = scene.encrypted.iter().filter(|it| it.is_ok()).count();
    let late = scene.encrypted.iter().filter(|it| it.as_ref().is_err_and(Refusal::is_late)).count();
    Ok(if late > 0 {
        Outcome::fail(format!("{late} of {} not answered in time", scene.encrypted.len()))
    } else if scene.lost > 0 && scene.healed.is_some() {
        Outcome::fail(format!("{} of {answered} ciphertexts do not open afterwards", scene.lost))
    } else {
        Outcome::pass(format!("{answered} of {} answered, else an error", scene.encrypted.len()))
    })
}

async fn decrypt(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let all = scene.decrypted.len();
    if scene.decrypted.iter().any(|it| matches!(it, Ok(false))) {
        return Ok(Outcome::fail("other bytes than before"));
    }
    let refused: Vec<_> = scene.decrypted.iter().filter_map(|it| it.as_ref().err()).collect();
    Ok(match refused.first() {
        None => Outcome::pass(format!("{all} of {all} answered")),
        Some(first) => Outcome::warn(format!("{} of {all} refused; first: {first}", refused.len())),
    })
}

async fn recovery(suite: &Suite) -> Judged {
    Ok(match scene(suite).await?.healed {
        Some(time) => Outcome::pass(format!("after {time:.1?}")),
        None => Outcome::fail(format!("not within {:?}", suite.options.heal_limit)),
    })
}

/// The scene, played at the first call.
async fn scene(suite: &Suite) -> Result<&Outage, Stop> {
    suite.outage.get_or_init(|| play(suite)).await.as_ref().map_err(Clone::clone)
}

async fn play(suite: &Suite) -> Result<Outage, Stop> {
    let hooks = &suite.options.hooks;
    let (Some(down), Some(up)) = (&hooks.backend_down, &hooks.backend_up) else {
        let reason = "needs commands that cut off the backend and bring it back: --hook backend-down=COMMAND and backend-up=COMMAND";
        return Err(Stop::Skip(reason.to_owned()));
    };
    let sample = suite.sample().await?;
    let mut scene = Outage { key_id: suite.plugin.status().await?.key_id, ..Outage::default() };
    let cut = hook::run("backend-down", down).await;
    if cut.is_ok() {
        watch(suite, &sample, &mut scene).await;
    }
    // Whatever happened: the backend is not left cut off.
    hook::run("backend-up", up).await.map_err(Stop::Hook)?;
    cut.map_err(Stop::Hook)?;
    scene.healed = heal(suite).await;
    for sample in scene.encrypted.iter().flatten() {
        let opened = suite.plugin.decrypt(sample.request()).await.is_ok_and(|it| it == sample.seed);
        scene.lost += usize::from(!opened);
    }
    Ok(scene)
}

/// Asks everything, again and again, for as long as the outage lasts.
async fn watch(suite: &Suite, sample: &Sample, scene: &mut Outage) {
    let end = Instant::now() + suite.options.outage;
    loop {
        scene.statuses.push(timed(suite.plugin.status()).await);
        scene.decrypted.push(suite.plugin.decrypt(sample.request()).await.map(|it| it == sample.seed));
        if let Ok(seed) = seed() {
            scene.encrypted.push(Sample::new(&suite.plugin, seed).await);
        }
        if Instant::now() > end {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How long until Status is `ok` and a round trip works.
async fn heal(suite: &Suite) -> Option<Duration> {
    let start = Instant::now();
    loop {
        let ok = suite.plugin.status().await.is_ok_and(|it| it.healthz == "ok");
        if ok && suite.sample().await.is_ok() {
            return Some(start.elapsed());
        }
        if start.elapsed() > suite.options.heal_limit {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

const PAUSE: Duration = Duration::from_millis(100);
