//! The same with a cluster as a managed service: the server runs it, and three commands make it, encrypted, and show that it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::key_service::{KEY_NAME, KeyService, PROJECT};
use super::narration::Narration;
use crate::env::quote;

const CLUSTER: &str = "demo";
const PLACE: [&str; 4] = ["--region", "europe-west1", "--project", PROJECT];

/// What goes on running when the story is told. It ends with this value.
pub(super) struct ManagedCluster {
    // Dropped in this order: a server that runs starts its clusters.
    pub(super) service: KeyService,
    _clusters: Clusters,
}

/// The clusters of the server, which go on when it ends.
struct Clusters {
    directory: PathBuf,
}

impl Drop for Clusters {
    fn drop(&mut self) {
        // There are none where the story ended early, and that is told.
        drop(keystead_local_cluster::stop_all(&self.directory, |_| ()));
    }
}

/// `programs`: the directory with those of Kubernetes.
pub(super) async fn tell(narration: &Narration, directory: &Path, programs: &Path) -> Result<ManagedCluster> {
    let clusters = Clusters { directory: directory.join("clusters") };
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    let flags = [
        "--local-clusters".to_owned(),
        path(&clusters.directory)?,
        "--kubernetes-programs".to_owned(),
        path(programs)?,
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    narration.step("A key management service, which also runs clusters, and a key in it");
    let service = KeyService::start(narration, directory, &flags).await?;
    service.make_key(narration).await?;
    let enable = ["services", "enable", "container.googleapis.com", "--project", PROJECT];
    service.type_in(narration, &enable, &[]).await?;

    narration.step("A cluster whose Secrets are encrypted with that key");
    let create = ["container", "clusters", "create", CLUSTER, "--cluster-version=latest"];
    let key = ["--database-encryption-key", KEY_NAME];
    service.type_in(narration, &[&create, PLACE.as_slice(), &key].concat(), &[]).await?;

    narration.step("How it is encrypted");
    let describe = ["container", "clusters", "describe", CLUSTER, "--format", "value(databaseEncryption)"];
    service.type_in(narration, &[&describe, PLACE.as_slice()].concat(), &[]).await?;
    Ok(ManagedCluster { service, _clusters: clusters })
}

/// What can be done with it.
pub(super) fn try_it(program: &str, service: &KeyService) -> String {
    let place = PLACE.join(" ");
    format!(
        "\nThe cluster is up. In another shell, with gcloud in place of {program} if you like:\n   \
         eval \"$({program} env --data-dir {})\"\n   \
         {program} container clusters get-credentials {CLUSTER} {place}\n   \
         kubectl get secrets --all-namespaces\n   \
         {program} container clusters update {CLUSTER} {place} --disable-database-encryption",
        quote(&service.data_dir().to_string_lossy())
    )
}

/// The directory of `kube-apiserver`, if what a cluster needs besides is in it too.
pub(super) fn programs(kube_apiserver: &Path) -> Result<&Path> {
    let directory = kube_apiserver.parent().context("a program is in a directory")?;
    for name in ["etcd", "kube-controller-manager", "kube-scheduler"] {
        ensure!(
            directory.join(name).is_file(),
            "{} has no {name}, which a whole cluster needs: `cargo xtask control-plane --local-clusters` builds it, in some minutes; \
             or name a directory with all four by --control-plane",
            directory.display()
        );
    }
    Ok(directory)
}
