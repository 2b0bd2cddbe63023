//! The lean client: h2 or HTTP/1 over TLS, requests encoded beforehand, answers counted and not decoded.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// One call, ready to be sent again and again.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Grpc { path: String, body: Bytes },
    Rest { path: String, body: Bytes },
}

/// Where to, and as whom.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) pid: u32,
}

pub(crate) struct Connection {
    sender: Sender,
    /// Drives the connection.
    _running: JoinSet<()>,
}

enum Sender {
    Grpc(SendRequest<Bytes>),
    Rest(http1::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn open(target: &Target, call: &Call) -> Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", target.port)).await?;
        tcp.set_nodelay(true)?;
        let mut tls = ClientConfig::clone(&target.tls);
        let grpc = matches!(call, Call::Grpc { .. });
        tls.alpn_protocols = vec![if grpc { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        let mut running = JoinSet::new();
        if grpc {
            let (sender, connection) = h2::client::handshake(stream).await?;
            running.spawn(async move { drop(connection.await) });
            return Ok(Self { sender: Sender::Grpc(sender), _running: running });
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        running.spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Rest(sender), _running: running })
    }

    /// One call, to the end of its answer, which must be a good one.
    pub(crate) async fn call(&mut self, call: &Call) -> Result<Bytes> {
        match (&mut self.sender, call) {
            (Sender::Grpc(sender), Call::Grpc { path, body }) => {
                let request = Request::post(format!("https://localhost{path}"))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(())?;
                *sender = sender.clone().ready().await?;
                let (answer, mut stream) = sender.send_request(request, false)?;
                stream.send_data(body.clone(), true)?;
                let mut answer = answer.await?.into_body();
                let mut whole = Vec::new();
                while let Some(data) = answer.data().await {
                    let data = data?;
                    answer.flow_control().release_capacity(data.len())?;
                    whole.extend_from_slice(&data);
                }
                let trailers = answer.trailers().await?.context("an answer has trailers")?;
                ensure!(trailers.get("grpc-status").is_some_and(|it| it == "0"), "refused: {trailers:?}");
                Ok(whole.into())
            }
            (Sender::Rest(sender), Call::Rest { path, body }) => {
                let request = Request::post(path)
                    .header("host", "localhost")
                    .header("content-type", "application/json")
                    .body(Full::new(body.clone()))?;
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let whole = answer.into_body().collect().await?.to_bytes();
                ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&whole));
                Ok(whole)
            }
            _ => bail!("the call is for another kind of connection"),
        }
    }
}
