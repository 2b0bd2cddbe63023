//! HTTP/1 clients that are slow, endless or huge. Each is closed in time while a polite client is served.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo::Echo;
use crate::raw;

/// Writes `bytes` one at a time, for ever.
async fn drip(stream: TcpStream, bytes: &'static [u8]) -> (Vec<u8>, Duration) {
    let (mut reading, mut writing) = stream.into_split();
    let mut dripping = tokio::task::JoinSet::new();
    dripping.spawn(async move {
        for byte in bytes.iter().cycle() {
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    raw::closed(&mut reading, Duration::from_secs(17)).await
}

#[tokio::test]
async fn slow_clients_are_closed_within_15_s_and_others_are_served() {
    let echo = Echo::start();
    let mut slow = tokio::task::JoinSet::new();
    for kind in 0..60 {
        let mut stream = raw::tcp(echo.plain).await;
        slow.spawn(async move {
            match kind % 4 {
                // Nothing at all.
                0 => raw::closed(&mut stream, Duration::from_secs(17)).await,
                // Headers, a byte at a time.
                1 => {
                    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\n").await.expect("written");
                    drip(stream, b"x-a: b\r\n").await
                }
                // A body, a byte at a time.
                2 => {
                    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
                    stream.write_all(head).await.expect("written");
                    drip(stream, b"x").await
                }
                // An answer that nobody reads.
                _ => {
                    let head = b"GET /bytes/20000000 HTTP/1.1\r\nhost: a\r\n\r\n";
                    stream.write_all(head).await.expect("written");
                    tokio::time::sleep(Duration::from_secs(14)).await;
                    let (bytes, took) = raw::closed(&mut stream, Duration::from_secs(3)).await;
                    assert!(bytes.len() < 20_000_000, "the rest was given up");
                    (Vec::new(), took + Duration::from_secs(14))
                }
            }
        });
    }
    let client = echo.client().build().expect("a client");
    for _ in 0..100 {
        client.post(echo.url("/")).body("x").send().await.expect("answered");
    }
    while let Some(closed) = slow.join_next().await {
        let (_, took) = closed.expect("closed");
        assert!(took < Duration::from_secs(17), "{took:?}");
    }
    let metrics = echo.metrics.text();
    assert!(metrics.contains(r#"connections_closed_total{reason="slow_request"} 30"#), "{metrics}");
    assert!(metrics.contains(r#"connections_closed_total{reason="slow_answer"} 15"#), "{metrics}");
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_read() {
    let echo = Echo::start();
    // 1 GiB announced: refused by its head.
    let mut stream = raw::tcp(echo.plain).await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1073741824\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let (answer, took) = raw::closed(&mut stream, Duration::from_secs(5)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("longer than 1048576 bytes"), "{answer}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    // Endless chunks: given up at the limit.
    let mut stream = raw::tcp(echo.plain).await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let written = raw::flood(&mut stream, &chunk, 1_000).await;
    assert!(written < 200, "{written} chunks of 64 KiB were taken");

    // Headers without end.
    for header in [b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n".as_slice(), &[b'x'; 1000]] {
        let mut stream = raw::tcp(echo.plain).await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("written");
        let written = raw::flood(&mut stream, header, 100_000).await * header.len();
        assert!(written < 8_000_000, "{written} bytes of headers were taken");
    }
    let mut stream = raw::tcp(echo.plain).await;
    let huge = [b"GET / HTTP/1.1\r\nhost: a\r\nx: ".as_slice(), &[b'x'; 40_000], b"\r\n\r\n"].concat();
    stream.write_all(&huge).await.expect("written");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 431");
}

#[tokio::test]
async fn an_idle_connection_is_kept() {
    let echo = Echo::start();
    let mut stream = raw::tcp(echo.plain).await;
    for _ in 0..2 {
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let mut rest = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(13), async {
            while stream.read(&mut rest).await.expect("open") > 0 {}
        });
        read.await.expect_err("neither bytes nor an end");
    }
}
