//! Control-plane hosts of clusters: who may join one, what their agents say, and what they are told.
//!
//! An agent never names its cluster: which host it is on is what its credential says, so there is none that it could reach besides.

mod invite_host;
mod issue_plugin_token;
mod join_cluster;
mod remove_host;
mod report_host;
mod report_inventory;
mod review_token;
mod view_hosts;

pub(crate) use invite_host::InviteLocalHost;
pub use invite_host::{Invitation, InviteHost};
pub use issue_plugin_token::IssuePluginToken;
pub use join_cluster::{HostCertificate, JoinCluster};
pub use remove_host::RemoveHost;
pub use report_host::{HostAnswer, ReportHost};
pub use report_inventory::ReportInventory;
pub use review_token::{ReviewToken, Reviewed};
pub use view_hosts::ListHosts;

use jiff::Timestamp;
use keystead_model::cluster::Task;
use keystead_model::cluster_host::{Next, next};
use keystead_model::{
    Cluster, ClusterHost, ClusterHostName, ClusterName, ClusterOperation, ErrorClass, Principal,
};
use keystead_store::Batch;

use crate::records::account_email::AccountEmail;
use crate::records::token::StoredToken;
use crate::records::{Stored, encode, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation};

fn method(name: &'static str, kind: MethodKind) -> Method {
    Method { service: "keystead.io", name, kind }
}

/// Nobody joins or leaves a local cluster.
fn hosts_are_the_servers(cluster: &ClusterName) -> KmsError {
    let text = format!(
        "Cluster {cluster} is a local one: this server runs its hosts, which come and go with it. A cluster of hosts of your own is made \
         with the label keystead-local=no."
    );
    KmsError::new(ErrorClass::FailedPrecondition, text)
}

/// The host on which the caller is an agent. Notes it for the audit log.
fn calling_host<O: Operation>(authorised: &mut Authorised<'_, O>) -> Result<ClusterHostName, KmsError> {
    let name = match &authorised.call().caller().principal {
        Principal::ServiceAccount(email) => match AccountEmail::parse(email) {
            Some(AccountEmail::Host(name)) => Some(name),
            _ => None,
        },
        Principal::User(_) => None,
    };
    let name = name.ok_or_else(|| {
        let text = "Only the agent of a cluster's host calls this, with what `keystead agent join` got.";
        KmsError::new(ErrorClass::Denied, text)
    })?;
    authorised.outcome().resource = Some(name.to_string().into());
    Ok(name)
}

impl KeyService {
    async fn read_host(&self, name: &ClusterHostName) -> Result<Stored<ClusterHost>, KmsError> {
        let host = self.read(&record_name::cluster_host(name)).await?;
        host.ok_or_else(|| KmsError::not_found("Host", name))
    }

    pub(crate) async fn hosts_of(&self, cluster: &ClusterName) -> Result<Vec<ClusterHost>, KmsError> {
        self.read_all(&record_name::cluster_hosts(cluster)).await
    }

    /// Has tokens count no more. One that is gone, or was revoked before, is left as it is.
    async fn revoking<'i>(
        &self,
        mut batch: Batch,
        ids: impl Iterator<Item = &'i String>,
        now: Timestamp,
    ) -> Result<Batch, KmsError> {
        for id in ids {
            let record = record_name::token(id);
            let Some(stored) = self.read::<StoredToken>(&record).await? else { continue };
            if stored.value.revoke_time.is_none() {
                let mut revoked = stored.value;
                revoked.revoke_time = Some(now);
                batch = batch.replace(record, stored.revision, encode(&revoked)?);
            }
        }
        Ok(batch)
    }

    /// With a cluster its hosts go, and all that they can show.
    pub(super) async fn removing_hosts(
        &self,
        mut batch: Batch,
        cluster: &ClusterName,
        now: Timestamp,
    ) -> Result<Batch, KmsError> {
        for host in self.hosts_of(cluster).await? {
            // One that was removed meanwhile is gone already.
            if let Some(host) = self.read(&record_name::cluster_host(&host.name)).await? {
                batch = self.removing_host(batch, &host, now).await?;
            }
        }
        Ok(batch)
    }

    async fn removing_host(
        &self,
        batch: Batch,
        host: &Stored<ClusterHost>,
        now: Timestamp,
    ) -> Result<Batch, KmsError> {
        let batch = batch.delete(record_name::cluster_host(&host.value.name), host.revision);
        let tokens = host.value.join_token.iter().chain(&host.value.plugin_tokens);
        self.revoking(batch, tokens, now).await
    }

    /// An operation with what it waits for now.
    pub(super) async fn with_detail(
        &self,
        operation: ClusterOperation,
        now: Timestamp,
    ) -> Result<ClusterOperation, KmsError> {
        if operation.end.is_some() || matches!(operation.task, Task::SetLabels | Task::Delete) {
            return Ok(operation);
        }
        let location = operation.name.location.clone();
        let name = ClusterName { location, cluster: operation.cluster.clone() };
        let Some(cluster) = self.read::<Cluster>(&record_name::cluster(&name)).await? else {
            return Ok(operation);
        };
        let detail = match next(&cluster.value, &self.hosts_of(&name).await?, now) {
            Some(Next::Wait(text) | Next::Fail(text)) => text,
            _ => return Ok(operation),
        };
        Ok(ClusterOperation { detail, ..operation })
    }
}
