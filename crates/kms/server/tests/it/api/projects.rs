use serde_json::json;

use super::Server;

#[tokio::test]
async fn c4_projects_describe_list_create() {
    let server = Server::new().await;
    let body = json!({ "projectId": "my-project", "name": "Mine", "labels": { "a": "b" } });
    let operation = server.post("/v1/projects?alt=json", body).await.ok();
    assert_eq!(operation["done"], true);
    let name = operation["name"].as_str().expect("name");
    let read = server.get(&format!("/v1/{name}")).await.ok();
    assert_eq!(read, operation);

    let project = server.get("/v1/projects/my-project?alt=json").await.ok();
    let number = project["projectNumber"].as_str().expect("a number as text").to_owned();
    let expected = json!({
        "projectNumber": number,
        "projectId": "my-project",
        "lifecycleState": "ACTIVE",
        "name": "Mine",
        "createTime": project["createTime"],
        "labels": { "a": "b" },
    });
    assert_eq!(project, expected);
    assert_eq!(number.len(), 12);
    let mut response = operation["response"].clone();
    let kind = response.as_object_mut().expect("object").remove("@type");
    assert_eq!(kind, Some(json!("type.googleapis.com/google.cloudresourcemanager.v1.Project")));
    assert_eq!(response, expected);

    assert_eq!(server.get(&format!("/v1/projects/{number}")).await.ok(), project);
    let listed = server.get("/v1/projects?filter=lifecycleState:ACTIVE&pageSize=500").await.ok();
    assert_eq!(listed, json!({ "projects": [project] }));
    let other = server.get("/v1/projects?filter=lifecycleState:DELETE_REQUESTED").await.ok();
    assert_eq!(other, json!({}));
    server.get("/v1/projects?filter=nonsense").await.refused(400, "INVALID_ARGUMENT");
    server.get("/v1/projects/other-project").await.refused(404, "NOT_FOUND");
    server.post("/v1/projects", json!({ "projectId": "my-project" })).await.refused(409, "ALREADY_EXISTS");
    server.post("/v1/projects", json!({ "projectId": "X" })).await.refused(400, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn client_libraries_use_version_3() {
    let server = Server::new().await;
    let body = json!({ "projectId": "my-project", "displayName": "Mine" });
    let operation = server.post("/v3/projects", body).await.ok();
    let made = &operation["response"];
    assert_eq!(made["@type"], "type.googleapis.com/google.cloud.resourcemanager.v3.Project");
    let project = server.get("/v3/projects/my-project").await.ok();
    let name = project["name"].as_str().expect("name");
    assert_eq!((&project["projectId"], &project["displayName"]), (&json!("my-project"), &json!("Mine")));
    assert_eq!((&project["state"], made["name"].as_str()), (&json!("ACTIVE"), Some(name)));
    assert_eq!(server.get(&format!("/v3/{name}")).await.ok(), project);
    for path in ["/v3/projects", "/v3/projects:search?query=state:ACTIVE"] {
        assert_eq!(server.get(path).await.ok(), json!({ "projects": [project] }));
    }
    server.get("/v3/projects?parent=folders/1").await.refused(400, "INVALID_ARGUMENT");
    server.call("DELETE", "/v3/projects/my-project", "").await.refused(400, "UNIMPLEMENTED");
}

#[tokio::test]
async fn services_are_switched_on_and_off() {
    let server = Server::new().await;
    server.post("/v1/projects", json!({ "projectId": "my-project" })).await.ok();
    let rings = "/v1/projects/my-project/locations/global/keyRings";
    let off = server.get(rings).await;
    off.refused(403, "PERMISSION_DENIED");
    let info = off.detail("ErrorInfo");
    assert_eq!((&info["reason"], &info["domain"]), (&json!("SERVICE_DISABLED"), &json!("googleapis.com")));
    assert_eq!(info["metadata"]["service"], "cloudkms.googleapis.com");

    let service = "/v1/projects/my-project/services/cloudkms.googleapis.com";
    assert_eq!(server.get(service).await.ok()["state"], "DISABLED");
    let enabled = server.post(&format!("{service}:enable"), json!({})).await.ok();
    assert_eq!(
        (&enabled["done"], &enabled["response"]["service"]["state"]),
        (&json!(true), &json!("ENABLED"))
    );
    let read = server.get(&format!("/v1/{}", enabled["name"].as_str().expect("name"))).await.ok();
    assert_eq!(read, enabled);
    server.get(rings).await.ok();
    let listed = server.get("/v1/projects/my-project/services?filter=state:ENABLED&pageSize=200").await.ok();
    let listed = listed["services"].as_array().expect("services").clone();
    assert!(listed.iter().any(|service| service["config"]["name"] == "cloudkms.googleapis.com"));
    assert!(listed.iter().all(|service| service["config"]["title"].is_string()));
    server.post(&format!("{service}:disable"), json!({})).await.ok();
    server.get(rings).await.refused(403, "PERMISSION_DENIED");

    let ids = json!({ "serviceIds": ["cloudkms.googleapis.com", "container.googleapis.com"] });
    let both = server.post("/v1/projects/my-project/services:batchEnable", ids).await.ok();
    assert_eq!(both["response"]["services"].as_array().expect("services").len(), 2);
    server.get(rings).await.ok();
    for (path, status) in [
        ("/v1/projects/my-project/services/compute.googleapis.com:enable", 404),
        ("/v1/folders/1/services/cloudkms.googleapis.com:enable", 400),
        ("/v1/projects/my-project/services/iam.googleapis.com:disable", 400),
    ] {
        assert_eq!(server.post(path, json!({})).await.status, status, "{path}");
    }
}
