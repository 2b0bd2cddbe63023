//! The in-tree migration: a StorageVersionMigration, done by a real kube-controller-manager.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use keystead_etcd::{Connection, Etcd};
use keystead_testkit::api::Method;
use keystead_testkit::control_plane::{ControllerManager, DEFAULT_VERSION};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::report::{Report, Row};
use crate::stage::Stage;

/// The migration is done from the garbage collector's memory, so that both are needed.
const CONTROLLERS: [&str; 2] = ["garbage-collector-controller", "storage-version-migrator-controller"];
const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
/// For the controllers to begin: they read all metadata, and wait for news of the resource, which comes within a minute or two.
const BEGIN: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(200);
/// So many new revisions are no heartbeat of the API server any more.
const BEGUN: i64 = 20;

/// Adds a row, or says why there is none.
pub(crate) async fn measure(stage: &Stage, limit: Duration, report: &mut Report) -> Result<()> {
    let node = std::env::var_os("KEYSTEAD_NODE").map(PathBuf::from);
    if !node.is_some_and(|it| it.join("kube-controller-manager").is_file()) {
        report.notes.push(
            "The in-tree migration was not measured: there is no kube-controller-manager in $KEYSTEAD_NODE."
                .to_owned(),
        );
        return Ok(());
    }
    let controllers = ControllerManager::start(&stage.scene.control_plane, &CONTROLLERS).await?;
    // Shows that the controllers work, and waits until they do.
    let mut ready = Migration::begin(stage, "configmaps").await?;
    ready.run(BEGIN).await.context("a migration of ConfigMaps")?;
    let mut migration = Migration::begin(stage, "secrets").await?;
    let ended = migration.run(limit).await?;
    let stopped = Instant::now();
    drop(controllers);
    let secrets = stage.rewritten().await?;
    let first = migration.first.context("the in-tree migration rewrote nothing")?;
    let (took, waited) = (stopped - first, first - migration.created);
    let until = if ended { String::new() } else { format!(", cut after {} s", limit.as_secs()) };
    let what = format!("in-tree StorageVersionMigration, from its first rewrite{until}");
    report.in_tree = Some(Row { what, secrets, took });
    if ended {
        let what = "in-tree StorageVersionMigration, from its creation to Succeeded".to_owned();
        report.rows.push(Row { what, secrets, took: stopped - migration.created });
    }
    report.notes.push(format!(
        "In-tree: kube-controller-manager {DEFAULT_VERSION} with these controllers alone: {}; its settings are the default ones. \
         It began to rewrite {:.1} s after the object was created.",
        CONTROLLERS.join(" and "),
        waited.as_secs_f64()
    ));
    Ok(())
}

struct Migration<'a> {
    stage: &'a Stage,
    etcd: Etcd,
    path: String,
    created: Instant,
    /// etcd's revision then.
    revision: i64,
    /// When objects were seen to be rewritten.
    first: Option<Instant>,
}

impl<'a> Migration<'a> {
    async fn begin(stage: &'a Stage, resource: &str) -> Result<Self> {
        let etcd = Etcd::connect(&Connection::plain(stage.scene.control_plane.etcd().url())).await?;
        let object = json!({
            "apiVersion": "storagemigration.k8s.io/v1",
            "kind": "StorageVersionMigration",
            "metadata": {"name": resource},
            "spec": {"resource": {"group": "", "resource": resource}},
        });
        let revision = etcd.revision().await?;
        stage.scene.post(MIGRATIONS, &object).await?;
        let path = format!("{MIGRATIONS}/{resource}");
        Ok(Self { stage, etcd, path, created: Instant::now(), revision, first: None })
    }

    /// Until it has succeeded; `false` where it is not through when it has rewritten for `limit`.
    async fn run(&mut self, limit: Duration) -> Result<bool> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.first.is_none() && self.etcd.revision().await? > self.revision + BEGUN {
                self.first = Some(Instant::now());
            }
            let object = self.stage.scene.client().call(Method::GET, &self.path, None).await?;
            if condition(&object, "Failed") {
                bail!("the in-tree migration failed: {}", object["status"]);
            }
            if condition(&object, "Succeeded") {
                return Ok(true);
            }
            match self.first {
                Some(first) if first.elapsed() > limit => return Ok(false),
                None if self.created.elapsed() > BEGIN => {
                    bail!("the in-tree migration did not begin within {BEGIN:?}: {}", object["status"])
                }
                _ => {}
            }
        }
    }
}

fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == kind && it["status"] == "True")
}
