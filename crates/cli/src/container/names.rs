//! Where clusters are, from the words of a command line.

use keystead_runtime::Failure;
use serde_json::Value;

use crate::kms::checked;
use crate::session::Session;

/// `--location`, by any of gcloud's three names for it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    /// Location: a region such as europe-west1, or a zone of one
    #[arg(long, visible_aliases = ["region", "zone"])]
    location: Option<String>,
}

impl Place {
    /// `projects/P/locations/L`.
    pub(crate) fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        let location = self.location.as_deref().ok_or_else(|| {
            let hint = "--location, --region or --zone gives it, such as --location europe-west1";
            Failure::new("which location? --location is missing").usage().hint(hint.to_owned())
        })?;
        named(session, location)
    }

    /// Everything of one kind that is there; without a location, anywhere. The API has no pages for these.
    pub(crate) fn list(&self, session: &Session<'_>, collection: &str) -> Result<Vec<Value>, Failure> {
        let parent = named(session, self.location.as_deref().unwrap_or("-"))?;
        let mut found = session.server().get(&format!("/v1/{parent}/{collection}"), &[])?;
        match found.get_mut(collection).map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}

fn named(session: &Session<'_>, location: &str) -> Result<String, Failure> {
    Ok(format!("projects/{}/locations/{}", checked(&session.project()?)?, checked(location)?))
}
