//! The lean client: h2 alone, requests encoded beforehand, answers counted and not decoded. It shares the machine with the plugin,
//! so that each microsecond it saves is one less in the figures.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::task::JoinSet;

use super::{Call, process};
use crate::options::Socket;

/// One connection to a plugin and the process behind it.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    /// The process that listens (SO_PEERCRED); under socket activation that is whoever made the socket.
    pub(super) pid: Option<i32>,
    /// Drives the connection.
    _running: JoinSet<()>,
}

impl Connection {
    pub(super) async fn open(socket: &Socket) -> Result<Self, String> {
        let stream = socket.connect().await.map_err(|error| error.to_string())?;
        let pid = stream.peer_cred().ok().and_then(|it| it.pid());
        let (sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
        let mut running = JoinSet::new();
        running.spawn(async move {
            // Its end shows at the next call.
            drop(connection.await);
        });
        Ok(Self { sender, pid, _running: running })
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// What the process behind the socket has used of the CPU.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.pid.and_then(process::cpu)
    }
}

/// One call, to the end of its trailers. Gives the sender back for the next.
pub(super) async fn call(sender: SendRequest<Bytes>, call: &Call) -> Result<SendRequest<Bytes>, String> {
    let mut sender = sender.ready().await.map_err(|error| error.to_string())?;
    let (answer, mut stream) =
        sender.send_request(call.head.clone(), false).map_err(|error| error.to_string())?;
    stream.send_data(call.body.clone(), true).map_err(|error| error.to_string())?;
    let mut answer = answer.await.map_err(|error| error.to_string())?.into_body();
    while let Some(data) = answer.data().await {
        let length = data.map_err(|error| error.to_string())?.len();
        answer.flow_control().release_capacity(length).map_err(|error| error.to_string())?;
    }
    let trailers = answer.trailers().await.map_err(|error| error.to_string())?;
    let status = trailers.as_ref().and_then(|it| it.get("grpc-status")).map(http::HeaderValue::as_bytes);
    if status == Some(b"0") { Ok(sender) } else { Err(format!("{} was refused", call.head.uri().path())) }
}
