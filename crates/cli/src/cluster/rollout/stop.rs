//! Ctrl-C: the first one ends the command at the next place where it is safe, the second one at once.

use std::time::Duration;

use keystead_model::Exit;
use keystead_runtime::{Failure, termination};
use tokio_util::sync::CancellationToken;

use crate::output::say;

/// The first signal cancels `stop`; it ends with the second one. From this call on signals do nothing else.
pub(super) fn signals(stop: CancellationToken) -> Result<impl Future<Output = ()>, Failure> {
    let first = termination().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
    Ok(async move {
        let signal = first.await;
        // Before anybody is told, so that none is missed.
        let second = termination();
        say(&format!("{signal}: stops after the step that is under way; once more ends it at once"));
        stop.cancel();
        match second {
            Ok(second) => {
                second.await;
            }
            // Whoever cannot be told again comes to the end of the step.
            Err(_) => std::future::pending().await,
        }
    })
}

/// Leases that are held run out within half a minute.
pub(super) fn ended_at_once() -> Failure {
    Failure::new("ended at once, in the middle of a step")
        .exit(Exit::Partly)
        .hint("go on with `keystead cluster continue --yes`".to_owned())
}

/// Between two attempts of something.
pub(super) async fn pause(stop: &CancellationToken, time: Duration) -> Result<(), Failure> {
    tokio::select! {
        () = stop.cancelled() => Err(stopped()),
        () = tokio::time::sleep(time) => Ok(()),
    }
}

/// As long as nothing of a step is under way.
pub(super) fn stopped() -> Failure {
    Failure::new("stopped before anything more was done")
        .exit(Exit::Partly)
        .hint("run the same command again, or go on with `keystead cluster continue --yes`".to_owned())
}

/// Whether a command ended only because it was told to.
pub(super) fn is_stop(failure: &Failure) -> bool {
    failure.code() == Exit::Partly as u8
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};
    use tokio_util::sync::CancellationToken;

    use super::{ended_at_once, signals, stopped};

    #[tokio::test]
    async fn the_first_signal_stops_and_the_second_one_ends_at_once() {
        let stop = CancellationToken::new();
        let mut signals = std::pin::pin!(signals(stop.clone()).expect("it listens"));
        let raise = || kill_process(getpid(), Signal::TERM).expect("sent");
        raise();
        tokio::select! {
            () = &mut signals => panic!("one signal is not two"),
            () = stop.cancelled() => {}
        }
        raise();
        signals.await;
        assert_eq!((stopped().code(), ended_at_once().code()), (3, 3));
    }
}
