//! From requests to commands: versions.

use keystead_keyservice::KmsError;
use keystead_keyservice::operations::{CreateCryptoKeyVersion, UpdateCryptoKeyVersion};
use keystead_model::field_mask::{CRYPTO_KEY_VERSION, FieldMask};
use keystead_proto::cloud_kms::crypto_key_version::CryptoKeyVersionState;
use keystead_proto::cloud_kms::{CreateCryptoKeyVersionRequest, UpdateCryptoKeyVersionRequest};

use super::supported;

/// Fields of a version that the caller may set belong to keys in a key manager outside.
pub(super) fn create(request: CreateCryptoKeyVersionRequest) -> Result<CreateCryptoKeyVersion, KmsError> {
    let version = request.crypto_key_version.unwrap_or_default();
    let options = version.external_protection_level_options.unwrap_or_default();
    if !options.external_key_uri.is_empty() || !options.ekm_connection_key_path.is_empty() {
        let text = "Keys in a key manager outside are not served by Keystead.";
        let field = "crypto_key_version.external_protection_level_options";
        return Err(supported::unserved(field, text.to_owned()));
    }
    supported::check_protection_level("crypto_key_version.protection_level", version.protection_level)?;
    Ok(CreateCryptoKeyVersion { key: request.parent.parse()? })
}

/// Only the state can be changed, and only to these two.
pub(super) fn update(request: UpdateCryptoKeyVersionRequest) -> Result<UpdateCryptoKeyVersion, KmsError> {
    let version = request.crypto_key_version.unwrap_or_default();
    let name = version.name.parse()?;
    let mask = request.update_mask.unwrap_or_default();
    FieldMask::from_paths(mask.paths.iter().map(String::as_str), CRYPTO_KEY_VERSION)
        .map_err(|error| supported::invalid("update_mask", error.to_string()))?;
    let enabled = match CryptoKeyVersionState::try_from(version.state) {
        Ok(CryptoKeyVersionState::Enabled) => true,
        Ok(CryptoKeyVersionState::Disabled) => false,
        state => {
            let state =
                state.map_or_else(|_| version.state.to_string(), |state| state.as_str_name().to_owned());
            let text = format!(
                "A version can be updated to ENABLED or DISABLED, not to {state}. Use destroy and restore for the rest."
            );
            return Err(supported::invalid("crypto_key_version.state", text));
        }
    };
    Ok(UpdateCryptoKeyVersion { name, enabled })
}
