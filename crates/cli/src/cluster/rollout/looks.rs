//! Looks at a cluster, before its rollout runs.

use std::time::{Duration, Instant};

use keystead_cluster::executor::{Executor, Preview};
use keystead_model::Exit;
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::stop::{pause, stopped};
use super::told::tell;
use crate::cluster::reencrypt::exit;

pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What is there, and what would be done.
pub(super) async fn look(executor: &mut Executor<'_>) -> Result<Preview, Failure> {
    executor.preview().await.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))
}

/// Asks again, as long as nobody can be reached and `patience` lasts. Told to stop, it waits for no answer.
pub(super) async fn reached<T>(
    patience: Duration,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let began = Instant::now();
    let mut said = false;
    loop {
        let attempted = tokio::select! {
            () = stop.cancelled() => return Err(stopped()),
            attempted = attempt() => attempted,
        };
        match attempted {
            Err(failure) if failure.code() == Exit::Unreachable as u8 && began.elapsed() < patience => {
                if !said {
                    tell(&format!("waits: {failure}"));
                }
                said = true;
                pause(stop, BETWEEN_LOOKS).await?;
            }
            ended => return ended,
        }
    }
}
