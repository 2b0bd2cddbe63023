use std::sync::Arc;

use keystead_keyservice::operations::{
    IssuePluginToken, JoinCluster, ReportHost, ReportInventory, ReviewToken, Reviewed,
};
use keystead_keyservice::{KmsError, MethodKind};
use keystead_model::cluster_host::{HostGoal, HostReport, Instruction, Work, WorkState};
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::agents_server::Agents;
use keystead_proto::keystead_v1::host_instruction::Goal;
use keystead_proto::keystead_v1::host_work::State;
use tonic::{Request, Response};
use zeroize::Zeroizing;

use super::certificates::{no_authority, refused, sign};
use super::method;
use crate::grpc::time::{from_proto, seconds, to_proto};
use crate::grpc::{Adapter, Answer};
use crate::pki::{Pki, public_key_digest};

#[tonic::async_trait]
impl Agents for Adapter {
    async fn join_cluster(
        &self,
        request: Request<proto::JoinClusterRequest>,
    ) -> Answer<proto::JoinClusterResponse> {
        let (call, request) = self.identify(request, method("JoinCluster", MethodKind::AdminWrite)).await?;
        let Some(authority) = &self.authority else { return Err(call.refuse("", &no_authority()).await) };
        let joined = call.run("", Ok(join(request, authority))).await?;
        Ok(Response::new(proto::JoinClusterResponse {
            host: joined.host.name.to_string(),
            certificate_pem: joined.certificate.pem,
            authority_pem: authority.ca_pem(),
            expire_time: Some(to_proto(joined.certificate.not_after)),
        }))
    }

    async fn report_host(
        &self,
        request: Request<proto::ReportHostRequest>,
    ) -> Answer<proto::ReportHostResponse> {
        let (call, request) = self.identify(request, method("ReportHost", MethodKind::AdminWrite)).await?;
        let command = report(request.report.unwrap_or_default()).map(|report| ReportHost { report });
        let answer = call.run("", command).await?;
        Ok(Response::new(proto::ReportHostResponse {
            instruction: answer.instruction.map(instruction),
            report_after: Some(seconds(answer.report_after.as_secs().try_into().unwrap_or(i64::MAX))),
        }))
    }

    async fn issue_plugin_token(
        &self,
        request: Request<proto::IssuePluginTokenRequest>,
    ) -> Answer<proto::IssuePluginTokenResponse> {
        let (call, _) = self.identify(request, method("IssuePluginToken", MethodKind::AdminWrite)).await?;
        let issued = call.run("", Ok(IssuePluginToken)).await?;
        Ok(Response::new(proto::IssuePluginTokenResponse {
            // It was made as text.
            token: String::from_utf8(issued.secret.into_exposed()).unwrap_or_default(),
            token_id: issued.token.id,
        }))
    }

    async fn report_inventory(&self, request: Request<proto::ReportInventoryRequest>) -> Answer<()> {
        let (call, request) =
            self.identify(request, method("ReportInventory", MethodKind::AdminWrite)).await?;
        let observe_time = request.observe_time.map(|it| from_proto("observe_time", it)).transpose();
        let command = observe_time.map(|observe_time| ReportInventory {
            observe_time,
            under: request.under.into_iter().collect(),
            unattributed: request.unattributed,
        });
        call.run("", command).await?;
        Ok(Response::new(()))
    }

    async fn review_token(&self, request: Request<proto::ReviewTokenRequest>) -> Answer<proto::TokenReview> {
        let (call, request) = self.identify(request, method("ReviewToken", MethodKind::AdminRead)).await?;
        let review = request.review.unwrap_or_default();
        let token = Zeroizing::new(review.spec.unwrap_or_default().token);
        let reviewed = call.run("", Ok(ReviewToken { token })).await?;
        Ok(Response::new(proto::TokenReview {
            api_version: "authentication.k8s.io/v1".to_owned(),
            kind: "TokenReview".to_owned(),
            status: Some(token_status(reviewed)),
            ..proto::TokenReview::default()
        }))
    }
}

fn token_status(reviewed: Option<Reviewed>) -> proto::token_review::Status {
    let user = reviewed.map(|it| proto::token_review::User {
        username: it.user,
        groups: it.group.map(str::to_owned).into_iter().collect(),
        ..proto::token_review::User::default()
    });
    let error = if user.is_none() { "the token counts for nothing here" } else { "" };
    proto::token_review::Status {
        authenticated: user.is_some(),
        user,
        error: error.to_owned(),
        ..proto::token_review::Status::default()
    }
}

fn join(request: proto::JoinClusterRequest, authority: &Arc<Pki>) -> JoinCluster {
    let public_key = public_key_digest(&request.signing_request_pem).map_err(refused);
    JoinCluster {
        public_key,
        node: request.node,
        sign: sign(Arc::clone(authority), request.signing_request_pem),
    }
}

fn report(report: proto::HostReport) -> Result<HostReport, KmsError> {
    Ok(HostReport {
        sequence: report.sequence,
        agent_version: report.agent_version,
        api_server_version: report.api_server_version,
        configuration_hash: report.configuration_hash,
        writes: report.writes,
        key_ids: report.key_ids,
        control_plane: report.control_plane,
        work: report.work.map(work).transpose()?,
    })
}

fn work(work: proto::HostWork) -> Result<Work, KmsError> {
    let state = match work.state() {
        State::Waiting => WorkState::Waiting,
        State::Working => WorkState::Working,
        State::Done => WorkState::Done,
        State::Failed => WorkState::Failed,
        State::Unspecified => {
            let text = "report.work.state must be WAITING, WORKING, DONE or FAILED.";
            return Err(KmsError::invalid(text));
        }
    };
    let operation = work.operation.parse();
    let operation =
        operation.map_err(|error| KmsError::invalid(format!("report.work.operation: {error}.")))?;
    Ok(Work { operation, state, detail: work.detail })
}

fn instruction(instruction: Instruction) -> proto::HostInstruction {
    let (goal, key) = match instruction.goal {
        HostGoal::Encrypt(key) => (Goal::Encrypt, Some(key)),
        HostGoal::Reencrypt(key) => (Goal::Reencrypt, Some(key)),
        HostGoal::Decrypt => (Goal::Decrypt, None),
    };
    proto::HostInstruction {
        operation: instruction.operation.as_str().to_owned(),
        goal: goal.into(),
        crypto_key: key.map(|key| key.to_string()).unwrap_or_default(),
    }
}
