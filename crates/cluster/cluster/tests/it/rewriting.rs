//! What is stale is stored anew, once, and nothing else.

use anyhow::Result;
use keystead_cluster::reencrypt::{Control, Ending, Outcome, Request};
use keystead_testkit::api::Kind;

use crate::scene::{Scene, secrets};

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p18_the_first_pass_rewrites_each_stale_secret_and_the_second_none() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 1200).await?;
    scene.namespace("first").await?;
    scene.fill("first", 30).await?;
    scene.encrypt_with(&["one"]).await?;
    assert_eq!(scene.stored().await?, [("-".to_owned(), 1230)]);

    let server = scene.connect().await?;
    let plan = keystead_cluster::reencrypt::Plan::make(&server, secrets()).await?;
    assert_eq!((plan.objects(), plan.steps.len()), (1230, 1));

    let run = scene.reencrypt(secrets(), Control::default()).await?;
    assert!(run.interrupted.is_none(), "{run:?}");
    assert_eq!(run.report.ending, Ending::AllCurrent, "{}", run.report);
    let counts = |outcome| run.report.passes.iter().map(|it| it.count(outcome)).collect::<Vec<_>>();
    assert_eq!(counts(Outcome::Rewritten), [1230, 0]);
    assert_eq!(counts(Outcome::Current), [0, 1230]);
    assert_eq!(scene.stored().await?, [("one".to_owned(), 1230)]);

    // Again: one pass is enough to see that there is nothing to do.
    let run = scene.reencrypt(secrets(), Control::default()).await?;
    assert_eq!((run.report.passes.len(), run.report.rewritten()), (1, 0));

    // Another key, one namespace only.
    scene.encrypt_with(&["two", "one"]).await?;
    let first = Request { namespaces: vec!["first".to_owned()], only_namespaces: true, ..secrets() };
    let run = scene.reencrypt(first.clone(), Control::default()).await?;
    assert_eq!((run.report.ending, run.report.rewritten()), (Ending::AllCurrent, 30));
    assert_eq!(scene.stored().await?, [("one".to_owned(), 1200), ("two".to_owned(), 30)]);
    // That one first, then the others: nothing twice.
    let run = scene.reencrypt(Request { only_namespaces: false, ..first }, Control::default()).await?;
    assert_eq!(run.report.rewritten(), 1200);
    assert_eq!(run.report.passes[0].resources["secrets"].objects(), 1230);
    assert_eq!(scene.stored().await?, [("two".to_owned(), 1230)]);

    // C11: the same key, and yet each one is written.
    let annotate = Request { annotate: Some("2026-11-29T18:00:00Z".to_owned()), ..secrets() };
    let before = scene.client().list(Kind::Secret, "first", 0, "").await?.items;
    let run = scene.reencrypt(annotate.clone(), Control::default()).await?;
    assert_eq!((run.report.ending, run.report.rewritten()), (Ending::AllCurrent, 1230));
    let after = scene.client().list(Kind::Secret, "first", 0, "").await?.items;
    assert!(
        before.iter().zip(&after).all(|(a, b)| a.name == b.name && a.resource_version != b.resource_version)
    );
    let run = scene.reencrypt(annotate, Control::default()).await?;
    assert_eq!(run.report.rewritten(), 0);
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn wildcards_mean_what_can_be_rewritten_and_say_what_cannot() -> Result<()> {
    let mut scene = Scene::start().await?;
    scene.fill("default", 3).await?;
    scene.encrypt_with(&["one"]).await?;
    let every = Request { resources: vec!["*.*".to_owned()], ..Request::default() };
    let server = scene.connect().await?;
    let plan = keystead_cluster::reencrypt::Plan::make(&server, every.clone()).await?;
    let names: Vec<_> = plan.steps.iter().map(|it| it.resource.full_name()).collect();
    for name in
        ["secrets", "configmaps", "events", "deployments.apps", "clusterroles.rbac.authorization.k8s.io"]
    {
        assert!(names.iter().filter(|it| *it == name).count() == 1, "{name}: {names:?}");
    }
    assert!(!names.iter().any(|it| it == "events.events.k8s.io"));
    assert!(plan.left_out.iter().any(|it| it.resource == "componentstatuses"), "{:?}", plan.left_out);
    let run = scene.reencrypt(every, Control::default()).await?;
    assert_eq!(run.report.ending, Ending::AllCurrent, "{}", run.report);
    // Of what is not in the configuration nothing is stale.
    let first = &run.report.passes[0].resources;
    assert_eq!(first["secrets"].count(Outcome::Rewritten), 3);
    assert_eq!(first["clusterroles.rbac.authorization.k8s.io"].count(Outcome::Rewritten), 0);
    assert!(first["clusterroles.rbac.authorization.k8s.io"].count(Outcome::Current) > 10);

    for (name, says) in [
        ("secretz", "there is no resource `secretz`"),
        ("deployments", "there is no resource `deployments`"),
        ("componentstatuses", "cannot be patched"),
        ("events.events.k8s.io", "they are the objects of `events`"),
    ] {
        let request = Request { resources: vec![name.to_owned()], ..Request::default() };
        let error = keystead_cluster::reencrypt::Plan::make(&server, request).await.expect_err(name);
        assert!(error.to_string().contains(says), "{error}");
    }
    let nowhere = Request { namespaces: vec!["nowhere".to_owned()], ..secrets() };
    let error =
        keystead_cluster::reencrypt::Plan::make(&server, nowhere).await.expect_err("no such namespace");
    assert_eq!(error.to_string(), "there is no namespace `nowhere` in this cluster");
    Ok(())
}
