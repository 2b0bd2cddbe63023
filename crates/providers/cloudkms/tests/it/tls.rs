//! Whom the provider talks to: a server with a certificate of the right authority, for the right name, that is valid now.

use keystead_model::ErrorClass;
use keystead_provider::Provider;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::authorities::{Authority, Life, TLS12, TLS13, Tls};
use crate::place::{FIRST, Place, guarded, key};
use crate::server::Server;
use crate::stand_in::StandIn;

/// Credentials that trust `authority` for a server on this machine.
fn place(port: u16, authority: &Authority) -> Place {
    let place = Place::new();
    place.write("ca.pem", &authority.pem, 0o644);
    place.write_credentials(&format!(
        r#"{{"endpoint": "https://localhost:{port}", "caFile": "ca.pem", "tokens": ["{FIRST}"]}}"#
    ));
    place
}

#[tokio::test]
async fn a_server_of_the_private_authority_is_trusted() {
    let authority = Authority::new();
    let shown = authority.issue("localhost", Life::Now);
    let server = Server::start(Some(Tls::good(&shown).config()), StandIn::new().answers()).await;
    place(server.address.port(), &authority).provider().wrap(&key()).await.expect("wrapped");

    // The same with the certificate in the file itself.
    let inline = Place::new();
    inline.write_credentials(&format!(
        r#"{{"endpoint": "https://localhost:{}", "ca": {}, "tokens": ["{FIRST}"]}}"#,
        server.address.port(),
        serde_json::to_string(&authority.pem).expect("JSON")
    ));
    inline.provider().wrap(&key()).await.expect("wrapped");
}

#[tokio::test]
async fn a7_nobody_else_gets_a_byte_of_a_secret() {
    let (ours, other) = (Authority::new(), Authority::new());
    let good = ours.issue("localhost", Life::Now);
    for (shown, versions, alpn, words) in [
        (other.issue("localhost", Life::Now), &TLS13, "h2", "an authority that is not trusted"),
        (ours.issue("localhost", Life::Over), &TLS13, "h2", "has expired"),
        (ours.issue("localhost", Life::NotYet), &TLS13, "h2", "is not valid yet"),
        (ours.issue("kms.example.com", Life::Now), &TLS13, "h2", "for another name"),
        (ours.issue("127.0.0.1", Life::Now), &TLS13, "h2", "for another name"),
        (ours.issue("localhost", Life::Now), &TLS12, "h2", "TLS"),
        (ours.issue("localhost", Life::Now), &TLS13, "http/1.1", "TLS"),
        (ours.issue("localhost", Life::Now), &TLS13, "", "does not agree to HTTP/2"),
    ] {
        let alpn: &[&str] = if alpn.is_empty() { &[] } else { &[alpn] };
        let tls = Tls { shows: &shown, versions, alpn, clients_of: None };
        let server = Server::start(Some(tls.config()), StandIn::new().answers()).await;
        let place = place(server.address.port(), &ours);
        let error = place.provider().wrap(&key()).await.expect_err(words);
        assert_eq!(error.class(), ErrorClass::Misconfigured, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!error.class().is_revocation());
        assert_eq!(server.requests(), 0);
    }
    // The same server with a good certificate is trusted, so that it was not something else.
    let server = Server::start(Some(Tls::good(&good).config()), StandIn::new().answers()).await;
    place(server.address.port(), &ours).provider().wrap(&key()).await.expect("wrapped");
    assert_eq!(server.requests(), 1);
}

/// A server that speaks no TLS where TLS is asked for.
#[tokio::test]
async fn a7_nothing_is_sent_in_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let authority = Authority::new();
    let place = place(port, &authority);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut heard = vec![0; 4096];
        let len = stream.read(&mut heard).await.expect("read");
        heard.truncate(len);
        heard
    });
    let secret = key();
    let error = guarded(place.provider()).wrap(&secret).await.expect_err("refused");
    assert!(error.class().is_retryable(), "{error}");
    let heard = tasks.join_next().await.expect("a task").expect("heard");
    // The beginning of a TLS handshake, and nothing of ours.
    assert_eq!(heard.first(), Some(&0x16));
    let holds = |bytes: &[u8]| heard.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"localhost") && !holds(FIRST.as_bytes()) && !holds(secret.expose()));
}

#[tokio::test]
async fn a_client_certificate_is_enough() {
    let authority = Authority::new();
    let shown = authority.issue("localhost", Life::Now);
    let tls = Tls { clients_of: Some(&authority), ..Tls::good(&shown) };
    let kms = StandIn::new();
    let server = Server::start(Some(tls.config()), kms.answers()).await;
    let endpoint = format!("https://localhost:{}", server.address.port());
    let place = Place::new();
    place.write("ca.pem", &authority.pem, 0o644);
    let client = authority.issue("plugin", Life::Now);
    place.write("client.pem", &client.certificate, 0o644);
    place.write("client.key", &client.key, 0o600);
    place.write_credentials(&format!(
        r#"{{"endpoint": "{endpoint}", "caFile": "ca.pem", "clientCertificateFile": "client.pem", "clientKeyFile": "client.key"}}"#
    ));
    let provider = place.provider();
    provider.wrap(&key()).await.expect("wrapped");
    assert_eq!(kms.last_authorization(), None);
    let expiry = provider.expiry().expect("known");
    assert_eq!(expiry.what, "the client certificate");

    // Another authority's certificate, and none: who we are is unknown, which is no revocation.
    let foreign = Authority::new().issue("plugin", Life::Now);
    place.write("client.pem", &foreign.certificate, 0o644);
    place.write("client.key", &foreign.key, 0o600);
    let error = place.provider().wrap(&key()).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Unauthenticated, "{error}");
    place.write_credentials(&format!(
        r#"{{"endpoint": "{endpoint}", "caFile": "ca.pem", "tokens": ["{FIRST}"]}}"#
    ));
    let error = place.provider().wrap(&key()).await.expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Unauthenticated, "{error}");
}
