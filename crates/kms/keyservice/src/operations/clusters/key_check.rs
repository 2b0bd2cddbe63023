//! Whether a cluster may be encrypted with a key: asked before anything is done to the cluster.

use std::sync::Arc;

use keystead_crypto::{KmsCiphertext, Secret32};
use keystead_iam::Permission;
use keystead_model::{ClusterName, CryptoKey, CryptoKeyName, ErrorClass, Principal};
use keystead_store::Batch;

use crate::records::{Stored, account_email, encode, record_name};
use crate::{Caller, Credential, KeyService, KmsError, Origin, Resource};

use super::GLOBAL;

impl KeyService {
    /// Refuses a key that is not in the region of the cluster: what a name says, whatever there is.
    pub(super) fn check_key_location(
        &self,
        cluster: &ClusterName,
        key: &CryptoKeyName,
    ) -> Result<(), KmsError> {
        let region = self.region(&cluster.location)?;
        let location = &key.ring.location.location;
        if *location == region.id {
            return Ok(());
        }
        let wrong = if location.as_str() == GLOBAL {
            "is in the location global, and no cluster is".to_owned()
        } else {
            format!("is in the location {location}")
        };
        Err(KmsError::invalid(format!(
            "Key {key} {wrong}: the key of cluster {cluster} must be in {0}. Make one there: gcloud kms keyrings create RING --location \
             {0} --project {1}.",
            region.id, key.ring.location.project
        )))
    }

    /// Refuses a key that the clusters of the project cannot use now. As their service account, and with a real encryption and
    /// decryption, because that is what their plugins will do. What it says of a key that the account may not use is the same
    /// whether or not there is such a key.
    ///
    /// Answers the record of the key as it was before the key was tried. [`needed`] has the cluster's batch write it.
    pub(super) async fn check_key_is_usable(
        &self,
        cluster: &ClusterName,
        key: &CryptoKeyName,
    ) -> Result<Stored<CryptoKey>, KmsError> {
        let project = &cluster.location.project;
        let project =
            self.find_project(project).await?.ok_or_else(|| KmsError::not_found("Project", project))?;
        let email = account_email::cluster(project.number);
        if self.find_account(&email).await?.is_none_or(|account| account.disabled) {
            return Err(refused(format!(
                "Service account {email} is disabled, and the clusters of project {} use keys as it. Enable it: gcloud iam \
                 service-accounts enable {email}.",
                project.id
            )));
        }
        self.check_granted(key, &email).await?;
        let resource = Resource::CryptoKey(key.clone());
        self.require_enabled_service("cloudkms.googleapis.com", &resource).await?;
        let stored = self.read_key(key).await?;
        let record = &stored.value;
        let place = format!(
            "--key {} --keyring {} --location {} --project {}",
            key.key, key.ring.ring, key.ring.location.location, key.ring.location.project
        );
        let Some(primary) = record.primary else {
            return Err(refused(format!(
                "Key {key} has no primary version. Make one: gcloud kms keys versions create --primary {place}."
            )));
        };
        let version = self.version(record, primary).await?;
        let version = version.ok_or_else(|| KmsError::not_found("CryptoKeyVersion", primary))?;
        let material = version.usable().map_err(|error| match error.class() {
            ErrorClass::FailedPrecondition => refused(format!(
                "{} Enable it: gcloud kms keys versions enable {primary} {place}; or make another primary: gcloud kms keys versions \
                 create --primary {place}.",
                error.message()
            )),
            _ => error,
        })?;
        let failed = |_| KmsError::new(ErrorClass::Bug, "encryption failed");
        let seed = Secret32::generate(self.random.as_ref()).map_err(failed)?;
        let binding = version.binding(record.uid, &[]);
        let sealed = KmsCiphertext::seal(material, &binding, seed.expose(), self.random.as_ref());
        let sealed = sealed.map_err(|_| KmsError::new(ErrorClass::Bug, "encryption failed"))?;
        let opened = KmsCiphertext::parse(&sealed).and_then(|sealed| sealed.open(material, &binding).ok());
        match opened {
            Some(opened) if opened.expose() == seed.expose() => Ok(stored),
            _ => Err(KmsError::new(
                ErrorClass::Corrupt,
                format!("Key {key} does not decrypt what it encrypted."),
            )),
        }
    }

    async fn check_granted(&self, key: &CryptoKeyName, email: &str) -> Result<(), KmsError> {
        let principal = Principal::ServiceAccount(email.to_owned());
        let groups = self.identity.groups.of(&principal);
        let caller = Caller { principal, groups, credential: Credential::Schedule };
        let call = self.call(Arc::new(caller), Origin::default())?;
        let resource = Resource::CryptoKey(key.clone());
        for permission in
            [Permission::CryptoKeyVersionsUseToEncrypt, Permission::CryptoKeyVersionsUseToDecrypt]
        {
            if !self.allowed(&call, permission, &resource).await? {
                return Err(refused(format!(
                    "Service account {email} may not use key {key} (or there is no such key). Grant it: gcloud kms keys \
                     add-iam-policy-binding {} --keyring {} --location {} --project {} --member serviceAccount:{email} --role \
                     roles/cloudkms.cryptoKeyEncrypterDecrypter; then give the same command again.",
                    key.key, key.ring.ring, key.ring.location.location, key.ring.location.project
                )));
            }
        }
        Ok(())
    }
}

/// Has a batch that makes a cluster need this key fail if the key was changed since it was read. Whoever destroys a version of
/// the key writes its record too, so that either of both starts over and sees the other.
pub(super) fn needed(batch: Batch, key: &Stored<CryptoKey>) -> Result<Batch, KmsError> {
    Ok(batch.replace(record_name::key(&key.value.name), key.revision, encode(&key.value)?))
}

fn refused(text: String) -> KmsError {
    KmsError::new(ErrorClass::FailedPrecondition, text)
}
