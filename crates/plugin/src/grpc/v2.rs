use std::collections::HashMap;
use std::time::Instant;

use keystead_crypto::SecretBytes;
use keystead_model::ErrorClass;
use keystead_proto::kms_v2::key_management_service_server::KeyManagementService;
use keystead_proto::kms_v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use tonic::{Request, Response, Status};

use super::Handlers;
use crate::metrics::Call;

#[tonic::async_trait]
impl KeyManagementService for Handlers {
    /// An error, never another `healthz` text: with one kube-apiserver would go on writing (kubernetes issue 138950).
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let start = Instant::now();
        self.kms.published.first_probe().await;
        let result = self.kms.status().map(|snapshot| {
            Response::new(StatusResponse {
                version: self.status_version.as_str().to_owned(),
                healthz: "ok".to_owned(),
                key_id: snapshot.key_id().to_owned(),
            })
        });
        self.answer(Call::V2Status, "", start, result.map_err(|error| (error.class(), error)))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let start = Instant::now();
        let EncryptRequest { plaintext, uid } = request.into_inner();
        self.kms.published.first_probe().await;
        let plaintext = SecretBytes::from(plaintext);
        let result = self.kms.encrypt(plaintext.expose()).map(|sealed| {
            Response::new(EncryptResponse {
                ciphertext: sealed.ciphertext,
                key_id: sealed.key_id,
                annotations: HashMap::new(),
            })
        });
        self.answer(Call::V2Encrypt, &uid, start, result.map_err(|error| (error.class(), error)))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let start = Instant::now();
        let DecryptRequest { ciphertext, uid, key_id, annotations } = request.into_inner();
        if !annotations.is_empty() {
            let text = "the request carries annotations; Encrypt of this plugin never makes any";
            return self.answer(Call::V2Decrypt, &uid, start, Err((ErrorClass::Invalid, text)));
        }
        let result = self.kms.decrypt(&ciphertext, Some(&key_id)).await;
        let result = result.map(|plain| Response::new(DecryptResponse { plaintext: plain.into_exposed() }));
        self.answer(Call::V2Decrypt, &uid, start, result.map_err(|error| (error.class(), error)))
    }
}
