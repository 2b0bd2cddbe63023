//! `google.container.v1.ClusterManager`: clusters, and the operations that tell what is done to them.

mod cluster;
mod encryption;
pub(super) mod name;
mod operation;
mod settings;

use std::sync::PoisonError;

use keystead_keyservice::operations::{
    CancelClusterOperation, ClusterView, CreateCluster, DeleteCluster, GetCluster, GetClusterOperation,
    GetServerConfig, ListClusterOperations, ListClusters, SetClusterLabels, UpdateClusterEncryption,
};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::{ClusterName, ClusterOperation, ErrorClass};
use keystead_proto::container as proto;
use keystead_proto::container::cluster_manager_server::ClusterManager;
use tonic::{Request, Response};

use super::{Adapter, Answer};
use crate::local_clusters::LocalState;
use cluster::cluster;
use name::Named;
use operation::operation;

/// What its hosts run is a cluster's version: nothing is chosen here.
const ANY_VERSION: &str = "latest";

const fn reads(name: &'static str) -> Method {
    Method { service: "container.googleapis.com", name, kind: MethodKind::AdminRead }
}

const fn writes(name: &'static str) -> Method {
    Method { service: "container.googleapis.com", name, kind: MethodKind::AdminWrite }
}

#[tonic::async_trait]
impl ClusterManager for Adapter {
    async fn list_clusters(
        &self,
        request: Request<proto::ListClustersRequest>,
    ) -> Answer<proto::ListClustersResponse> {
        let (call, request) = self.identify(request, reads("ListClusters")).await?;
        let named = Named::parent(&request.parent, &request.project_id, &request.zone);
        let command = named.parent_of_list(&call).await;
        let command = command.map(|(project, location)| ListClusters { project, location });
        let listed = call.run(&named.name, command).await?;
        let clusters = listed.iter().map(|it| self.shown(it, call.keyservice().address())).collect();
        Ok(Response::new(proto::ListClustersResponse { clusters, missing_zones: Vec::new() }))
    }

    async fn get_cluster(&self, request: Request<proto::GetClusterRequest>) -> Answer<proto::Cluster> {
        let (call, request) = self.identify(request, reads("GetCluster")).await?;
        let named = Named::cluster(&request.name, &request.project_id, &request.zone, &request.cluster_id);
        let command = named.as_cluster(&call).await.map(|name| GetCluster { name });
        let found = call.run(&named.name, command).await?;
        Ok(Response::new(self.shown(&found, call.keyservice().address())))
    }

    async fn create_cluster(
        &self,
        request: Request<proto::CreateClusterRequest>,
    ) -> Answer<proto::Operation> {
        let (call, request) = self.identify(request, writes("CreateCluster")).await?;
        let asked = request.cluster.unwrap_or_default();
        let parent = Named::parent(&request.parent, &request.project_id, &request.zone);
        let named = parent.new_cluster(&asked.name);
        let command = match named.as_cluster(&call).await {
            Ok(name) => new_cluster(name, asked),
            Err(error) => Err(error),
        };
        let begun = call.run(&named.name, command).await?;
        Ok(Response::new(operation(&begun, call.keyservice().address())))
    }

    async fn update_cluster(
        &self,
        request: Request<proto::UpdateClusterRequest>,
    ) -> Answer<proto::Operation> {
        let (call, request) = self.identify(request, writes("UpdateCluster")).await?;
        let named = Named::cluster(&request.name, &request.project_id, &request.zone, &request.cluster_id);
        let command = match named.as_cluster(&call).await {
            Ok(name) => changed_encryption(name, request.update.unwrap_or_default()),
            Err(error) => Err(error),
        };
        let begun = call.run(&named.name, command).await?;
        Ok(Response::new(operation(&begun, call.keyservice().address())))
    }

    async fn set_labels(&self, request: Request<proto::SetLabelsRequest>) -> Answer<proto::Operation> {
        let (call, request) = self.identify(request, writes("SetLabels")).await?;
        let named = Named::cluster(&request.name, &request.project_id, &request.zone, &request.cluster_id);
        let command = named.as_cluster(&call).await.map(|name| SetClusterLabels {
            name,
            labels: request.resource_labels.into_iter().collect(),
            fingerprint: request.label_fingerprint,
        });
        let done = call.run(&named.name, command).await?;
        Ok(Response::new(operation(&done, call.keyservice().address())))
    }

    async fn delete_cluster(
        &self,
        request: Request<proto::DeleteClusterRequest>,
    ) -> Answer<proto::Operation> {
        let (call, request) = self.identify(request, writes("DeleteCluster")).await?;
        let named = Named::cluster(&request.name, &request.project_id, &request.zone, &request.cluster_id);
        let command = named.as_cluster(&call).await.map(|name| DeleteCluster { name });
        let done = call.run(&named.name, command).await?;
        Ok(Response::new(operation(&done, call.keyservice().address())))
    }

    async fn list_operations(
        &self,
        request: Request<proto::ListOperationsRequest>,
    ) -> Answer<proto::ListOperationsResponse> {
        let (call, request) = self.identify(request, reads("ListOperations")).await?;
        let named = Named::parent(&request.parent, &request.project_id, &request.zone);
        let command = named.parent_of_list(&call).await;
        let command = command.map(|(project, location)| ListClusterOperations { project, location });
        let listed = call.run(&named.name, command).await?;
        let operations = listed.iter().map(|it| self.operation(it, call.keyservice().address())).collect();
        Ok(Response::new(proto::ListOperationsResponse { operations, missing_zones: Vec::new() }))
    }

    async fn get_operation(&self, request: Request<proto::GetOperationRequest>) -> Answer<proto::Operation> {
        let (call, request) = self.identify(request, reads("GetOperation")).await?;
        let named =
            Named::operation(&request.name, &request.project_id, &request.zone, &request.operation_id);
        let command = named.as_operation(&call).await.map(|name| GetClusterOperation { name });
        let found = call.run(&named.name, command).await?;
        Ok(Response::new(self.operation(&found, call.keyservice().address())))
    }

    async fn cancel_operation(&self, request: Request<proto::CancelOperationRequest>) -> Answer<()> {
        let (call, request) = self.identify(request, writes("CancelOperation")).await?;
        let named =
            Named::operation(&request.name, &request.project_id, &request.zone, &request.operation_id);
        let command = named.as_operation(&call).await.map(|name| CancelClusterOperation { name });
        call.run(&named.name, command).await?;
        Ok(Response::new(()))
    }

    async fn get_server_config(
        &self,
        request: Request<proto::GetServerConfigRequest>,
    ) -> Answer<proto::ServerConfig> {
        let (call, request) = self.identify(request, reads("GetServerConfig")).await?;
        let named = Named::parent(&request.name, &request.project_id, &request.zone);
        let command = named.as_location(&call).await.map(|location| GetServerConfig { location });
        call.run(&named.name, command).await?;
        Ok(Response::new(proto::ServerConfig {
            default_cluster_version: ANY_VERSION.to_owned(),
            valid_node_versions: vec![ANY_VERSION.to_owned()],
            valid_master_versions: vec![ANY_VERSION.to_owned()],
        }))
    }
}

impl Adapter {
    fn shown(&self, of: &ClusterView, address: &str) -> proto::Cluster {
        let states = self.local_clusters.read().unwrap_or_else(PoisonError::into_inner);
        cluster(of, address, states.get(&of.cluster.id))
    }

    /// One that waits for a cluster of ours that does not run says why.
    fn operation(&self, of: &ClusterOperation, address: &str) -> proto::Operation {
        let mut shown = operation(of, address);
        let states = self.local_clusters.read().unwrap_or_else(PoisonError::into_inner);
        let is_its = |it: &&LocalState| it.name.location == of.name.location && it.name.cluster == of.cluster;
        let trouble = states.values().find(is_its).and_then(|it| it.trouble.clone());
        if let Some(trouble) = trouble.filter(|_| of.end.is_none()) {
            shown.detail = trouble;
        }
        shown
    }
}

fn new_cluster(name: ClusterName, asked: proto::Cluster) -> Result<CreateCluster, KmsError> {
    let key = match &asked.database_encryption {
        Some(encryption) => encryption::wanted("cluster.database_encryption", encryption)?,
        None => None,
    };
    settings::check_text("cluster.initial_cluster_version", &asked.initial_cluster_version)?;
    Ok(CreateCluster {
        name,
        key,
        settings: settings::kept(&asked)?,
        labels: asked.resource_labels.into_iter().collect(),
        initial_version: asked.initial_cluster_version,
    })
}

fn changed_encryption(
    name: ClusterName,
    update: proto::ClusterUpdate,
) -> Result<UpdateClusterEncryption, KmsError> {
    settings::check_update(&update)?;
    let encryption = update.desired_database_encryption.ok_or_else(|| {
        let text = "The update names nothing that is served: Keystead changes update.desired_database_encryption of a cluster, and its \
                    labels with setResourceLabels.";
        KmsError::new(ErrorClass::Unimplemented, text)
    })?;
    let key = encryption::wanted("update.desired_database_encryption", &encryption)?;
    Ok(UpdateClusterEncryption { name, key })
}
