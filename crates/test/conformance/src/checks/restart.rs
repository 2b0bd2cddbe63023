//! The plugin is killed and started again.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::check::{Check, Judged, Stop};
use crate::hook;
use crate::options::Kms;
use crate::plugin::{Plugin, Refusal, quote};
use crate::raw;
use crate::report::Outcome;
use crate::run::{Sample, Suite, V1Sample, skip};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "restart-stale-socket",
        title: "Start beside a stale socket file",
        rule: "after a kill that leaves the socket file behind, the plugin starts and serves within the limit",
        why: "after a power cut the file is still there: a plugin that cannot start then keeps every API server down",
        kms: Kms::Both,
        judge: |suite| Box::pin(stale_socket(suite)),
    },
    Check {
        id: "restart-socket-kept",
        title: "Restart: the socket stays open",
        rule: "connections made while the plugin is down wait instead of being refused (socket activation)",
        why: "after a refused connection an API server may wait up to 2 minutes before it tries again, while writes stop \
              after 3",
        kms: Kms::Both,
        judge: |suite| Box::pin(socket_kept(suite)),
    },
    Check {
        id: "v2-restart-version",
        title: "Restart: the version stays",
        rule: "Status has the version of before",
        why: "when it changes, API servers are not ready until they are restarted",
        kms: Kms::V2,
        judge: |suite| Box::pin(version(suite)),
    },
    Check {
        id: "v2-restart-key-id",
        title: "Restart: the key id stays",
        rule: "Status has the key id of before",
        why: "each change makes all stored objects stale and costs a new seed",
        kms: Kms::V2,
        judge: |suite| Box::pin(key_id(suite)),
    },
    Check {
        id: "v2-restart-old-ciphertext",
        title: "Restart: old ciphertexts",
        rule: "what was encrypted before is decrypted after",
        why: "otherwise everything stored is lost with each restart",
        kms: Kms::V2,
        judge: |suite| Box::pin(old_ciphertext(suite)),
    },
    Check {
        id: "v1-restart-old-ciphertext",
        title: "Restart: old ciphers of KMS v1",
        rule: "what was encrypted with KMS v1 before is decrypted after",
        why: "otherwise everything stored is lost with each restart",
        kms: Kms::V1,
        judge: |suite| Box::pin(v1_old_ciphertext(suite)),
    },
];

/// What was so before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restart {
    /// Whether the kill hook left the socket file behind.
    stale: bool,
    /// Whether a connection was refused after the kill.
    refused: bool,
    /// How long the plugin took to serve; `None` when it did not within the limit.
    served: Option<Duration>,
    /// Why the start hook failed, if it did.
    start_failed: Option<String>,
    /// Version and key id before and after.
    before: Option<(String, String)>,
    after: Option<(String, String)>,
    opened: Option<Result<bool, Refusal>>,
    v1_opened: Option<Result<bool, Refusal>>,
}

async fn stale_socket(suite: &Suite) -> Judged {
    let scene = scene(suite).await?;
    let failed = scene.start_failed.as_ref().map_or_else(String::new, |it| format!(": {it}"));
    Ok(match scene.served {
        None => Outcome::fail(format!("not within {:?}{failed}", suite.options.start_limit)),
        Some(time) if scene.stale => Outcome::pass(format!("serves after {time:.1?}")),
        Some(_) => Outcome::warn("not tried: the kill hook left no socket file; let it use kill -9"),
    })
}

async fn socket_kept(suite: &Suite) -> Judged {
    Ok(if scene(suite).await?.refused {
        Outcome::warn("connections are refused while the plugin is down")
    } else {
        Outcome::pass("the socket stays open")
    })
}

async fn version(suite: &Suite) -> Judged {
    let (before, after) = both(suite).await?;
    Ok(Outcome::pass_if(before.0 == after.0, format!("`{}`, then `{}`", quote(&before.0), quote(&after.0))))
}

async fn key_id(suite: &Suite) -> Judged {
    let (before, after) = both(suite).await?;
    Ok(Outcome::pass_if(before.1 == after.1, format!("`{}`, then `{}`", quote(&before.1), quote(&after.1))))
}

async fn old_ciphertext(suite: &Suite) -> Judged {
    opened(restarted(suite).await?.opened.as_ref())
}

async fn v1_old_ciphertext(suite: &Suite) -> Judged {
    opened(restarted(suite).await?.v1_opened.as_ref())
}

fn opened(answer: Option<&Result<bool, Refusal>>) -> Judged {
    match answer {
        Some(Ok(true)) => Ok(Outcome::pass("it opens")),
        Some(Ok(false)) => Ok(Outcome::fail("other bytes")),
        Some(Err(refusal)) => Ok(Outcome::fail(refusal.to_string())),
        None => skip("Encrypt and Decrypt did not work before the restart"),
    }
}

/// The scene, played at the first call.
async fn scene(suite: &Suite) -> Result<&Restart, Stop> {
    suite.restart.get_or_init(|| play(suite)).await.as_ref().map_err(Clone::clone)
}

/// The same, when the plugin served again.
async fn restarted(suite: &Suite) -> Result<&Restart, Stop> {
    let scene = scene(suite).await?;
    let served = scene.served.is_some();
    if served {
        Ok(scene)
    } else {
        Err(Stop::Skip("it did not start again: see restart-stale-socket".to_owned()))
    }
}

async fn both(suite: &Suite) -> Result<(&(String, String), &(String, String)), Stop> {
    match restarted(suite).await? {
        Restart { before: Some(before), after: Some(after), .. } => Ok((before, after)),
        _ => Err(Stop::Skip("Status was not answered before and after".to_owned())),
    }
}

async fn play(suite: &Suite) -> Result<Restart, Stop> {
    let hooks = &suite.options.hooks;
    let (Some(kill), Some(start)) = (&hooks.kill, &hooks.start) else {
        let reason = "needs commands that stop and start the plugin: --hook kill=COMMAND and start=COMMAND";
        return Err(Stop::Skip(reason.to_owned()));
    };
    let mut scene = Restart { before: identity(&suite.plugin).await, ..Restart::default() };
    let sample = if suite.serves(Kms::V2) { suite.sample().await.ok() } else { None };
    let v1_sample = if suite.serves(Kms::V1) { suite.v1_sample().await.ok() } else { None };
    if !serves(suite).await {
        return Err(Stop::Skip(
            "the plugin does not answer, so a restart proves nothing: see socket-answers".to_owned(),
        ));
    }
    let mut held = hold(suite).await.map_err(|error| Stop::Skip(format!("before the kill: {error}")))?;
    hook::run("kill", kill).await.map_err(Stop::Hook)?;
    if !ends(&mut held).await {
        return Err(Stop::Hook(format!("hook kill: the plugin still holds its connections {DEATH:?} later")));
    }
    scene.refused = refuses(suite).await;
    scene.stale = suite.options.socket.path().is_none_or(|path| path.symlink_metadata().is_ok());
    let started = Instant::now();
    scene.start_failed = hook::run("start", start).await.err();
    while started.elapsed() < suite.options.start_limit {
        if serves(suite).await {
            scene.served = Some(started.elapsed());
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if scene.served.is_some() {
        after(suite, &mut scene, sample, v1_sample).await;
    }
    Ok(scene)
}

/// What the restarted plugin says to what it said before.
async fn after(suite: &Suite, scene: &mut Restart, sample: Option<Sample>, v1_sample: Option<V1Sample>) {
    // As kube-apiserver: over the connection of before, which is made anew.
    scene.after = identity(&suite.plugin).await;
    if let Some(sample) = sample {
        scene.opened = Some(suite.plugin.decrypt(sample.request()).await.map(|it| it == sample.seed));
    }
    if let Some(sample) = v1_sample {
        scene.v1_opened = Some(suite.plugin.v1_decrypt(sample.cipher).await.map(|it| it == sample.seed));
    }
}

/// Version and key id.
async fn identity(plugin: &Plugin) -> Option<(String, String)> {
    plugin.status().await.ok().map(|it| (it.version, it.key_id))
}

/// Whether a new connection gets an answer.
async fn serves(suite: &Suite) -> bool {
    let plugin = suite.connect();
    if suite.serves(Kms::V2) { plugin.status().await.is_ok() } else { plugin.v1_version().await.is_ok() }
}

/// A connection that only the plugin's death ends.
async fn hold(suite: &Suite) -> std::io::Result<UnixStream> {
    let mut held = suite.options.socket.connect().await?;
    held.write_all(&raw::greeting()).await?;
    Ok(held)
}

/// Whether a held connection ends, soon. To ask for a new one would not tell: under socket activation those are never refused.
async fn ends(held: &mut UnixStream) -> bool {
    let mut bytes = [0; 256];
    let read = async { while held.read(&mut bytes).await.is_ok_and(|length| length > 0) {} };
    tokio::time::timeout(DEATH, read).await.is_ok()
}

/// Whether new connections are refused. A dying process may close its listener after its connections, hence more than once.
async fn refuses(suite: &Suite) -> bool {
    let start = Instant::now();
    while start.elapsed() < SETTLED {
        if suite.options.socket.connect().await.is_err() {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

const PAUSE: Duration = Duration::from_millis(20);
/// A dying process closes its files within a few milliseconds of each other.
const SETTLED: Duration = Duration::from_millis(500);
/// A killed process is gone at once; this allows for one that is asked kindly.
const DEATH: Duration = Duration::from_secs(10);
