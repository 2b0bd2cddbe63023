//! `databaseEncryption`: what is wanted, and how it stands.

use keystead_keyservice::KmsError;
use keystead_model::cluster::Target;
use keystead_model::{Cluster, CryptoKeyName, ErrorClass};
use keystead_proto::container::DatabaseEncryption;
use keystead_proto::container::database_encryption::{CurrentState, OperationError, State};

use crate::grpc::time::to_proto;

/// The key that is wanted; none: everything is to be plain.
pub(super) fn wanted(
    field: &str,
    encryption: &DatabaseEncryption,
) -> Result<Option<CryptoKeyName>, KmsError> {
    let key = encryption.key_name.as_str();
    match State::try_from(encryption.state) {
        // Clients that know one way only leave the state out.
        Ok(State::Encrypted) | Ok(State::Unknown) if !key.is_empty() => Ok(Some(key.parse()?)),
        Ok(State::Encrypted) => Err(KmsError::invalid(format!(
            "The field {field}.key_name is required with the state ENCRYPTED: \
             projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY."
        ))),
        Ok(State::Decrypted) if key.is_empty() => Ok(None),
        Ok(State::Decrypted) => Err(KmsError::invalid(format!(
            "The field {field}.key_name must be left out with the state DECRYPTED: without encryption there is no key."
        ))),
        Ok(State::Unknown) => {
            Err(KmsError::invalid(format!("The field {field}.state is required: ENCRYPTED or DECRYPTED.")))
        }
        Ok(State::AllObjectsEncryptionEnabled) => Err(KmsError::new(
            ErrorClass::Unimplemented,
            format!(
                "The state ALL_OBJECTS_ENCRYPTION_ENABLED in {field} is not served by Keystead: Secrets are encrypted, with ENCRYPTED."
            ),
        )),
        Err(_) => Err(KmsError::invalid(format!("There is no state {} in {field}.", encryption.state))),
    }
}

/// How it stands. Where nothing is under way and nothing went wrong it is `keyName` and `state` and nothing else, because gcloud
/// prints all there is.
pub(super) fn shown(cluster: &Cluster) -> DatabaseEncryption {
    let settled = Target { key: cluster.encryption.key.clone() };
    let target = cluster.heading_for().unwrap_or(&settled);
    let failures = &cluster.encryption.failures;
    let current_state = match (&cluster.running, failures.last()) {
        (Some(running), _) if running.task.target().is_some() => match target.key {
            Some(_) => Some(CurrentState::EncryptionPending),
            None => Some(CurrentState::DecryptionPending),
        },
        (_, Some(failure)) => match failure.key {
            Some(_) => Some(CurrentState::EncryptionError),
            None => Some(CurrentState::DecryptionError),
        },
        (_, None) => None,
    };
    let needed = cluster.needed_to_read().into_iter();
    DatabaseEncryption {
        key_name: target.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: if target.key.is_some() { State::Encrypted } else { State::Decrypted }.into(),
        current_state: current_state.map(i32::from),
        decryption_keys: needed.filter(|key| Some(key) != target.key.as_ref()).map(String::from).collect(),
        last_operation_errors: failures
            .iter()
            .map(|failure| OperationError {
                key_name: failure.key.as_ref().map(ToString::to_string).unwrap_or_default(),
                error_message: failure.message.clone(),
                timestamp: Some(to_proto(failure.time)),
            })
            .collect(),
    }
}
