use std::collections::BTreeSet;
use std::path::PathBuf;

use keystead_keyservice::EventKind;
use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;
use crate::webhooks::{WebhookSettings, address};

/// More receivers than anybody has; each costs a question to the database per second.
const MOST: usize = 16;

/// A receiver of notices, as docs/reference/webhooks.md describes them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WebhookEntry {
    /// Its name in metrics and for what waits for it: 1 to 32 lower-case letters, digits and hyphens
    name: String,
    /// Where notices are posted to: https, or http on this host
    url: String,
    /// File with the secret that signs them, `whsec_` and 24 to 64 bytes in base64, for its owner alone; a second line with the old
    /// secret while it is replaced
    secret_file: PathBuf,
    /// Certificate authority of the receiver in PEM, besides those of the system
    ca_file: Option<PathBuf>,
    /// What it is told of; everything
    events: Option<Vec<String>>,
}

pub(super) fn complete(given: Vec<WebhookEntry>) -> Result<Vec<WebhookSettings>, Failure> {
    if given.len() > MOST {
        return Err(wrong(format!("there are {} webhooks", given.len()), &format!("name {MOST} at most")));
    }
    let (mut names, mut webhooks) = (BTreeSet::new(), Vec::new());
    for WebhookEntry { name, url, secret_file, ca_file, events } in given {
        let good = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
            let text = format!("a webhook is called `{}`", name.escape_default());
            return Err(wrong(text, "give it a name of 1 to 32 lower-case letters, digits and hyphens"));
        }
        if !names.insert(name.clone()) {
            return Err(wrong(format!("two webhooks are called `{name}`"), "give each its own name"));
        }
        let url = address(&url).map_err(|text| {
            wrong(
                format!("the webhook `{name}` has {text}"),
                "give https://HOST/PATH; http only on this host",
            )
        })?;
        let events = match events {
            None => EventKind::CHOOSABLE.to_vec(),
            Some(events) if events.is_empty() => {
                let text = format!("the webhook `{name}` is told of nothing");
                return Err(wrong(text, "leave `events` out for all, or name some"));
            }
            Some(events) => events.iter().map(|it| event(&name, it)).collect::<Result<_, _>>()?,
        };
        webhooks.push(WebhookSettings { name, url, secret_file, ca_file, events });
    }
    Ok(webhooks)
}

fn event(webhook: &str, given: &str) -> Result<EventKind, Failure> {
    EventKind::CHOOSABLE.into_iter().find(|it| it.name() == given).ok_or_else(|| {
        let text = format!("the webhook `{webhook}` names an unknown event `{}`", given.escape_default());
        let known = EventKind::CHOOSABLE.map(EventKind::name).join(", ");
        wrong(text, &format!("known are {known}"))
    })
}
