use jiff::SignedDuration;
use keystead_keyservice::operations::{InviteHost, ListHosts, RemoveHost};
use keystead_keyservice::{KmsError, MethodKind};
use keystead_model::cluster_host::{HostReport, Work, WorkState};
use keystead_model::{ClusterHost, ClusterHostName, ClusterName};
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::cluster_hosts_server::ClusterHosts;
use tonic::{Request, Response};

use super::method;
use crate::grpc::call::IdentifiedCall;
use crate::grpc::container::name::Named;
use crate::grpc::time::{to_proto, whole_seconds};
use crate::grpc::{Adapter, Answer};

#[tonic::async_trait]
impl ClusterHosts for Adapter {
    async fn invite_host(
        &self,
        request: Request<proto::InviteHostRequest>,
    ) -> Answer<proto::InviteHostResponse> {
        let (call, request) = self.identify(request, method("InviteHost", MethodKind::AdminWrite)).await?;
        let parent = request.parent.clone();
        let invited = call.run(&parent, invite(&call, request).await).await?;
        Ok(Response::new(proto::InviteHostResponse {
            host: Some(host(&invited.host)),
            // It was made as text.
            join_token: String::from_utf8(invited.token.secret.into_exposed()).unwrap_or_default(),
            expire_time: invited.token.token.expire_time.map(to_proto),
        }))
    }

    async fn list_hosts(
        &self,
        request: Request<proto::ListHostsRequest>,
    ) -> Answer<proto::ListHostsResponse> {
        let (call, request) = self.identify(request, method("ListHosts", MethodKind::AdminRead)).await?;
        let command = cluster(&call, &request.parent).await.map(|cluster| ListHosts { cluster });
        let hosts = call.run(&request.parent, command).await?;
        Ok(Response::new(proto::ListHostsResponse { hosts: hosts.iter().map(host).collect() }))
    }

    async fn remove_host(&self, request: Request<proto::RemoveHostRequest>) -> Answer<()> {
        let (call, request) = self.identify(request, method("RemoveHost", MethodKind::AdminWrite)).await?;
        let command = remove(&call, &request.name).await;
        Ok(Response::new(call.run(&request.name, command).await?))
    }
}

async fn invite(
    call: &IdentifiedCall<'_>,
    request: proto::InviteHostRequest,
) -> Result<InviteHost, KmsError> {
    let ttl = request.ttl.map(|ttl| whole_seconds("ttl", ttl).map(SignedDuration::from_secs)).transpose()?;
    Ok(InviteHost { cluster: cluster(call, &request.parent).await?, node: request.node, ttl })
}

async fn remove(call: &IdentifiedCall<'_>, name: &str) -> Result<RemoveHost, KmsError> {
    let (parent, id) = name.rsplit_once("/hosts/").unwrap_or((name, ""));
    let cluster = cluster(call, parent).await?;
    Ok(RemoveHost { name: ClusterHostName { cluster, host: id.parse()? } })
}

async fn cluster(call: &IdentifiedCall<'_>, parent: &str) -> Result<ClusterName, KmsError> {
    Named::cluster(parent, "", "", "").as_cluster(call).await
}

fn host(host: &ClusterHost) -> proto::ClusterHost {
    proto::ClusterHost {
        name: host.name.to_string(),
        node: host.node.clone(),
        create_time: Some(to_proto(host.create_time)),
        join_time: host.joined.as_ref().map(|joined| to_proto(joined.time)),
        report_time: host.reported.as_ref().map(|reported| to_proto(reported.time)),
        report: host.reported.as_ref().map(|reported| report(&reported.report)),
    }
}

fn report(report: &HostReport) -> proto::HostReport {
    proto::HostReport {
        sequence: report.sequence,
        agent_version: report.agent_version.clone(),
        api_server_version: report.api_server_version.clone(),
        configuration_hash: report.configuration_hash.clone(),
        writes: report.writes.clone(),
        key_ids: report.key_ids.clone(),
        control_plane: report.control_plane.clone(),
        work: report.work.as_ref().map(work),
    }
}

fn work(work: &Work) -> proto::HostWork {
    use proto::host_work::State;
    let state = match work.state {
        WorkState::Waiting => State::Waiting,
        WorkState::Working => State::Working,
        WorkState::Done => State::Done,
        WorkState::Failed => State::Failed,
    };
    proto::HostWork {
        operation: work.operation.as_str().to_owned(),
        state: state.into(),
        detail: work.detail.clone(),
    }
}
