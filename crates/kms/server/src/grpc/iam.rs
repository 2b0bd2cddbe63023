//! `google.iam.admin.v1.IAM`: service accounts and their keys.

mod accounts;
mod keys;

use keystead_keyservice::operations::{
    DeleteServiceAccount, GetServiceAccount, ListServiceAccountKeys, ListServiceAccounts,
    SwitchServiceAccount,
};
use keystead_keyservice::{KmsError, Method, MethodKind, Resource};
use keystead_proto::iam_admin as proto;
use keystead_proto::iam_admin::iam_server::Iam;
use keystead_proto::iam_policy::{
    GetIamPolicyRequest, Policy, SetIamPolicyRequest, TestIamPermissionsRequest, TestIamPermissionsResponse,
};
use tonic::{Request, Response, Status};

use super::call::IdentifiedCall;
use super::{Adapter, Answer, iam_policy, projects};

const fn reads(name: &'static str) -> Method {
    Method { service: "iam.googleapis.com", name, kind: MethodKind::AdminRead }
}

const fn writes(name: &'static str) -> Method {
    Method { service: "iam.googleapis.com", name, kind: MethodKind::AdminWrite }
}

#[tonic::async_trait]
impl Iam for Adapter {
    async fn list_service_accounts(
        &self,
        request: Request<proto::ListServiceAccountsRequest>,
    ) -> Answer<proto::ListServiceAccountsResponse> {
        let (call, request) = self.identify(request, reads("ListServiceAccounts")).await?;
        let proto::ListServiceAccountsRequest { name, page_size, page_token } = request;
        let command = projects::id_of(&call, &name).await.and_then(|project| {
            let page_size = projects::page_size(page_size)?;
            Ok(ListServiceAccounts { project, page_size, page_token })
        });
        let page = call.run(&name, command).await?;
        Ok(Response::new(proto::ListServiceAccountsResponse {
            accounts: page.accounts.iter().map(accounts::account).collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        }))
    }

    async fn get_service_account(
        &self,
        request: Request<proto::GetServiceAccountRequest>,
    ) -> Answer<proto::ServiceAccount> {
        let (call, request) = self.identify(request, reads("GetServiceAccount")).await?;
        let name = call.keyservice().account_name(&request.name).await;
        let found = call.run(&request.name, name.map(|name| GetServiceAccount { name })).await?;
        Ok(Response::new(accounts::account(&found)))
    }

    async fn create_service_account(
        &self,
        request: Request<proto::CreateServiceAccountRequest>,
    ) -> Answer<proto::ServiceAccount> {
        let (call, request) = self.identify(request, writes("CreateServiceAccount")).await?;
        let parent = request.name.clone();
        let made = call.run(&parent, accounts::create(&call, request).await).await?;
        Ok(Response::new(accounts::account(&made)))
    }

    async fn patch_service_account(
        &self,
        request: Request<proto::PatchServiceAccountRequest>,
    ) -> Answer<proto::ServiceAccount> {
        let (call, request) = self.identify(request, writes("PatchServiceAccount")).await?;
        let name = request.service_account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
        let changed = call.run(&name, accounts::patch(&call, request).await).await?;
        Ok(Response::new(accounts::account(&changed)))
    }

    async fn delete_service_account(
        &self,
        request: Request<proto::DeleteServiceAccountRequest>,
    ) -> Answer<()> {
        let (call, request) = self.identify(request, writes("DeleteServiceAccount")).await?;
        let name = call.keyservice().account_name(&request.name).await;
        let command = name.map(|name| DeleteServiceAccount { name });
        Ok(Response::new(call.run(&request.name, command).await?))
    }

    async fn enable_service_account(
        &self,
        request: Request<proto::EnableServiceAccountRequest>,
    ) -> Answer<()> {
        let (call, request) = self.identify(request, writes("EnableServiceAccount")).await?;
        switch(&call, &request.name, true).await
    }

    async fn disable_service_account(
        &self,
        request: Request<proto::DisableServiceAccountRequest>,
    ) -> Answer<()> {
        let (call, request) = self.identify(request, writes("DisableServiceAccount")).await?;
        switch(&call, &request.name, false).await
    }

    async fn list_service_account_keys(
        &self,
        request: Request<proto::ListServiceAccountKeysRequest>,
    ) -> Answer<proto::ListServiceAccountKeysResponse> {
        let (call, request) = self.identify(request, reads("ListServiceAccountKeys")).await?;
        let account = call.keyservice().account_name(&request.name).await;
        let name = account.as_ref().map(|account| account.resource().to_string()).unwrap_or_default();
        let command = account.map(|name| ListServiceAccountKeys { name });
        let found = call.run(&request.name, command).await?;
        let shown = found.iter().filter(|_| keys::wants_ours(&request.key_types));
        let keys = shown.map(|key| keys::key(&name, key)).collect();
        Ok(Response::new(proto::ListServiceAccountKeysResponse { keys }))
    }

    async fn get_service_account_key(
        &self,
        request: Request<proto::GetServiceAccountKeyRequest>,
    ) -> Answer<proto::ServiceAccountKey> {
        let (call, request) = self.identify(request, reads("GetServiceAccountKey")).await?;
        keys::get(&call, &request).await
    }

    async fn create_service_account_key(
        &self,
        request: Request<proto::CreateServiceAccountKeyRequest>,
    ) -> Answer<proto::ServiceAccountKey> {
        let (call, request) = self.identify(request, writes("CreateServiceAccountKey")).await?;
        keys::create(&call, &request).await
    }

    async fn delete_service_account_key(
        &self,
        request: Request<proto::DeleteServiceAccountKeyRequest>,
    ) -> Answer<()> {
        let (call, request) = self.identify(request, writes("DeleteServiceAccountKey")).await?;
        keys::delete(&call, &request.name).await
    }

    async fn get_iam_policy(&self, request: Request<GetIamPolicyRequest>) -> Answer<Policy> {
        let (call, request) = self.identify(request, reads("GetIamPolicy")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::get(&call, resource, &request).await
    }

    async fn set_iam_policy(&self, request: Request<SetIamPolicyRequest>) -> Answer<Policy> {
        let (call, request) = self.identify(request, writes("SetIamPolicy")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::set(&call, resource, request).await
    }

    async fn test_iam_permissions(
        &self,
        request: Request<TestIamPermissionsRequest>,
    ) -> Answer<TestIamPermissionsResponse> {
        let (call, request) = self.identify(request, reads("TestIamPermissions")).await?;
        let resource = resource(&call, &request.resource).await;
        iam_policy::test(&call, resource, request).await
    }
}

async fn switch(call: &IdentifiedCall<'_>, name: &str, enable: bool) -> Result<Response<()>, Status> {
    let account = call.keyservice().account_name(name).await;
    call.run(name, account.map(|name| SwitchServiceAccount { name, enable })).await?;
    Ok(Response::new(()))
}

async fn resource(call: &IdentifiedCall<'_>, name: &str) -> Result<Resource, KmsError> {
    Ok(call.keyservice().account_name(name).await?.resource())
}
