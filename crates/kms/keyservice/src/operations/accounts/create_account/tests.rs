use super::*;
use crate::fresh_server::FreshServer;
use crate::operations::{
    CreateServiceAccountKey, DeleteServiceAccount, DeleteServiceAccountKey, GetIamPolicy, GetProject,
    GetServiceAccount, GetServiceAccountKey, ListServiceAccountKeys, ListServiceAccounts,
    SwitchServiceAccount, UpdateServiceAccount,
};

fn create(id: &str) -> CreateServiceAccount {
    CreateServiceAccount {
        project: "key-project".parse().expect("an id"),
        account_id: id.to_owned(),
        display_name: "Backups".to_owned(),
        description: String::new(),
    }
}

async fn name(server: &FreshServer, email: &str) -> AccountName {
    server.service.account_name(&format!("projects/-/serviceAccounts/{email}")).await.expect("a name")
}

#[tokio::test]
async fn an_account_is_made_read_changed_listed_and_deleted() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    let admin = server.admin().await;
    let made = server.run_as(&admin, create("backup-job")).await.expect("made");
    assert_eq!(made.email, "backup-job@key-project.iam.gserviceaccount.com");
    assert_eq!(made.unique_id.len(), 21);
    let name = name(&server, &made.email).await;
    let get = || GetServiceAccount { name: name.clone() };
    assert_eq!(server.run_as(&admin, get()).await.expect("read"), made);

    let change = |etag| UpdateServiceAccount {
        name: name.clone(),
        display_name: Some("Nightly backups".to_owned()),
        description: None,
        etag,
    };
    let error = server.run_as(&admin, change(Some(vec![0; 8]))).await.expect_err("a stale etag");
    assert_eq!(error.class(), ErrorClass::Aborted);
    let changed = server.run_as(&admin, change(Some(made.etag()))).await.expect("changed");
    assert_eq!(changed.display_name, "Nightly backups");
    assert_ne!(changed.etag(), made.etag());

    server.run_as(&admin, create("another-job")).await.expect("made");
    let list = |page_size, page_token: &str| ListServiceAccounts {
        project: "key-project".parse().expect("an id"),
        page_size,
        page_token: page_token.to_owned(),
    };
    let first = server.run_as(&admin, list(1, "")).await.expect("listed");
    assert_eq!(first.accounts.len(), 1);
    assert_eq!(first.accounts[0].email, "another-job@key-project.iam.gserviceaccount.com");
    let next = first.next_page_token.expect("one more");
    let second = server.run_as(&admin, list(1, &next)).await.expect("listed");
    assert_eq!((second.accounts, second.next_page_token), (vec![changed], None));

    server.run_as(&admin, DeleteServiceAccount { name: name.clone() }).await.expect("deleted");
    let error = server.run_as(&admin, get()).await.expect_err("it is gone");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let error = server.run_as(&admin, create("backup-job")).await.expect_err("given once");
    assert_eq!(error.class(), ErrorClass::AlreadyExists);
    for bad in ["short", "UPPER-case", "9-digits-first", "ends-with-", "has_underscore", "a/b/c/d/e"] {
        let error = server.run_as(&admin, create(bad)).await.expect_err(bad);
        assert_eq!(error.class(), ErrorClass::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn p14_every_project_has_the_account_of_its_clusters() {
    let server = FreshServer::new().await;
    let id = server.project("key-project").await;
    let admin = server.admin().await;
    let project = server.run_as(&admin, GetProject { id }).await.expect("read");
    let email = format!("service-{}@container-engine-robot.iam.gserviceaccount.com", project.number);
    let account = name(&server, &email).await;
    let read = server.run_as(&admin, GetServiceAccount { name: account.clone() }).await.expect("it is there");
    assert_eq!((read.email.as_str(), read.disabled), (email.as_str(), false));
    let error =
        server.run_as(&admin, DeleteServiceAccount { name: account.clone() }).await.expect_err("kept");
    assert_eq!(error.class(), ErrorClass::FailedPrecondition);

    // The plugin authenticates as it: with a token, and with a key.
    let token = server.token(&format!("serviceAccount:{email}"), None).await;
    let call = server.bearer(&token).await.expect("it counts");
    assert_eq!(call.caller().principal.email(), email);
    server.run_as(&admin, CreateServiceAccountKey::new(account.clone())).await.expect("a key");
    let get = GetIamPolicy { resource: account.resource(), requested_version: 3 };
    let policy = server.run_as(&admin, get).await.expect("it can have a policy");
    assert_eq!(policy.policy.bindings, []);
    let switch = |enable| SwitchServiceAccount { name: account.clone(), enable };
    server.run_as(&admin, switch(false)).await.expect("disabled");
    server.bearer(&token).await.map(drop).expect_err("the account is disabled");
    server.run_as(&admin, switch(true)).await.expect("enabled");
    server.bearer(&token).await.expect("it counts again");
    // With its record it is still not in the list, and still not to be deleted.
    let list = ListServiceAccounts { project: project.id, page_size: 0, page_token: String::new() };
    assert_eq!(server.run_as(&admin, list).await.expect("listed").accounts, []);
    server.run_as(&admin, DeleteServiceAccount { name: account }).await.expect_err("kept");
}

#[tokio::test]
async fn an_account_of_another_project_is_not_to_be_had_by_this_ones_name() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    server.project("other-project").await;
    let made = server.run_as(&server.admin().await, create("backup-job")).await.expect("made");
    let admin = server.admin().await;
    let key = CreateServiceAccountKey::new(name(&server, &made.email).await);
    let key_id = server.run_as(&admin, key).await.expect("a key").key.id;
    for (project, there) in [
        ("key-project", true),
        ("-", true),
        ("other-project", false),
        ("no-such-project", false),
        ("123456789012", false),
    ] {
        let text = format!("projects/{project}/serviceAccounts/{}", made.email);
        let name = async || server.service.account_name(&text).await.expect("a name");
        // The keys of an account are read by its address alone.
        let account = server.run_as(&admin, GetServiceAccount { name: name().await }).await;
        let read = GetServiceAccountKey { name: name().await, key_id: key_id.clone() };
        let read = server.run_as(&admin, read).await;
        assert_eq!((account.is_ok(), read.is_ok()), (there, there), "{text}");
        if !there {
            let key_id = key_id.clone();
            let errors = [
                account.map(drop),
                read.map(drop),
                server.run_as(&admin, ListServiceAccountKeys { name: name().await }).await.map(drop),
                server.run_as(&admin, CreateServiceAccountKey::new(name().await)).await.map(drop),
                server.run_as(&admin, DeleteServiceAccountKey { name: name().await, key_id }).await,
                server.run_as(&admin, DeleteServiceAccount { name: name().await }).await,
            ];
            for error in errors {
                assert_eq!(error.expect_err("not there").class(), ErrorClass::NotFound, "{text}");
            }
        }
    }
    for bad in ["", "backup-job", "projects/-/serviceAccounts/", "projects/-/serviceAccounts/a b"] {
        server.service.account_name(bad).await.expect_err(bad);
    }
}

#[tokio::test]
async fn a_key_file_is_googles_form_and_its_private_half_is_nowhere_else() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    assert_eq!(file.r#type, "service_account");
    assert_eq!(file.project_id, "key-project");
    assert_eq!(file.token_uri, "https://kms.example:7443/token");
    assert!(file.private_key.starts_with("-----BEGIN PRIVATE KEY-----\nMII"), "PKCS #8");
    let admin = server.admin().await;
    let name = name(&server, &file.client_email).await;
    let key_id = file.private_key_id.clone();
    let get = GetServiceAccountKey { name: name.clone(), key_id };
    let key = server.run_as(&admin, get).await.expect("read");
    assert_eq!(key.public_key_der().len(), 294, "SubjectPublicKeyInfo of RSA with 2,048 bits");
    // The middle of the private key, in none of its forms.
    let secret = &file.private_key.lines().nth(8).expect("a line").to_owned();
    let (database, audit) = (server.files.database(), server.audit_text());
    for text in [audit, String::from_utf8_lossy(&std::fs::read(database).expect("read")).into_owned()] {
        assert!(!text.contains(secret.as_str()));
    }

    for _ in 1..10 {
        server.run_as(&admin, CreateServiceAccountKey::new(name.clone())).await.expect("a key");
    }
    let error = server.run_as(&admin, CreateServiceAccountKey::new(name.clone())).await.map(drop);
    assert_eq!(error.expect_err("too many").class(), ErrorClass::FailedPrecondition);
    let keys = server.run_as(&admin, ListServiceAccountKeys { name }).await.expect("listed");
    assert_eq!(keys.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_at_most_ten_keys_also_when_many_ask_at_once() {
    let server = FreshServer::new().await;
    let project = server.project("key-project").await;
    let admin = server.admin().await;
    let made = server.run_as(&admin, create("backup-job")).await.expect("made");
    let number = server.run_as(&admin, GetProject { id: project }).await.expect("a project").number;
    let of_clusters = format!("service-{number}@container-engine-robot.iam.gserviceaccount.com");
    for email in [made.email, of_clusters] {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..13 {
            let name = name(&server, &email).await;
            let service = std::sync::Arc::clone(&server.service);
            let call =
                service.call(std::sync::Arc::clone(&admin.caller), admin.origin.clone()).expect("a call");
            calls
                .spawn(async move { service.run(&call, CreateServiceAccountKey::new(name)).await.map(drop) });
        }
        let made = calls.join_all().await.into_iter().filter(Result::is_ok).count();
        assert_eq!(made, 10, "{email}");
        let name = name(&server, &email).await;
        let listed = server.run_as(&admin, ListServiceAccountKeys { name }).await.expect("listed");
        assert_eq!(listed.len(), 10, "{email}");
    }
}
