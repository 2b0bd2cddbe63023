use keystead_keyservice::{KmsError, MethodKind, Resource};
use keystead_proto::iam_policy as proto;
use keystead_proto::keystead_v1::server_policy_server::ServerPolicy;
use tonic::Request;

use super::method;
use crate::grpc::{Adapter, Answer, iam_policy};

#[tonic::async_trait]
impl ServerPolicy for Adapter {
    async fn get_iam_policy(&self, request: Request<proto::GetIamPolicyRequest>) -> Answer<proto::Policy> {
        let (call, request) = self.identify(request, method("GetIamPolicy", MethodKind::AdminRead)).await?;
        iam_policy::get(&call, server(&request.resource), &request).await
    }

    async fn set_iam_policy(&self, request: Request<proto::SetIamPolicyRequest>) -> Answer<proto::Policy> {
        let (call, request) = self.identify(request, method("SetIamPolicy", MethodKind::AdminWrite)).await?;
        iam_policy::set(&call, server(&request.resource), request).await
    }

    async fn test_iam_permissions(
        &self,
        request: Request<proto::TestIamPermissionsRequest>,
    ) -> Answer<proto::TestIamPermissionsResponse> {
        let (call, request) =
            self.identify(request, method("TestIamPermissions", MethodKind::AdminRead)).await?;
        iam_policy::test(&call, server(&request.resource), request).await
    }
}

fn server(name: &str) -> Result<Resource, KmsError> {
    match name {
        "server" => Ok(Resource::Server),
        _ => Err(KmsError::invalid("resource must be `server`: other resources have their own service.")),
    }
}
