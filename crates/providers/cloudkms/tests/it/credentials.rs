//! Files with credentials: which are taken, which are refused and how, and what happens when they change.

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use keystead_model::ErrorChain;
use keystead_provider::Provider;
use keystead_provider_cloudkms::{CloudKmsProvider, CloudKmsSettings, Credentials};
use rcgen::{KeyPair, PKCS_RSA_SHA256};

use crate::place::{FIRST, Place, SECOND, key};
use crate::server::Server;
use crate::stand_in::StandIn;

#[tokio::test]
async fn a_new_token_is_taken_up_without_a_restart() {
    let kms = StandIn::new();
    kms.know(&[format!("Bearer {FIRST}"), format!("Bearer {SECOND}")]);
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let provider = place.provider();
    provider.wrap(&key()).await.expect("wrapped");
    let file = |token| format!(r#"{{"endpoint": "http://{}", "tokens": ["{token}"]}}"#, server.address);
    place.write_credentials(&file(SECOND));
    kms.know(&[format!("Bearer {SECOND}")]);
    provider.wrap(&key()).await.expect("wrapped with the second");

    // A file that has turned bad does not stop what works.
    for bad in ["{", "{}", r#"{"tokens": []}"#] {
        place.write_credentials(bad);
        provider.wrap(&key()).await.expect("wrapped with the last good one");
    }
    place.write("credentials.json", &file(FIRST), 0o644);
    provider.wrap(&key()).await.expect("a file that others can read is not taken up");
    std::fs::remove_file(place.path("credentials.json")).expect("removed");
    provider.wrap(&key()).await.expect("wrapped with the last good one");
    place.write_credentials(&file(FIRST));
    provider.wrap(&key()).await.expect_err("the first one is unknown by now");
}

/// Each file that the credentials are made of, gone and turned bad: said as long as it is so, and tried again each time.
#[tokio::test]
async fn files_that_a_start_could_not_use_are_told_until_they_are_back() {
    let kms = StandIn::new();
    kms.know(&[format!("Bearer {FIRST}")]);
    let server = Server::start(None, kms.answers()).await;
    let place = Place::for_plain(server.address);
    let authority = rcgen::generate_simple_self_signed(["kms".to_owned()]).expect("a certificate").cert.pem();
    let ca_file = place.write("ca.pem", &authority, 0o644);
    let client = rcgen::generate_simple_self_signed(["plugin".to_owned()]).expect("a certificate");
    place.write("client.pem", &client.cert.pem(), 0o644);
    place.write("client.key", &client.signing_key.serialize_pem(), 0o600);
    place.write_credentials(&format!(
        r#"{{"endpoint": "http://{}", "tokens": ["{FIRST}"], "clientCertificateFile": "client.pem", "clientKeyFile": "client.key"}}"#,
        server.address
    ));
    let settings = CloudKmsSettings { ca_file: Some(ca_file), ..place.settings() };
    let provider = CloudKmsProvider::open(settings).expect("good");
    assert_eq!(provider.refused(), None);
    for name in ["credentials.json", "ca.pem", "client.pem", "client.key"] {
        let (path, away) = (place.path(name), place.path("away"));
        std::fs::rename(&path, &away).expect("moved");
        let refused = provider.refused().expect(name);
        assert!(refused.contains(name) && refused.contains("does not exist"), "{refused}");
        provider.wrap(&key()).await.expect("goes on");
        std::os::unix::fs::symlink(&path, &path).expect("a link to itself");
        assert!(provider.refused().expect(name).contains("cannot read"), "{name}");
        std::fs::remove_file(&path).expect("removed");
        std::fs::rename(&away, &path).expect("moved back");
        assert_eq!(provider.refused(), None, "{name}");
        provider.wrap(&key()).await.expect("goes on");
    }
}

#[tokio::test]
async fn k4_the_users_id_selects_one_of_several_tokens() {
    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let place = Place::new();
    let endpoint = format!("http://{}", server.address);
    let path = place.write_credentials(&format!(
        r#"{{"endpoint": "{endpoint}", "tokens": ["{FIRST}", {{"token": "{SECOND}", "expireTime": "2090-01-02T03:04:05Z"}}]}}"#
    ));
    let with = |user: &str| CloudKmsSettings {
        credentials: Credentials::File { path: path.clone(), user: Some(user.parse().expect("an id")) },
        ..place.settings()
    };
    for (user, token) in [("first", FIRST), ("second", SECOND)] {
        let provider = CloudKmsProvider::open(with(user)).expect("good");
        provider.wrap(&key()).await.expect("wrapped");
        assert_eq!(kms.last_authorization(), Some(format!("Bearer {token}")));
        assert_eq!(
            provider.expiry().map(|expiry| expiry.what),
            (user == "second").then(|| "token second".to_owned())
        );
    }
    let error = CloudKmsProvider::open(with("third")).err().expect("refused").to_string();
    assert_eq!(error, "the credentials hold no token with the id third");
    let error = place.open().err().expect("refused").to_string();
    assert_eq!(error, "the credentials hold several tokens: first, second");

    // A token apart from the file, which names only the place then, or is not there.
    let token = Credentials::Token { token: FIRST.parse().expect("a token"), path: place.path("none.json") };
    let apart = CloudKmsSettings {
        endpoint: Some(endpoint.parse().expect("an address")),
        credentials: token,
        ..place.settings()
    };
    CloudKmsProvider::open(apart).expect("good").wrap(&key()).await.expect("wrapped");
}

#[test]
fn what_is_wrong_is_said_and_no_secret_with_it() {
    let place = Place::new();
    let canary = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let mut texts = BTreeSet::new();
    for (text, words) in [
        (format!(r#"{{"endpoint": "https://kms:1", "tokens": ["{canary}"]}}"#), "a token has the form"),
        (format!(r#"{{"tokens": ["ks_a_{canary}"]}}"#), "nothing says where the key service is"),
        (r#"{"endpoint": "https://kms:1"}"#.to_owned(), "neither a token nor a service account"),
        (
            format!(r#"{{"endpoint": "http://kms:1", "tokens": ["ks_a_{canary}"]}}"#),
            "http:// is only for loopback",
        ),
        (
            format!(r#"{{"endpoint": "https://kms:1", "tokens": "ks_a_{canary}"}}"#),
            "a value of the wrong kind",
        ),
        (format!(r#"{{"endpoint": "https://kms:1", "token": "ks_a_{canary}"}}"#), "unknown field `token`"),
        (
            format!(r#"{{"endpoint": "https://kms:1", "tokens": ["ks_a_{canary}"], "ca": "ks_a_{canary}"}}"#),
            "the CA of the key service is not a certificate in PEM",
        ),
        (
            format!(
                r#"{{"endpoint": "https://kms:1", "tokens": [{{"token": "ks_a_{canary}", "expireTime": "x"}}]}}"#
            ),
            "not a time",
        ),
        (
            format!(r#"{{"endpoint": "https://kms:1", "tokens": ["ks_a_{canary}"], "clientKeyFile": "x"}}"#),
            "belong together",
        ),
        (
            format!(
                r#"{{"type": "service_account", "client_email": "a@b.example", "private_key": "{canary}"}}"#
            ),
            "not an RSA key in PEM",
        ),
    ] {
        place.write_credentials(&text);
        let error = place.open().err().expect(words);
        let text = ErrorChain(&error).to_string();
        let said = format!("{text} {error:?} {:?}", error.hint());
        assert!(said.contains(words), "{words}: {said}");
        assert!(!said.contains(canary), "{said}");
        texts.insert(text);
    }
    assert_eq!(texts.len(), 10, "every mistake has its own text");
}

#[test]
fn others_must_not_be_able_to_read_it() {
    let place = Place::new();
    let text = format!(r#"{{"endpoint": "https://kms:1", "tokens": ["{FIRST}"]}}"#);
    for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
        let path = place.write("credentials.json", &text, mode);
        match place.open() {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(error) => {
                assert!(!good, "{mode:o}: {error}");
                assert_eq!(
                    error.to_string(),
                    format!("{} has mode {mode:04o}: others can read or change it", path.display())
                );
                assert!(error.hint().expect("a hint").contains("chmod 0600"));
            }
        }
    }
    std::fs::remove_file(place.path("credentials.json")).expect("removed");
    assert!(place.open().err().expect("refused").to_string().ends_with("credentials.json does not exist"));
    std::fs::create_dir(place.path("credentials.json")).expect("a directory");
    assert!(place.open().err().expect("refused").to_string().ends_with("is not a regular file"));
}

/// Alone in place of the credentials file, and named in it.
#[tokio::test]
async fn a_service_account_signs_its_own_token() {
    #[derive(serde::Deserialize)]
    struct Claims {
        iss: String,
        sub: String,
        iat: u64,
        exp: u64,
    }

    let kms = StandIn::new();
    let server = Server::start(None, kms.answers()).await;
    let endpoint = format!("http://{}", server.address);
    let account = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    let email = "plugin@key-project.iam.gserviceaccount.com";
    let key_file = serde_json::json!({
        "type": "service_account",
        "project_id": "key-project",
        "client_email": email,
        "private_key_id": "key-1",
        "private_key": account.serialize_pem(),
        "token_uri": "https://kms.example.com/token",
    });
    let place = Place::new();
    place.write("account.json", &key_file.to_string(), 0o600);
    place.write_credentials(&format!(
        r#"{{"endpoint": "{endpoint}", "serviceAccountKeyFile": "account.json"}}"#
    ));
    let alone = CloudKmsSettings {
        endpoint: Some(endpoint.parse().expect("an address")),
        credentials: Credentials::File { path: place.path("account.json"), user: None },
        ..place.settings()
    };
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["https://cloudkms.googleapis.com/"]);
    let public = DecodingKey::from_rsa_pem(account.public_key_pem().as_bytes()).expect("a public key");
    for settings in [place.settings(), alone] {
        let provider = CloudKmsProvider::open(settings).expect("good");
        provider.wrap(&key()).await.expect("wrapped");
        let sent = kms.last_authorization().expect("a header");
        let token = sent.strip_prefix("Bearer ").expect("a bearer");
        assert_eq!(decode_header(token).expect("a header").kid.as_deref(), Some("key-1"));
        let claims = decode::<Claims>(token, &public, &validation).expect("signed by the account").claims;
        assert_eq!((claims.iss.as_str(), claims.sub.as_str()), (email, email));
        assert_eq!(claims.exp - claims.iat, 3600);
        // Not signed anew for each call.
        provider.wrap(&key()).await.expect("wrapped");
        assert_eq!(kms.last_authorization().as_deref(), Some(sent.as_str()));
    }
}
