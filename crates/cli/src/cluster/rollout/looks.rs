//! Looks at a cluster, before its rollout runs.

use std::time::{Duration, Instant};

use keystead_cluster::executor::{Executor, Preview};
use keystead_model::Exit;
use keystead_runtime::Failure;

use super::told::tell;
use crate::cluster::reencrypt::exit;

pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What is there, and what would be done.
pub(super) async fn look(executor: &mut Executor<'_>) -> Result<Preview, Failure> {
    executor.preview().await.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))
}

/// Asks again, as long as nobody can be reached and `patience` lasts.
pub(super) async fn reached<T>(
    patience: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let began = Instant::now();
    let mut said = false;
    loop {
        match attempt().await {
            Err(failure) if failure.code() == Exit::Unreachable as u8 && began.elapsed() < patience => {
                if !said {
                    tell(&format!("waits: {failure}"));
                }
                said = true;
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            ended => return ended,
        }
    }
}
