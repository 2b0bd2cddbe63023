use std::sync::Arc;
use std::time::Duration;

use crate::KeyService;

/// How long it takes to see that a destination went away or is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl KeyService {
    /// How many backup destinations there are to [keep](Self::keep_destination).
    pub fn destinations(&self) -> usize {
        self.ledger.destinations().places().len()
    }

    /// Looks at one destination, and writes what it lacks, until it is told to stop. Each has a task of its own, because a
    /// network file system may not answer for hours.
    pub async fn keep_destination(self: Arc<Self>, number: usize, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let look = async {
                self.look_at_destination(number).await;
                tokio::time::sleep(LOOK_INTERVAL).await;
            };
            tokio::select! {
                () = look => {}
                () = &mut stop => return,
            }
        }
    }

    /// Looks at one destination once.
    pub(crate) async fn look_at_destination(&self, number: usize) {
        if let Some(place) = self.ledger.destinations().places().get(number) {
            self.ledger.complete_destination(place).await;
        }
    }
}
