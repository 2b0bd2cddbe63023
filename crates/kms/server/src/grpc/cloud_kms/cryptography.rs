//! Encrypt, Decrypt and random bytes: the calls that carry secrets. What they carry goes from the message straight into
//! memory that wipes itself.

use keystead_crypto::SecretBytes;
use keystead_keyservice::operations::{Decrypt, Decrypted, Encrypt, Encrypted, GenerateRandomBytes};
use keystead_keyservice::{KmsError, Method, MethodKind};
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, VersionNumber};
use keystead_proto::cloud_kms::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, GenerateRandomBytesRequest,
    GenerateRandomBytesResponse, ProtectionLevel,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::supported;
use crate::grpc::{Adapter, checksum};

/// How often a primary has been chosen: in the metadata of Encrypt's answer, because Cloud KMS has no field for it.
const ACTIVATION: &str = "keystead-activation";
/// A Decrypt with this in its metadata only asks whether the key still opens what the caller knows already.
const RECHECK: &str = "keystead-recheck";

pub(super) async fn encrypt(
    adapter: &Adapter,
    request: Request<EncryptRequest>,
) -> Result<Response<EncryptResponse>, Status> {
    let (call, request) = adapter.identify(request, Method::kms("Encrypt", MethodKind::DataAccess)).await?;
    let EncryptRequest { name, plaintext, additional_authenticated_data, .. } = request;
    let plaintext = SecretBytes::from(plaintext);
    let verified = checksum::verify("plaintext", plaintext.expose(), request.plaintext_crc32c);
    let verified_data = checksum::verify(
        "additional_authenticated_data",
        &additional_authenticated_data,
        request.additional_authenticated_data_crc32c,
    );
    let command = key_or_version(&name).and_then(|(key, version)| {
        verified.as_ref().and(verified_data.as_ref()).map_err(KmsError::clone)?;
        Ok(Encrypt { key, version, plaintext, caller_data: additional_authenticated_data })
    });
    let Encrypted { version, ciphertext, activation } = call.run(&name, command).await?;
    let mut response = Response::new(EncryptResponse {
        name: version.to_string(),
        ciphertext_crc32c: Some(checksum::of(&ciphertext)),
        ciphertext,
        verified_plaintext_crc32c: verified.unwrap_or_default(),
        verified_additional_authenticated_data_crc32c: verified_data.unwrap_or_default(),
        protection_level: ProtectionLevel::Software.into(),
    });
    response.metadata_mut().insert(ACTIVATION, MetadataValue::from(activation));
    Ok(response)
}

/// Encrypt takes both; only the name of a version has this word in it.
fn key_or_version(name: &str) -> Result<(CryptoKeyName, Option<VersionNumber>), KmsError> {
    if name.contains("/cryptoKeyVersions/") {
        let CryptoKeyVersionName { key, version } = name.parse()?;
        return Ok((key, Some(version)));
    }
    Ok((name.parse()?, None))
}

pub(super) async fn decrypt(
    adapter: &Adapter,
    request: Request<DecryptRequest>,
) -> Result<Response<DecryptResponse>, Status> {
    let recheck = request.metadata().contains_key(RECHECK);
    let (call, request) = adapter.identify(request, Method::kms("Decrypt", MethodKind::DataAccess)).await?;
    let name = request.name.clone();
    let Decrypted { plaintext, used_primary } = call.run(&name, decrypt_command(request, recheck)).await?;
    Ok(Response::new(DecryptResponse {
        plaintext_crc32c: Some(checksum::of(plaintext.expose())),
        plaintext: plaintext.into_exposed(),
        used_primary,
        protection_level: ProtectionLevel::Software.into(),
    }))
}

fn decrypt_command(request: DecryptRequest, recheck: bool) -> Result<Decrypt, KmsError> {
    let key = request.name.parse()?;
    let caller_data = request.additional_authenticated_data;
    checksum::verify("ciphertext", &request.ciphertext, request.ciphertext_crc32c)?;
    let crc32c = request.additional_authenticated_data_crc32c;
    checksum::verify("additional_authenticated_data", &caller_data, crc32c)?;
    Ok(Decrypt { key, ciphertext: request.ciphertext, caller_data, recheck })
}

pub(super) async fn generate_random_bytes(
    adapter: &Adapter,
    request: Request<GenerateRandomBytesRequest>,
) -> Result<Response<GenerateRandomBytesResponse>, Status> {
    let method = Method::kms("GenerateRandomBytes", MethodKind::DataAccess);
    let (call, request) = adapter.identify(request, method).await?;
    let bytes = call.run(&request.location, random_command(&request)).await?;
    Ok(Response::new(GenerateRandomBytesResponse {
        data_crc32c: Some(checksum::of(bytes.expose())),
        data: bytes.into_exposed(),
    }))
}

fn random_command(request: &GenerateRandomBytesRequest) -> Result<GenerateRandomBytes, KmsError> {
    supported::check_protection_level("protection_level", request.protection_level)?;
    Ok(GenerateRandomBytes { location: request.location.parse()?, length: request.length_bytes })
}
