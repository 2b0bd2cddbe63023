use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keystead_crypto::Secret32;
use keystead_model::{ErrorChain, ErrorClass, KeyVersion, VersionNumber};
use keystead_proto::cloud_kms::key_management_service_client::KeyManagementServiceClient;
use keystead_proto::cloud_kms::{DecryptRequest, EncryptRequest};
use keystead_provider::{Description, Pending, Provider, ProviderError, Wrapped};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use crate::access::Access;
use crate::answer::{checksum, unwrapped, version_of, wrapped};
use crate::refusal::{Asked, KmsMethod, explain};
use crate::transport::Transport;
use crate::{AccessError, CloudKmsSettings, Expiry, KIND};

/// Metadata of a Decrypt that only asks again, which `keystead-server` does not count as a use. Google's service takes no notice.
const RECHECK: &str = "keystead-recheck";
/// Largest answer, in bytes: a version's name and a ciphertext of 512 bytes fill less than a quarter.
const MAX_ANSWER_LEN: usize = 4096;

/// Wraps with one key of a Cloud KMS: ours or Google's.
///
/// Every call looks whether a file that it depends on was replaced: credentials, their certificates and keys, the CA. A
/// file that has turned bad is reported and the last good one is kept, because a typo must not stop a cluster.
pub struct CloudKmsProvider {
    settings: CloudKmsSettings,
    description: Description,
    current: Mutex<Current>,
}

struct Current {
    access: Arc<Access>,
    /// Why the files that are there now are not used.
    refused: Option<String>,
}

impl CloudKmsProvider {
    /// Reads credentials and CA. Nothing is connected before the first call.
    pub fn open(settings: CloudKmsSettings) -> Result<Self, AccessError> {
        let access = Arc::new(Access::load(&settings)?);
        let description = Description { kind: KIND, key_name: settings.key.to_string() };
        Ok(Self { settings, description, current: Mutex::new(Current { access, refused: None }) })
    }

    /// What ends first of the certificates and tokens in use, where the end is known.
    pub fn expiry(&self) -> Option<Expiry> {
        self.access().expiry().cloned()
    }

    /// Why credentials or CA as they are on the disk now are not those in use, if they are not. A process that starts would
    /// have to use them, or could not start.
    pub fn refused(&self) -> Option<String> {
        self.access();
        self.lock().refused.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn access(&self) -> Arc<Access> {
        let mut current = self.lock();
        if current.access.is_current() {
            current.refused = None;
            return Arc::clone(&current.access);
        }
        // Each time until it succeeds: what kept a file from being read may be over.
        match Access::load(&self.settings) {
            Ok(access) => {
                *current = Current { access: Arc::new(access), refused: None };
                tracing::info!(identity = current.access.identity(), "credentials read again");
            }
            Err(error) => {
                let reason = ErrorChain(&error).to_string();
                if current.refused.as_ref() != Some(&reason) {
                    tracing::error!(
                        error = reason,
                        "the credentials cannot be used; going on with the last good ones"
                    );
                }
                current.refused = Some(reason);
            }
        }
        Arc::clone(&current.access)
    }

    async fn call<A, F>(
        &self,
        method: KmsMethod,
        call: impl FnOnce(KeyManagementServiceClient<Transport>) -> F,
    ) -> Result<Response<A>, ProviderError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let access = self.access();
        let client = KeyManagementServiceClient::new(access.transport(&self.description.key_name).await?)
            .max_decoding_message_size(MAX_ANSWER_LEN);
        call(client).await.map_err(|status| {
            let asked = Asked {
                method,
                key: &self.description.key_name,
                endpoint: access.endpoint(),
                identity: access.identity(),
                client_refused: access.client_refused(),
            };
            explain(&status, &asked)
        })
    }

    async fn wrap_now(&self, key: &Secret32) -> Result<Wrapped, ProviderError> {
        let request = EncryptRequest {
            name: self.description.key_name.clone(),
            plaintext: key.expose().to_vec(),
            plaintext_crc32c: Some(checksum(key.expose())),
            ..EncryptRequest::default()
        };
        let answer = self
            .call(KmsMethod::Encrypt, |mut client| async move { client.encrypt(Request::new(request)).await })
            .await?;
        wrapped(answer, &self.settings.key)
    }

    async fn unwrap_now(
        &self,
        version: &KeyVersion,
        bytes: &[u8],
        recheck: bool,
    ) -> Result<Secret32, ProviderError> {
        let Ok(number) = version.as_str().parse::<VersionNumber>() else {
            let text = format!("{version} is no version of a key in Cloud KMS");
            return Err(ProviderError::new(ErrorClass::NotFound, text));
        };
        if version_of(bytes).is_some_and(|other| other != number.get()) {
            let text = format!("the ciphertext was not made with version {version}");
            return Err(ProviderError::new(ErrorClass::Corrupt, text));
        }
        if bytes.is_empty() {
            return Err(ProviderError::new(ErrorClass::Corrupt, "the ciphertext is empty"));
        }
        let mut request = Request::new(DecryptRequest {
            name: self.description.key_name.clone(),
            ciphertext: bytes.to_vec(),
            ciphertext_crc32c: Some(checksum(bytes)),
            ..DecryptRequest::default()
        });
        if recheck {
            request.metadata_mut().insert(RECHECK, MetadataValue::from_static("1"));
        }
        let answer =
            self.call(KmsMethod::Decrypt, |mut client| async move { client.decrypt(request).await }).await?;
        unwrapped(answer)
    }
}

impl Provider for CloudKmsProvider {
    fn describe(&self) -> &Description {
        &self.description
    }

    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped> {
        Box::pin(self.wrap_now(key))
    }

    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(self.unwrap_now(version, wrapped, false))
    }

    fn recheck<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        Box::pin(self.unwrap_now(version, wrapped, true))
    }
}
