//! Ten thousand clients that keep their connection and say nothing.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::raw::{self, frame, opening};
use crate::server_process::{Place, Server};

/// What one idle connection may cost the server, in bytes. hyper keeps 16 KiB of buffers for HTTP/1, h2 28 KiB, of which an
/// idle connection has touched a part; the rest of it is TLS (6 KiB) and tasks.
const BUDGET: [(&str, u64); 2] = [("http/1.1", 24 * 1024), ("h2", 32 * 1024)];
/// 5,000 for each protocol: the server's limit of 10,000, but for the polite client.
const EACH: usize = 4_990;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_little_and_others_are_served() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raised");
    // Both ends of a connection are on this host, each in its own process.
    let each = EACH.min(usize::try_from(maximum.unwrap_or(u64::MAX) / 2).unwrap_or(EACH).saturating_sub(200));
    let place = Place::new();
    let limits = ["--max-connections-per-source", "10000", "--max-unknown-connections-per-source", "10000"];
    let server = place.start(&limits).await;
    let client = server.client();
    client.get(server.url("/livez")).send().await.expect("answered");
    let mut open = Vec::new();
    for (protocol, budget) in BUDGET {
        let request = if protocol == "h2" { http2_request() } else { http1_request() };
        let before = server.memory();
        open.extend(connect(&server, protocol, &request, each).await);
        let cost = server.memory().saturating_sub(before) * 1024 / each as u64;
        println!("{protocol}: {cost} bytes for each of {each} idle connections");
        assert!(cost <= budget, "{protocol}: {cost} bytes for each idle connection");
    }
    let metrics = server.text("/metrics").await;
    assert!(metrics.contains(&format!("keystead_server_connections {}", each * 2 + 2)), "{metrics}");
    for _ in 0..50 {
        client.get(server.url("/livez")).send().await.expect("answered");
    }
    drop(open);
    assert_eq!(server.stop().await, 0);
}

fn http1_request() -> Vec<u8> {
    b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()
}

fn http2_request() -> Vec<u8> {
    let path = b"/livez";
    let block = [&[0x82, 0x87, 0x04, 6][..], path, &[0x01, 9], b"localhost"].concat();
    [opening(), frame(1, 5, 1, &block)].concat()
}

/// Connections over which one request was answered.
async fn connect(server: &Server, protocol: &str, request: &[u8], count: usize) -> Vec<TlsStream<TcpStream>> {
    let config = Arc::new(server.tls_config(protocol));
    let (address, request) = (server.address(), Arc::new(request.to_vec()));
    let mut connecting = JoinSet::new();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        if connecting.len() >= 64 {
            open.extend(connecting.join_next().await.map(|it| it.expect("connected")));
        }
        let (config, request) = (Arc::clone(&config), Arc::clone(&request));
        connecting.spawn(async move {
            let stream = raw::tcp(address).await;
            let mut stream = raw::tls((*config).clone(), stream).await.expect("TLS");
            stream.write_all(&request).await.expect("written");
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                let read = stream.read_buf(&mut answer).await.expect("an answer");
                assert!(read > 0, "closed");
            }
            stream
        });
    }
    while let Some(stream) = connecting.join_next().await {
        open.push(stream.expect("connected"));
    }
    open
}
