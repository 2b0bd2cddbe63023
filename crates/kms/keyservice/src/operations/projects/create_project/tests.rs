use std::collections::BTreeMap;

use super::*;
use crate::fresh_server::FreshServer;
use crate::operations::{CreateKeyRing, GetProject, GetService, ListProjects, ListServices, SwitchServices};
use crate::{Detail, ServiceApi};

fn create(id: &str) -> CreateProject {
    let id = id.parse().expect("an id");
    CreateProject { id, display_name: String::new(), labels: BTreeMap::new() }
}

#[tokio::test]
async fn c4_a_project_has_a_number_of_12_digits_that_names_it_too() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    let project = server.run_as(&admin, create("key-project")).await.expect("made");
    assert_eq!(project.number.to_string().len(), 12);
    assert_eq!(project.display_name, "key-project");
    assert_eq!(project.create_time.to_string(), "2026-11-25T12:00:00Z");
    let read = server.run_as(&admin, GetProject { id: project.id.clone() }).await.expect("read");
    assert_eq!(read, project);
    let number = project.number.to_string();
    assert_eq!(server.service.project_id(&number).await.expect("known"), project.id);
    assert_eq!(server.service.project_id("key-project").await.expect("an id"), project.id);
    // A number that is not there names a project that is not there.
    let other = server.service.project_id("999").await.expect("a number");
    let error = server.run_as(&admin, GetProject { id: other }).await.expect_err("not there");
    assert_eq!((error.class(), error.message()), (ErrorClass::NotFound, "Project 999 not found."));
    for bad in ["+5", "0123", "Key-Project", ""] {
        server.service.project_id(bad).await.expect_err(bad);
    }
    assert_eq!(
        project.cluster_account(),
        format!("service-{number}@container-engine-robot.iam.gserviceaccount.com")
    );
}

#[tokio::test]
async fn an_id_is_given_once() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    let first = server.run_as(&admin, create("key-project")).await.expect("made");
    let error = server.run_as(&admin, create("key-project")).await.expect_err("taken");
    assert_eq!(error.class(), ErrorClass::AlreadyExists);
    assert_eq!(error.message(), "Project key-project already exists.");
    let read = server.run_as(&admin, GetProject { id: first.id.clone() }).await.expect("read");
    assert_eq!(read.number, first.number);
}

#[tokio::test]
async fn who_creates_a_project_owns_it_and_sees_no_other() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    server.run_as(&admin, create("admin-project")).await.expect("made");
    let alice = server.somebody("user:alice@example.com").await;
    let error = server.run_as(&alice, create("alice-project")).await.expect_err("no right");
    assert_eq!(error.class(), ErrorClass::Denied);

    let policy = server
        .run_as(&admin, crate::operations::GetIamPolicy { resource: Resource::Server, requested_version: 3 });
    let mut policy = policy.await.expect("read");
    let creator = keystead_model::Binding {
        role: "roles/resourcemanager.projectCreator".to_owned(),
        members: vec!["user:alice@example.com".to_owned()],
        condition: None,
    };
    policy.policy.bindings.push(creator);
    let command = crate::operations::SetIamPolicy {
        resource: Resource::Server,
        policy: policy.policy,
        etag: Some(policy.etag),
        keep_bindings: false,
    };
    server.run_as(&admin, command).await.expect("set");
    server.run_as(&alice, create("alice-project")).await.expect("now she may");
    let enable = |project: &str| SwitchServices {
        project: project.parse().expect("an id"),
        apis: vec![ServiceApi::CloudKms],
        enable: true,
    };
    server.run_as(&alice, enable("alice-project")).await.expect("she owns it");
    server.run_as(&alice, enable("admin-project")).await.expect_err("she does not own it");

    let list = || ListProjects { page_size: 0, page_token: String::new() };
    let ids = |page: crate::operations::ProjectPage| {
        page.projects.iter().map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(server.run_as(&alice, list()).await.expect("listed")), ["alice-project"]);
    assert_eq!(ids(server.run_as(&admin, list()).await.expect("listed")), ["admin-project", "alice-project"]);
    let first = server
        .run_as(&admin, ListProjects { page_size: 1, page_token: String::new() })
        .await
        .expect("listed");
    let page_token = first.next_page_token.clone().expect("one more");
    assert_eq!(ids(first), ["admin-project"]);
    let second = server.run_as(&admin, ListProjects { page_size: 1, page_token }).await.expect("listed");
    assert_eq!(second.next_page_token, None);
    assert_eq!(ids(second), ["alice-project"]);
}

#[tokio::test]
async fn cloud_kms_is_off_until_it_is_enabled_and_the_refusal_is_one_that_gcloud_knows() {
    let server = FreshServer::new().await;
    let admin = server.admin().await;
    let project = server.run_as(&admin, create("key-project")).await.expect("made");
    let list = |enabled| ListServices { project: "key-project".parse().expect("an id"), enabled };
    let on = server.run_as(&admin, list(Some(true))).await.expect("listed");
    let names: Vec<&str> = on.iter().map(|view| view.api.name()).collect();
    assert_eq!(
        names,
        [
            "cloudapis.googleapis.com",
            "cloudresourcemanager.googleapis.com",
            "iam.googleapis.com",
            "kmsinventory.googleapis.com",
            "serviceusage.googleapis.com"
        ]
    );
    let ring = || CreateKeyRing {
        name: "projects/key-project/locations/global/keyRings/ring".parse().expect("a name"),
    };
    let error = server.run_as(&admin, ring()).await.expect_err("it is off");
    assert_eq!(error.class(), ErrorClass::Denied);
    let number = project.number;
    assert_eq!(
        error.message(),
        format!(
            "Cloud Key Management Service (KMS) API has not been used in project {number} before or it is disabled. Enable \
             it by visiting https://console.developers.google.com/apis/api/cloudkms.googleapis.com/overview?project={number} \
             then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and \
             retry."
        )
    );
    let [Detail::ErrorInfo { reason, domain, metadata }] = error.details() else { panic!("{error:?}") };
    assert_eq!((reason.as_str(), domain.as_str()), ("SERVICE_DISABLED", "googleapis.com"));
    assert_eq!(metadata["service"], "cloudkms.googleapis.com");
    assert_eq!(metadata["consumer"], format!("projects/{number}"));

    // Who may not create key rings does not learn whether the API is on.
    let alice = server.somebody("user:alice@example.com").await;
    let error = server.run_as(&alice, ring()).await.expect_err("no right");
    assert!(error.message().starts_with("Permission 'cloudkms.keyRings.create' denied"), "{error}");

    let switch = |enable| SwitchServices {
        project: "key-project".parse().expect("an id"),
        apis: vec![ServiceApi::CloudKms, ServiceApi::Iam],
        enable,
    };
    let views = server.run_as(&admin, switch(true)).await.expect("enabled");
    assert!(views.iter().all(|view| view.enabled && view.project_number == number));
    server.run_as(&admin, ring()).await.expect("it counts from the next request on");
    let error = server.run_as(&admin, switch(false)).await.expect_err("iam cannot be off");
    assert_eq!(error.class(), ErrorClass::FailedPrecondition);
    let kms = || GetService { project: "key-project".parse().expect("an id"), api: ServiceApi::CloudKms };
    assert!(server.run_as(&admin, kms()).await.expect("read").enabled, "all that are named or none");
    let mut off = switch(false);
    off.apis.pop();
    server.run_as(&admin, off).await.expect("disabled");
    assert!(!server.run_as(&admin, kms()).await.expect("read").enabled);
    server.run_as(&admin, ring()).await.expect_err("it counts from the next request on");
}

#[tokio::test]
async fn a_project_that_does_not_exist_is_404_for_who_may_and_403_for_who_may_not() {
    let server = FreshServer::new().await;
    let get = || GetProject { id: "no-such-project".parse().expect("an id") };
    let error = server.run_as(&server.admin().await, get()).await.expect_err("it is not there");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let alice = server.somebody("user:alice@example.com").await;
    let error = server.run_as(&alice, get()).await.expect_err("no right");
    assert_eq!(error.class(), ErrorClass::Denied);
    "compute.googleapis.com".parse::<ServiceApi>().expect_err("not one of this server");
}
