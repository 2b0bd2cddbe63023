//! Certificates change under a running server, and its files stay private.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use keystead_audit::ClockWatch;
use keystead_model::ErrorChain;
use keystead_server::pki::{ClientKey, Pki, PkiError};
use keystead_server::{CertificateFiles, Tls, TlsSettings};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::echo::{Echo, LIMITS};
use crate::polite::until;
use crate::raw;
use crate::server_process::Place;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1", "kms.example.com"].map(str::to_owned).to_vec()
}

fn after(days: i32) -> Timestamp {
    // The hour before is the hour by which certificates are backdated.
    Timestamp::now() + DAY * days
}

#[test]
fn keys_are_for_the_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), names(), Timestamp::now()).expect("made");
    for (name, mode) in [("authority.pem", 0o600), ("server.pem", 0o600), ("ca.pem", 0o644)] {
        let metadata = fs::metadata(dir.path().join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    assert!(!fs::read_to_string(pki.ca_file()).expect("a bundle").contains("KEY"));
    drop(pki);
    // Opened again it is the same.
    let before = fs::read(dir.path().join("authority.pem")).expect("read");
    let server = fs::read(dir.path().join("server.pem")).expect("read");
    Pki::open(dir.path(), names(), Timestamp::now()).expect("opened");
    assert_eq!(fs::read(dir.path().join("authority.pem")).expect("read"), before);
    assert_eq!(fs::read(dir.path().join("server.pem")).expect("read"), server);
    // Others must not be able to read it.
    fs::set_permissions(dir.path().join("authority.pem"), fs::Permissions::from_mode(0o640)).expect("set");
    let refused = Pki::open(dir.path(), names(), Timestamp::now()).err().expect("refused").to_string();
    assert!(refused.contains("authority.pem") && refused.contains("0640"), "{refused}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    Pki::open(dir.path(), names(), Timestamp::now()).expect("made");
    let (one, two) = (dir.path().join("authority.pem"), dir.path().join("server.pem"));
    let (authority, server) =
        (fs::read_to_string(&one).expect("read"), fs::read_to_string(&two).expect("read"));
    let certificate = |text: &str| text[text.find("-----BEGIN CERT").expect("one")..].to_owned();
    let mixed = authority.replace(&certificate(&authority), &certificate(&server));
    for (text, problem) in [
        (mixed.as_str(), "do not belong together"),
        ("", "no certificate"),
        (certificate(&authority).as_str(), "no key"),
    ] {
        fs::write(&one, text).expect("written");
        let refused = Pki::open(dir.path(), names(), Timestamp::now()).err().expect("refused").to_string();
        assert!(refused.contains(problem) && refused.contains("authority.pem"), "{refused}");
    }
}

#[test]
fn new_names_make_a_new_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = || fs::read(dir.path().join("server.pem")).expect("read");
    Pki::open(dir.path(), names(), Timestamp::now()).expect("made");
    let before = server();
    Pki::open(dir.path(), [names(), vec!["new.example.com".into()]].concat(), Timestamp::now())
        .expect("made");
    assert_ne!(server(), before);
}

/// What a client sees, whose clock says `now`.
async fn shown(echo: &Echo, now: Timestamp) -> std::io::Result<CertificateDer<'static>> {
    #[derive(Debug)]
    struct At(Timestamp);
    impl rustls::time_provider::TimeProvider for At {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let seconds = u64::try_from(self.0.as_second()).ok()?;
            Some(rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
        }
    }
    let mut config = raw::client_config(&echo.pki, &["http/1.1"]);
    config.time_provider = Arc::new(At(now));
    let stream = raw::tls(config, raw::tcp(echo.address).await).await?;
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().expect("certificates")[0].clone().into_owned())
}

#[tokio::test]
async fn the_servers_certificate_is_renewed_at_two_thirds_of_its_life_without_a_restart() {
    let echo = Echo::start();
    let first = shown(&echo, after(0)).await.expect("accepted");
    assert!(!echo.tls.refresh(after(59), true).expect("refreshed"), "not yet");
    assert_eq!(shown(&echo, after(59)).await.expect("accepted"), first);
    assert!(shown(&echo, after(91)).await.is_err(), "the first would have ended");
    assert!(echo.tls.refresh(after(61), true).expect("refreshed"));
    let second = shown(&echo, after(91)).await.expect("accepted");
    assert_ne!(second, first);
    assert!(!echo.tls.refresh(after(61), true).expect("refreshed"), "once is enough");
    assert!(echo.tls.not_after() > after(150));
}

#[tokio::test]
async fn a_new_authority_is_shown_before_it_signs_and_the_old_one_stays_trusted() {
    let echo = Echo::start();
    let old_bundle = echo.pki.trusted();
    let lifetime = Duration::from_secs(86_400 * 366);
    let (day_prepared, day_switched) = (2_440, 2_475);
    let issued =
        echo.pki.issue_client_certificate(ClientKey::New, "spiffe://a/b", lifetime, after(day_prepared));
    assert!(issued.is_ok());

    echo.tls.refresh(after(day_prepared), true).expect("refreshed");
    let bundle = echo.pki.trusted();
    assert_eq!(bundle.len(), 2, "the new one is shown");
    assert_eq!(bundle[0], old_bundle[0]);
    // Signed by the old one: a client with the old bundle only still accepts it.
    let issuer = |certificate: &CertificateDer<'_>| {
        use x509_parser::prelude::{FromDer, X509Certificate};
        X509Certificate::from_der(certificate).expect("read").1.issuer().to_string()
    };
    let before = shown(&echo, after(day_prepared)).await.expect("accepted");
    assert_eq!(issuer(&before), issuer(&old_bundle[0]));

    echo.tls.refresh(after(day_switched), true).expect("refreshed");
    let after_switch = shown(&echo, after(day_switched)).await.expect("accepted");
    assert_eq!(issuer(&after_switch), issuer(&bundle[1]), "the new one signs now");
    assert_eq!(echo.pki.trusted().len(), 2, "and the old one is still trusted");
    let on_disk = fs::read(echo.pki.ca_file()).expect("a bundle");
    assert_eq!(CertificateDer::pem_slice_iter(&on_disk).count(), 2);

    echo.tls.refresh(after(3_700), true).expect("refreshed");
    assert_eq!(echo.pki.trusted(), vec![bundle[1].clone()], "until it has expired");
}

/// Eleven years ahead for some seconds, also over two starts, and then for longer than a jump is held against a clock.
#[tokio::test]
async fn a_clock_that_goes_ahead_and_back_changes_nothing_for_good() {
    let echo = Echo::start();
    let directory = echo.pki.ca_file().parent().expect("a directory").to_owned();
    let files =
        || ["authority.pem", "ca.pem"].map(|name| fs::read(directory.join(name)).expect(name)).to_vec();
    let (before, old) = (files(), echo.pki.trusted());
    let (now, ahead) = (after(0), after(11 * 365));
    let start = Instant::now();
    let mut watch = ClockWatch::new(None, start);
    let mut refresh = |wall: Timestamp, seconds: u64| {
        let passed = Duration::from_secs(seconds);
        echo.tls.refresh(wall + passed, watch.look(wall + passed, start + passed).trusted).expect("refreshed")
    };
    refresh(now, 0);
    for seconds in [5, 10, 15] {
        refresh(ahead, seconds);
        assert_eq!(files(), before, "after {seconds} s");
    }
    for _ in 0..2 {
        let pki = Pki::open(&directory, names(), ahead).expect("opened");
        let looked = ClockWatch::new(Some(now), start).look(ahead, start);
        pki.tend(ahead, looked.trusted).expect("tended");
        assert_eq!(files(), before, "a start");
    }
    refresh(now, 20);
    assert_eq!((files(), echo.pki.trusted()), (before.clone(), old.clone()));
    shown(&echo, now).await.expect("as before");

    // Two days ahead are no mistake any more: the authority has ended, and another one takes its place.
    let days = 2 * 86_400;
    refresh(ahead, 25);
    for seconds in [0, 5, 10] {
        refresh(ahead, days + seconds);
    }
    let future = echo.pki.trusted();
    assert!(future.len() == 1 && future != old, "the control: the old one has gone");
    shown(&echo, after(11 * 365 + 2)).await.expect("the new one is good then");
    // Whoever trusts the old one goes on as soon as the clock is right, also after a start.
    let copy = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(&directory).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let again = Pki::open(copy.path(), names(), now).expect("opened");
    assert!(again.tend(now, true).expect("tended"));
    assert_eq!(again.trusted(), [old.clone(), future.clone()].concat());
    assert!(refresh(now, days + 15));
    assert_eq!(echo.pki.trusted(), [old, future].concat());
    assert_eq!(files()[0], before[0], "the old one signs, with its key");
    shown(&echo, after(2)).await.expect("as before");
    assert!(!refresh(now, days + 20), "once is enough");
}

fn write_given(dir: &Path, name: &str) -> CertificateFiles {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned(), name.to_owned()]).expect("params");
    let certificate = params.self_signed(&key).expect("signed");
    let given = CertificateFiles { certificate: dir.join("given.pem"), key: dir.join("given-key.pem") };
    fs::write(&given.key, key.serialize_pem()).expect("written");
    fs::set_permissions(&given.key, fs::Permissions::from_mode(0o600)).expect("set");
    fs::write(&given.certificate, certificate.pem()).expect("written");
    given
}

#[tokio::test]
async fn given_files_are_read_again_and_broken_ones_change_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let given = write_given(dir.path(), "one.example.com");
    let settings = TlsSettings { given: Some(given.clone()), ..TlsSettings::default() };
    let echo = Echo::start_with(LIMITS, settings);
    let shown = async || {
        let ca = reqwest::Certificate::from_pem(&fs::read(&given.certificate).expect("read")).expect("one");
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client");
        client.get(echo.url("/livez")).send().await
    };
    shown().await.expect("served with the given certificate");
    let good = (fs::read(&given.certificate).expect("read"), fs::read(&given.key).expect("read"));

    fs::write(&given.certificate, "nothing").expect("written");
    let error = echo.tls.refresh(Timestamp::now(), true).expect_err("refused").to_string();
    assert!(error.contains("given.pem") && error.contains("no certificate"), "{error}");
    fs::write(&given.certificate, &good.0).expect("written");
    shown().await.expect("as before");

    write_given(dir.path(), "two.example.com");
    assert!(shown().await.is_err(), "the client trusts the new one only");
    assert!(echo.tls.refresh(Timestamp::now(), true).expect("read"));
    shown().await.expect("the new one");
}

/// The authority of one of two clients is removed while both have a connection.
#[tokio::test]
async fn a_client_whose_authority_was_removed_is_nobody_from_the_next_request_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let [gone, stays] = ["gone", "stays"].map(|name| {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).expect("made");
        Pki::open(&dir, names(), Timestamp::now()).expect("an authority")
    });
    let clients = dir.path().join("clients.pem");
    fs::write(&clients, gone.ca_pem() + &stays.ca_pem()).expect("written");
    let settings = TlsSettings { client_ca: Some(clients.clone()), ..TlsSettings::default() };
    let echo = Echo::start_with(LIMITS, settings);
    let connect = async |authority: &Pki| {
        let issued = authority.issue_client_certificate(
            ClientKey::New,
            "spiffe://a/b",
            Duration::from_secs(3600),
            Timestamp::now(),
        );
        let issued = issued.expect("issued");
        let key = issued.key.expect("a key");
        let config = raw::with_client(&echo.pki, issued.certificate.as_bytes(), key.as_bytes());
        raw::tls(config, raw::tcp(echo.address).await)
            .await
            .expect("TLS 1.3 ends before the server has judged")
    };
    let (mut of_gone, mut of_stays) = (connect(&gone).await, connect(&stays).await);
    let known = "uris=[\"spiffe://a/b\"]\n";
    assert!(raw::get(&mut of_gone, "/", "").await.ends_with(known));
    assert!(raw::get(&mut of_stays, "/", "").await.ends_with(known));

    fs::write(&clients, stays.ca_pem()).expect("written");
    assert!(echo.tls.refresh(Timestamp::now(), true).expect("read again"));
    let answer = raw::get(&mut of_gone, "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("uris=[]\n"), "{answer}");
    raw::closed(&mut of_gone, Duration::from_secs(5)).await;
    let closed = r#"connections_closed_total{reason="untrusted_certificate"} 1"#;
    until(|| echo.metrics.text().contains(closed)).await;
    for _ in 0..2 {
        assert!(raw::get(&mut of_stays, "/", "").await.ends_with(known), "the other one stays");
    }
    let (answer, _) = raw::closed(&mut connect(&gone).await, Duration::from_secs(5)).await;
    assert!(answer.is_empty());
    assert!(echo.metrics.text().contains(r#"handshake_failures_total{reason="client_certificate"} 1"#));
}

/// Each request asks anew, so that a connection outlives its certificate and is nobody's.
#[tokio::test]
async fn a_certificate_that_ends_or_is_revoked_does_not_count_on_an_open_connection() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let token = fs::read_to_string(server.data.join("admin-token")).expect("a token");
    let http = server.client();
    let issue = async |ttl: &str| {
        let key = KeyPair::generate().expect("a key");
        let asked = CertificateParams::default().serialize_request(&key).expect("a request").pem();
        let body = json!({
            "principal": "user:c@example.com", "signingRequestPem": asked.expect("PEM"), "ttl": ttl
        });
        let asked = http.post(server.url("/keystead/v1/certificates")).bearer_auth(token.trim()).json(&body);
        let issued: serde_json::Value = asked.send().await.expect("answered").json().await.expect("JSON");
        let certificate = issued["certificatePem"].as_str().expect("PEM").as_bytes();
        let mut config = server.tls_config("http/1.1");
        raw::be_client(&mut config, certificate, key.serialize_pem().as_bytes());
        let stream = raw::tls(config, raw::tcp(server.address()).await).await.expect("TLS");
        (issued["serialNumber"].as_str().expect("a serial number").to_owned(), stream)
    };
    let path = "/v1/projects/no-project";
    let (serial, mut open) = issue("3600s").await;
    let answer = raw::get(&mut open, path, "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let revoke =
        http.delete(server.url(&format!("/keystead/v1/certificates/{serial}"))).bearer_auth(token.trim());
    assert_eq!(revoke.send().await.expect("answered").status(), 200);
    let answer = raw::get(&mut open, path, "").await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("was revoked"), "{answer}");

    let (_, mut open) = issue("4s").await;
    let answer = raw::get(&mut open, path, "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let started = Instant::now();
    loop {
        let answer = raw::get(&mut open, path, "").await;
        if answer.starts_with("HTTP/1.1 401 ") {
            assert!(answer.contains("has expired"), "{answer}");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.stop().await, 0);
}

#[test]
fn given_files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Arc::new(Pki::open(dir.path(), names(), Timestamp::now()).expect("made"));
    let open = |given: &CertificateFiles| {
        let settings = TlsSettings { given: Some(given.clone()), ..TlsSettings::default() };
        ErrorChain(&Tls::open(settings, Arc::clone(&pki)).err().expect("refused")).to_string()
    };
    let given = write_given(dir.path(), "one.example.com");
    fs::set_permissions(&given.key, fs::Permissions::from_mode(0o644)).expect("set");
    let error = open(&given);
    assert!(error.contains("given-key.pem") && error.contains("0644"), "{error}");
    fs::set_permissions(&given.key, fs::Permissions::from_mode(0o600)).expect("set");
    fs::write(&given.key, KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let error = open(&given);
    assert!(error.contains("cannot be used"), "{error}");
    fs::remove_file(&given.key).expect("removed");
    let error = open(&given);
    assert!(error.ends_with("given-key.pem does not exist"), "{error}");
}

#[test]
fn client_certificates_have_one_name_and_an_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::open(dir.path(), names(), Timestamp::now()).expect("made");
    let issue = |uri: &str, days: u64| {
        pki.issue_client_certificate(
            ClientKey::New,
            uri,
            Duration::from_secs(days * 86_400),
            Timestamp::now(),
        )
    };
    let issued = issue("spiffe://keystead/a", 30).expect("issued");
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
    let parsed = keystead_server::ClientCertificate::parse(&der).expect("parsed");
    assert_eq!(parsed.uris, ["spiffe://keystead/a"]);
    assert_eq!(parsed.serial, issued.serial);
    assert_eq!(parsed.not_after, issued.not_after.as_second());
    for (uri, days) in
        [("no uri", 30), ("", 30), ("spiffe://a b", 30), ("spiffe://a", 0), ("spiffe://a", 400)]
    {
        assert!(matches!(issue(uri, days), Err(PkiError::Invalid(_))), "{uri} {days}");
    }
    // Of a request, only the key is taken over.
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["evil.example.com".to_owned()]).expect("params");
    params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let lifetime = Duration::from_secs(3600);
    let issued = pki.issue_client_certificate(
        ClientKey::Request(&request),
        "spiffe://keystead/b",
        lifetime,
        Timestamp::now(),
    );
    let issued = issued.expect("issued");
    assert!(issued.key.is_none());
    let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM");
    let text = String::from_utf8_lossy(&der).into_owned();
    assert!(!text.contains("evil") && !text.contains("admin"), "{text}");
    assert_eq!(
        keystead_server::ClientCertificate::parse(&der).expect("parsed").uris,
        ["spiffe://keystead/b"]
    );
    let garbage =
        pki.issue_client_certificate(ClientKey::Request("x"), "spiffe://a", lifetime, Timestamp::now());
    assert!(matches!(garbage, Err(PkiError::Invalid(_))));
}
