//! The story that both clusters go through, the real one and the simulated one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keystead_etcd::{Encryption, StoredCounts};

use super::key_service::KeyService;
use super::narration::Narration;
use super::plugin_process::PluginProcess;

/// Enough to show counts; the point is not speed.
const SECRETS: usize = 25;
/// What a thief of the disk looks for.
const CANARY: &str = "correct-horse-battery-staple";

/// What the story needs of a cluster.
pub(super) trait Cluster {
    /// Starts it without encryption.
    async fn start(&mut self) -> Result<()>;
    /// Switches encryption on, with the plugin's KMS entry first and `identity` behind it.
    async fn enable(&mut self, plugin: &PluginProcess) -> Result<()>;
    /// Creates a Secret with one value.
    async fn create_secret(&mut self, name: &str, value: &str) -> Result<()>;
    /// Reads that value back.
    async fn read_secret(&mut self, name: &str) -> Result<String>;
    /// Waits until new Secrets are written with this key id.
    async fn adopted(&mut self, key_id: &str) -> Result<()>;
    /// Rewrites every Secret that is not on the current key, and answers how many those were.
    async fn re_encrypt(&mut self) -> Result<usize>;
    /// The stored value of a Secret, as etcd has it.
    async fn stored(&mut self, name: &str) -> Result<Vec<u8>>;
    /// Counts what is stored.
    async fn inventory(&mut self) -> Result<StoredCounts>;
}

/// What goes on running when the story is told.
pub(super) struct Running {
    pub(super) service: KeyService,
    _plugin: PluginProcess,
}

pub(super) async fn tell(
    narration: &Narration,
    directory: &Path,
    cluster: &mut impl Cluster,
) -> Result<Running> {
    let began = Instant::now();
    narration.step("A cluster without encryption");
    narration.during("starting the control plane", cluster.start()).await?;
    cluster.create_secret("before", CANARY).await?;
    let stored = cluster.stored("before").await?;
    narration.say(&format!("   Secret `before` in etcd:\n{}", dump(&stored)));
    ensure!(contains(&stored, CANARY), "the Secret was expected in clear");
    narration.say("   Whoever has the disk or a backup reads it.");

    narration.step("A key management service outside the cluster, and a key in it");
    let service = KeyService::start(narration, directory, &[]).await?;
    let account = service.make_key(narration).await?;
    let key = service.make_token(narration, &account).await?;

    narration.step("The plugin");
    narration.say(&key.printed());
    let mut plugin = PluginProcess::start(directory, &key.flags()).await?;
    let old = plugin.key_id().await?;
    narration.say(&format!(
        "   plugin: process {}, socket {}, key_id {old}",
        plugin.pid(),
        plugin.socket().display()
    ));

    narration.step("Encryption switched on");
    narration
        .during("restarting kube-apiserver with the EncryptionConfiguration", cluster.enable(&plugin))
        .await?;
    for number in 1..SECRETS {
        cluster.create_secret(&format!("secret-{number}"), &format!("{CANARY}-{number}")).await?;
    }
    let rewritten = cluster.re_encrypt().await?;
    let stored = cluster.stored("before").await?;
    narration.say(&format!(
        "   rewritten with the key: {rewritten}; Secret `before` in etcd now:\n{}",
        dump(&stored)
    ));
    ensure!(!contains(&stored, CANARY), "the Secret is still stored in clear");
    ensure!(stored.starts_with(b"k8s:enc:kms:v2:"), "the Secret was not encrypted by the KMS entry");
    counts(narration, &cluster.inventory().await?);

    narration.step("Rotation");
    service.rotate(narration).await?;
    let new = plugin.rotated_from(&old).await?;
    narration.during("waiting for kube-apiserver to ask the plugin", cluster.adopted(&new)).await?;
    narration.say(&format!("   kube-apiserver writes with {new} now; nothing that is stored has changed:"));
    let before = cluster.inventory().await?;
    counts(narration, &before);
    ensure!(on_key(&before, &old) == SECRETS as u64, "rotation alone must not rewrite anything");

    narration.step("Re-encryption, with proof");
    let rewritten = narration.during("rewriting", cluster.re_encrypt()).await?;
    let again = cluster.re_encrypt().await?;
    narration.say(&format!("   rewrote {rewritten}, and {again} when it ran again"));
    let after = cluster.inventory().await?;
    counts(narration, &after);
    ensure!(rewritten == SECRETS && again == 0, "every Secret must be rewritten exactly once");
    ensure!(
        on_key(&after, &old) == 0 && on_key(&after, &new) == SECRETS as u64,
        "the old key is still in use"
    );
    let value = cluster.read_secret("before").await?;
    ensure!(value == CANARY, "the Secret does not read back");
    narration.say(
        "   every Secret is on the new version and reads back; only backups of etcd can still need the old one",
    );
    narration.say(&format!("\nproved in {}", humantime::format_duration(rounded(began.elapsed()))));
    Ok(Running { service, _plugin: plugin })
}

fn counts(narration: &Narration, inventory: &StoredCounts) {
    for group in inventory.groups.iter().filter(|group| group.resource == "secrets") {
        let under = match &group.encryption {
            Encryption::KmsV2 { key_id, .. } => format!("key_id {key_id}"),
            Encryption::Plain { .. } => "no key: readable".to_owned(),
            other => format!("{other:?}"),
        };
        narration.say(&format!("   {:>5} Secrets under {under}", group.objects));
    }
}

fn on_key(inventory: &StoredCounts, wanted: &str) -> u64 {
    let groups = inventory
        .groups
        .iter()
        .filter(|group| matches!(&group.encryption, Encryption::KmsV2 { key_id, .. } if key_id == wanted));
    groups.map(|group| group.objects).sum()
}

/// The first 64 bytes, as `hexdump -C` shows them.
fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).take(4).map(|line| {
        let text: String = line
            .iter()
            .map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' })
            .collect();
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("   | {:<47}  {text}", hex.join(" "))
    });
    let lines: Vec<String> = lines.collect();
    format!("{}\n   | ... {} bytes in all", lines.join("\n"), bytes.len())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn rounded(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis().try_into().unwrap_or(u64::MAX))
}
