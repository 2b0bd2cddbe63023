//! CONNECT on the TLS port, as gcloud sends it when `keystead env` names the server as its proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::Echo;
use crate::raw;

const GRANTED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

async fn connect(echo: &Echo, destination: &str) -> TcpStream {
    let mut stream = raw::tcp(echo.address).await;
    let head = format!("CONNECT {destination} HTTP/1.1\r\nuser-agent: gcloud\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn a_tunnel_to_the_server_itself_is_tls_as_without_it() {
    let echo = Echo::start();
    let port = echo.address.port();
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        let mut stream = connect(&echo, &format!("{host}:{port}")).await;
        let mut answer = vec![0; GRANTED.len()];
        stream.read_exact(&mut answer).await.expect("answered");
        assert_eq!(String::from_utf8_lossy(&answer), GRANTED, "{host}");
        let mut tls = raw::tls(raw::client_config(&echo.pki, &[]), stream).await.expect("TLS");
        tls.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
        let (answer, _) = raw::closed(&mut tls, Duration::from_secs(5)).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{host}");
    }
}

#[tokio::test]
async fn a_tunnel_to_anywhere_else_is_refused_with_a_sentence() {
    let echo = Echo::start();
    let (port, plain) = (echo.address.port(), echo.plain.port());
    let elsewhere = [
        "compute.googleapis.com:443".to_owned(),
        format!("compute.googleapis.com:{port}"),
        format!("localhost:{plain}"),
        "localhost".to_owned(),
        format!("localhost.example.com:{port}"),
    ];
    for destination in &elsewhere {
        let mut stream = connect(&echo, destination).await;
        let (answer, _) = raw::closed(&mut stream, Duration::from_secs(3)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 403 keystead env lets gcloud"), "{destination}: {answer}");
    }
    let metrics = echo.metrics.text();
    let counted = format!(r#"handshake_failures_total{{reason="connect_elsewhere"}} {}"#, elsewhere.len());
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn a_head_that_is_too_long_has_no_end_or_is_followed_by_more_opens_nothing() {
    let echo = Echo::start();
    let own = format!("CONNECT localhost:{} HTTP/1.1\r\n", echo.address.port());
    for head in
        [format!("{own}x: "), format!("{own}x: {}\r\n\r\n", "a".repeat(5_000)), format!("{own}\r\nmore")]
    {
        let mut stream = raw::tcp(echo.address).await;
        stream.write_all(head.as_bytes()).await.expect("written");
        let (answer, _) = raw::closed(&mut stream, Duration::from_secs(8)).await;
        assert_eq!(String::from_utf8_lossy(&answer), "", "{} bytes", head.len());
    }
}
