//! The only list of backends.

use std::sync::Arc;
use std::time::SystemTime;

use keystead_crypto::{Random, SystemRandom};
use keystead_provider::Provider;
use keystead_provider_cloudkms::CloudKmsProvider;
use keystead_provider_local::LocalProvider;
use keystead_runtime::Failure;

use crate::settings::ProviderSettings;

/// A provider, and what it says beyond its three methods.
pub(crate) struct Opened {
    pub(crate) provider: Box<dyn Provider>,
    pub(crate) expiry: ExpirySource,
    pub(crate) refused: RefusedSource,
}

/// Says why what the provider would start with now is not what it goes on with, where that is so.
pub(crate) type RefusedSource = Arc<dyn Fn() -> Option<Refused> + Send + Sync>;

/// Something on the disk that is not taken up.
pub(crate) struct Refused {
    pub(crate) kept: Kept,
    pub(crate) reason: String,
}

/// What goes on as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Key,
    Credentials,
}

impl Kept {
    /// For people.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Credentials => "credentials",
        }
    }
}

impl Opened {
    /// One that says nothing more.
    pub(crate) fn silent(provider: impl Provider + 'static) -> Self {
        Self { provider: Box::new(provider), expiry: Arc::new(|| None), refused: Arc::new(|| None) }
    }
}

/// Says what ends first of the credentials in use, and when, where there is an end.
pub(crate) type ExpirySource = Arc<dyn Fn() -> Option<(String, SystemTime)> + Send + Sync>;

/// Opens the provider of the settings.
pub(crate) fn open(settings: &ProviderSettings, random: &Arc<dyn Random>) -> Result<Opened, Failure> {
    match settings {
        ProviderSettings::Local { key_file } => {
            let provider = LocalProvider::open(key_file, Arc::clone(random)).map_err(|error| {
                let hint = "check --key-file: it must be a file that this user can read, mode 0600";
                Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint())
            })?;
            let provider = Arc::new(provider);
            let asked = Arc::clone(&provider);
            let refused = move || asked.refused().map(|reason| Refused { kept: Kept::Key, reason });
            Ok(Opened { refused: Arc::new(refused), ..Opened::silent(provider) })
        }
        ProviderSettings::CloudKms(settings) => {
            let provider = CloudKmsProvider::open(settings.as_ref().clone()).map_err(|error| {
                let hint = "check --credentials-file; docs/reference/cloudkms.md says what it holds";
                Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint())
            })?;
            let provider = Arc::new(provider);
            let asked = Arc::clone(&provider);
            let expiry = move || asked.expiry().map(|expiry| (expiry.what, expiry.at));
            let asked = Arc::clone(&provider);
            let refused = move || asked.refused().map(|reason| Refused { kept: Kept::Credentials, reason });
            Ok(Opened { provider: Box::new(provider), expiry: Arc::new(expiry), refused: Arc::new(refused) })
        }
    }
}

/// Opens the provider and lets go of it again.
pub(crate) fn check(settings: &ProviderSettings) -> Result<(), Failure> {
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    open(settings, &random).map(drop)
}
