//! A receiver of webhooks over TLS, with a certificate of its own, that does what a test wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Above the longest pause between two of the first tries, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does with a request.
#[derive(Clone)]
pub(super) enum Manner {
    /// 204.
    Takes,
    /// 400.
    Refuses,
    /// The connection ends before the request is read.
    Closes,
    /// The request is read and never answered.
    Silent,
    /// 307 to somebody else, which keeps the method and the body.
    Redirects(String),
    /// Headers without an end.
    EndlessHeaders,
    /// 200, and a body without an end.
    EndlessBody,
    /// What is no HTTP.
    Garbage,
}

/// A request that was read whole.
#[derive(Clone, Debug)]
pub(super) struct Got {
    headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).clone()
    }
}

struct Shared {
    manner: Mutex<Manner>,
    got: Mutex<Vec<Got>>,
    arrived: Notify,
}

/// Ends with this value.
pub(super) struct Receiver {
    url: String,
    authority: String,
    shared: Arc<Shared>,
    /// How many a test has taken.
    taken: Mutex<usize>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(super) async fn start(manner: Manner) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let certificate = params.self_signed(&key).expect("signed");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("https://localhost:{}/hook", listener.local_addr().expect("an address").port());
        let shared =
            Arc::new(Shared { manner: Mutex::new(manner), got: Mutex::default(), arrived: Notify::new() });
        let (acceptor, serving) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "it ends with the receiver")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                connections.spawn(serve(acceptor.clone(), stream, Arc::clone(&serving)));
            }
        });
        Self { url, authority: certificate.pem(), shared, taken: Mutex::new(0), task }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What it does from the next request on.
    pub(super) fn now(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// Everything that arrived.
    pub(super) fn all(&self) -> Vec<Got> {
        lock(&self.shared.got).clone()
    }

    /// The next request that arrives, in their order.
    pub(super) async fn next(&self) -> Got {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let arrived = self.shared.arrived.notified();
                let next = lock(&self.shared.got).get(*lock(&self.taken)).cloned();
                if let Some(got) = next {
                    *lock(&self.taken) += 1;
                    return got;
                }
                arrived.await;
            }
        });
        found.await.expect("a notice arrives")
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, shared: Arc<Shared>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    loop {
        let closes = matches!(*lock(&shared.manner), Manner::Closes);
        if closes {
            return;
        }
        let Some(got) = read(&mut stream).await else { return };
        // What it does is decided when the request is there.
        let manner = lock(&shared.manner).clone();
        if matches!(manner, Manner::Closes) {
            return;
        }
        lock(&shared.got).push(got);
        shared.arrived.notify_one();
        if answer(&mut stream, manner).await.is_err() {
            return;
        }
    }
}

async fn answer(stream: &mut TlsStream<TcpStream>, manner: Manner) -> std::io::Result<()> {
    let answer = match manner {
        Manner::Takes => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Manner::Refuses => "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned(),
        Manner::Redirects(to) => {
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Manner::Garbage => "220 mail.example.com ESMTP\r\n".to_owned(),
        Manner::Closes | Manner::Silent => std::future::pending().await,
        Manner::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"x-more: and more\r\n").await?;
                stream.flush().await?;
            }
        }
        Manner::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(b"10\r\n0123456789abcdef\r\n").await?;
                stream.flush().await?;
            }
        }
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await
}

/// One request of HTTP/1.1 with a length.
async fn read(stream: &mut TlsStream<TcpStream>) -> Option<Got> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    let headers: HashMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).await.ok()?;
    Some(Got { headers, body: String::from_utf8(body).expect("text") })
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
