//! Google's own credentials: application default credentials, refreshed by Google's library.

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use http::{Extensions, HeaderMap};
use keystead_model::ErrorClass;
use keystead_provider::ProviderError;
use tokio::sync::OnceCell;

/// The narrowest scope that Cloud KMS takes.
const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// Looked up at the first call, because the lookup needs a runtime and may ask the metadata server.
#[derive(Debug, Default)]
pub(crate) struct GoogleCredentials(OnceCell<Credentials>);

impl GoogleCredentials {
    /// Headers for one call.
    pub(crate) async fn headers(&self) -> Result<HeaderMap, ProviderError> {
        let credentials = self.0.get_or_try_init(async || find()).await?;
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            // Only answered to who names a tag.
            Ok(CacheableResource::NotModified) => {
                Err(ProviderError::new(ErrorClass::Bug, "Google's credentials gave no headers"))
            }
            Err(error) if error.is_transient() => Err(ProviderError::new(
                ErrorClass::Unavailable,
                "cannot get a token for Google's Cloud KMS just now: the token service does not answer",
            )),
            Err(_) => Err(ProviderError::new(
                ErrorClass::Unauthenticated,
                "Google does not give out a token for the application default credentials",
            )),
        }
    }
}

fn find() -> Result<Credentials, ProviderError> {
    // Google's library takes the process-wide choice and would panic without one. It is AWS-LC whoever was first.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    Builder::default().with_scopes([SCOPE]).build().map_err(|_| {
        ProviderError::new(
            ErrorClass::Misconfigured,
            "Google's application default credentials cannot be used: check GOOGLE_APPLICATION_CREDENTIALS",
        )
    })
}
