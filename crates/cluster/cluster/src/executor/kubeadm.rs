//! kubeadm's ClusterConfiguration in the cluster, kept in step with the manifests: `kubeadm upgrade` and `kubeadm join` write manifests
//! anew from it, and a flag that is only in a manifest is lost with them.

use std::time::Duration;

use http::Method;
use keystead_model::ErrorChain;
use serde::Deserialize;
use serde_json::json;

use super::Executor;
use super::observe::Sight;
use crate::api::{ApiServer, Call, CallError};
use crate::api_server_manifest::EncryptionSettings;
use crate::host::{Answer, LocalHost, Report, Task};
use crate::kubeadm_configuration::{ClusterConfiguration, KubeadmError};

const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
/// Where kubeadm keeps it, and under which name there.
const PATH: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
const ENTRY: &str = "ClusterConfiguration";

/// What kubeadm's configuration lacks, or has too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeadmPatch {
    /// The text as it is.
    pub old: String,
    /// The text as it must be.
    pub new: String,
    resource_version: String,
}

/// Why kubeadm's configuration was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KubeadmConfigError {
    /// The API server did not give or take it.
    #[error("the ConfigMap kubeadm-config in kube-system cannot be read or changed")]
    Call(#[from] CallError),
    /// Another host cannot have the same.
    #[error(
        "the ConfigMap kubeadm-config in kube-system is not kept in step, because {0}: put the flag and the volume there by hand"
    )]
    Elsewhere(String),
    /// Its text.
    #[error("ClusterConfiguration in the ConfigMap kubeadm-config in kube-system: {0}")]
    Text(#[from] KubeadmError),
}

impl KubeadmConfigError {
    /// Whether asking again may help.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Call(_))
    }
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Metadata,
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// What has to change so that it says `settings`, or nothing of them. None: nothing, or the cluster is not kubeadm's.
pub(crate) async fn patch(
    server: &ApiServer,
    settings: &EncryptionSettings,
    is_set: bool,
) -> Result<Option<KubeadmPatch>, KubeadmConfigError> {
    let found: ConfigMap = match server.json(&Call::get(PATH, JSON, ASK)).await {
        Err(CallError::Refused(refusal)) if refusal.status == 404 => return Ok(None),
        answer => answer?,
    };
    let Some(old) = found.data.get(ENTRY) else { return Ok(None) };
    let text = ClusterConfiguration::read(old.as_bytes())?;
    let new = match is_set {
        true => text.with_encryption(settings)?,
        false => text.without_encryption(settings)?,
    };
    let new = new.text().to_owned();
    let resource_version = found.metadata.resource_version;
    Ok((new != *old).then(|| KubeadmPatch { old: old.clone(), new, resource_version }))
}

/// Whether kubeadm's configuration has what the manifest of `host` says about encryption, or the cluster is not kubeadm's.
///
/// # Errors
///
/// One of the two cannot be read.
pub async fn kubeadm_knows(server: &ApiServer, host: &LocalHost) -> Result<bool, KubeadmConfigError> {
    let look = Task::Look { resources: Vec::new(), plugins: Vec::new() };
    let report = match host.perform(&look).await {
        Ok(Answer::Report(report)) => report,
        Ok(_) => return Ok(false),
        Err(error) => return Err(KubeadmConfigError::Elsewhere(ErrorChain(&error).to_string())),
    };
    let settings =
        report.settings.as_ref().map_err(|reason| KubeadmConfigError::Elsewhere(reason.clone()))?;
    Ok(patch(server, settings, true).await?.is_none())
}

impl KubeadmPatch {
    /// The lines that go and come, with `-` and `+` in front.
    pub fn lines(&self) -> Vec<String> {
        let (old, new): (Vec<&str>, Vec<&str>) = (self.old.lines().collect(), self.new.lines().collect());
        let same = |a: &&(&&str, &&str)| a.0 == a.1;
        let before = old.iter().zip(&new).take_while(|it| same(&it)).count();
        let after = old.iter().skip(before).rev().zip(new.iter().skip(before).rev());
        let after = after.take_while(|it| same(&it)).count();
        let changed = |lines: &[&str], mark: char| -> Vec<String> {
            let end = lines.len() - after;
            lines.iter().take(end).skip(before).map(|it| format!("{mark}{it}")).collect()
        };
        let mut lines = changed(&old, '-');
        lines.extend(changed(&new, '+'));
        lines
    }

    /// Writes it, unless somebody else changed it meanwhile.
    async fn apply(&self, server: &ApiServer) -> Result<(), KubeadmConfigError> {
        let body = json!({
            "metadata": { "resourceVersion": self.resource_version },
            "data": { ENTRY: self.new },
        })
        .to_string();
        let call =
            Call { method: Method::PATCH, path: PATH, accept: JSON, body: Some((MERGE, &body)), limit: ASK };
        server.call(&call).await?;
        Ok(())
    }
}

impl Executor<'_> {
    /// What kubeadm's configuration would need for the goal of this rollout.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has something else in the places that are needed.
    pub async fn kubeadm_patch(&mut self) -> Result<Option<KubeadmPatch>, KubeadmConfigError> {
        let sight = self.observe().await;
        let Some(report) = sight.reports().next() else { return Ok(None) };
        let settings =
            report.settings.as_ref().map_err(|reason| KubeadmConfigError::Elsewhere(reason.clone()))?;
        patch(&self.server, settings, self.record.goal.sets_flag()).await
    }

    /// Keeps it in step with the manifests: set as soon as one host has the flag, because from then on values may need it, and unset when
    /// none has it.
    pub(super) async fn keep_kubeadm_in_step(
        &mut self,
        sight: &Sight,
    ) -> Result<Option<KubeadmPatch>, KubeadmConfigError> {
        let reports: Vec<&Report> = sight.reports().collect();
        let with_flag = reports.iter().find(|it| it.has_flag);
        let all_answered = reports.len() == sight.hosts.len();
        if with_flag.is_none() && (!all_answered || self.record.goal.sets_flag()) {
            return Ok(None);
        }
        let Some(report) = with_flag.or(reports.first()) else { return Ok(None) };
        let settings =
            report.settings.as_ref().map_err(|reason| KubeadmConfigError::Elsewhere(reason.clone()))?;
        let patch = patch(&self.server, settings, with_flag.is_some()).await?;
        if let Some(patch) = &patch {
            patch.apply(&self.server).await?;
        }
        Ok(patch)
    }
}

#[cfg(test)]
mod tests {
    use super::KubeadmPatch;

    #[test]
    fn only_what_differs_is_shown() {
        let patch = |old: &str, new: &str| KubeadmPatch {
            old: old.into(),
            new: new.into(),
            resource_version: String::new(),
        };
        assert_eq!(patch("a\nb\nc\n", "a\nx\nc\n").lines(), ["-b", "+x"]);
        assert_eq!(patch("a\nb\n", "a\nn\na\nb\n").lines(), ["+n", "+a"]);
        assert!(patch("a\n", "a\n").lines().is_empty());
    }
}
