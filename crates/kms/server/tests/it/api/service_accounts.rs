//! `gcloud iam service-accounts`, key files, and what they sign.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tonic::body::Body;

use super::{Answered, Server};

const ACCOUNTS: &str = "/v1/projects/key-project/serviceAccounts";
const EMAIL: &str = "robot-1@key-project.iam.gserviceaccount.com";

async fn with_account() -> Server {
    let server = Server::with_project().await;
    let body =
        json!({ "accountId": "robot-1", "serviceAccount": { "displayName": "Robot", "description": "d" } });
    server.post(ACCOUNTS, body).await.ok();
    server
}

/// A key file, as gcloud writes it to the disk.
async fn key_file(server: &Server) -> Value {
    let body = json!({ "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE" });
    let made = server.post(&format!("{ACCOUNTS}/{EMAIL}/keys"), body).await.ok();
    let file = STANDARD.decode(made["privateKeyData"].as_str().expect("data")).expect("base64");
    serde_json::from_slice(&file).expect("a key file")
}

/// Signs as Google's libraries do.
fn signed(file: &Value, claims: Value) -> String {
    let pem = file["private_key"].as_str().expect("key");
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("RSA");
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(file["private_key_id"].as_str().expect("id").to_owned());
    let now = jiff::Timestamp::now().as_second();
    let mut all =
        json!({ "iss": file["client_email"], "sub": file["client_email"], "iat": now, "exp": now + 3600 });
    all.as_object_mut().expect("object").extend(claims.as_object().expect("object").clone());
    encode(&header, &all, &key).expect("signed")
}

async fn token(server: &Server, form: &str) -> Answered {
    let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
    server.send(request.body(Body::new(Full::from(form.to_owned()))).expect("request")).await
}

#[tokio::test]
async fn accounts_are_made_changed_switched_and_deleted() {
    let server = with_account().await;
    let path = format!("{ACCOUNTS}/{EMAIL}");
    let account = server.get(&path).await.ok();
    let expected = json!({
        "name": format!("projects/key-project/serviceAccounts/{EMAIL}"),
        "projectId": "key-project",
        "uniqueId": account["uniqueId"],
        "email": EMAIL,
        "displayName": "Robot",
        "etag": account["etag"],
        "description": "d",
        "oauth2ClientId": account["uniqueId"],
    });
    assert_eq!(account, expected);
    assert_eq!(server.get(&format!("/v1/projects/-/serviceAccounts/{EMAIL}")).await.ok(), account);
    let listed = server.get(ACCOUNTS).await.ok();
    let listed = listed["accounts"].as_array().expect("accounts").clone();
    assert!(listed.contains(&account));

    let body = json!({ "serviceAccount": { "displayName": "New", "description": "x" }, "updateMask": "displayName" });
    let changed = server.patch(&path, body).await.ok();
    assert_eq!((&changed["displayName"], &changed["description"]), (&json!("New"), &json!("d")));
    let stale = json!({ "serviceAccount": { "etag": account["etag"] }, "updateMask": "description" });
    server.patch(&path, stale).await.refused(409, "ABORTED");
    for mask in ["", "email"] {
        let body = json!({ "serviceAccount": {}, "updateMask": mask });
        server.patch(&path, body).await.refused(400, "INVALID_ARGUMENT");
    }
    server.post(&format!("{path}:disable"), json!({})).await.ok();
    assert_eq!(server.get(&path).await.ok()["disabled"], true);
    server.post(&format!("{path}:enable"), json!({})).await.ok();
    server.post(ACCOUNTS, json!({ "accountId": "robot-1" })).await.refused(409, "ALREADY_EXISTS");
    server.post(ACCOUNTS, json!({ "accountId": "X" })).await.refused(400, "INVALID_ARGUMENT");

    let policy = json!({ "policy": { "bindings": [{
        "role": "roles/iam.serviceAccountAdmin", "members": ["user:a@example.com"],
    }] } });
    server.post(&format!("{path}:setIamPolicy"), policy).await.ok();
    let read =
        server.call("POST", &format!("{path}:getIamPolicy?options.requestedPolicyVersion=3"), "").await.ok();
    assert_eq!(read["bindings"][0]["members"], json!(["user:a@example.com"]));
    server.call("DELETE", &path, "").await.ok();
    server.get(&path).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn keys_are_made_listed_and_deleted() {
    let server = with_account().await;
    let file = key_file(&server).await;
    let id = file["private_key_id"].as_str().expect("id");
    assert_eq!((&file["type"], &file["client_email"]), (&json!("service_account"), &json!(EMAIL)));
    let path = format!("{ACCOUNTS}/{EMAIL}/keys");
    let name = format!("projects/key-project/serviceAccounts/{EMAIL}/keys/{id}");
    let listed = server.get(&format!("{path}?keyTypes=USER_MANAGED")).await.ok();
    let key = &listed["keys"][0];
    let expected = json!({
        "name": name,
        "validAfterTime": key["validAfterTime"],
        "validBeforeTime": "9999-12-31T23:59:59Z",
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    });
    assert_eq!(listed, json!({ "keys": [expected] }));
    assert_eq!(server.get(&format!("{path}?keyTypes=SYSTEM_MANAGED")).await.ok(), json!({}));
    let public = server.get(&format!("/v1/{name}?publicKeyType=TYPE_RAW_PUBLIC_KEY")).await.ok();
    let public = STANDARD.decode(public["publicKeyData"].as_str().expect("data")).expect("base64");
    assert!(public.starts_with(b"-----BEGIN PUBLIC KEY-----\n"));
    server.get(&format!("/v1/{name}?publicKeyType=TYPE_X509_PEM_FILE")).await.refused(400, "UNIMPLEMENTED");
    server.post(&path, json!({ "privateKeyType": "TYPE_PKCS12_FILE" })).await.refused(400, "UNIMPLEMENTED");
    server.post(&path, json!({ "keyAlgorithm": "KEY_ALG_RSA_1024" })).await.refused(400, "INVALID_ARGUMENT");
    let audit = server.audit_text();
    assert!(audit.contains(id) && !audit.contains("PRIVATE KEY"));
    server.call("DELETE", &format!("/v1/{name}"), "").await.ok();
    server.call("DELETE", &format!("/v1/{name}"), "").await.refused(404, "NOT_FOUND");
}

/// Python: no exchange, the signed text is the bearer.
#[tokio::test]
async fn what_an_account_signs_for_an_api_is_a_credential() {
    let server = with_account().await;
    let file = key_file(&server).await;
    let viewer = format!("serviceAccount:{EMAIL}");
    server.bind("projects/key-project", &[("roles/cloudkms.viewer", &viewer)]).await;
    let path = "/v1/projects/key-project/locations/global/keyRings";
    let good = signed(&file, json!({ "aud": "https://cloudkms.googleapis.com/" }));
    server.call_as(&good, "GET", path, "").await.ok();
    for claims in [
        json!({ "aud": "https://example.com/" }),
        json!({ "aud": "https://cloudkms.googleapis.com/", "exp": 1 }),
        json!({ "aud": "https://cloudkms.googleapis.com/", "iss": "other@key-project.iam.gserviceaccount.com" }),
    ] {
        server.call_as(&signed(&file, claims), "GET", path, "").await.refused(401, "UNAUTHENTICATED");
    }
}

/// gcloud: one exchange for an access token, one for an id token, both with Google's audience.
#[tokio::test]
async fn gcloud_exchanges_what_an_account_signs() {
    let server = with_account().await;
    let file = key_file(&server).await;
    let viewer = format!("serviceAccount:{EMAIL}");
    server.bind("projects/key-project", &[("roles/cloudkms.viewer", &viewer)]).await;
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let aud = "https://oauth2.googleapis.com/token";
    let scope =
        signed(&file, json!({ "aud": aud, "scope": "https://www.googleapis.com/auth/cloud-platform" }));
    let answer = token(&server, &format!("{grant}&assertion={scope}")).await.ok();
    assert_eq!((&answer["token_type"], answer["expires_in"].is_i64()), (&json!("Bearer"), true));
    let bearer = answer["access_token"].as_str().expect("token");
    let path = "/v1/projects/key-project/locations/global/keyRings";
    server.call_as(bearer, "GET", path, "").await.ok();
    let audience =
        signed(&file, json!({ "aud": aud, "target_audience": "32555940559.apps.googleusercontent.com" }));
    let answer = token(&server, &format!("{grant}&assertion={audience}")).await.ok();
    assert_eq!(answer["id_token"].as_str().expect("token").split('.').count(), 3);

    for (form, error) in [
        (format!("{grant}&assertion=x"), "invalid_grant"),
        (format!("{grant}&assertion={scope}&assertion={scope}"), "invalid_request"),
        (grant.to_owned(), "invalid_request"),
        ("grant_type=password&assertion=x".to_owned(), "unsupported_grant_type"),
        ("%".to_owned(), "invalid_request"),
    ] {
        let refused = token(&server, &form).await;
        assert_eq!((refused.status, refused.json["error"].as_str()), (400, Some(error)), "{form:.80}");
        assert!(refused.json["error_description"].is_string());
    }
    let json = Request::post("/token").header("content-type", "application/json").body(Body::empty());
    assert_eq!(server.send(json.expect("request")).await.json["error"], "invalid_request");
    assert_eq!(server.get("/token").await.status, 405);
}
