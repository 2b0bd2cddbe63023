//! A line to a service that is far away: what the client sends arrives later, in order, however much is on its way.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Pieces on their way; far more than a plugin sends in 40 ms.
const PIECES: usize = 1_024;

/// Ends when dropped.
pub(crate) struct SlowLine {
    port: u16,
    _tasks: JoinSet<()>,
}

impl SlowLine {
    /// To `https://HOST:PORT` on this machine.
    pub(crate) async fn to(endpoint: &str, delay: Duration) -> Result<Self> {
        let (_, port) = endpoint.rsplit_once(':').context("an endpoint has a port")?;
        let port: u16 = port.trim_end_matches('/').parse()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                // A line that breaks is the client's to make again.
                lines.spawn(async move { drop(carry(near, port, delay).await) });
            }
        });
        Ok(Self { port: own, _tasks: tasks })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

async fn carry(near: TcpStream, port: u16, delay: Duration) -> Result<()> {
    let far = TcpStream::connect(("127.0.0.1", port)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (near.into_split(), far.into_split());
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let receive = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = near_read.read(&mut buffer).await?;
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if length == 0 || sender.send((Instant::now() + delay, piece)).await.is_err() {
                return anyhow::Ok(());
            }
        }
    };
    let send = async {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            far_write.write_all(&piece).await?;
        }
        anyhow::Ok(())
    };
    let back = tokio::io::copy(&mut far_read, &mut near_write);
    tokio::select! {
        ended = receive => ended,
        ended = send => ended,
        ended = back => Ok(ended.map(drop)?),
    }
}
