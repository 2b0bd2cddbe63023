//! Connections by hand: bytes out, bytes in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead_server::pki::Pki;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Preface and empty SETTINGS.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

/// HEADERS of `POST PATH`; literal fields without indexing, so that no compression is needed.
pub(crate) fn post(stream: u32, path: &str, end_stream: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    for (name, value) in [(":authority", "localhost"), (":path", path)] {
        block.push(0);
        block.push(u8::try_from(name.len()).expect("short"));
        block.extend(name.as_bytes());
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend(value.as_bytes());
    }
    frame(1, if end_stream { 5 } else { 4 }, stream, &block)
}

pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connected")
}

/// From another address of this host, so that the polite client is another source.
pub(crate) async fn tcp_from(source: [u8; 4], address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((IpAddr::from(source), 0)))?;
    socket.connect(address).await
}

pub(crate) fn client_config(pki: &Pki, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pki.ca_pem().as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("added");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    config
}

/// For a client with a certificate, in HTTP/1.1.
pub(crate) fn with_client(pki: &Pki, certificate: &[u8], key: &[u8]) -> ClientConfig {
    let mut config = client_config(pki, &["http/1.1"]);
    be_client(&mut config, certificate, key);
    config
}

/// Shows a certificate from now on; both in PEM.
pub(crate) fn be_client(config: &mut ClientConfig, certificate: &[u8], key: &[u8]) {
    let chain = CertificateDer::pem_slice_iter(certificate).map(|it| it.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    let key = config.crypto_provider().key_provider.load_private_key(key).expect("a key that signs");
    let certified = CertifiedKey::new(chain, key);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
}

/// One request in HTTP/1.1 on a connection that stays open, with these further header lines; the whole answer, whose length its
/// head says.
pub(crate) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    headers: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if body.len() >= length {
                return text;
            }
        }
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("in time").expect("readable"), 0, "no whole answer: {text}");
    }
}

pub(crate) async fn tls(config: ClientConfig, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Reads until the other side closes; what came, and after how long.
pub(crate) async fn closed(stream: &mut (impl AsyncRead + Unpin), within: Duration) -> (Vec<u8>, Duration) {
    let started = Instant::now();
    let mut all = Vec::new();
    let ended = tokio::time::timeout(within, async {
        let mut buffer = [0; 4096];
        // A reset is an end too.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            all.extend(&buffer[..count]);
        }
    });
    ended.await.unwrap_or_else(|_| panic!("still open after {within:?}"));
    (all, started.elapsed())
}

/// Writes until the other side closes or `most` writes are done; how many were done.
pub(crate) async fn flood(stream: &mut TcpStream, bytes: &[u8], most: usize) -> usize {
    let (mut reading, mut writing) = stream.split();
    let drain = async {
        let mut buffer = [0; 64 * 1024];
        while let Ok(1..) = reading.read(&mut buffer).await {}
    };
    let write = async {
        let mut done = 0;
        while done < most && writing.write_all(bytes).await.is_ok() {
            done += 1;
        }
        done
    };
    let mut write = std::pin::pin!(write);
    tokio::select! {
        done = write.as_mut() => done,
        () = drain => write.await,
    }
}
