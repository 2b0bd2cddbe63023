use keystead_model::{Binding, Condition, ErrorClass, Policy, Principal};
use keystead_store::Batch;

use crate::fresh_server::FreshServer;
use crate::operations::*;
use crate::records::{encode, record_name};
use crate::testbed::{Testbed, key_name, ring};
use crate::{KmsError, Method, MethodKind, Resource};

const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
const MEMBER: &str = "serviceAccount:service-123@container-engine-robot.iam.gserviceaccount.com";

#[tokio::test]
async fn c5_a_grant_counts_for_the_next_call_and_its_removal_too() {
    let bed = Testbed::new().await;
    bed.key().await;
    let encrypt = || Encrypt {
        key: key_name(),
        version: None,
        plaintext: keystead_crypto::SecretBytes::from(vec![1; 32]),
        caller_data: Vec::new(),
    };
    let denied = bed.service.run(&bed.call_of(MEMBER), encrypt()).await.err().unwrap();
    assert_eq!(denied.class(), ErrorClass::Denied);
    set(&bed, policy(None), None).await.unwrap();
    bed.service.run(&bed.call_of(MEMBER), encrypt()).await.unwrap();
    let seen = bed.service.run(&bed.call_of(MEMBER), GetCryptoKey { name: key_name() }).await;
    assert_eq!(seen.err().unwrap().class(), ErrorClass::Denied, "whoever decrypts cannot see the key");
    set(&bed, Policy::default(), None).await.unwrap();
    let denied = bed.service.run(&bed.call_of(MEMBER), encrypt()).await.err().unwrap();
    assert_eq!(denied.class(), ErrorClass::Denied);
}

#[tokio::test]
async fn a_flood_of_calls_without_a_permission_is_a_few_records_and_the_right_counts() {
    const CALLS: usize = 10_000;
    let server = FreshServer::new().await;
    let ring = server.ring("key-project").await;
    let alice = server.somebody("user:alice@example.com").await;
    let before = server.audit_text().len();
    for _ in 0..CALLS {
        let denied = server.run_as(&alice, GetKeyRing { name: ring.clone() }).await.err().unwrap();
        assert_eq!(denied.class(), ErrorClass::Denied);
    }
    let asked = || TestIamPermissions { resource: Resource::KeyRing(ring.clone()), permissions: Vec::new() };
    // What everybody may ask has a count of its own, and takes nothing from that of what is denied.
    for _ in 0..=60 {
        server.run_as(&alice, asked()).await.expect("whoever is known may ask");
    }
    let method = Method::kms("GetKeyRing", MethodKind::AdminRead);
    let refused =
        server.service.record_refused(&alice, method, "no name", &KmsError::invalid("no name")).await;
    refused.expect("counted");
    // Others are recorded as ever, and what is granted is, however often it comes.
    let bob = server.somebody("user:bob@example.com").await;
    server.run_as(&bob, GetKeyRing { name: ring.clone() }).await.err().unwrap();
    let admin = server.admin().await;
    for _ in 0..100 {
        server.run_as(&admin, GetKeyRing { name: ring.clone() }).await.expect("granted");
    }
    let (_, files) = server.close();
    let text = files.audit_text();
    let records = |principal: &str| {
        let call = |line: &&str| line.contains("\"methodName\":\"GetKeyRing\"") && line.contains(principal);
        text.lines().filter(call).count()
    };
    assert_eq!((records("alice@example.com"), records("bob@example.com")), (61, 1), "one was refused");
    let granted = text.lines().filter(|it| it.contains("GetKeyRing") && it.contains("\"granted\":true"));
    assert_eq!(granted.count(), 100);
    assert!(text.len() - before < 400 * 1024, "{}", text.len() - before);
    let counted: Vec<&str> = text.lines().filter(|it| it.contains("keystead.audit.Refusals")).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    let counts =
        format!("\"counts\":{{\"asked TestIamPermissions\":1,\"denied GetKeyRing\":{}}}", CALLS - 60);
    assert!(counted[0].contains("alice@example.com") && counted[0].contains(&counts), "{counted:?}");
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_no_etag_overwrites() {
    let bed = Testbed::new().await;
    bed.key().await;
    let first = get(&bed, 3).await;
    let second = set(&bed, policy(None), Some(first.etag.clone())).await.unwrap();
    assert_ne!(first.etag, second.etag);
    let stale = set(&bed, Policy::default(), Some(first.etag)).await.err().unwrap();
    assert_eq!(stale.class(), ErrorClass::Aborted);
    assert!(stale.message().starts_with("There were concurrent policy changes."), "{stale}");
    assert_eq!(get(&bed, 3).await, second);
    set(&bed, Policy::default(), None).await.unwrap();
    assert!(get(&bed, 3).await.policy.bindings.is_empty());
}

#[tokio::test]
async fn of_many_writers_with_one_etag_one_wins() {
    let bed = std::sync::Arc::new(Testbed::new().await);
    bed.key().await;
    let etag = get(&bed, 3).await.etag;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (bed, etag) = (bed.clone(), etag.clone());
        writers.spawn(async move { set(&bed, policy(None), Some(etag)).await.is_ok() });
    }
    let won = writers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_condition_needs_version_3_and_is_hidden_from_those_who_do_not_know_it() {
    let bed = Testbed::new().await;
    bed.key().await;
    let condition = Condition {
        expression: "request.time < timestamp(\"2027-01-01T00:00:00Z\")".into(),
        title: "2026".into(),
        ..Condition::default()
    };
    let old = Policy { version: 1, ..policy(Some(condition.clone())) };
    assert_eq!(set(&bed, old, None).await.err().unwrap().class(), ErrorClass::Invalid);
    set(&bed, policy(Some(condition)), None).await.unwrap();
    let decrypt = "cloudkms.cryptoKeyVersions.useToDecrypt";
    let allowed = async || bed.service.run(&bed.call_of(MEMBER), test(&[decrypt])).await.unwrap().len();
    assert_eq!(allowed().await, 1);
    bed.clock.set("2027-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(allowed().await, 0);
    let hidden = get(&bed, 1).await.policy;
    assert!(hidden.bindings[0].condition.is_none() && hidden.bindings[0].role.contains("_withcond_"));
}

fn test(permissions: &[&str]) -> TestIamPermissions {
    TestIamPermissions {
        resource: Resource::CryptoKey(key_name()),
        permissions: permissions.iter().map(|&text| text.to_owned()).collect(),
    }
}

fn policy(condition: Option<Condition>) -> Policy {
    let binding = Binding { role: ROLE.to_owned(), members: vec![MEMBER.to_owned()], condition };
    Policy { version: 3, bindings: vec![binding] }
}

async fn get(bed: &Testbed, requested_version: i32) -> PolicyAndEtag {
    bed.run(GetIamPolicy { resource: Resource::CryptoKey(key_name()), requested_version }).await.unwrap()
}

async fn set(bed: &Testbed, policy: Policy, etag: Option<Vec<u8>>) -> Result<PolicyAndEtag, crate::KmsError> {
    let resource = Resource::CryptoKey(key_name());
    bed.run(SetIamPolicy { resource, policy, etag, keep_bindings: false }).await
}

/// The record of a call, of which there is one.
fn record_of(bed: &Testbed, call: &crate::Call) -> serde_json::Value {
    let records = bed.audit_records();
    let mut of_call = records.iter().filter(|record| record.contains(&call.id));
    let record = serde_json::from_str(of_call.next().expect("a record")).unwrap();
    assert!(of_call.next().is_none(), "one record");
    record
}

#[tokio::test]
async fn p15_a_change_of_a_policy_is_recorded_as_what_it_grants_and_takes() {
    let bed = Testbed::new().await;
    bed.key().await;
    let resource = || Resource::CryptoKey(key_name());
    let binding = |role: &str, members: Vec<String>, expression: Option<&str>| Binding {
        role: role.to_owned(),
        members,
        condition: expression.map(|expression| Condition {
            expression: expression.to_owned(),
            title: "t".to_owned(),
            description: String::new(),
        }),
    };
    let viewers =
        |number: usize| (0..number).map(|it| format!("user:u{it:04}@example.com")).collect::<Vec<_>>();
    let change = async |bindings: Vec<Binding>| {
        let policy = Policy { version: 3, bindings };
        let command = SetIamPolicy { resource: resource(), policy, etag: None, keep_bindings: false };
        let call = bed.call_of("user:owner@example.com");
        bed.service.run(&call, command).await.unwrap();
        record_of(&bed, &call)["protoPayload"].clone()
    };
    let (viewer, decrypter) = ("roles/cloudkms.viewer", "roles/cloudkms.cryptoKeyDecrypter");
    let first = change(vec![binding(viewer, viewers(300), None)]).await;
    assert_eq!(first["response"]["addedCount"], 300);
    assert_eq!(first["response"]["added"].as_array().unwrap().len(), 256);

    // One more among hundreds that stay is seen.
    let until = "request.time < timestamp(\"2099-01-01T00:00:00Z\")";
    let mallory = || vec!["user:mallory@example.com".to_owned()];
    let bindings =
        |until: &str| vec![binding(viewer, viewers(300), None), binding(decrypter, mallory(), Some(until))];
    let second = change(bindings(until)).await;
    let granted = format!("{decrypter} user:mallory@example.com if \"t\": {until}");
    assert_eq!(second["response"]["added"], serde_json::json!([granted]));
    assert_eq!(second["response"]["removedCount"], 0);
    assert_eq!(second["response"]["sha256Before"], first["response"]["sha256After"]);

    // And so is another condition.
    let longer = "request.time < timestamp(\"2199-01-01T00:00:00Z\")";
    let third = change(bindings(longer)).await;
    assert_eq!(third["response"]["removed"], serde_json::json!([granted]));
    assert_eq!(third["response"]["addedCount"], 1);
    assert_ne!(third["response"]["sha256After"], second["response"]["sha256After"]);

    // What a condition is called says what people take it for.
    let mut called = bindings(longer);
    called[1].condition.as_mut().unwrap().title = "until \"2199\"".to_owned();
    let fourth = change(called).await;
    let granted = format!("{decrypter} user:mallory@example.com if \"until \\\"2199\\\"\": {longer}");
    assert_eq!(fourth["response"]["added"], serde_json::json!([granted]));
    assert_eq!(fourth["response"]["removedCount"], 1);

    // And so does how it is described, also where only its end is another one and the record cannot hold all of it.
    let described = |description: &str| {
        let mut described = bindings(longer);
        described[1].condition.as_mut().unwrap().description = description.to_owned();
        described
    };
    let fifth = change(described("for \"audits\"")).await;
    let granted = format!("{decrypter} user:mallory@example.com if \"t\" (\"for \\\"audits\\\"\"): {longer}");
    assert_eq!(fifth["response"]["added"], serde_json::json!([granted]));
    assert_eq!(fifth["response"]["removedCount"], 1);
    let long = |end: &str| format!("{}{end}", "\u{1f511}".repeat(255));
    change(described(&long("1"))).await;
    let sixth = change(described(&long("2"))).await;
    assert_eq!(
        (&sixth["response"]["addedCount"], &sixth["response"]["removedCount"]),
        (&1.into(), &1.into())
    );
    assert_ne!(sixth["response"]["added"], sixth["response"]["removed"]);

    // Long expressions that differ at their end only, for many members: the lists do not fit, and nothing else is lost.
    let long = |end: &str| format!("resource.name == \"{}{end}\"", "x".repeat(1000));
    let of_many = |year: &str| vec![binding(viewer, viewers(256), Some(&long(year)))];
    change(of_many("2100")).await;
    let last = change(of_many("2200")).await;
    assert_eq!(
        (&last["response"]["addedCount"], &last["response"]["removedCount"]),
        (&256.into(), &256.into())
    );
    assert_ne!(last["response"]["sha256Before"], last["response"]["sha256After"]);
    assert_eq!(last["response"]["added"]["omittedCount"], 256);
    assert_ne!(last["response"]["added"]["sha256"], last["response"]["removed"]["sha256"]);

    // For one member the record shows which is which.
    change(vec![binding(viewer, mallory(), Some(&long("2100")))]).await;
    let one = change(vec![binding(viewer, mallory(), Some(&long("2200")))]).await;
    assert_ne!(one["response"]["added"], one["response"]["removed"]);
}

#[tokio::test]
async fn what_was_not_decided_is_not_recorded_as_granted() {
    let bed = Testbed::new().await;
    bed.key().await;
    let ask = async |principal: &str| {
        let call = bed.call_of(principal);
        drop(
            bed.service
                .run(&call, GetIamPolicy { resource: Resource::CryptoKey(key_name()), requested_version: 0 })
                .await,
        );
        record_of(&bed, &call)["protoPayload"]["authorizationInfo"].clone()
    };
    assert_eq!(ask("user:owner@example.com").await[0]["granted"], true);
    assert_eq!(ask("user:nobody@example.com").await[0]["granted"], false);
    // The policy of the ring cannot be read.
    let holder = record_name::policy(&ring().to_string());
    let damaged = Batch::default().put(holder, b"{".to_vec());
    bed.service.ledger.commit(damaged, None).await.unwrap().complete().unwrap();
    assert_eq!(ask("user:nobody@example.com").await, serde_json::Value::Null);
    // The server's policy has decided before.
    assert_eq!(ask("user:owner@example.com").await[0]["granted"], true);
}

#[tokio::test]
async fn names_that_do_not_exist_push_no_policy_out() {
    let bed = Testbed::new().await;
    bed.key().await;
    let known = bed.service.remembered.policies.len();
    for number in 0..50 {
        let name = format!("{}-{number}", ring()).parse().unwrap();
        let resource = Resource::KeyRing(name);
        let call = bed.call_of("user:nobody@example.com");
        let command = GetIamPolicy { resource, requested_version: 0 };
        assert!(bed.service.run(&call, command).await.is_err());
    }
    assert_eq!(bed.service.remembered.policies.len(), known);
    assert!(bed.service.remembered.unset_policies.len() >= 50);
}

#[tokio::test]
async fn many_large_policies_do_not_fill_the_memory() {
    let bed = Testbed::new().await;
    let large = |number: usize| Policy {
        version: 1,
        bindings: vec![Binding {
            role: ROLE.to_owned(),
            members: (0..1500).map(|it| format!("user:member-{it}-of-{number}@example.com")).collect(),
            condition: None,
        }],
    };
    let mut batch = Batch::default();
    for number in 0..250 {
        batch = batch.put(record_name::policy(&format!("holder-{number}")), encode(&large(number)).unwrap());
    }
    bed.service.ledger.commit(batch, None).await.unwrap().complete().unwrap();
    let mut most = 0;
    for number in 0..250 {
        bed.service.policy(&format!("holder-{number}")).await.unwrap();
        most = most.max(bed.service.remembered.policies.len());
    }
    // 128 MiB of about 700 KiB each.
    assert!((150..230).contains(&most), "{most}");
}

#[tokio::test]
async fn the_last_owner_of_a_project_cannot_remove_himself() {
    const OWNER: &str = "user:founder@example.com";
    let bed = Testbed::new().await;
    let project = || Resource::Project("projects/key-project".parse().unwrap());
    bed.project().await;
    bed.grant("projects/key-project", "roles/owner", OWNER).await;
    let binding = |role: &str, member: &str, expression: Option<&str>| Binding {
        role: role.to_owned(),
        members: vec![member.to_owned()],
        condition: expression.map(|expression| Condition {
            expression: expression.to_owned(),
            title: "t".to_owned(),
            ..Condition::default()
        }),
    };
    let set_by = async |who: &str, bindings: Vec<Binding>| {
        let policy = Policy { version: 3, bindings };
        let command = SetIamPolicy { resource: project(), policy, etag: None, keep_bindings: false };
        bed.service.run(&bed.call_of(who), command).await
    };
    let viewer = || binding("roles/viewer", OWNER, None);
    let (iam_admin, until) =
        ("roles/resourcemanager.projectIamAdmin", "request.time < timestamp(\"2099-01-01T00:00:00Z\")");
    for nobody in [
        vec![],
        vec![viewer()],
        vec![viewer(), binding("roles/editor", "user:other@example.com", None)],
        vec![binding(iam_admin, OWNER, Some(until))],
    ] {
        let refused = set_by(OWNER, nobody.clone()).await.expect_err("nobody is left");
        assert_eq!(refused.class(), ErrorClass::FailedPrecondition, "{nobody:?}");
        assert!(refused.message().contains("roles/owner"), "{refused}");
    }
    // The bindings that were read are written back by clients that change others; somebody else, or a group, may be left.
    set_by(OWNER, vec![viewer(), binding("roles/owner", OWNER, None)]).await.unwrap();
    set_by(
        OWNER,
        vec![binding(iam_admin, "group:admins@example.com", None), binding("roles/owner", OWNER, None)],
    )
    .await
    .unwrap();
    set_by(OWNER, vec![binding(iam_admin, "group:admins@example.com", None)]).await.unwrap();
    assert_eq!(set_by(OWNER, vec![viewer()]).await.expect_err("he is gone").class(), ErrorClass::Denied);

    // Whoever administers the server can do without an owner, and after him others go on.
    set_by("user:owner@example.com", vec![binding(iam_admin, OWNER, Some(until))]).await.unwrap();
    set_by(OWNER, vec![binding(iam_admin, OWNER, Some(until)), viewer()]).await.unwrap();
}

/// The address of an account in the project of the test.
const ROBOT: &str = "robot-1@key-project.iam.gserviceaccount.com";

async fn set_servers_policy(
    server: &FreshServer,
    caller: &str,
    members: &[&str],
) -> Result<(), crate::KmsError> {
    let binding = |role: &str, member: &str| Binding {
        role: role.to_owned(),
        members: vec![member.to_owned()],
        condition: None,
    };
    let mut bindings = vec![binding("roles/owner", "user:owner@example.com")];
    bindings.extend(members.iter().map(|member| binding("roles/keystead.admin", member)));
    let policy = Policy { version: 1, bindings };
    let command = SetIamPolicy { resource: Resource::Server, policy, etag: None, keep_bindings: false };
    server.run_as(&call_of(server, caller), command).await.map(drop)
}

fn call_of(server: &FreshServer, principal: &str) -> crate::Call {
    let principal = principal.parse().unwrap();
    let credential = crate::Credential::Token("test".to_owned());
    let caller = crate::Caller { principal, groups: Vec::new(), credential };
    server.service.call(caller.into(), crate::Origin::default()).unwrap()
}

#[tokio::test]
async fn the_server_never_loses_its_last_administrator() {
    let server = FreshServer::new().await;
    server.project("key-project").await;
    let admin = "user:admin@keystead.local";
    let owner = call_of(&server, "user:owner@example.com");
    let robot = format!("serviceAccount:{ROBOT}");
    let refused =
        set_servers_policy(&server, admin, &[admin, &robot]).await.expect_err("nobody of that name");
    assert_eq!(refused.class(), ErrorClass::Invalid);
    assert!(refused.message().contains(&format!("{ROBOT} does not exist")), "{refused}");

    let create = CreateServiceAccount {
        project: "key-project".parse().unwrap(),
        account_id: "robot-1".to_owned(),
        display_name: String::new(),
        description: String::new(),
    };
    server.run_as(&call_of(&server, admin), create).await.expect("made");
    set_servers_policy(&server, admin, &[&robot]).await.expect("it is there");
    let name = server.service.account_name(&format!("projects/-/serviceAccounts/{ROBOT}")).await.unwrap();
    let delete = || DeleteServiceAccount { name: name.clone() };
    let disable = || SwitchServiceAccount { name: name.clone(), enable: false };
    let ends = [server.run_as(&owner, delete()).await, server.run_as(&owner, disable()).await];
    for refused in ends.map(|it| it.expect_err("it is the only one")) {
        assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
        assert!(refused.message().contains("the only one who can change the server's policy"), "{refused}");
    }
    // One that is disabled administers nothing.
    set_servers_policy(&server, &robot, &[&robot, admin]).await.expect("both are there");
    server.run_as(&owner, disable()).await.expect("there is another");
    let refused = set_servers_policy(&server, admin, &[&robot]).await.expect_err("it is disabled");
    assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    // One that is gone may stay named: whoever reads a policy and writes it again changes nothing.
    server.run_as(&owner, delete()).await.expect("there is another");
    set_servers_policy(&server, admin, &[&robot, admin]).await.expect("as it was");
}

#[tokio::test]
async fn only_the_servers_administrator_makes_and_revokes_credentials_of_persons() {
    let bed = Testbed::new().await;
    bed.grant("", "roles/keystead.admin", "user:admin@example.com").await;
    bed.grant("", "roles/iam.serviceAccountKeyAdmin", "user:keys@example.com").await;
    let person: Principal = "user:admin@example.com".parse().unwrap();
    let day = Some(jiff::SignedDuration::from_hours(24));
    for (caller, may) in [
        ("user:keys@example.com", false),
        ("user:owner@example.com", false),
        ("user:admin@example.com", true),
    ] {
        let call = || bed.call_of(caller);
        let token = CreateToken::new(&bed.service, person.clone(), String::new(), day).await.unwrap();
        let created = bed.service.run(&call(), token).await;
        assert_eq!(
            created.as_ref().err().map(|it| it.class()),
            (!may).then_some(ErrorClass::Denied),
            "{caller}"
        );
        let revoke = RevokeCertificate { serial: "0a1b".to_owned() };
        let revoked = bed.service.run(&call(), revoke).await;
        assert_eq!(
            revoked.as_ref().err().map(crate::KmsError::class),
            (!may).then_some(ErrorClass::Denied),
            "{caller} {revoked:?}"
        );
        let mine = CreateToken::new(&bed.service, person.clone(), String::new(), day).await.unwrap();
        let mine = bed.service.run(&bed.call_of("user:admin@example.com"), mine).await.unwrap().token.id;
        let revoke = RevokeToken::new(&bed.service, &mine).await.unwrap();
        let revoked = bed.service.run(&call(), revoke).await;
        assert_eq!(
            revoked.as_ref().err().map(crate::KmsError::class),
            (!may).then_some(ErrorClass::Denied),
            "{caller} {revoked:?}"
        );
    }
}
