use std::sync::Arc;
use std::time::Duration;

use keystead_model::ErrorClass;

use crate::KeyService;

/// How long it takes to see that a destination went away or is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// And until all versions are compared again after a record was found damaged: that reads the whole database, and somebody has to
/// put the record right first.
const DAMAGED_INTERVAL: Duration = Duration::from_secs(60);

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
                let next = self.look_at_destination(number).await;
                tokio::time::sleep(next).await;
            };
            tokio::select! {
                () = look => {}
                () = &mut stop => return,
            }
        }
    }

    /// Looks at one destination once, and answers how long to wait before the next look.
    pub(crate) async fn look_at_destination(&self, number: usize) -> Duration {
        let Some(place) = self.ledger.destinations().places().get(number) else { return LOOK_INTERVAL };
        match self.ledger.complete_destination(place).await {
            Err(error) if error.class() == ErrorClass::Corrupt => DAMAGED_INTERVAL,
            _ => LOOK_INTERVAL,
        }
    }
}
