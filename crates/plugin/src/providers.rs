//! The only list of backends.

use std::sync::Arc;

use keystead_crypto::{Random, SystemRandom};
use keystead_provider::Provider;
use keystead_provider_local::LocalProvider;
use keystead_runtime::Failure;

use crate::settings::ProviderSettings;

/// Opens the provider of the settings.
pub(crate) fn open(
    settings: &ProviderSettings,
    random: &Arc<dyn Random>,
) -> Result<Box<dyn Provider>, Failure> {
    match settings {
        ProviderSettings::Local { key_file } => {
            let provider = LocalProvider::open(key_file, Arc::clone(random)).map_err(|error| {
                let hint = "check --key-file: it must be a file that this user can read, mode 0600";
                Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint())
            })?;
            Ok(Box::new(provider))
        }
    }
}

/// Opens the provider and lets go of it again.
pub(crate) fn check(settings: &ProviderSettings) -> Result<(), Failure> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    open(settings, &random).map(drop)
}
