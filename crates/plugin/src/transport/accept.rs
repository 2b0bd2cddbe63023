//! The accept loop: who may connect, how many at once, and how to go on after errors.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::net::{UnixListener, UnixStream};

use super::connection::{Connection, Peer};
use super::places::Places;

/// Connections of admitted peers, without end and without errors. `keep` is dropped, before the listening socket
/// closes, when the stream is dropped.
pub(super) fn connections<K: Send>(
    listener: UnixListener,
    allowed_uids: Vec<u32>,
    keep: K,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Places::new(rustix::process::geteuid().as_raw()));
    let door = Door { _keep: keep, listener, allowed_uids, places };
    stream::unfold(door, async |mut door| {
        let connection = door.next().await;
        Some((Ok(connection), door))
    })
}

struct Door<K> {
    _keep: K,
    listener: UnixListener,
    allowed_uids: Vec<u32>,
    places: Arc<Places>,
}

impl<K> Door<K> {
    async fn next(&mut self) -> Connection {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.listener.accept().await {
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

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
