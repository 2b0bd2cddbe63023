use keystead_keyservice::KmsError;
use keystead_keyservice::operations::{ListProjectKeys, ListProjects};
use keystead_model::CryptoKeyName;

use super::Failed;
use crate::form::Form;
use crate::texts::Texts;
use crate::visit::Visit;

/// Keys to choose from, of all projects together; another is named whole.
const MOST_KEYS: usize = 200;
/// Projects whose keys are offered.
const MOST_PROJECTS: usize = 50;

/// The part of a form that chooses a key for a cluster.
pub(super) struct KeyChoice {
    /// Those to choose from: the whole name, and the parts of it that tell them apart.
    pub(super) keys: Vec<(String, String)>,
    pub(super) chosen: String,
    /// One that is named whole.
    pub(super) named: String,
}

impl KeyChoice {
    /// What was typed, or the key that is used `now`.
    pub(super) async fn new(
        visit: &Visit<'_>,
        form: Option<&Form>,
        now: Option<&CryptoKeyName>,
    ) -> Result<Self, KmsError> {
        let mut keys = Vec::new();
        let projects =
            visit.run(ListProjects { page_size: MOST_PROJECTS, page_token: String::new() }).await?;
        for project in projects.projects {
            let command =
                ListProjectKeys { project: project.id, page_size: MOST_KEYS, page_token: String::new() };
            // Where Cloud KMS is off, or keys may not be seen, there is none to choose.
            let Ok(page) = visit.run(command).await else { continue };
            keys.extend(page.keys.into_iter().map(|listed| listed.key.name));
        }
        // No cluster can use a key of the location `global`.
        keys.retain(|key| key.ring.location.location.as_str() != "global");
        keys.truncate(MOST_KEYS);
        let now = now.map(ToString::to_string).unwrap_or_default();
        let mut keys: Vec<_> = keys.iter().map(|key| (key.to_string(), in_short(key))).collect();
        if !now.is_empty() && !keys.iter().any(|(name, _)| *name == now) {
            keys.insert(0, (now.clone(), now.clone()));
        }
        let typed = |name| form.map(|form| form.text(name).to_owned());
        Ok(Self { keys, chosen: typed("key").unwrap_or(now), named: typed("key-name").unwrap_or_default() })
    }

    /// The key that a form names.
    pub(super) fn chosen(form: &Form, texts: &Texts) -> Result<CryptoKeyName, Failed> {
        let (named, chosen) = (form.text("key-name"), form.text("key"));
        if !named.is_empty() {
            return named.parse().map_err(|_| Failed::field("key-name", texts.bad_key_name));
        }
        chosen.parse().map_err(|_| Failed::field("key", texts.choose_a_key))
    }
}

/// The end of a name first: a narrow list cuts off the rest.
fn in_short(key: &CryptoKeyName) -> String {
    let location = &key.ring.location;
    format!("{} ({}, {}, {})", key.key, key.ring.ring, location.location, location.project)
}
