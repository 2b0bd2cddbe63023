//! Clients that never get as far as HTTP, or hold their connection for nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keystead_server::{ConnectionLimits, TlsSettings};
use tokio::io::AsyncWriteExt;

use crate::echo::Echo;
use crate::polite::until;
use crate::raw;
use crate::server_process::Place;

#[tokio::test]
async fn silent_handshakes_are_closed_within_5_s_and_others_are_served() {
    let echo = Echo::start();
    let mut silent = Vec::new();
    for index in 0..300_u16 {
        let mut stream = raw::tcp(echo.address).await;
        if index % 3 == 1 {
            // The beginning of a ClientHello, and no more.
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).await.expect("written");
        }
        silent.push(stream);
    }
    let client = echo.client().build().expect("a client");
    for _ in 0..20 {
        client.get(echo.url("/livez")).send().await.expect("answered");
    }
    for stream in &mut silent {
        let (bytes, _) = raw::closed(stream, Duration::from_secs(8)).await;
        assert!(bytes.is_empty());
    }
    let metrics = echo.metrics.text();
    assert!(metrics.contains(r#"handshake_failures_total{reason="too_slow"} 300"#), "{metrics}");
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_a_sentence_and_garbage_an_end() {
    let echo = Echo::start();
    let mut stream = raw::tcp(echo.address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("written");
    let (answer, _) = raw::closed(&mut stream, Duration::from_secs(8)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    for garbage in [&b"\x16\x03\x01\xff\xff"[..], &[0; 64], b"\x80\x2e\x01\x00\x02", b"ssh"] {
        let mut stream = raw::tcp(echo.address).await;
        stream.write_all(garbage).await.expect("written");
        raw::closed(&mut stream, Duration::from_secs(8)).await;
    }
    assert!(echo.metrics.text().contains(r#"handshake_failures_total{reason="plain_http"} 1"#));
}

#[tokio::test]
async fn one_source_cannot_take_all_places() {
    let limits = ConnectionLimits { total: 60, per_source: 50, unknown_per_source: 50 };
    let echo = Echo::start_with(limits, TlsSettings::default());
    let mut greedy = Vec::new();
    for _ in 0..80 {
        greedy.extend(raw::tcp_from([127, 0, 0, 2], echo.address).await.ok());
    }
    until(|| echo.metrics.text().contains(r#"refused_total{reason="too_many_from_one_source"} 30"#)).await;
    let client = echo.client().build().expect("a client");
    client.get(echo.url("/livez")).send().await.expect("answered");
    // More than fit in all are refused, whoever they are.
    for last in 3..20 {
        // A reset may come before the connection is known to be there.
        greedy.extend(raw::tcp_from([127, 0, 0, last], echo.address).await.ok());
    }
    until(|| echo.metrics.text().contains(r#"refused_total{reason="too_many_connections"} "#)).await;
    // Refused at once, not left waiting.
    if let Ok(mut refused) = raw::tcp_from([127, 0, 0, 2], echo.address).await {
        let (_, took) = raw::closed(&mut refused, Duration::from_secs(3)).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    drop(greedy);
    until(|| echo.metrics.text().contains("keystead_server_connections 1\n")).await;
}

/// Who calls is known long before a first call that is long has its answer.
#[tokio::test]
async fn a_long_first_call_of_a_known_caller_does_not_give_way() {
    let limits = ConnectionLimits { total: 60, per_source: 50, unknown_per_source: 4 };
    let echo = Echo::start_with(limits, TlsSettings::default());
    let call = |path: &str| {
        let (client, url) = (echo.client().build().expect("a client"), echo.url(path));
        async move { client.get(url).send().await }
    };
    let crowd = async {
        until(|| echo.hanging.load(Ordering::SeqCst) == 2).await;
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(raw::tcp(echo.address).await);
        }
        silent
    };
    let (known, unknown, _silent) = tokio::join!(call("/known/hang"), call("/hang"), crowd);
    assert_eq!(known.expect("answered").status(), 200);
    unknown.expect_err("nobody knows who that is");
}

/// Connections of one address that say nothing, every other one after TLS, so many that they would take every place.
#[tokio::test]
async fn silent_connections_of_one_source_give_way_and_callers_that_are_known_stay() {
    let place = Place::new();
    let server =
        place.start(&["--max-connections", "100", "--max-unknown-connections-per-source", "20"]).await;
    let source = [127, 0, 0, 2];
    let token = std::fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let token = format!("authorization: Bearer {}\r\n", token.trim());
    let connect = async || {
        let stream = raw::tcp_from(source, server.address()).await.expect("connected");
        raw::tls(server.tls_config("http/1.1"), stream).await
    };
    let mut known = connect().await.expect("TLS");
    let call = "/keystead/v1/audit/head";
    assert!(raw::get(&mut known, call, &token).await.starts_with("HTTP/1.1 200 "));

    let (mut silent, mut shaken) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        silent.push(raw::tcp_from(source, server.address()).await.expect("connected"));
        shaken.push(connect().await.expect("TLS"));
    }
    // Others, and those of the same source who say who they are.
    server.client().get(server.url("/livez")).send().await.expect("another source is served");
    assert!(raw::get(&mut connect().await.expect("TLS"), call, &token).await.starts_with("HTTP/1.1 200 "));
    assert!(raw::get(&mut known, call, &token).await.starts_with("HTTP/1.1 200 "));
    raw::closed(&mut silent[0], Duration::from_secs(5)).await;
    raw::closed(&mut shaken[0], Duration::from_secs(5)).await;
    let metrics = server.text("/metrics").await;
    let series = r#"connections_closed_total{reason="too_many_unknown_from_one_source"} "#;
    let closed = metrics.lines().find_map(|line| line.split_once(series)).map(|(_, count)| count.to_owned());
    assert!(closed.is_some_and(|count| count.parse::<u32>().expect("a number") > 0), "{metrics}");
    let refused = metrics.lines().filter(|it| it.contains("connections_refused_total{"));
    assert_eq!(refused.filter(|it| !it.ends_with("} 0")).collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(server.stop().await, 0);
}

#[tokio::test]
async fn odd_protocol_offers_are_refused_or_served_as_http1() {
    let echo = Echo::start();
    let config = raw::client_config(&echo.pki, &["smtp"]);
    raw::tls(config, raw::tcp(echo.address).await).await.expect_err("no protocol in common");
    let mut stream =
        raw::tls(raw::client_config(&echo.pki, &[]), raw::tcp(echo.address).await).await.expect("TLS");
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
    let (answer, _) = raw::closed(&mut stream, Duration::from_secs(5)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_connections_harms_nobody() {
    let echo = Echo::start();
    let (address, mut storm) = (echo.address, tokio::task::JoinSet::new());
    for source in 2..10 {
        storm.spawn(async move {
            for count in 0..500 {
                let Ok(mut stream) = raw::tcp_from([127, 0, 0, source], address).await else { continue };
                match count % 3 {
                    // Gone before anybody has looked, gone with a reset, gone within its ClientHello.
                    0 => {}
                    1 => stream.set_zero_linger().expect("set"),
                    _ => drop(stream.write_all(&[22, 3, 1, 2, 0, 1]).await),
                }
            }
        });
    }
    let mut polite = 0;
    while !storm.is_empty() {
        // A connection of its own each time, in the same queue as the storm's.
        let client = echo.client().build().expect("a client");
        client.get(echo.url("/livez")).send().await.expect("answered");
        polite += 1;
        while storm.try_join_next().is_some() {}
    }
    assert!(polite > 3, "the storm was over too soon to say anything");
    until(|| echo.metrics.text().contains("keystead_server_connections 0\n")).await;
}
