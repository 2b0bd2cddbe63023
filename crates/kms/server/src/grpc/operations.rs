//! `google.longrunning.Operations`: looks whether what an operation's name says is so.

use keystead_keyservice::operations::{GetCryptoKeyVersion, GetProject, GetService};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::ErrorClass;
use keystead_proto::longrunning::operations_server::Operations;
use keystead_proto::longrunning::{GetOperationRequest, Operation};
use tonic::{Code, Request, Response};

use super::finished::Finished;
use super::{Adapter, Answer, cloud_kms, projects, service_usage};

#[tonic::async_trait]
impl Operations for Adapter {
    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        let method = Method::kms("GetOperation", MethodKind::AdminRead);
        let (call, GetOperationRequest { name }) = self.identify(request, method).await?;
        let unknown = || KmsError::new(ErrorClass::NotFound, "There is no such operation.");
        let Some(finished) = Finished::parse(&name) else {
            return Err(call.refuse(&name, &unknown()).await);
        };
        let operation = match &finished {
            Finished::DeletedKey(retired) => {
                call.run(retired, cloud_kms::get_retired(retired)).await?;
                finished.operation()
            }
            Finished::DeletedVersion(version) => {
                let command = version.parse().map(|name| GetCryptoKeyVersion { name });
                match call.run(version, command.map_err(KmsError::from)).await {
                    Err(status) if status.code() == Code::NotFound => finished.operation(),
                    Err(status) => return Err(status),
                    Ok(_) => return Err(call.refuse(&name, &unknown()).await),
                }
            }
            Finished::CreatedProject(id) => {
                let command = id.parse().map(|id| GetProject { id }).map_err(KmsError::from);
                projects::created_v1(&call.run(&format!("projects/{id}"), command).await?)
            }
            Finished::SwitchedServices(names) => {
                let mut views = Vec::new();
                for service in names.split(',') {
                    let parsed = service_usage::parse(&call, service).await;
                    let command = parsed.map(|(project, api)| GetService { project, api });
                    views.push(call.run(service, command).await?);
                }
                service_usage::switched(&views, views.len() > 1)
            }
        };
        Ok(Response::new(operation))
    }
}
