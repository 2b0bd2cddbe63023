use http::Request;
use serde_json::json;
use tonic::body::Body;

use super::{KEY, Server};

#[tokio::test]
async fn credentials_that_do_not_count() {
    let server = Server::with_key().await;
    let path = format!("/v1/{KEY}");
    let request = |headers: &[&str]| {
        let mut request = Request::builder().uri(&path);
        for value in headers {
            request = request.header("authorization", *value);
        }
        request.body(Body::empty()).expect("request")
    };
    let good = format!("Bearer {}", server.admin);
    let almost = format!("Bearer {}x", server.admin);
    let basic = format!("Basic {}", server.admin);
    for headers in [
        &[][..],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &["Bearer x"],
        &[&basic],
        &[&almost],
        &[&good, &good],
        &["Bearer ks_00_00"],
    ] {
        let refused = server.send(request(headers)).await;
        let text = refused.refused(401, "UNAUTHENTICATED");
        assert!(!text.contains(&server.admin), "{text}");
    }
    for scheme in ["Bearer ", "bearer ", "BEARER  "] {
        server.send(request(&[&format!("{scheme}{}", server.admin)])).await.ok();
    }
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let server = Server::with_project().await;
    let body = json!({ "principal": "user:a@example.com", "description": "laptop", "ttl": "3600s" });
    let made = server.post("/keystead/v1/tokens", body).await.ok();
    let (token, secret) = (&made["token"], made["secret"].as_str().expect("secret"));
    let id = token["id"].as_str().expect("id");
    assert!(secret.starts_with(&format!("ks_{id}_")), "{id}");
    assert_eq!(
        (&token["principal"], &token["description"]),
        (&json!("user:a@example.com"), &json!("laptop"))
    );
    assert!(token["expireTime"].is_string());

    let listed = server.get("/keystead/v1/tokens?principal=user:a@example.com").await.ok();
    assert_eq!(listed, json!({ "tokens": [token] }));
    let path = "/v1/projects/key-project";
    server.call_as(secret, "GET", path, "").await.refused(403, "PERMISSION_DENIED");
    server.call_as(secret, "GET", "/keystead/v1/tokens", "").await.refused(403, "PERMISSION_DENIED");
    server.call("DELETE", &format!("/keystead/v1/tokens/{id}"), "").await.ok();
    server.call_as(secret, "GET", path, "").await.refused(401, "UNAUTHENTICATED");
    for body in [
        json!({ "principal": "group:g@example.com" }),
        json!({ "principal": "" }),
        json!({ "principal": "user:a@example.com", "ttl": "1.5s" }),
        json!({ "principal": "user:a@example.com", "ttl": "1s" }),
    ] {
        server.post("/keystead/v1/tokens", body).await.refused(400, "INVALID_ARGUMENT");
    }
}
