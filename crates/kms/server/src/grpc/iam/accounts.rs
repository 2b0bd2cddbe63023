use keystead_keyservice::operations::{CreateServiceAccount, UpdateServiceAccount};
use keystead_keyservice::{KmsError, ServiceAccount};
use keystead_proto::iam_admin as proto;

use crate::grpc::call::IdentifiedCall;
use crate::grpc::projects;

pub(super) async fn create(
    call: &IdentifiedCall<'_>,
    request: proto::CreateServiceAccountRequest,
) -> Result<CreateServiceAccount, KmsError> {
    let project = projects::id_of(call, &request.name).await?;
    let asked = request.service_account.unwrap_or_default();
    Ok(CreateServiceAccount {
        project,
        account_id: request.account_id,
        display_name: asked.display_name,
        description: asked.description,
    })
}

/// What the mask does not name is not looked at.
pub(super) async fn patch(
    call: &IdentifiedCall<'_>,
    request: proto::PatchServiceAccountRequest,
) -> Result<UpdateServiceAccount, KmsError> {
    let asked = request.service_account.unwrap_or_default();
    let name = call.keyservice().account_name(&asked.name).await?;
    let paths = request.update_mask.unwrap_or_default().paths;
    let mut update = UpdateServiceAccount {
        name,
        display_name: None,
        description: None,
        etag: (!asked.etag.is_empty()).then_some(asked.etag),
    };
    if paths.is_empty() {
        return Err(KmsError::invalid("update_mask must name at least one of display_name and description."));
    }
    for path in paths {
        match path.as_str() {
            "display_name" | "displayName" => update.display_name = Some(asked.display_name.clone()),
            "description" => update.description = Some(asked.description.clone()),
            "etag" => {}
            _ => {
                let path: String = path.chars().take(100).collect();
                let text =
                    format!("update_mask names {path:?}; display_name and description can be changed.");
                return Err(KmsError::invalid(text));
            }
        }
    }
    Ok(update)
}

pub(super) fn account(account: &ServiceAccount) -> proto::ServiceAccount {
    proto::ServiceAccount {
        name: account.resource().to_string(),
        project_id: account.project.to_string(),
        unique_id: account.unique_id.clone(),
        email: account.email.clone(),
        display_name: account.display_name.clone(),
        etag: account.etag(),
        description: account.description.clone(),
        oauth2_client_id: account.unique_id.clone(),
        disabled: account.disabled,
    }
}
