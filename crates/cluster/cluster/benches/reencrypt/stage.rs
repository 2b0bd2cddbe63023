//! Secrets on a real API server, all of them stale, and the two that rewrite them all: bare patches and ours.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_cluster::reencrypt::{Control, Ending};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};

use crate::scene::{Scene, secrets};

/// Bytes of the value in each Secret. With its metadata 1.2 KB are stored.
pub(crate) const VALUE: usize = 1_000;
/// As many at once as our limit for both.
pub(crate) const CONCURRENCY: usize = 32;

pub(crate) struct Stage {
    pub(crate) scene: Scene,
    secrets: usize,
    /// Names of all keys until now, the newest first.
    keys: Vec<String>,
}

/// A run of ours.
pub(crate) struct Ours {
    /// From the connection and the plan to the end of the pass that rewrites all.
    pub(crate) pass: Duration,
    /// To the end of the pass that finds zero.
    pub(crate) whole: Duration,
    /// The most patches at once.
    pub(crate) at_once: usize,
}

impl Stage {
    /// One API server and an etcd that waits for the disk, as on a host, with so many Secrets.
    pub(crate) async fn start(secrets: usize) -> Result<Self> {
        let control_plane = ControlPlane::start(Options { fsync: true, ..Options::default() }).await?;
        let stage = Self { scene: Scene { control_plane }, secrets, keys: Vec::new() };
        let (client, value) = (stage.scene.client(), [b'v'; VALUE]);
        let create = |index: usize| {
            let secret = Object::new(Kind::Secret, "default", &name(index), "value", &value);
            async move { client.create(&secret).await }
        };
        stream::iter(0..secrets).map(create).buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await?;
        Ok(stage)
    }

    /// Restarts the API server with a new key that encrypts.
    pub(crate) async fn make_all_stale(&mut self) -> Result<()> {
        self.keys.insert(0, format!("key-{}", self.keys.len()));
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        self.scene.encrypt_with(&keys).await
    }

    /// How many Secrets etcd has under the newest key.
    pub(crate) async fn rewritten(&self) -> Result<usize> {
        let newest = self.keys.first().context("there is a key")?;
        let stored = self.scene.stored().await?;
        let count = stored.iter().filter(|(key, _)| key == newest).map(|(_, count)| count).sum::<u64>();
        Ok(usize::try_from(count)?)
    }

    /// The names are known, and nothing is counted.
    pub(crate) async fn bare(&self) -> Result<Duration> {
        let client = self.scene.client();
        let patch = |index: usize| async move { client.touch(Kind::Secret, "default", &name(index)).await };
        let start = Instant::now();
        stream::iter(0..self.secrets)
            .map(patch)
            .buffer_unordered(CONCURRENCY)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        let took = start.elapsed();
        ensure!(self.rewritten().await? == self.secrets, "bare patches left something");
        Ok(took)
    }

    /// As the command does it: with a state file, and until a pass finds nothing.
    pub(crate) async fn ours(&self) -> Result<Ours> {
        let control = Control { concurrency_max: CONCURRENCY, ..Control::default() };
        let state = self.scene.control_plane.directory().join("reencrypt.json");
        let start = Instant::now();
        let (mut pass, mut at_once) = (None, 0);
        let run = self
            .scene
            .reencrypt_with(secrets(), control, Some(&state), &mut |it| {
                at_once = at_once.max(it.concurrency);
                if it.pass == 2 {
                    pass.get_or_insert_with(|| start.elapsed());
                }
            })
            .await?;
        let whole = start.elapsed();
        ensure!(
            (run.report.ending, run.report.rewritten()) == (Ending::AllCurrent, self.secrets as u64),
            "ours ended as {:?} after {} Secrets",
            run.report.ending,
            run.report.rewritten()
        );
        ensure!(self.rewritten().await? == self.secrets, "ours left something");
        Ok(Ours { pass: pass.context("there is a second pass")?, whole, at_once })
    }
}

fn name(index: usize) -> String {
    format!("s-{index:06}")
}
