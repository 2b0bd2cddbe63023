//! What a key protects, and the keys of a project, as Cloud KMS inventory tells them.

use serde_json::{Value, json};

use super::container::{encrypted_cluster, server};
use super::{KEY, LOCATION, PROJECT, RING, Server};

async fn search(server: &Server, scope: &str, more: &str) -> Value {
    server.get(&format!("/v1/{scope}/protectedResources:search?cryptoKey={KEY}{more}")).await.ok()
}

async fn summary(server: &Server, name: &str) -> Value {
    server.get(&format!("/v1/{name}/protectedResourcesSummary")).await.ok()
}

#[tokio::test]
async fn p12_a_key_tells_which_clusters_it_protects() {
    let server = server().await;
    let name = format!("{KEY}/protectedResourcesSummary");
    assert_eq!(summary(&server, KEY).await, json!({ "name": name }));
    assert_eq!(search(&server, "organizations/1", "").await, json!({}));

    let cluster = encrypted_cluster(&server, "prod-a").await;
    let made = server.get(&format!("/v1/{cluster}")).await.ok();
    let number = server.get(&format!("/v1/projects/{PROJECT}")).await.ok()["projectNumber"].clone();
    let number = number.as_str().expect("a number");
    let first = format!("{KEY}/cryptoKeyVersions/1");
    for scope in ["organizations/1", &format!("projects/{PROJECT}"), &format!("projects/{number}")] {
        let found = search(&server, scope, "").await;
        let time = found["protectedResources"][0]["createTime"].as_str().expect("a time").to_owned();
        assert!(
            made["createTime"].as_str().expect("a time").starts_with(time.trim_end_matches(['Z'])),
            "{time}"
        );
        assert_eq!(time.len(), "2026-01-01T00:00:00Z".len(), "to the second");
        let protected = json!({
            "name": format!("//container.googleapis.com/{cluster}"),
            "project": format!("projects/{number}"),
            "projectId": PROJECT,
            "cloudProduct": "container",
            "resourceType": "container.googleapis.com/Cluster",
            "location": "us-central1",
            "cryptoKeyVersion": first,
            "cryptoKeyVersions": [first],
            "createTime": time,
        });
        assert_eq!(found, json!({ "protectedResources": [protected] }), "{scope}");
    }
    let counts = |name: &str| {
        json!({
            "name": format!("{name}/protectedResourcesSummary"),
            "resourceCount": "1",
            "projectCount": 1,
            "resourceTypes": { "container.googleapis.com/Cluster": "1" },
            "cloudProducts": { "container": "1" },
            "locations": { "us-central1": "1" },
        })
    };
    assert_eq!(summary(&server, KEY).await, counts(KEY));
    assert_eq!(summary(&server, &first).await, counts(&first));
    // A new version becomes the primary. The first encrypted nothing, so that it protects nothing.
    server.post(&format!("/v1/{KEY}/cryptoKeyVersions"), json!({})).await.ok();
    let primary = json!({ "cryptoKeyVersionId": "2" });
    server.post(&format!("/v1/{KEY}:updatePrimaryVersion"), primary).await.ok();
    assert_eq!(
        summary(&server, &first).await,
        json!({ "name": format!("{first}/protectedResourcesSummary") })
    );
    let plaintext = json!({ "plaintext": "AAAA" });
    server.bind(KEY, &[("roles/cloudkms.cryptoKeyEncrypter", "user:alice@example.com")]).await;
    let alice = server.token_of("user:alice@example.com").await;
    let encrypt = |name: &str| format!("/v1/{name}:encrypt");
    server.call_as(&alice, "POST", &encrypt(&first), &plaintext.to_string()).await.ok();
    let found = search(&server, "organizations/1", "").await;
    let versions = json!([format!("{KEY}/cryptoKeyVersions/2"), first]);
    assert_eq!(found["protectedResources"][0]["cryptoKeyVersions"], versions, "the primary first");
}

#[tokio::test]
async fn p12_a_search_has_pages_and_ends_at_its_scope() {
    let server = server().await;
    for name in ["prod-a", "prod-b", "prod-c"] {
        encrypted_cluster(&server, name).await;
    }
    server.post("/v1/projects", json!({ "projectId": "other-project", "name": "Other" })).await.ok();
    assert_eq!(search(&server, "projects/other-project", "").await, json!({}));
    let types = "&resourceTypes=container.googleapis.com.*&resourceTypes=.*Cluster";
    let (mut names, mut token) = (Vec::new(), String::new());
    for size in [2, 1] {
        let page = search(&server, "organizations/1", &format!("&pageSize=2&pageToken={token}{types}")).await;
        let found = page["protectedResources"].as_array().expect("resources");
        assert_eq!(found.len(), size);
        names.extend(found.iter().map(|it| it["name"].as_str().expect("a name").to_owned()));
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
    }
    let wanted = ["prod-a", "prod-b", "prod-c"]
        .map(|it| format!("//container.googleapis.com/{LOCATION}/clusters/{it}"));
    assert_eq!((names, token.as_str()), (wanted.to_vec(), ""));
    let first = search(&server, "organizations/1", "&pageSize=1").await;
    let token = first["nextPageToken"].as_str().expect("a token");
    for (path, status, name) in [
        (
            format!("projects/{PROJECT}/protectedResources:search?cryptoKey={KEY}&pageToken={token}"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("organizations/1/protectedResources:search?cryptoKey={KEY}&resourceTypes=.*Disk"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("organizations/1/protectedResources:search?cryptoKey={KEY}&pageSize=-1"),
            400,
            "INVALID_ARGUMENT",
        ),
        (format!("organizations/one/protectedResources:search?cryptoKey={KEY}"), 400, "INVALID_ARGUMENT"),
        ("organizations/1/protectedResources:search".to_owned(), 400, "INVALID_ARGUMENT"),
        (format!("organizations/1/protectedResources:search?cryptoKey={KEY}-absent"), 404, "NOT_FOUND"),
        (format!("projects/absent-project/protectedResources:search?cryptoKey={KEY}"), 404, "NOT_FOUND"),
        (format!("{KEY}/cryptoKeyVersions/9/protectedResourcesSummary"), 404, "NOT_FOUND"),
        (format!("{KEY}/more/protectedResourcesSummary"), 400, "INVALID_ARGUMENT"),
    ] {
        server.get(&format!("/v1/{path}")).await.refused(status, name);
    }
}

#[tokio::test]
async fn p12_who_searches_may_look_there_and_see_the_key() {
    let server = server().await;
    encrypted_cluster(&server, "prod-a").await;
    let alice = server.token_of("user:alice@example.com").await;
    let path = format!("/v1/projects/{PROJECT}/protectedResources:search?cryptoKey={KEY}");
    let ask = async |missing: &str| {
        let answer = server.call_as(&alice, "GET", &path, "").await;
        let text = answer.refused(403, "PERMISSION_DENIED");
        assert!(text.contains(&format!("Permission '{missing}' denied")), "{text}");
    };
    let look = ("roles/cloudkms.protectedResourcesViewer", "user:alice@example.com");
    server.bind(KEY, &[("roles/cloudkms.viewer", look.1)]).await;
    ask("cloudkms.protectedResources.search").await;
    server.bind(KEY, &[]).await;
    server.bind(&format!("projects/{PROJECT}"), &[look]).await;
    ask("cloudkms.cryptoKeys.get").await;
    server.bind(KEY, &[("roles/cloudkms.viewer", look.1)]).await;
    let found = server.call_as(&alice, "GET", &path, "").await.ok();
    assert_eq!(found["protectedResources"].as_array().map(Vec::len), Some(1));
    // Beyond the project it was not granted. What is only counted needs a look at the key alone.
    let everywhere = format!("/v1/organizations/1/protectedResources:search?cryptoKey={KEY}");
    server.call_as(&alice, "GET", &everywhere, "").await.refused(403, "PERMISSION_DENIED");
    server.bind(&format!("projects/{PROJECT}"), &[]).await;
    let counted =
        server.call_as(&alice, "GET", &format!("/v1/{KEY}/protectedResourcesSummary"), "").await.ok();
    assert_eq!(counted["resourceCount"], "1");
}

#[tokio::test]
async fn the_keys_of_a_project_are_listed_from_every_ring() {
    let server = Server::with_key().await;
    let purpose = || json!({ "purpose": "ENCRYPT_DECRYPT" });
    let global = format!("projects/{PROJECT}/locations/global");
    server.post(&format!("/v1/{global}/keyRings?keyRingId=ring-9"), json!({})).await.ok();
    server.post(&format!("/v1/{global}/keyRings/ring-9/cryptoKeys?cryptoKeyId=key-9"), purpose()).await.ok();
    server.post(&format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-2"), purpose()).await.ok();
    // A project whose id begins in the same way has its own.
    let other = format!("{PROJECT}-2");
    server.post("/v1/projects", json!({ "projectId": other, "name": "Other" })).await.ok();
    let on = format!("/v1/projects/{other}/services/cloudkms.googleapis.com:enable");
    server.post(&on, json!({})).await.ok();
    let its_ring = format!("projects/{other}/locations/global/keyRings");
    server.post(&format!("/v1/{its_ring}?keyRingId=ring-1"), json!({})).await.ok();
    server.post(&format!("/v1/{its_ring}/ring-1/cryptoKeys?cryptoKeyId=key-1"), purpose()).await.ok();
    let number = server.get(&format!("/v1/projects/{PROJECT}")).await.ok()["projectNumber"].clone();
    for parent in [PROJECT, number.as_str().expect("a number")] {
        let all = server.get(&format!("/v1/projects/{parent}/cryptoKeys")).await.ok();
        let names: Vec<_> =
            all["cryptoKeys"].as_array().expect("keys").iter().map(|it| &it["name"]).collect();
        let key_2 = format!("{RING}/cryptoKeys/key-2");
        assert_eq!(
            names,
            [&json!(format!("{global}/keyRings/ring-9/cryptoKeys/key-9")), &json!(KEY), &json!(key_2)]
        );
        // As Cloud KMS writes them.
        assert_eq!(all["cryptoKeys"][1], server.get(&format!("/v1/{KEY}")).await.ok());
    }
    let page = |token: String| format!("/v1/projects/{PROJECT}/cryptoKeys?pageSize=2&pageToken={token}");
    let first = server.get(&page(String::new())).await.ok();
    assert_eq!(first["cryptoKeys"].as_array().map(Vec::len), Some(2));
    let token = first["nextPageToken"].as_str().expect("a token").to_owned();
    let last = server.get(&page(token.clone())).await.ok();
    assert_eq!((last["cryptoKeys"].as_array().map(Vec::len), last.get("nextPageToken")), (Some(1), None));
    server.get(&page(token.replace('a', "b"))).await.refused(400, "INVALID_ARGUMENT");
}
