use keystead_keyservice::MethodKind;
use keystead_keyservice::operations::GetAuditHead;
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::audit_server::Audit;
use tonic::{Request, Response};

use super::method;
use crate::grpc::time::to_proto;
use crate::grpc::{Adapter, Answer};

#[tonic::async_trait]
impl Audit for Adapter {
    async fn get_audit_head(&self, request: Request<proto::GetAuditHeadRequest>) -> Answer<proto::AuditHead> {
        let (call, _) = self.identify(request, method("GetAuditHead", MethodKind::AdminRead)).await?;
        let head = call.run("", Ok(GetAuditHead)).await?;
        Ok(Response::new(proto::AuditHead {
            sequence: head.sequence,
            hash: head.hash.to_string(),
            write_time: Some(to_proto(head.time)),
        }))
    }
}
