//! The accept loop: who may connect, how many at once, and how to go on after errors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::connection::{Connection, Peer};
use super::places::Places;
use super::socket::Kept;

/// Connections of admitted peers, without end and without errors. `keep` is dropped, before the listening socket
/// closes, when the stream is dropped.
pub(super) fn connections<K: Keep>(
    listener: UnixListener,
    allowed_uids: Vec<u32>,
    keep: K,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Places::new(rustix::process::geteuid().as_raw()));
    let door = Door { keep, looks: looks(), listener, allowed_uids, places };
    stream::unfold(door, async |mut door| {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

/// What is kept as long as connections are accepted.
pub(super) trait Keep: Send {
    /// Looks whether clients still find the listener, and gives another one when it has to be replaced.
    fn look_after(&mut self) -> Option<UnixListener>;
}

impl Keep for Kept {
    fn look_after(&mut self) -> Option<UnixListener> {
        Kept::look_after(self)
    }
}

struct Door<K> {
    keep: K,
    looks: Interval,
    listener: UnixListener,
    allowed_uids: Vec<u32>,
    places: Arc<Places>,
}

impl<K: Keep> Door<K> {
    async fn next(&mut self) -> Connection {
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                // Who has connected already is admitted before the listener may be replaced.
                biased;
                accepted = self.listener.accept() => accepted,
                _ = self.looks.tick() => {
                    if let Some(listener) = self.keep.look_after() {
                        self.listener = listener;
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = FIRST_PAUSE;
                    if let Some(connection) = self.admit(stream) {
                        return connection;
                    }
                }
                // The client went away before it was its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Most often this process is out of file descriptors: the client waits in the kernel's queue until
                // others have left. Ending the loop here would need a restart to heal.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection, trying again in {pause:?}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Decides before a byte is read; dropping the stream closes it.
    fn admit(&self, stream: UnixStream) -> Option<Connection> {
        let peer = match stream.peer_cred() {
            Ok(cred) => Peer { pid: cred.pid(), uid: cred.uid(), gid: cred.gid() },
            Err(error) => {
                tracing::warn!(%error, "refused a connection: the kernel does not say whose it is");
                return None;
            }
        };
        let Peer { pid, uid, .. } = peer;
        if !self.allowed_uids.contains(&uid) {
            tracing::warn!(pid, uid, "refused a connection: --allow-uid {uid} would admit this user");
            return None;
        }
        match self.places.take(uid) {
            Ok(place) => Some(Connection::new(stream, peer, Some(place))),
            Err(reason) => {
                tracing::warn!(pid, uid, "refused a connection: {reason}");
                None
            }
        }
    }
}

fn looks() -> Interval {
    let mut looks = tokio::time::interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// About as long as kube-apiserver waits before it connects again. A look is one call of the system.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
