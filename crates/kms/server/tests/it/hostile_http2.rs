//! HTTP/2 clients that use the protocol against us. Each is closed or harmless while a polite client is served.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::echo::Echo;
use crate::raw::{self, frame, opening, post};

/// Sends `bytes` again and again after the opening, and says how often that worked.
async fn flooded(echo: &Echo, bytes: &[u8], most: usize) -> usize {
    let mut stream = raw::tcp(echo.plain).await;
    stream.write_all(&opening()).await.expect("written");
    raw::flood(&mut stream, bytes, most).await
}

#[tokio::test]
async fn floods_are_cut_off_and_others_are_served() {
    let echo = Echo::start();
    let client = echo.client().build().expect("a client");
    let padding = [0; 1];
    for (name, bytes) in [
        ("ping", frame(6, 0, 0, &[0; 8]).repeat(100)),
        ("settings", frame(4, 0, 0, &[]).repeat(100)),
        ("empty data", [post(1, "/", false), frame(0, 0, 1, &[]).repeat(99)].concat()),
        ("crumbs", [post(1, "/", false), frame(0, 0, 1, &padding).repeat(99)].concat()),
        ("priority", frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(100)),
        ("unknown kind", frame(77, 0, 0, &[]).repeat(100)),
        ("window of a closed stream", frame(8, 0, 1, &[0, 0, 0, 1]).repeat(100)),
    ] {
        let written = flooded(&echo, &bytes, 20_000).await;
        // The cut comes after 1,000 frames; the rest is what the kernel holds.
        assert!(written < 10_000, "{name}: {written} times 100 frames were taken");
        client.get(echo.url("/livez")).send().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn rapid_reset_is_cut_off() {
    let echo = Echo::start();
    let mut stream = raw::tcp(echo.plain).await;
    stream.write_all(&opening()).await.expect("written");
    let attack: Vec<u8> = (0..20_000_u32)
        .flat_map(|index| {
            let stream = index * 2 + 1;
            [post(stream, "/hang", true), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let (mut reading, mut writing) = stream.into_split();
    let write = async move { writing.write_all(&attack).await };
    let (_, written) = tokio::join!(raw::closed(&mut reading, Duration::from_secs(10)), write);
    drop(written);
    let client = echo.client().build().expect("a client");
    client.get(echo.url("/livez")).send().await.expect("answered");
    // 20,000 were sent; what reached the service before the end is bounded.
    let metrics = echo.metrics.text();
    let count = metrics.lines().find_map(|line| line.strip_prefix("keystead_server_request_seconds_count"));
    let served: u32 = count.and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(0);
    assert!(served < 1_100, "{served} calls were begun");
}

#[tokio::test]
async fn headers_without_end_and_huge_headers_are_refused() {
    let echo = Echo::start();
    // A block of headers that goes on and on in CONTINUATION frames.
    let mut stream = raw::tcp(echo.plain).await;
    stream.write_all(&[opening(), frame(1, 0, 1, &[0x83])].concat()).await.expect("written");
    let field = [&[0, 5][..], b"x-abc", &[100], &[b'v'; 100]].concat();
    let written = raw::flood(&mut stream, &frame(9, 0, 1, &field.repeat(100)), 10_000).await;
    assert!(written < 1_000, "{written} times 10 KiB of headers were taken");

    let client = echo.client().build().expect("a client");
    let huge = client.get(echo.url("/livez")).header("x-huge", "v".repeat(60_000)).send().await;
    assert!(huge.is_err() || huge.is_ok_and(|response| response.status() == 431));
    client.get(echo.url("/livez")).send().await.expect("the polite client goes on");
}

#[tokio::test]
async fn nonsense_is_closed_at_once() {
    let echo = Echo::start();
    for (name, bytes) in [
        ("bad preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        ("a frame of 16 MiB", [opening(), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        ("data on stream 0", [opening(), frame(0, 0, 0, &[1])].concat()),
        ("an even stream", [opening(), post(2, "/", true)].concat()),
        ("push promise", [opening(), frame(5, 4, 1, &[0, 0, 0, 2])].concat()),
        ("settings of a length that cannot be", [opening(), frame(4, 0, 0, &[1, 2, 3])].concat()),
        ("a compressed block that ends early", [opening(), frame(1, 5, 1, &[0x40, 0x7f])].concat()),
    ] {
        let mut stream = raw::tcp(echo.plain).await;
        stream.write_all(&bytes).await.expect("written");
        let (_, took) = raw::closed(&mut stream, Duration::from_secs(5)).await;
        assert!(took < Duration::from_secs(3), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn slow_and_greedy_streams_are_closed_within_15_s() {
    let echo = Echo::start();
    let mut slow = tokio::task::JoinSet::new();
    for kind in 0..5 {
        let mut stream = raw::tcp(echo.plain).await;
        slow.spawn(async move {
            let bytes = match kind {
                // The preface only.
                0 => raw::PREFACE.to_vec(),
                // Half a frame.
                1 => [opening(), post(1, "/", true)[..12].to_vec()].concat(),
                // Headers whose block does not end.
                2 => [opening(), frame(1, 0, 1, &[0x83])].concat(),
                // A window of nothing, and 50 answers for it.
                3 => {
                    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
                    let calls = (0..50).flat_map(|index| post(index * 2 + 1, "/bytes/50000", true));
                    [raw::PREFACE.to_vec(), settings, calls.collect()].concat()
                }
                // A body that never comes ends its stream, and then the client is idle.
                _ => [opening(), post(1, "/", false)].concat(),
            };
            stream.write_all(&bytes).await.expect("written");
            if kind == 4 {
                let mut seen: Vec<u8> = Vec::new();
                let text: &[u8] = b"not complete after";
                let answered = tokio::time::timeout(Duration::from_secs(16), async {
                    let mut buffer = [0; 1024];
                    while !seen.windows(text.len()).any(|it| it == text) {
                        let count =
                            tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.expect("open");
                        seen.extend(&buffer[..count]);
                    }
                });
                answered.await.expect("an answer in time");
                return Duration::ZERO;
            }
            raw::closed(&mut stream, Duration::from_secs(17)).await.1
        });
    }
    let client = echo.client().build().expect("a client");
    for _ in 0..100 {
        client.post(echo.url("/")).body("x").send().await.expect("answered");
    }
    while let Some(took) = slow.join_next().await {
        let took = took.expect("closed");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

#[tokio::test]
async fn a_call_of_grpc_that_is_too_long_gets_a_status() {
    let echo = Echo::start();
    let client = echo.client().build().expect("a client");
    let request = client
        .post(echo.url("/a.B/C"))
        .header("content-type", "application/grpc")
        .body(vec![0; 5 * 1024 * 1024]);
    let response = request.send().await.expect("answered");
    assert_eq!(response.headers()["grpc-status"], "8");
}
