//! Canaries: secrets that go through every method, when it succeeds and when it fails, and are looked for everywhere
//! afterwards: log, audit log, database, backups, errors, metrics.
//!
//! Names of resources and user agents are recorded on purpose, so none of these is a canary here.

mod search;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use keystead_proto::cloud_kms::key_management_service_client::KeyManagementServiceClient;
use keystead_proto::cloud_kms::{DecryptRequest, EncryptRequest};
use keystead_server::rest::Gateway;
use keystead_testkit::kms_server::KmsServer;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::rest::example;
use crate::server_process::{BINARY, Place};
use search::Search;

const LOCATION: &str = "/v1/projects/canary-project/locations/us-central1";
const KEY: &str = "projects/canary-project/locations/us-central1/keyRings/r/cryptoKeys/k";
/// What the server keeps for its owner, and what is meant to hold the root key.
const MEANT_TO: [&str; 2] = ["admin-token", "root/root-key"];

struct Canaries {
    server: KmsServer,
    admin: String,
    search: Search,
    /// Every answer that was no success, with its headers.
    errors: Vec<u8>,
    made: u64,
}

impl Canaries {
    /// Bytes that nobody else makes.
    fn bytes(&mut self, label: &str) -> Vec<u8> {
        self.made += 1;
        let bytes = keystead_crypto::sha256(format!("canary {} {label}", self.made).as_bytes());
        self.search.add(label, &bytes);
        bytes.to_vec()
    }

    /// The same for where text is needed.
    fn text(&mut self, label: &str) -> String {
        self.made += 1;
        let bytes = keystead_crypto::sha256(format!("canary {} {label}", self.made).as_bytes());
        let text = hex::encode(bytes);
        self.search.add(label, text.as_bytes());
        text
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("answered");
        let status = response.status().as_u16();
        let headers = format!("{:?}", response.headers());
        let body = response.bytes().await.expect("a body");
        if status != 200 {
            self.errors.extend_from_slice(headers.as_bytes());
            self.errors.extend_from_slice(&body);
        }
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.server.http().request(method, format!("{}{path}", self.server.endpoint()))
    }

    /// As the administrator.
    async fn call(&mut self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.request(method, path).bearer_auth(&self.admin).json(body);
        self.send(request).await
    }

    async fn ok(&mut self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

#[tokio::test]
async fn a19_no_canary_is_written_anywhere() {
    let place = Place::new();
    let data = place.path("data");
    let args = ["--log-level", "trace", "--plain-http", "127.0.0.1:0"];
    let server = KmsServer::start_with(Path::new(BINARY), &data, &args).await.expect("started");
    server.create_project("canary-project").await.expect("a project");
    let admin = std::fs::read_to_string(server.token_file()).expect("a token").trim().to_owned();
    let mut canaries = Canaries { server, admin, search: Search::new(), errors: Vec::new(), made: 0 };
    own_secrets(&mut canaries, &data);
    canaries.ok(&format!("{LOCATION}/keyRings?keyRingId=r"), &json!({})).await;
    let body = json!({ "purpose": "ENCRYPT_DECRYPT" });
    canaries.ok(&format!("{LOCATION}/keyRings/r/cryptoKeys?cryptoKeyId=k"), &body).await;

    plaintexts(&mut canaries).await;
    grpc(&mut canaries, &data).await;
    tokens(&mut canaries).await;
    service_accounts(&mut canaries).await;
    every_method(&mut canaries).await;
    elsewhere(&mut canaries).await;
    canaries.ok("/keystead/v1/backups", &json!({})).await;
    let metrics = canaries.request(Method::GET, "/metrics").send().await.expect("answered");
    let metrics = metrics.text().await.expect("text");

    // Twice: while it runs, with the database's log beside it, and after it was stopped.
    let Canaries { server, search, errors, .. } = canaries;
    assert!(search.len() >= 200, "{} canaries", search.len());
    let log = data.with_extension("log");
    let hits = |when: &str| {
        let mut hits = search.find_below(&data, &MEANT_TO);
        hits.extend(
            search.find(&std::fs::read(&log).expect("a log")).iter().map(|it| format!("{it} in the log")),
        );
        hits.extend(search.find(&errors).iter().map(|it| format!("{it} in an error")));
        hits.extend(search.find(metrics.as_bytes()).iter().map(|it| format!("{it} in the metrics")));
        println!("canaries: {} of {} found {when}", hits.len(), search.len());
        hits
    };
    assert_eq!(hits("while it runs"), Vec::<String>::new());
    assert_eq!(server.stop().await.expect("ended"), 0);
    assert_eq!(hits("after it was stopped"), Vec::<String>::new());

    // The control: the search sees what is there, and the places that it looks into are the ones that are written to.
    assert!(!search.find_below(&data, &MEANT_TO[1..]).is_empty(), "the administrator's token is in its file");
    let audit = std::fs::read_dir(data.join("audit")).expect("audit log");
    let audit = audit.map(|entry| std::fs::read(entry.expect("an entry").path()).unwrap_or_default());
    assert!(String::from_utf8_lossy(&audit.collect::<Vec<_>>().concat()).contains("\"Decrypt\""));
    assert!(std::fs::read_dir(data.join("backups")).expect("backups").count() > 0);
    assert!(!errors.is_empty() && metrics.contains("keystead_server_connections"));
    let planted = STANDARD.encode([b"x", &keystead_crypto::sha256(b"canary 1 plaintext 0")[..]].concat());
    std::fs::write(data.join("backups/planted"), format!("key = {planted}")).expect("written");
    assert_eq!(hits("with one planted"), ["plaintext 0 in backups/planted"]);
}

/// The administrator's token and the root key.
fn own_secrets(canaries: &mut Canaries, data: &Path) {
    let secret = &canaries.admin.as_bytes()[canaries.admin.len() - 43..];
    canaries.search.add("the administrator's token", secret);
    let root_key = std::fs::read_to_string(data.join("root/root-key")).expect("a root key");
    let keys = root_key.split_whitespace().filter(|word| word.len() == 44);
    let keys: Vec<Vec<u8>> = keys.filter_map(|word| STANDARD.decode(word).ok()).collect();
    assert!(!keys.is_empty(), "the root key is not in its file");
    keys.iter().for_each(|key| canaries.search.add("the root key", key));
}

/// Encrypt and Decrypt that succeed, by key and by version, and that fail for each reason there is.
async fn plaintexts(canaries: &mut Canaries) {
    let crc = |bytes: &[u8]| crc32c::crc32c(bytes).to_string();
    for round in 0..20 {
        let plaintext = canaries.bytes(&format!("plaintext {round}"));
        let aad = canaries.bytes(&format!("AAD {round}"));
        let other = canaries.bytes(&format!("another AAD {round}"));
        let path = match round % 2 {
            0 => format!("/v1/{KEY}"),
            _ => format!("/v1/{KEY}/cryptoKeyVersions/1"),
        };
        let body = json!({
            "plaintext": STANDARD.encode(&plaintext),
            "plaintextCrc32c": crc(&plaintext),
            "additionalAuthenticatedData": STANDARD.encode(&aad),
            "additionalAuthenticatedDataCrc32c": crc(&aad),
        });
        let sealed = canaries.ok(&format!("{path}:encrypt"), &body).await;
        let decrypt = format!("/v1/{KEY}:decrypt");
        let body = |aad: &[u8]| {
            json!({
                "ciphertext": sealed["ciphertext"],
                "additionalAuthenticatedData": STANDARD.encode(aad),
                "additionalAuthenticatedDataCrc32c": crc(aad),
            })
        };
        canaries.ok(&decrypt, &body(&aad)).await;
        assert_eq!(canaries.call(Method::POST, &decrypt, &body(&other)).await.0, 400);
    }
    let encrypt = format!("/v1/{KEY}:encrypt");
    for field in ["plaintext", "additionalAuthenticatedData"] {
        let bytes = canaries.bytes(&format!("{field} with a wrong checksum"));
        let body = json!({ field: STANDARD.encode(&bytes), format!("{field}Crc32c"): "1" });
        assert_eq!(canaries.call(Method::POST, &encrypt, &body).await.0, 400);
        let text = canaries.text(&format!("{field} that is not base64"));
        let body = json!({ field: format!("!{text}!") });
        assert_eq!(canaries.call(Method::POST, &encrypt, &body).await.0, 400);
        let text = canaries.text(&format!("{field} as an object"));
        let body = json!({ field: { "x": text } });
        assert_eq!(canaries.call(Method::POST, &encrypt, &body).await.0, 400);
        let text = canaries.text(&format!("{field} as a list"));
        assert_eq!(canaries.call(Method::POST, &encrypt, &json!({ field: [text] })).await.0, 400);
        let bytes = canaries.bytes(&format!("{field} that is too long"));
        let body = json!({ field: STANDARD.encode(bytes.repeat(2_100)) });
        assert_eq!(canaries.call(Method::POST, &encrypt, &body).await.0, 400);
        let bytes = canaries.bytes(&format!("{field} for a key that is not there"));
        let body = json!({ field: STANDARD.encode(bytes) });
        assert_eq!(canaries.call(Method::POST, &format!("/v1/{KEY}2:encrypt"), &body).await.0, 404);
    }
    let text = canaries.text("a checksum that is no number");
    let body = json!({ "plaintext": "aGk=", "plaintextCrc32c": text });
    assert_eq!(canaries.call(Method::POST, &encrypt, &body).await.0, 400);
    let bytes = canaries.bytes("a plaintext given as ciphertext");
    let body = json!({ "ciphertext": STANDARD.encode(bytes) });
    assert_eq!(canaries.call(Method::POST, &format!("/v1/{KEY}:decrypt"), &body).await.0, 400);
    let body = json!({ "lengthBytes": 64, "protectionLevel": "SOFTWARE" });
    let (status, random) =
        canaries.call(Method::POST, &format!("{LOCATION}:generateRandomBytes"), &body).await;
    if status == 200 {
        let random = STANDARD.decode(random["data"].as_str().expect("data")).expect("base64");
        canaries.search.add("random bytes", &random);
    }
}

/// The same over gRPC.
async fn grpc(canaries: &mut Canaries, data: &Path) {
    let endpoint = std::fs::read(data.join("endpoint.json")).expect("read");
    let endpoint: Value = serde_json::from_slice(&endpoint).expect("JSON");
    let address = endpoint["plainHttp"][0].as_str().expect("an address");
    let channel = Channel::from_shared(format!("http://{address}")).expect("an address");
    let mut client = KeyManagementServiceClient::new(channel.connect().await.expect("connected"));
    for round in 0..5 {
        let bearer = canaries.admin.clone();
        let bad = canaries.text(&format!("a bad token over gRPC {round}"));
        let plaintext = canaries.bytes(&format!("plaintext over gRPC {round}"));
        let aad = canaries.bytes(&format!("AAD over gRPC {round}"));
        let crc = crc32c::crc32c(&plaintext);
        let encrypt = |bearer: &str, crc: u32| {
            let mut request = tonic::Request::new(EncryptRequest {
                name: KEY.to_owned(),
                plaintext: plaintext.clone(),
                additional_authenticated_data: aad.clone(),
                plaintext_crc32c: Some(i64::from(crc)),
                ..Default::default()
            });
            request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().expect("text"));
            request
        };
        let sealed = client.encrypt(encrypt(&bearer, crc)).await.expect("encrypted").into_inner();
        let mut request = tonic::Request::new(DecryptRequest {
            name: KEY.to_owned(),
            ciphertext: sealed.ciphertext,
            additional_authenticated_data: aad.clone(),
            ..Default::default()
        });
        request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().expect("text"));
        let opened = client.decrypt(request).await.expect("decrypted").into_inner();
        assert_eq!(opened.plaintext, plaintext);
        for refused in [encrypt(&bad, crc), encrypt(&bearer, crc ^ 1)] {
            let status = client.encrypt(refused).await.expect_err("refused");
            canaries.errors.extend_from_slice(format!("{status:?} {status}").as_bytes());
            canaries.errors.extend_from_slice(status.details());
        }
    }
}

/// Tokens that are made, used, and revoked.
async fn tokens(canaries: &mut Canaries) {
    for round in 0..5 {
        let body = json!({ "principal": "user:canary@example.com" });
        let made = canaries.ok("/keystead/v1/tokens", &body).await;
        let secret = made["secret"].as_str().expect("a secret").to_owned();
        canaries.search.add(&format!("token {round}"), &secret.as_bytes()[secret.len() - 43..]);
        let request = canaries.request(Method::GET, &format!("/v1/{KEY}")).bearer_auth(&secret);
        assert_eq!(canaries.send(request).await.0, 403);
        // A good id with a secret of somebody else's.
        let bad = canaries.text(&format!("a secret that is not the token's {round}"));
        let mixed = format!("{}{}", &secret[..secret.len() - 43], &bad[..43]);
        let request = canaries.request(Method::GET, &format!("/v1/{KEY}")).bearer_auth(mixed);
        assert_eq!(canaries.send(request).await.0, 401);
    }
}

/// A key file, what it signs, and what that is exchanged for.
async fn service_accounts(canaries: &mut Canaries) {
    let place = Place::new();
    let path = place.path("key.json");
    let made =
        canaries.server.create_service_account("canary-project", "robot-1", "roles/cloudkms.viewer", &path);
    made.await.expect("an account");
    let file: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let pem = file["private_key"].as_str().expect("a key");
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    canaries.search.add("a private key", &STANDARD.decode(lines.concat()).expect("base64")[40..]);
    for line in lines.iter().filter(|line| line.len() >= 43) {
        canaries.search.add("a line of a private key", line.as_bytes());
    }
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("RSA");
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(file["private_key_id"].as_str().expect("an id").to_owned());
    let now = jiff::Timestamp::now().as_second();
    let sign = |audience: &str, scope: Option<&str>| {
        let email = &file["client_email"];
        let claims = json!({
            "iss": email, "sub": email, "iat": now, "exp": now + 3600, "aud": audience, "scope": scope,
        });
        encode(&header, &claims, &key).expect("signed")
    };
    let signature = |jwt: &str| jwt.rsplit('.').next().expect("a signature").to_owned();
    let direct = sign("https://cloudkms.googleapis.com/", None);
    canaries.search.add("a signature", signature(&direct).as_bytes());
    let request = canaries.request(Method::GET, &format!("/v1/{KEY}")).bearer_auth(&direct);
    assert_eq!(canaries.send(request).await.0, 200);
    let forged = canaries.text("a signature that is not right");
    let (claims, _) = direct.rsplit_once('.').expect("three parts");
    let request =
        canaries.request(Method::GET, &format!("/v1/{KEY}")).bearer_auth(format!("{claims}.{forged}"));
    assert_eq!(canaries.send(request).await.0, 401);

    let token_uri = file["token_uri"].as_str().expect("an address").to_owned();
    let scope = Some("https://www.googleapis.com/auth/cloud-platform");
    let assertion = sign(&token_uri, scope);
    canaries.search.add("a signature for a token", signature(&assertion).as_bytes());
    let mut exchanged = false;
    for assertion in [assertion, format!("{claims}.{forged}")] {
        let form =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = canaries.request(Method::POST, "/token").body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let (status, answer) = canaries.send(request).await;
        if let Some(token) = answer["access_token"].as_str() {
            exchanged = true;
            canaries.search.add("an access token", &token.as_bytes()[token.len() - 32..]);
            let request = canaries.request(Method::GET, &format!("/v1/{KEY}")).bearer_auth(token);
            assert_eq!(canaries.send(request).await.0, 200);
        } else {
            assert!(status >= 400, "{answer}");
        }
    }
    assert!(exchanged, "nothing was exchanged for a token");
}

/// Each method that is served, with a token that is nobody's, and with a body that cannot be read.
async fn every_method(canaries: &mut Canaries) {
    let gateway = Gateway::new().expect("routes");
    let routes: Vec<_> = gateway.routes().filter(|route| route.served).cloned().collect();
    for route in routes {
        let path = example(&route.template);
        let name = format!("{} {}", route.http_method, route.template);
        let bearer = canaries.text(&format!("a token for {name}"));
        let body = canaries.bytes(&format!("a body for {name}"));
        let body = STANDARD.encode(body);
        let request = canaries.request(route.http_method.clone(), &path).bearer_auth(bearer);
        let (status, answer) = canaries.send(request.json(&json!({ "plaintext": body }))).await;
        assert!(status == 401 || status == 400, "{name} answered {status}: {answer}");
        if !matches!(route.http_method, Method::POST | Method::PUT | Method::PATCH) {
            continue;
        }
        for broken in [
            format!("{{\"plaintext\":\"{body}\""),
            format!("[\"{body}\"]"),
            format!("\"{body}\""),
            format!("{{\"name\":{{\"x\":\"{body}\"}}}}"),
            format!("{{\"plaintext\":\"{body}\",\"plaintext\":\"{body}\"}}"),
        ] {
            let request = canaries.request(route.http_method.clone(), &path).bearer_auth(&canaries.admin);
            let request = request.header("content-type", "application/json").body(broken);
            let (status, answer) = canaries.send(request).await;
            assert!(status >= 400, "{name} answered {status}: {answer}");
        }
    }
}

/// Where secrets do not belong, and come all the same.
async fn elsewhere(canaries: &mut Canaries) {
    for header in ["cookie", "x-goog-api-key", "x-api-key", "proxy-authorization", "x-unknown"] {
        let text = canaries.text(&format!("the header {header}"));
        let request = canaries.request(Method::GET, &format!("/v1/{KEY}")).header(header, text);
        canaries.send(request.bearer_auth(&canaries.admin)).await;
    }
    for scheme in ["Basic", "Token", ""] {
        let text = canaries.text(&format!("the scheme {scheme}"));
        let request = canaries.request(Method::GET, &format!("/v1/{KEY}"));
        canaries.send(request.header("authorization", format!("{scheme} {text}"))).await;
    }
    for parameter in ["access_token", "key", "oauth_token", "plaintext", "pageToken", "alt"] {
        let text = canaries.text(&format!("the parameter {parameter}"));
        let path = format!("/v1/{KEY}/cryptoKeyVersions?{parameter}={text}");
        let request = canaries.request(Method::GET, &path).bearer_auth(&canaries.admin);
        canaries.send(request).await;
    }
    for path in ["/", "/v1/", "/v9/x/", "/token/", "/.well-known/"] {
        let text = canaries.text(&format!("a path under {path}"));
        let request = canaries.request(Method::GET, &format!("{path}{text}")).bearer_auth(&canaries.admin);
        assert!(canaries.send(request).await.0 >= 400);
    }
    let text = canaries.text("a grant type");
    let form = format!("grant_type={text}&assertion={text}");
    let request = canaries.request(Method::POST, "/token").body(form);
    canaries.send(request.header("content-type", "application/x-www-form-urlencoded")).await;
}
