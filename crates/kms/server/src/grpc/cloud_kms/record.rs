//! Records as Cloud KMS writes them.

use keystead_keyservice::operations::KeyAndPrimary;
use keystead_model::{CryptoKeyVersion, KeyRing, RetiredResource};
use keystead_proto::cloud_kms::{self as kms, crypto_key, crypto_key_version};

use crate::grpc::time::{seconds, to_proto};

pub(in crate::grpc) fn key_ring(ring: &KeyRing) -> kms::KeyRing {
    kms::KeyRing { name: ring.name.to_string(), create_time: Some(to_proto(ring.create_time)) }
}

pub(in crate::grpc) fn crypto_key(KeyAndPrimary { key, primary }: &KeyAndPrimary) -> kms::CryptoKey {
    kms::CryptoKey {
        name: key.name.to_string(),
        primary: primary.as_ref().map(version),
        purpose: crypto_key::CryptoKeyPurpose::EncryptDecrypt.into(),
        create_time: Some(to_proto(key.create_time)),
        next_rotation_time: key.next_rotation_time.map(to_proto),
        rotation_schedule: key
            .rotation_period_s
            .map(|period| crypto_key::RotationSchedule::RotationPeriod(seconds(period))),
        version_template: Some(kms::CryptoKeyVersionTemplate {
            protection_level: kms::ProtectionLevel::Software.into(),
            algorithm: crypto_key_version::CryptoKeyVersionAlgorithm::GoogleSymmetricEncryption.into(),
        }),
        labels: key.labels.clone().into_iter().collect(),
        destroy_scheduled_duration: Some(seconds(key.destroy_scheduled_duration_s)),
        ..Default::default()
    }
}

pub(in crate::grpc) fn version(version: &CryptoKeyVersion) -> kms::CryptoKeyVersion {
    kms::CryptoKeyVersion {
        name: version.name.to_string(),
        // The numbers are those of Cloud KMS.
        state: version.state as i32,
        protection_level: kms::ProtectionLevel::Software.into(),
        algorithm: crypto_key_version::CryptoKeyVersionAlgorithm::GoogleSymmetricEncryption.into(),
        create_time: Some(to_proto(version.create_time)),
        generate_time: Some(to_proto(version.create_time)),
        destroy_time: version.destroy_time.map(to_proto),
        destroy_event_time: version.destroy_event_time.map(to_proto),
        ..Default::default()
    }
}

pub(in crate::grpc) fn retired(retired: &RetiredResource) -> kms::RetiredResource {
    kms::RetiredResource {
        name: retired.name.clone(),
        original_resource: retired.original_resource.clone(),
        resource_type: retired.resource_type.clone(),
        delete_time: Some(to_proto(retired.delete_time)),
    }
}
