mod key_service;
mod losses;
mod outages;
mod refusals;
mod rotations;

use super::*;
use crate::kms::Kms;

/// What kube-apiserver does with one KMS v2 entry, and when it can write.
struct ApiServer {
    kms: Arc<Kms>,
    key_id: Option<String>,
    last_good: Option<Instant>,
    next_poll: Instant,
}

/// `kmsv2PluginWriteDEKSourceMaxTTL`: so long writes go on after the last good poll.
const WRITES_FOR: Duration = Duration::from_secs(180);
/// `kmsv2PluginHealthzPositiveInterval`.
const POLL: Duration = Duration::from_secs(60);
/// `kmsv2PluginHealthzNegativeInterval`.
const POLL_AFTER_FAILURE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);

impl ApiServer {
    fn start(kms: &Arc<Kms>) -> Self {
        Self { kms: Arc::clone(kms), key_id: None, last_good: None, next_poll: Instant::now() }
    }

    fn can_write(&self) -> bool {
        self.last_good.is_some_and(|at| at.elapsed() < WRITES_FOR)
    }

    /// Lives until it can write or cannot, as asked, and says how long that took; none when it does not come in time.
    async fn until_writes(&mut self, writes: bool, limit: Duration) -> Option<Duration> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if Instant::now() >= self.next_poll {
                self.poll();
            }
            if self.can_write() == writes {
                return Some(start.elapsed());
            }
            tokio::time::sleep(TICK).await;
        }
        None
    }

    async fn writes_all_the_time(&mut self, time: Duration) -> bool {
        self.until_writes(false, time).await.is_none()
    }

    fn poll(&mut self) {
        let now = Instant::now();
        let good = self.adopt();
        if good {
            self.last_good = Some(now);
        }
        self.next_poll = now + if good { POLL } else { POLL_AFTER_FAILURE };
    }

    /// Status, and Encrypt of a fresh seed when the key id is new.
    fn adopt(&mut self) -> bool {
        let Ok(status) = self.kms.status() else { return false };
        if self.key_id.as_deref() != Some(status.key_id()) {
            let Ok(encrypted) = self.kms.encrypt(&[7; 32]) else { return false };
            if encrypted.key_id != status.key_id() {
                return false;
            }
            self.key_id = Some(encrypted.key_id);
        }
        true
    }
}
