//! Whether the API server has migrations, and what it takes to have them.

use std::time::Duration;

use keystead_model::ErrorClass;
use serde::Deserialize;

use crate::api::{ApiServer, Call, CallError, resources};

pub(super) const GROUP: &str = "storagemigration.k8s.io";
/// The versions that are known here, the best first.
const KNOWN: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";

/// Why there are no migrations.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The API server has no such objects.
    #[error(
        "the API server ({}) serves no StorageVersionMigration: of {GROUP} it serves {}",
        release.as_deref().unwrap_or("of an unknown version"),
        if versions.is_empty() { "nothing".to_owned() } else { versions.join(", ") }
    )]
    Absent {
        /// As the API server says it, such as `v1.36.3`.
        release: Option<String>,
        /// The y of Kubernetes 1.y.
        minor: Option<u32>,
        /// The versions of the group that it has, without these objects or in a form that is not known here.
        versions: Vec<String>,
    },
    /// It does not say.
    #[error("the API server does not say whether it serves StorageVersionMigration")]
    Call(#[from] CallError),
}

impl NotServed {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Absent { .. } => ErrorClass::FailedPrecondition,
            Self::Call(error) => error.class(),
        }
    }

    /// What to do. The gates: `pkg/features/kube_features.go` of Kubernetes, and of client-go.
    pub fn hint(&self) -> String {
        const GATE: &str =
            "--feature-gates=StorageVersionMigrator=true for kube-apiserver and kube-controller-manager";
        let needs = match self {
            Self::Call(_) => {
                return "check that the API server runs, and that the user of the kubeconfig may see its APIs"
                    .to_owned();
            }
            Self::Absent { minor: Some(..30), .. } => "Kubernetes has it from 1.30 on".to_owned(),
            Self::Absent { minor: Some(30..35), .. } => format!(
                "Kubernetes 1.30 to 1.34 need {GATE}, InformerResourceVersion=true for kube-controller-manager too, and --runtime-config={GROUP}/v1alpha1=true for kube-apiserver"
            ),
            Self::Absent { minor: Some(35..37), .. } => format!(
                "Kubernetes 1.35 and 1.36 need {GATE}, and --runtime-config={GROUP}/v1beta1=true for kube-apiserver"
            ),
            Self::Absent { minor: Some(_), .. } => format!(
                "from 1.37 on it is there unless --runtime-config of kube-apiserver takes {GROUP}/v1 away"
            ),
            Self::Absent { minor: None, .. } => format!(
                "it needs Kubernetes 1.37, or from 1.30 on {GATE} and --runtime-config={GROUP}/VERSION=true for kube-apiserver (VERSION: v1alpha1, from 1.35 on v1beta1)"
            ),
        };
        format!("{needs}; or run it without --via, which needs none of that")
    }
}

/// The version of the API to speak.
pub(in crate::reencrypt) async fn served(server: &ApiServer) -> Result<&'static str, NotServed> {
    #[derive(Deserialize)]
    struct Group {
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let path = format!("/apis/{GROUP}");
    let group: Result<Group, CallError> = server.json(&Call::get(&path, JSON, ASK)).await;
    let versions: Vec<String> = match group {
        Ok(group) => group.versions.into_iter().map(|it| it.version).collect(),
        Err(CallError::Refused(refusal)) if refusal.status == 404 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for known in KNOWN.into_iter().filter(|known| versions.iter().any(|it| it == known)) {
        let listed = resources(server, &format!("{path}/{known}")).await?;
        if listed.iter().any(|it| it.name == "storageversionmigrations") {
            return Ok(known);
        }
    }
    let (release, minor) = server.version().await.unwrap_or_default();
    Err(NotServed::Absent { release, minor, versions })
}
