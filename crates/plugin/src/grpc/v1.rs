use std::time::Instant;

use keystead_crypto::SecretBytes;
use keystead_model::ErrorClass;
use keystead_proto::kms_v1::key_management_service_server::KeyManagementService;
use keystead_proto::kms_v1::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest, VersionResponse,
};
use tonic::{Request, Response, Status};

use super::Handlers;
use crate::metrics::Call;

/// kube-apiserver accepts nothing else.
const VERSION: &str = "v1beta1";

#[tonic::async_trait]
impl KeyManagementService for Handlers {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        let response = VersionResponse {
            version: VERSION.to_owned(),
            runtime_name: "keystead".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.answer(Call::V1Version, "", Instant::now(), Ok::<_, (ErrorClass, &str)>(Response::new(response)))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let start = Instant::now();
        self.kms.published.first_probe().await;
        let plaintext = SecretBytes::from(request.into_inner().plain);
        let result = self.kms.encrypt(plaintext.expose());
        let result = result.map(|sealed| Response::new(EncryptResponse { cipher: sealed.ciphertext }));
        self.answer(Call::V1Encrypt, "", start, result.map_err(|error| (error.class(), error)))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let start = Instant::now();
        let result = self.kms.decrypt(&request.into_inner().cipher, None).await;
        let result = result.map(|plain| Response::new(DecryptResponse { plain: plain.into_exposed() }));
        self.answer(Call::V1Decrypt, "", start, result.map_err(|error| (error.class(), error)))
    }
}
