use std::sync::Arc;

use keystead_keyservice::operations::CreateBackup;
use keystead_keyservice::{KmsError, MethodKind};
use keystead_model::ErrorClass;
use keystead_proto::keystead_v1 as proto;
use keystead_proto::keystead_v1::backups_server::Backups;
use tonic::{Request, Response};

use super::method;
use crate::grpc::time::to_proto;
use crate::grpc::{Adapter, Answer};

#[tonic::async_trait]
impl Backups for Adapter {
    async fn create_backup(&self, request: Request<proto::CreateBackupRequest>) -> Answer<proto::Backup> {
        let (call, _) = self.identify(request, method("CreateBackup", MethodKind::AdminWrite)).await?;
        let Some(folder) = &self.backups else {
            let text = "This server has no folder for backups: name one in its configuration.";
            return Err(call.refuse("", &KmsError::new(ErrorClass::FailedPrecondition, text)).await);
        };
        let made = call.run("", Ok(CreateBackup { into: Arc::clone(folder) })).await?;
        Ok(Response::new(proto::Backup {
            name: made.name,
            create_time: Some(to_proto(made.create_time)),
            size_bytes: i64::try_from(made.size_bytes).unwrap_or(i64::MAX),
            sha256: made.sha256,
            revision: made.revision,
        }))
    }
}
