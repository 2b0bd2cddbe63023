use std::path::PathBuf;

use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;
use crate::local_clusters::LocalClustersSettings;

/// Clusters that the server itself runs, for trying and for tests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PartialLocalClusters {
    /// Directory in which clusters run that are made here, with etcd and API servers as processes of this user, for trying and for tests;
    /// none
    #[arg(
        id = "local_clusters",
        long = "local-clusters",
        env = "KEYSTEAD_SERVER_LOCAL_CLUSTERS",
        value_name = "DIRECTORY"
    )]
    directory: Option<PathBuf>,
    /// Directory with the programs of local clusters: etcd, kube-apiserver, kube-controller-manager and kube-scheduler
    #[arg(
        id = "kubernetes_programs",
        long = "kubernetes-programs",
        env = "KEYSTEAD_SERVER_KUBERNETES_PROGRAMS",
        value_name = "DIRECTORY"
    )]
    programs: Option<PathBuf>,
}

impl PartialLocalClusters {
    pub(super) fn or(self, other: Self) -> Self {
        Self { directory: self.directory.or(other.directory), programs: self.programs.or(other.programs) }
    }

    pub(super) fn complete(self) -> Result<Option<LocalClustersSettings>, Failure> {
        match (self.directory, self.programs) {
            (None, None) => Ok(None),
            (Some(directory), Some(programs)) => Ok(Some(LocalClustersSettings { directory, programs })),
            (Some(_), None) => Err(wrong(
                "local clusters need the programs of Kubernetes, and nobody says where they are",
                "give --kubernetes-programs, a directory with etcd, kube-apiserver, kube-controller-manager and kube-scheduler",
            )),
            (None, Some(_)) => Err(wrong(
                "the programs of Kubernetes are for local clusters, and there are none",
                "give --local-clusters, the directory in which they run, too",
            )),
        }
    }
}
