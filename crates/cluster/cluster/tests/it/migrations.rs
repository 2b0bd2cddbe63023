//! Re-encryption by StorageVersionMigration: what the API server must have, what is sent to each version of it, and how it is watched. The
//! tests of the program have a real kube-controller-manager; where one must fail at will, the API server is played.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use keystead_cluster::reencrypt::{
    Control, Ending, Interrupted, Journal, MigrationError, Outcome, Plan, PlanError, Request, Run, Via, run,
};
use keystead_model::ErrorClass;
use keystead_testkit::api::Method;
use keystead_testkit::control_plane::{ControlPlane, Options};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Instead};
use crate::scene::{Scene, secrets};

const PATH: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";

fn by_migration() -> Request {
    Request { via: Via::StorageVersionMigration, ..secrets() }
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn an_api_server_without_migrations_is_told_what_it_takes() -> Result<()> {
    for (version, off, needs) in [
        ("1.28.15", None, "from 1.30 on"),
        ("1.31.0", None, "storagemigration.k8s.io/v1alpha1=true"),
        ("1.36.3", None, "storagemigration.k8s.io/v1beta1=true"),
        ("1.37.2", Some("storagemigration.k8s.io/v1=false"), "--runtime-config of kube-apiserver"),
    ] {
        let args = off.map(|it| format!("--runtime-config={it}")).into_iter().collect();
        let options = Options { version: version.to_owned(), args, ..Options::default() };
        let scene = Scene { control_plane: ControlPlane::start(options).await? };
        let error = Plan::make(&scene.connect().await?, by_migration()).await.expect_err(version);
        assert_eq!(error.class(), ErrorClass::FailedPrecondition);
        let text = error.to_string();
        assert!(text.contains(&format!("v{version}")) && text.contains("it serves nothing"), "{text}");
        let PlanError::NoMigration(error) = error else { anyhow::bail!("another error: {error}") };
        let hint = error.hint();
        assert!(hint.contains(needs) && hint.contains("without --via"), "{hint}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn each_version_of_the_api_takes_what_is_made_and_a_controller_that_is_not_there_is_told() -> Result<()>
{
    for (version, api) in [("1.31.0", "v1alpha1"), ("1.36.3", "v1beta1"), ("1.37.2", "v1")] {
        let args = vec![
            "--feature-gates=StorageVersionMigrator=true".to_owned(),
            format!("--runtime-config=storagemigration.k8s.io/{api}=true"),
        ];
        let options = Options { version: version.to_owned(), args, ..Options::default() };
        let scene = Scene { control_plane: ControlPlane::start(options).await? };
        let control = Control { patience: Duration::from_secs(2), ..Control::default() };
        let run = scene.reencrypt(by_migration(), control).await?;
        let interrupted = run.interrupted.with_context(|| format!("{version} has no controller"))?;
        let Interrupted::Migration(error @ MigrationError::Ignored { .. }) = interrupted else {
            anyhow::bail!("{version}: another error: {interrupted:?}");
        };
        assert!(error.hint().is_some_and(|it| it.contains("StorageVersionMigrator")), "{error}");
        let path = format!("/apis/storagemigration.k8s.io/{api}/storageversionmigrations/keystead-secrets");
        let made = scene.client().call(Method::GET, &path, None).await?;
        let mut resource = json!({"resource": "secrets"});
        if api == "v1alpha1" {
            resource["version"] = "v1".into();
        }
        let sent = &made["spec"]["resource"];
        assert!(sent.get("group").is_none_or(|it| it == ""), "{version}: {sent}");
        for (field, value) in resource.as_object().context("an object")? {
            assert_eq!(&sent[field], value, "{version}: {sent}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_migration_that_failed_is_named_and_nothing_is_said_to_be_current() -> Result<()> {
    let failed = json!([
        {"type": "Running", "status": "False", "reason": "MigrationCompleted"},
        {"type": "Failed", "status": "True", "reason": "F", "message": "3/7 not yet migrated: webhook said no"},
    ]);
    let (fake, seen) = played(7, Vec::new(), vec![failed]).await?;
    let run = reencrypt(&fake).await?;
    assert_eq!((run.report.ending, run.report.passes.len()), (Ending::Refused, 1), "{run:?}");
    let tally = &run.report.passes[0].resources["secrets"];
    assert_eq!((tally.count(Outcome::NotMigrated), tally.objects()), (1, 0));
    assert_eq!(run.report.what_is_left(), "1 in-tree migrations failed");
    let text = run.report.to_string();
    assert!(text.contains("keystead-secrets: 3/7 not yet migrated: webhook said no"), "{text}");
    // It is there for whoever looks into it, and the objects are as before.
    assert_eq!(*seen.lock().expect("not poisoned"), ["POST"]);
    assert_eq!(fake.rewritten(), 0);
    Ok(())
}

/// One that fails counts no more, while another one still runs.
#[tokio::test]
async fn a_count_that_falls_is_no_fault() -> Result<()> {
    let condition = |kind: &str| json!([{"type": kind, "status": "True", "message": "m"}]);
    let (mut looks, mut created) = (0, 0);
    let instead: Instead = Box::new(move |method, path, _| {
        let body = match (method, path) {
            ("GET", "/apis/storagemigration.k8s.io") => json!({"versions": [{"version": "v1"}]}),
            ("GET", "/apis/storagemigration.k8s.io/v1") => {
                json!({"resources": [{"name": "storageversionmigrations", "namespaced": false, "verbs": []}]})
            }
            ("GET", PATH) if created < 2 => json!({"items": []}),
            ("GET", PATH) => {
                looks += 1;
                let of = |resource: &str, kind: &str| {
                    let mut it = migration(resource, resource, Some("keystead"), &condition(kind));
                    it["metadata"]["name"] = format!("keystead-{resource}").into();
                    // Every object of the API server that is played is newer.
                    it["status"]["resourceVersion"] = "1".into();
                    it
                };
                let kinds = match looks {
                    ..4 => ("Running", "Running"),
                    4 => ("Failed", "Running"),
                    _ => ("Failed", "Succeeded"),
                };
                json!({"items": [of("secrets", kinds.0), of("configmaps", kinds.1)]})
            }
            ("POST", PATH) => {
                created += 1;
                migration("new", "secrets", Some("keystead"), &Value::Null)
            }
            _ => return None,
        };
        Some(Answer { body: Some(body), ..Answer::new(200, "") })
    });
    let fake = Fake::start(10, Some(instead)).await?;
    let request =
        Request { resources: vec!["secrets".to_owned(), "configmaps".to_owned()], ..by_migration() };
    let plan = Plan::make(&fake.server, request).await?;
    let journal = Journal::open(None, &plan)?;
    let mut most = 0;
    let mut observer = |it: &keystead_cluster::reencrypt::Progress| most = most.max(it.done);
    let run = run(&fake.server, &plan, journal, Control::default(), &mut observer).await;
    assert_eq!(run.report.ending, Ending::Refused, "{run:?}");
    assert_eq!((most, run.report.objects_sent), (10, 0));
    Ok(())
}

#[tokio::test]
async fn one_of_another_day_is_made_anew_and_what_the_controller_skipped_is_found() -> Result<()> {
    let done = |message: &str| json!([{"type": "Succeeded", "status": "True", "message": message}]);
    let old = vec![migration("old", "secrets", Some("keystead"), &done(""))];
    let running = json!([{"type": "Running", "status": "True"}]);
    let (fake, seen) = played(1200, old, vec![Value::Null, running, done("Migration completed")]).await?;
    let run = reencrypt(&fake).await?;
    assert_eq!(run.report.ending, Ending::AllCurrent, "{run:?}");
    let counts = |outcome| run.report.passes.iter().map(|it| it.count(outcome)).collect::<Vec<_>>();
    // The one that is played writes nothing at all.
    assert_eq!(counts(Outcome::Rewritten), [0, 1200, 0]);
    assert_eq!(counts(Outcome::Current), [1200, 0, 1200]);
    assert_eq!(*seen.lock().expect("not poisoned"), ["DELETE", "POST", "DELETE"]);
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_touched() -> Result<()> {
    for taken in [
        migration("theirs", "secrets", None, &Value::Null),
        migration("other", "configmaps", Some("keystead"), &Value::Null),
    ] {
        let (fake, seen) = played(1, vec![taken], Vec::new()).await?;
        let run = reencrypt(&fake).await?;
        let interrupted = run.interrupted.context("interrupted")?;
        let taken = matches!(interrupted, Interrupted::Migration(MigrationError::NameTaken(_)));
        assert!(taken, "{interrupted:?}");
        assert!(seen.lock().expect("not poisoned").is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn what_the_controller_cannot_choose_is_refused() -> Result<()> {
    let (fake, _) = played(1, Vec::new(), Vec::new()).await?;
    for request in [
        Request { annotate: Some("now".to_owned()), ..by_migration() },
        Request { namespaces: vec!["n".to_owned()], ..by_migration() },
    ] {
        let error = Plan::make(&fake.server, request).await.expect_err("refused");
        assert!(matches!(error, PlanError::MigrationChoosesNothing), "{error}");
    }
    Ok(())
}

async fn reencrypt(fake: &Fake) -> Result<Run> {
    let plan = Plan::make(&fake.server, by_migration()).await?;
    let journal = Journal::open(None, &plan)?;
    Ok(run(&fake.server, &plan, journal, Control::default(), &mut |_| ()).await)
}

/// What was changed, in order.
type Seen = Arc<Mutex<Vec<String>>>;

/// An API server that has migrations: those that are there, and after one is made, at each look the next of these conditions.
async fn played(objects: usize, there: Vec<Value>, mut conditions: Vec<Value>) -> Result<(Fake, Seen)> {
    let seen = Seen::default();
    let shared = Arc::clone(&seen);
    let (mut all, mut made) = (there, false);
    let instead: Instead = Box::new(move |method, path, _| {
        let body = match (method, path) {
            ("GET", "/apis/storagemigration.k8s.io") => json!({"versions": [{"version": "v1"}]}),
            ("GET", "/apis/storagemigration.k8s.io/v1") => {
                json!({"resources": [{"name": "storageversionmigrations", "namespaced": false, "verbs": []}]})
            }
            ("GET", PATH) => {
                if made && !conditions.is_empty() {
                    all = vec![migration("new", "secrets", Some("keystead"), &conditions.remove(0))];
                }
                json!({"items": all})
            }
            ("POST" | "DELETE", path) if path.starts_with(PATH) => {
                shared.lock().expect("not poisoned").push(method.to_owned());
                made |= method == "POST";
                all.clear();
                migration("new", "secrets", Some("keystead"), &Value::Null)
            }
            _ => return None,
        };
        Some(Answer { body: Some(body), ..Answer::new(200, "") })
    });
    Ok((Fake::start(objects, Some(instead)).await?, seen))
}

fn migration(uid: &str, resource: &str, managed_by: Option<&str>, conditions: &Value) -> Value {
    let labels =
        managed_by.map(|it| json!({"app.kubernetes.io/managed-by": it})).unwrap_or_else(|| json!({}));
    json!({
        "metadata": {"name": "keystead-secrets", "uid": uid, "labels": labels},
        "spec": {"resource": {"resource": resource}},
        "status": {"conditions": conditions, "resourceVersion": "1000"},
    })
}
