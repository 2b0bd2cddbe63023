//! A program that is to run until it is told to stop.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::launcher::{Launcher, Program};
use crate::report::{Trouble, say};
use crate::restart::Pauses;

/// As the kubelet: an agent ends after the step that is under way.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// kube-apiserver ends what is under way and stops listening within 1 s, and then waits up to a minute for clients that keep their connections,
/// as kube-scheduler was seen to do. Nobody is served in that time.
pub(crate) const GRACE_OF_CONTROL_PLANE: Duration = Duration::from_secs(10);

/// Starts a program again whenever it ends, until `stop`; then it is ended.
pub(crate) async fn keep_running(
    name: String,
    launcher: Launcher,
    program: Program,
    stop: CancellationToken,
) {
    let (mut pauses, mut trouble) = (Pauses::default(), Trouble::default());
    loop {
        let started = Instant::now();
        let how = match launcher.start(&program) {
            Err(error) => format!("cannot be started: {error}"),
            Ok(mut running) => {
                let ended = tokio::select! {
                    ended = running.wait() => Some(ended),
                    () = stop.cancelled() => None,
                };
                match ended {
                    None => {
                        if let Err(error) = running.stop(program.grace).await {
                            say(&format!("{name} could not be stopped: {error}"));
                        }
                        return;
                    }
                    Some(Ok(status)) => format!("ended by itself ({status})"),
                    Some(Err(error)) => format!("cannot be waited for: {error}"),
                }
            }
        };
        trouble.say(&format!("{name} {how}, and is started again; see {}", program.log.display()));
        tokio::select! {
            () = tokio::time::sleep(pauses.after(started.elapsed())) => {}
            () = stop.cancelled() => return,
        }
    }
}
