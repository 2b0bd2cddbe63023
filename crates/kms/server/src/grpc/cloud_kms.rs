//! `google.cloud.kms.v1.KeyManagementService`. Each method: who calls, the command that the message means, the answer.

mod crypto_keys;
mod cryptography;
pub(super) mod record;
mod supported;
mod versions;

use keystead_keyservice::operations::{
    DeleteCryptoKey, DeleteCryptoKeyVersion, DestroyCryptoKeyVersion, GetCryptoKey, GetCryptoKeyVersion,
    GetKeyRing, GetRetiredResource, ListCryptoKeyVersions, ListCryptoKeys, ListKeyRings, ListOptions,
    ListRetiredResources, RestoreCryptoKeyVersion,
};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::LocationName;
use keystead_proto::cloud_kms as kms;
use keystead_proto::cloud_kms::key_management_service_server::KeyManagementService;
use keystead_proto::longrunning::Operation;
use tonic::{Request, Response};

use super::finished::Finished;
use super::{Adapter, Answer};

const fn reads(name: &'static str) -> Method {
    Method::kms(name, MethodKind::AdminRead)
}

const fn writes(name: &'static str) -> Method {
    Method::kms(name, MethodKind::AdminWrite)
}

#[tonic::async_trait]
impl KeyManagementService for Adapter {
    async fn list_key_rings(
        &self,
        request: Request<kms::ListKeyRingsRequest>,
    ) -> Answer<kms::ListKeyRingsResponse> {
        let (call, request) = self.identify(request, reads("ListKeyRings")).await?;
        let kms::ListKeyRingsRequest { parent, page_size, page_token, filter, order_by } = request;
        let options = ListOptions { page_size, page_token, filter, order_by };
        let command = parent.parse().map(|parent| ListKeyRings { parent, options });
        let page = call.run(&parent, command.map_err(KmsError::from)).await?;
        Ok(Response::new(kms::ListKeyRingsResponse {
            total_size: size(page.total_size),
            next_page_token: page.next_page_token,
            key_rings: page.items.iter().map(record::key_ring).collect(),
        }))
    }

    async fn list_crypto_keys(
        &self,
        request: Request<kms::ListCryptoKeysRequest>,
    ) -> Answer<kms::ListCryptoKeysResponse> {
        let (call, request) = self.identify(request, reads("ListCryptoKeys")).await?;
        let kms::ListCryptoKeysRequest { parent, page_size, page_token, filter, order_by, .. } = request;
        let options = ListOptions { page_size, page_token, filter, order_by };
        let command = parent.parse().map(|parent| ListCryptoKeys { parent, options });
        let page = call.run(&parent, command.map_err(KmsError::from)).await?;
        Ok(Response::new(kms::ListCryptoKeysResponse {
            total_size: size(page.total_size),
            next_page_token: page.next_page_token,
            crypto_keys: page.items.iter().map(record::crypto_key).collect(),
        }))
    }

    async fn list_crypto_key_versions(
        &self,
        request: Request<kms::ListCryptoKeyVersionsRequest>,
    ) -> Answer<kms::ListCryptoKeyVersionsResponse> {
        let (call, request) = self.identify(request, reads("ListCryptoKeyVersions")).await?;
        let kms::ListCryptoKeyVersionsRequest { parent, page_size, page_token, filter, order_by, .. } =
            request;
        let options = ListOptions { page_size, page_token, filter, order_by };
        let command = parent.parse().map(|parent| ListCryptoKeyVersions { parent, options });
        let page = call.run(&parent, command.map_err(KmsError::from)).await?;
        Ok(Response::new(kms::ListCryptoKeyVersionsResponse {
            total_size: size(page.total_size),
            next_page_token: page.next_page_token,
            crypto_key_versions: page.items.iter().map(record::version).collect(),
        }))
    }

    async fn list_retired_resources(
        &self,
        request: Request<kms::ListRetiredResourcesRequest>,
    ) -> Answer<kms::ListRetiredResourcesResponse> {
        let (call, request) = self.identify(request, reads("ListRetiredResources")).await?;
        let kms::ListRetiredResourcesRequest { parent, page_size, page_token } = request;
        let options = ListOptions { page_size, page_token, ..Default::default() };
        let command = parent.parse().map(|parent| ListRetiredResources { parent, options });
        let page = call.run(&parent, command.map_err(KmsError::from)).await?;
        Ok(Response::new(kms::ListRetiredResourcesResponse {
            total_size: size(page.total_size).into(),
            next_page_token: page.next_page_token,
            retired_resources: page.items.iter().map(record::retired).collect(),
        }))
    }

    async fn get_key_ring(&self, request: Request<kms::GetKeyRingRequest>) -> Answer<kms::KeyRing> {
        let (call, kms::GetKeyRingRequest { name }) = self.identify(request, reads("GetKeyRing")).await?;
        let command = name.parse().map(|name| GetKeyRing { name }).map_err(KmsError::from);
        Ok(Response::new(record::key_ring(&call.run(&name, command).await?)))
    }

    async fn get_crypto_key(&self, request: Request<kms::GetCryptoKeyRequest>) -> Answer<kms::CryptoKey> {
        let (call, kms::GetCryptoKeyRequest { name }) = self.identify(request, reads("GetCryptoKey")).await?;
        let command = name.parse().map(|name| GetCryptoKey { name }).map_err(KmsError::from);
        Ok(Response::new(record::crypto_key(&call.run(&name, command).await?)))
    }

    async fn get_crypto_key_version(
        &self,
        request: Request<kms::GetCryptoKeyVersionRequest>,
    ) -> Answer<kms::CryptoKeyVersion> {
        let (call, request) = self.identify(request, reads("GetCryptoKeyVersion")).await?;
        let name = request.name;
        let command = name.parse().map(|name| GetCryptoKeyVersion { name }).map_err(KmsError::from);
        Ok(Response::new(record::version(&call.run(&name, command).await?)))
    }

    async fn get_retired_resource(
        &self,
        request: Request<kms::GetRetiredResourceRequest>,
    ) -> Answer<kms::RetiredResource> {
        let (call, request) = self.identify(request, reads("GetRetiredResource")).await?;
        let name = request.name;
        Ok(Response::new(record::retired(&call.run(&name, get_retired(&name)).await?)))
    }

    async fn create_key_ring(&self, request: Request<kms::CreateKeyRingRequest>) -> Answer<kms::KeyRing> {
        let (call, request) = self.identify(request, writes("CreateKeyRing")).await?;
        let ring = call.run(&request.parent, crypto_keys::create_ring(&request)).await?;
        Ok(Response::new(record::key_ring(&ring)))
    }

    async fn create_crypto_key(
        &self,
        request: Request<kms::CreateCryptoKeyRequest>,
    ) -> Answer<kms::CryptoKey> {
        let (call, request) = self.identify(request, writes("CreateCryptoKey")).await?;
        let parent = request.parent.clone();
        let key = call.run(&parent, crypto_keys::create(request)).await?;
        Ok(Response::new(record::crypto_key(&key)))
    }

    async fn create_crypto_key_version(
        &self,
        request: Request<kms::CreateCryptoKeyVersionRequest>,
    ) -> Answer<kms::CryptoKeyVersion> {
        let (call, request) = self.identify(request, writes("CreateCryptoKeyVersion")).await?;
        let parent = request.parent.clone();
        let version = call.run(&parent, versions::create(request)).await?;
        Ok(Response::new(record::version(&version)))
    }

    async fn update_crypto_key(
        &self,
        request: Request<kms::UpdateCryptoKeyRequest>,
    ) -> Answer<kms::CryptoKey> {
        let (call, request) = self.identify(request, writes("UpdateCryptoKey")).await?;
        let name = request.crypto_key.as_ref().map(|key| key.name.clone()).unwrap_or_default();
        let key = call.run(&name, crypto_keys::update(request)).await?;
        Ok(Response::new(record::crypto_key(&key)))
    }

    async fn update_crypto_key_version(
        &self,
        request: Request<kms::UpdateCryptoKeyVersionRequest>,
    ) -> Answer<kms::CryptoKeyVersion> {
        let (call, request) = self.identify(request, writes("UpdateCryptoKeyVersion")).await?;
        let name =
            request.crypto_key_version.as_ref().map(|version| version.name.clone()).unwrap_or_default();
        let version = call.run(&name, versions::update(request)).await?;
        Ok(Response::new(record::version(&version)))
    }

    async fn update_crypto_key_primary_version(
        &self,
        request: Request<kms::UpdateCryptoKeyPrimaryVersionRequest>,
    ) -> Answer<kms::CryptoKey> {
        let (call, request) = self.identify(request, writes("UpdateCryptoKeyPrimaryVersion")).await?;
        let key = call.run(&request.name, crypto_keys::update_primary(&request)).await?;
        Ok(Response::new(record::crypto_key(&key)))
    }

    async fn destroy_crypto_key_version(
        &self,
        request: Request<kms::DestroyCryptoKeyVersionRequest>,
    ) -> Answer<kms::CryptoKeyVersion> {
        let (call, request) = self.identify(request, writes("DestroyCryptoKeyVersion")).await?;
        let name = request.name;
        let command = name.parse().map(|name| DestroyCryptoKeyVersion { name }).map_err(KmsError::from);
        Ok(Response::new(record::version(&call.run(&name, command).await?)))
    }

    async fn restore_crypto_key_version(
        &self,
        request: Request<kms::RestoreCryptoKeyVersionRequest>,
    ) -> Answer<kms::CryptoKeyVersion> {
        let (call, request) = self.identify(request, writes("RestoreCryptoKeyVersion")).await?;
        let name = request.name;
        let command = name.parse().map(|name| RestoreCryptoKeyVersion { name }).map_err(KmsError::from);
        Ok(Response::new(record::version(&call.run(&name, command).await?)))
    }

    async fn delete_crypto_key(&self, request: Request<kms::DeleteCryptoKeyRequest>) -> Answer<Operation> {
        let (call, kms::DeleteCryptoKeyRequest { name }) =
            self.identify(request, writes("DeleteCryptoKey")).await?;
        let command = name.parse().map(|name| DeleteCryptoKey { name }).map_err(KmsError::from);
        let retired = call.run(&name, command).await?;
        Ok(Response::new(Finished::deleted_key(&retired.name).operation()))
    }

    async fn delete_crypto_key_version(
        &self,
        request: Request<kms::DeleteCryptoKeyVersionRequest>,
    ) -> Answer<Operation> {
        let (call, request) = self.identify(request, writes("DeleteCryptoKeyVersion")).await?;
        let name = request.name;
        let command = name.parse().map(|name| DeleteCryptoKeyVersion { name }).map_err(KmsError::from);
        call.run(&name, command).await?;
        Ok(Response::new(Finished::deleted_version(&name).operation()))
    }

    async fn encrypt(&self, request: Request<kms::EncryptRequest>) -> Answer<kms::EncryptResponse> {
        cryptography::encrypt(self, request).await
    }

    async fn decrypt(&self, request: Request<kms::DecryptRequest>) -> Answer<kms::DecryptResponse> {
        cryptography::decrypt(self, request).await
    }

    async fn generate_random_bytes(
        &self,
        request: Request<kms::GenerateRandomBytesRequest>,
    ) -> Answer<kms::GenerateRandomBytesResponse> {
        cryptography::generate_random_bytes(self, request).await
    }
}

/// `projects/P/locations/L/retiredResources/ID`.
pub(super) fn get_retired(name: &str) -> Result<GetRetiredResource, KmsError> {
    let parts = name.rsplit_once("/retiredResources/");
    let parts = parts.and_then(|(parent, id)| Some((parent.parse::<LocationName>().ok()?, id)));
    match parts {
        Some((parent, id))
            if (1..=63).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_alphanumeric()) =>
        {
            Ok(GetRetiredResource { parent, id: id.to_owned() })
        }
        _ => Err(KmsError::invalid(
            "The name is not one of a retired resource: projects/PROJECT/locations/LOCATION/retiredResources/ID.",
        )),
    }
}

/// More than an `int32` can count is the largest that it can.
fn size(total: usize) -> i32 {
    i32::try_from(total).unwrap_or(i32::MAX)
}
