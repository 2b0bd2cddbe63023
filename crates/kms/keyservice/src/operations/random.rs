use keystead_audit::SafeFields;
use keystead_crypto::SecretBytes;
use keystead_iam::Permission;
use keystead_model::{ErrorClass, LocationName};

use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Fewest and most bytes of one call: `GenerateRandomBytesRequest`.
pub const RANDOM_BYTES: std::ops::RangeInclusive<i32> = 8..=1024;

/// Random bytes from the server's generator.
pub struct GenerateRandomBytes {
    /// The location.
    pub location: LocationName,
    /// How many bytes, within [`RANDOM_BYTES`].
    pub length: i32,
}

impl Operation for GenerateRandomBytes {
    type Output = SecretBytes;

    fn method(&self) -> Method {
        Method::kms("GenerateRandomBytes", MethodKind::DataAccess)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::LocationsGenerateRandomBytes)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.location.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("lengthBytes", self.length)
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<SecretBytes, KmsError> {
        let command = authorised.command();
        authorised.service().require_location(&command.location)?;
        if !RANDOM_BYTES.contains(&command.length) {
            return Err(KmsError::invalid(format!(
                "length_bytes must be between {} and {}, not {}.",
                RANDOM_BYTES.start(),
                RANDOM_BYTES.end(),
                command.length
            )));
        }
        let mut bytes = vec![0; usize::try_from(command.length).unwrap_or_default()];
        let filled = authorised.service().random.fill(&mut bytes);
        filled.map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
        Ok(SecretBytes::from(bytes))
    }
}
