use keystead_crypto::pem;
use keystead_keyservice::operations::{
    CreateServiceAccountKey, DeleteServiceAccountKey, GetServiceAccountKey,
};
use keystead_keyservice::{AccountName, KmsError, ServiceAccountKey};
use keystead_model::ErrorClass;
use keystead_proto::iam_admin as proto;
use keystead_proto::iam_admin::list_service_account_keys_request::KeyType;
use keystead_proto::iam_admin::{
    ServiceAccountKeyAlgorithm, ServiceAccountKeyOrigin, ServiceAccountPrivateKeyType,
    ServiceAccountPublicKeyType,
};
use tonic::{Response, Status};

use crate::grpc::call::IdentifiedCall;
use crate::grpc::time::to_proto;

/// The last second of the year 9999: what Google says of keys that do not expire.
const NEVER: prost_types::Timestamp = prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 };

pub(super) async fn create(
    call: &IdentifiedCall<'_>,
    request: &proto::CreateServiceAccountKeyRequest,
) -> Result<Response<proto::ServiceAccountKey>, Status> {
    let account = check(request).map(|()| call.keyservice().account_name(&request.name));
    let account = match account {
        Ok(account) => account.await,
        Err(error) => Err(error),
    };
    let name = account.as_ref().map(|account| account.resource().to_string()).unwrap_or_default();
    let made = call.run(&request.name, account.map(CreateServiceAccountKey::new)).await?;
    Ok(Response::new(proto::ServiceAccountKey {
        private_key_type: ServiceAccountPrivateKeyType::TypeGoogleCredentialsFile.into(),
        private_key_data: made.file.into_exposed(),
        ..key(&name, &made.key)
    }))
}

fn check(request: &proto::CreateServiceAccountKeyRequest) -> Result<(), KmsError> {
    use ServiceAccountKeyAlgorithm as Algorithm;
    use ServiceAccountPrivateKeyType as Type;
    match Type::try_from(request.private_key_type) {
        Ok(Type::TypeUnspecified | Type::TypeGoogleCredentialsFile) => {}
        Ok(Type::TypePkcs12File) => {
            let text =
                "Key files in PKCS #12 are not served by Keystead: ask for TYPE_GOOGLE_CREDENTIALS_FILE.";
            return Err(KmsError::new(ErrorClass::Unimplemented, text));
        }
        Err(_) => return Err(KmsError::invalid("There is no such private_key_type.")),
    }
    match Algorithm::try_from(request.key_algorithm) {
        Ok(Algorithm::KeyAlgUnspecified | Algorithm::KeyAlgRsa2048) => Ok(()),
        _ => Err(KmsError::invalid("The only key_algorithm is KEY_ALG_RSA_2048.")),
    }
}

pub(super) async fn get(
    call: &IdentifiedCall<'_>,
    request: &proto::GetServiceAccountKeyRequest,
) -> Result<Response<proto::ServiceAccountKey>, Status> {
    use ServiceAccountPublicKeyType as Type;
    let with_public_key = match Type::try_from(request.public_key_type) {
        Ok(Type::TypeNone) => Ok(false),
        Ok(Type::TypeRawPublicKey) => Ok(true),
        Ok(Type::TypeX509PemFile) => Err(KmsError::new(
            ErrorClass::Unimplemented,
            "Keys of service accounts have no certificates in Keystead: ask for TYPE_RAW_PUBLIC_KEY.",
        )),
        Err(_) => Err(KmsError::invalid("There is no such public_key_type.")),
    };
    let parsed = parse(call, &request.name).await;
    let name = parsed.as_ref().map(|(account, _)| account.resource().to_string()).unwrap_or_default();
    let command = with_public_key
        .as_ref()
        .map_err(KmsError::clone)
        .and(parsed.map(|(name, key_id)| GetServiceAccountKey { name, key_id }));
    let found = call.run(&request.name, command).await?;
    let mut key = key(&name, &found);
    if with_public_key == Ok(true) {
        key.public_key_data = pem("PUBLIC KEY", &found.public_key_der()).as_bytes().to_vec();
    }
    Ok(Response::new(key))
}

pub(super) async fn delete(call: &IdentifiedCall<'_>, name: &str) -> Result<Response<()>, Status> {
    let parsed = parse(call, name).await;
    call.run(name, parsed.map(|(name, key_id)| DeleteServiceAccountKey { name, key_id })).await?;
    Ok(Response::new(()))
}

/// `projects/P/serviceAccounts/EMAIL/keys/ID`.
async fn parse(call: &IdentifiedCall<'_>, name: &str) -> Result<(AccountName, String), KmsError> {
    let (account, id) = name.rsplit_once("/keys/").ok_or_else(|| {
        KmsError::invalid("The name is not one of a key: projects/PROJECT/serviceAccounts/EMAIL/keys/ID.")
    })?;
    Ok((call.keyservice().account_name(account).await?, id.to_owned()))
}

/// Whether keys that people made are asked for: there are no others.
pub(super) fn wants_ours(types: &[i32]) -> bool {
    let ours = [KeyType::Unspecified as i32, KeyType::UserManaged as i32];
    types.is_empty() || types.iter().any(|kind| ours.contains(kind))
}

pub(super) fn key(account: &str, key: &ServiceAccountKey) -> proto::ServiceAccountKey {
    proto::ServiceAccountKey {
        name: format!("{account}/keys/{}", key.id),
        key_algorithm: ServiceAccountKeyAlgorithm::KeyAlgRsa2048.into(),
        valid_after_time: Some(to_proto(key.create_time)),
        valid_before_time: Some(NEVER),
        key_origin: ServiceAccountKeyOrigin::GoogleProvided.into(),
        key_type: KeyType::UserManaged.into(),
        ..Default::default()
    }
}
