//! Clients that do nothing wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keystead_runtime::Drained;
use keystead_server::TlsSettings;
use keystead_server::pki::ClientKey;
use reqwest::StatusCode;

use crate::echo::Echo;

#[tokio::test]
async fn http1_and_http2_are_served_on_one_port() {
    let echo = Echo::start();
    for (client, version) in [(echo.client().http1_only(), "HTTP/1.1"), (echo.client(), "HTTP/2.0")] {
        let client = client.build().expect("a client");
        for _ in 0..3 {
            let response = client.post(echo.url("/")).body(vec![0; 70_000]).send().await.expect("answered");
            let text = response.text().await.expect("text");
            assert_eq!(text, format!("{version} 70000 bytes tls=true uris=[]\n"));
        }
    }
    let plain = format!("http://{}/", echo.plain);
    let text = reqwest::get(plain).await.expect("answered").text().await.expect("text");
    assert_eq!(text, "HTTP/1.1 0 bytes tls=false uris=[]\n");
    let known = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let text = known.get(format!("http://{}/", echo.plain)).send().await.expect("answered");
    assert!(text.text().await.expect("text").starts_with("HTTP/2.0 "));
    assert_eq!(echo.stop().await, Drained::Clean);
}

#[tokio::test]
async fn long_answers_arrive_whole() {
    let echo = Echo::start();
    for client in [echo.client().http1_only(), echo.client()] {
        let client = client.build().expect("a client");
        for len in [0, 1, 16_384, 16_385, 3_000_000] {
            let response = client.get(echo.url(&format!("/bytes/{len}"))).send().await.expect("answered");
            assert_eq!(response.content_length(), Some(len));
            assert_eq!(response.bytes().await.expect("bytes").len() as u64, len);
        }
    }
}

#[tokio::test]
async fn a_client_certificate_of_ours_is_seen_and_a_foreign_one_is_refused() {
    let echo = Echo::start();
    let now = jiff::Timestamp::now();
    let uri = "spiffe://keystead/plugin/one";
    let issued = echo
        .pki
        .issue_client_certificate(ClientKey::New, uri, Duration::from_secs(3600), now)
        .expect("issued");
    let pem = [issued.key.expect("a key").as_bytes(), issued.certificate.as_bytes()].concat();
    let identity = reqwest::Identity::from_pem(&pem).expect("an identity");
    let client = echo.client().identity(identity).build().expect("a client");
    let text = client.get(echo.url("/")).send().await.expect("answered").text().await.expect("text");
    assert_eq!(text, format!("HTTP/2.0 0 bytes tls=true uris=[{uri:?}]\n"));

    let other = Echo::start();
    let foreign = other
        .pki
        .issue_client_certificate(ClientKey::New, uri, Duration::from_secs(3600), now)
        .expect("issued");
    let pem = [foreign.key.expect("a key").as_bytes(), foreign.certificate.as_bytes()].concat();
    let client = echo.client().identity(reqwest::Identity::from_pem(&pem).expect("an identity"));
    client.build().expect("a client").get(echo.url("/")).send().await.expect_err("refused");
    assert!(echo.metrics.text().contains(r#"handshake_failures_total{reason="client_certificate"} 1"#));
}

#[tokio::test]
async fn probes_tell_strangers_nothing_and_a_bug_harms_one_request() {
    let echo = Echo::start();
    let client = echo.client().build().expect("a client");
    let get = async |path: &str, forwarded: bool| {
        let mut request = client.get(echo.url(path));
        if forwarded {
            request = request.header("x-forwarded-for", "192.0.2.1");
        }
        let response = request.send().await.expect("answered");
        (response.status(), response.text().await.expect("text"))
    };
    assert_eq!(get("/livez", true).await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(get("/readyz", true).await, (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()));
    assert_eq!(get("/readyz", false).await.1, "store: the detail\n");
    assert_eq!(get("/metrics", true).await.0, StatusCode::FORBIDDEN);

    let (status, text) = get("/panic", false).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("INTERNAL") && !text.contains("on purpose"), "{text}");
    let http1 = echo.client().http1_only().build().expect("a client");
    let status = http1.get(echo.url("/panic")).send().await.expect("answered").status();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);

    let (status, metrics) = get("/metrics", false).await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.contains("keystead_server_panics_total 2"), "{metrics}");
    assert!(metrics.contains("keystead_server_connections 2"), "{metrics}");
    assert_eq!(echo.stop().await, Drained::Clean);
}

#[tokio::test]
async fn calls_under_way_are_finished_when_the_server_stops() {
    let echo = Echo::start();
    let urls = (echo.url("/hang"), echo.url("/livez"));
    let client = echo.client().build().expect("a client");
    // Connected, so that the call below goes at once.
    client.get(&urls.1).send().await.expect("answered");
    let http1 = echo.client().http1_only().build().expect("a client");
    let (one, two) = (client.get(&urls.0).send(), http1.get(&urls.0).send());
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(async move { tokio::join!(one, two) });
    until(|| echo.hanging.load(Ordering::SeqCst) == 2).await;
    assert_eq!(echo.stop().await, Drained::Clean);
    let (one, two) = calls.join_next().await.expect("calls").expect("ended");
    assert_eq!(one.expect("answered").status(), StatusCode::OK);
    assert_eq!(two.expect("answered").status(), StatusCode::OK);
    client.get(&urls.1).send().await.expect_err("nobody listens");
}

#[tokio::test]
async fn tls_1_2_is_refused_unless_it_is_configured() {
    for (allow_tls12, admitted) in [(false, false), (true, true)] {
        let settings = TlsSettings { allow_tls12, ..TlsSettings::default() };
        let echo = Echo::start_with(crate::echo::LIMITS, settings);
        let old = echo.client().tls_version_max(reqwest::tls::Version::TLS_1_2).build().expect("a client");
        assert_eq!(old.get(echo.url("/livez")).send().await.is_ok(), admitted);
        let new = echo.client().tls_version_min(reqwest::tls::Version::TLS_1_3).build().expect("a client");
        new.get(echo.url("/livez")).send().await.expect("answered");
    }
}

pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("in time");
}
