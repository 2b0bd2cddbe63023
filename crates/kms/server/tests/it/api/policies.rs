use serde_json::{Value, json};

use super::{KEY, RING, Server};

/// gcloud reads, changes and writes the policy back with what it read.
#[tokio::test]
async fn c5_add_iam_policy_binding() {
    let server = Server::with_key().await;
    for resource in [RING, KEY] {
        let read = server
            .get(&format!("/v1/{resource}:getIamPolicy?options.requestedPolicyVersion=3&alt=json"))
            .await
            .ok();
        let etag = read["etag"].as_str().expect("etag");
        // gcloud writes bytes in its own alphabet.
        let etag = etag.replace('+', "-").replace('/', "_");
        let binding = json!({
            "role": "roles/cloudkms.cryptoKeyEncrypterDecrypter",
            "members": ["serviceAccount:service-1@container-engine-robot.iam.gserviceaccount.com"],
            "condition": { "expression": "request.time < timestamp(\"2099-01-01T00:00:00Z\")", "title": "t" },
        });
        let policy = json!({ "bindings": [binding], "etag": etag, "version": 3 });
        let path = format!("/v1/{resource}:setIamPolicy");
        let written = server.post(&path, json!({ "policy": policy })).await.ok();
        assert_eq!((&written["bindings"][0], &written["version"]), (&binding, &json!(3)));
        assert_ne!(written["etag"], read["etag"]);

        let stale = server.post(&path, json!({ "policy": policy })).await;
        assert!(stale.refused(409, "ABORTED").contains("ETag"));
        let removed = json!({ "policy": { "etag": written["etag"], "version": 3 }, "updateMask": "bindings,etag,version" });
        assert_eq!(server.post(&path, removed).await.ok().get("bindings"), None);
        let again = server.get(&format!("/v1/{resource}:getIamPolicy")).await.ok();
        assert_eq!(again.get("bindings"), None);
    }
}

#[tokio::test]
async fn policies_that_are_refused() {
    let server = Server::with_key().await;
    let path = format!("/v1/{KEY}:setIamPolicy");
    let binding = |role: &str, member: &str| json!({ "policy": { "bindings": [{ "role": role, "members": [member] }] } });
    for body in [
        json!({}),
        binding("roles/nonsense", "user:a@example.com"),
        binding("roles/cloudkms.viewer", "allUsers"),
        binding("roles/cloudkms.viewer", "domain:example.com"),
        binding("roles/cloudkms.viewer", "a@example.com"),
        json!({ "policy": {}, "updateMask": "nonsense" }),
    ] {
        server.post(&path, body).await.refused(400, "INVALID_ARGUMENT");
    }
    let audit = json!({ "policy": { "auditConfigs": [{ "service": "allServices" }] } });
    server.post(&path, audit).await.refused(400, "UNIMPLEMENTED");
}

#[tokio::test]
async fn a_missing_permission_looks_the_same_whether_or_not_there_is_such_a_key() {
    let server = Server::with_key().await;
    let token = server.token_of("user:b@example.com").await;
    for key in [KEY.to_owned(), KEY.replace("key-1", "none")] {
        let refused = server.call_as(&token, "GET", &format!("/v1/{key}"), "").await;
        let text =
            format!("Permission 'cloudkms.cryptoKeys.get' denied on resource '{key}' (or it may not exist).");
        assert_eq!(refused.refused(403, "PERMISSION_DENIED"), text);
        let info = refused.detail("ErrorInfo");
        assert_eq!(
            (&info["reason"], &info["domain"]),
            (&json!("IAM_PERMISSION_DENIED"), &json!("cloudkms.googleapis.com"))
        );
        assert_eq!(info["metadata"]["permission"], "cloudkms.cryptoKeys.get");
    }
    server.bind(KEY, &[("roles/cloudkms.cryptoKeyEncrypterDecrypter", "user:b@example.com")]).await;
    server.call_as(&token, "POST", &format!("/v1/{KEY}:encrypt"), "{}").await.ok();
    server.call_as(&token, "GET", &format!("/v1/{KEY}"), "").await.refused(403, "PERMISSION_DENIED");
    let asked =
        json!({ "permissions": ["cloudkms.cryptoKeyVersions.useToEncrypt", "cloudkms.cryptoKeys.get"] });
    let path = format!("/v1/{KEY}:testIamPermissions");
    let tested = server.call_as(&token, "POST", &path, &asked.to_string()).await.ok();
    assert_eq!(tested, json!({ "permissions": ["cloudkms.cryptoKeyVersions.useToEncrypt"] }));
}

#[tokio::test]
async fn a_project_has_a_policy_too() {
    let server = Server::with_project().await;
    let body = json!({ "options": { "requestedPolicyVersion": 3 } });
    for (get, set) in [
        ("/v1/projects/key-project:getIamPolicy", "/v1/projects/key-project:setIamPolicy"),
        ("/v3/projects/key-project:getIamPolicy", "/v3/projects/key-project:setIamPolicy"),
    ] {
        let mut policy = server.post(get, body.clone()).await.ok();
        let binding = json!({ "role": "roles/cloudkms.viewer", "members": ["user:c@example.com"] });
        let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        bindings.push(binding);
        policy["bindings"] = json!(bindings);
        server.post(set, json!({ "policy": policy })).await.ok();
    }
    let token = server.token_of("user:c@example.com").await;
    let path = "/v1/projects/key-project/locations/global/keyRings";
    server.call_as(&token, "GET", path, "").await.ok();
}

#[tokio::test]
async fn the_servers_policy_can_be_changed_and_never_without_an_administrator_left() {
    let server = Server::with_key().await;
    let (get, set) = ("/keystead/v1/server:getIamPolicy", "/keystead/v1/server:setIamPolicy");
    let first = server.get(&format!("{get}?options.requestedPolicyVersion=3")).await.ok();
    let roles = |policy: &Value| -> Vec<String> {
        let bindings = policy["bindings"].as_array().expect("bindings").iter();
        bindings.map(|binding| binding["role"].as_str().expect("a role").to_owned()).collect()
    };
    assert_eq!(roles(&first), ["roles/keystead.admin", "roles/owner"]);

    // The first administrator gives away the rights to use keys, and keeps those to administer.
    let encrypt = format!("/v1/{KEY}:encrypt");
    server.post(&encrypt, json!({ "plaintext": "aGk=" })).await.ok();
    let admin = json!({ "role": "roles/keystead.admin", "members": ["user:admin@keystead.local"] });
    let creator =
        json!({ "role": "roles/resourcemanager.projectCreator", "members": ["user:b@example.com"] });
    let policy = |bindings: Value| json!({ "policy": { "bindings": bindings, "version": 3 } });
    server.post(set, policy(json!([admin, creator]))).await.ok();
    // The project's own policy names its creator as its owner.
    server.bind(&format!("projects/{}", super::PROJECT), &[]).await;
    server.post(&encrypt, json!({ "plaintext": "aGk=" })).await.refused(403, "PERMISSION_DENIED");
    let creator_token = server.token_of("user:b@example.com").await;
    let project = json!({ "projectId": "b-project", "name": "B" }).to_string();
    server.call_as(&creator_token, "POST", "/v1/projects", &project).await.ok();
    server.call_as(&creator_token, "GET", get, "").await.refused(403, "PERMISSION_DENIED");

    // Nobody can lock everybody out, not even himself.
    for nobody in [
        json!([]),
        json!([creator]),
        json!([{ "role": "roles/owner", "members": ["user:admin@keystead.local"] }]),
        json!([{ "role": "roles/keystead.admin", "members": ["group:admins@example.com"] }]),
        json!([{
            "role": "roles/keystead.admin",
            "members": ["user:admin@keystead.local"],
            "condition": { "expression": "request.time < timestamp(\"2099-01-01T00:00:00Z\")", "title": "t" },
        }]),
    ] {
        let refused = server.post(set, policy(nobody.clone())).await;
        assert!(refused.refused(400, "FAILED_PRECONDITION").contains("roles/keystead.admin"), "{nobody}");
    }
    server.get("/keystead/v1/server:getIamPolicy").await.ok();
    let other = server.call("GET", "/keystead/v1/projects:getIamPolicy", "").await;
    assert_eq!(other.status, 404);
}
