//! What cannot be rewritten is counted and named, with the reason, and holds up nothing else.

use anyhow::{Context, Result};
use keystead_cluster::reencrypt::{Control, Ending, Interrupted, Journal, Outcome, Plan, run};
use keystead_etcd::{Connection, Etcd};
use keystead_model::ErrorClass;
use keystead_testkit::api::Method;
use serde_json::json;

use crate::scene::{Scene, connect, secrets};

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn a_policy_that_denies_is_named_and_immutable_and_terminating_are_rewritten() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 50).await?;
    // The data of an immutable Secret may not change, and does not.
    let immutable = json!({"metadata": {"name": "immutable"}, "immutable": true, "data": {"a": "Yg=="}});
    scene.post("/api/v1/namespaces/default/secrets", &immutable).await?;
    // Nobody here ends the namespace, and a finalizer holds the Secret.
    scene.namespace("ending").await?;
    let held =
        json!({"metadata": {"name": "held", "finalizers": ["example.com/held"]}, "data": {"a": "Yg=="}});
    scene.post("/api/v1/namespaces/ending/secrets", &held).await?;
    let client = scene.client();
    client.call(Method::DELETE, "/api/v1/namespaces/ending/secrets/held", None).await?;
    client.call(Method::DELETE, "/api/v1/namespaces/ending", None).await?;
    let frozen = json!({"metadata": {"name": "frozen", "labels": {"frozen": "yes"}}, "data": {"a": "Yg=="}});
    scene.post("/api/v1/namespaces/default/secrets", &frozen).await?;
    freeze(&scene).await?;

    scene.encrypt_with(&["one"]).await?;
    wait_for_denial(&scene).await?;
    let run = scene.reencrypt(secrets(), Control::default()).await?;
    println!("{}", run.report);
    assert_eq!((run.report.ending, run.report.unsettled()), (Ending::Refused, 1), "{}", run.report);
    let named = &run.report.passes[1].resources["secrets"].named;
    assert_eq!(
        (named.len(), named[0].name.as_str(), named[0].outcome),
        (1, "frozen", Outcome::AdmissionDenied)
    );
    assert!(named[0].reason.contains("ValidatingAdmissionPolicy 'freeze'"), "{}", named[0].reason);
    let text = run.report.to_string();
    assert!(text.contains("exempt the user") && text.contains("default/frozen"), "{text}");
    assert_eq!(scene.stored().await?, [("-".to_owned(), 1), ("one".to_owned(), 52)]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn who_may_not_is_told_so_early_or_object_by_object() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 80).await?;
    scene.namespace("other").await?;
    scene.fill("other", 5).await?;
    scene.encrypt_with(&["one"]).await?;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (name, verbs) in [("lists", json!(["list"])), ("patches", json!(["patch"]))] {
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}]);
        scene
            .post(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules}))
            .await?;
    }
    let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]);
    scene
        .post(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "looks"}, "rules": rules}))
        .await?;
    scene.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "robot"}})).await?;
    let subjects = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]);
    let binding = |role: &str| {
        let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        json!({"metadata": {"name": role}, "roleRef": reference, "subjects": subjects})
    };
    for role in ["lists", "looks"] {
        scene.post(&format!("{rbac}/clusterrolebindings"), &binding(role)).await?;
    }
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let answer = scene.client().call(Method::POST, path, Some(&json!({"spec": {}}))).await?;
    let token = answer.pointer("/status/token").and_then(|it| it.as_str()).context("a token")?;
    let kubeconfig = scene.kubeconfig("robot", token)?;

    // Nobody may patch anything: no 85 refusals are collected.
    let server = connect(&kubeconfig).await?;
    let plan = Plan::make(&server, secrets()).await?;
    let denied = run(&server, &plan, Journal::open(None, &plan)?, Control::default(), &mut |_| ()).await;
    assert!(matches!(denied.interrupted, Some(Interrupted::Denied { .. })), "{denied:?}");

    let path = format!("{rbac}/namespaces/default/rolebindings");
    scene.post(&path, &binding("patches")).await?;
    let run = run(&server, &plan, Journal::open(None, &plan)?, Control::default(), &mut |_| ()).await;
    assert_eq!((run.report.ending, run.report.unsettled()), (Ending::Refused, 5), "{run:?}");
    let tally = &run.report.passes[0].resources["secrets"];
    assert_eq!((tally.count(Outcome::Rewritten), tally.count(Outcome::Forbidden)), (80, 5));
    assert_eq!(scene.stored().await?, [("-".to_owned(), 5), ("one".to_owned(), 80)]);

    // What may not even be listed, and who is not known.
    let configmaps = keystead_cluster::reencrypt::Request {
        resources: vec!["configmaps".to_owned()],
        ..Default::default()
    };
    let error = Plan::make(&server, configmaps).await.expect_err("not allowed");
    assert_eq!(error.class(), ErrorClass::Denied, "{error}");
    let stranger = scene.kubeconfig("stranger", "nobody")?;
    let error = connect(&stranger).await.expect_err("not known");
    assert!(format!("{error:#}").contains("401"), "{error:#}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn what_the_api_server_cannot_read_is_named_and_the_list_goes_on_behind_it() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 700).await?;
    // Before, because an API server does not become ready with such an object.
    scene.encrypt_with(&["one"]).await?;
    let connection = Connection::plain(scene.control_plane.etcd().url());
    let etcd = Etcd::connect(&connection).await?;
    let lost = [b"k8s:enc:secretbox:v1:lost:".as_slice(), &[7; 200]].concat();
    for name in ["s-00037", "s-00038", "s-00699"] {
        etcd.put(format!("/registry/secrets/default/{name}").as_bytes(), &lost).await?;
    }
    let run = scene.reencrypt(secrets(), Control::default()).await?;
    println!("{} {:?}", run.report, run.interrupted);
    assert_eq!((run.report.ending, run.report.unsettled()), (Ending::Refused, 3), "{run:?}");
    let last = run.report.passes.last().context("a pass")?;
    let mut names: Vec<_> = last.resources["secrets"].named.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["s-00037", "s-00038", "s-00699"]);
    assert_eq!(scene.stored().await?, [("lost".to_owned(), 3), ("one".to_owned(), 697)]);
    Ok(())
}

/// A policy that denies every update of a Secret with the label `frozen`.
async fn freeze(scene: &Scene) -> Result<()> {
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]});
    let expression = "!has(object.metadata.labels) || !('frozen' in object.metadata.labels)";
    let policy = json!({
        "metadata": {"name": "freeze"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression, "message": "frozen"}],
        },
    });
    scene.post(&format!("{group}/validatingadmissionpolicies"), &policy).await?;
    let binding = json!({"metadata": {"name": "freeze"}, "spec": {"policyName": "freeze", "validationActions": ["Deny"]}});
    scene.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await
}

/// An API server takes a moment to see a policy.
async fn wait_for_denial(scene: &Scene) -> Result<()> {
    let path = "/api/v1/namespaces/default/secrets/frozen?dryRun=All";
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(50));
    for _ in 0..400 {
        pause.tick().await;
        let change = json!({"metadata": {"annotations": {"a": "b"}}});
        if scene.client().call(Method::PATCH, path, Some(&change)).await.is_err() {
            return Ok(());
        }
    }
    anyhow::bail!("the policy does not come into force")
}
