//! `--labels`, `--update-labels`, `--remove-labels`, `--clear-labels`.

use serde_json::{Map, Value};

/// `KEY=VALUE`
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

/// Labels of something new.
pub(crate) fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
}

/// Changes of labels. gcloud calls `--labels` here `--update-labels`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LabelChanges {
    /// Set these labels, keep the others
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = pair)]
    update_labels: Vec<(String, String)>,
    /// Remove these labels
    #[arg(long, value_name = "KEY,...", value_delimiter = ',', conflicts_with = "clear_labels")]
    remove_labels: Vec<String>,
    /// Remove all labels; with --update-labels, before these are set
    #[arg(long)]
    clear_labels: bool,
}

impl LabelChanges {
    /// Whether anything is to change.
    pub(crate) fn any(&self) -> bool {
        self.clear_labels || !self.update_labels.is_empty() || !self.remove_labels.is_empty()
    }

    /// All labels after the change.
    pub(crate) fn apply(&self, now: &Value) -> Map<String, Value> {
        let mut labels = now.as_object().cloned().unwrap_or_default();
        if self.clear_labels {
            labels.clear();
        }
        labels.extend(map(&self.update_labels));
        labels.retain(|key, _| !self.remove_labels.contains(key));
        labels
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LabelChanges, pair};

    fn changed(update: &[&str], remove: &[&str], clear_labels: bool) -> Value {
        let update_labels = update.iter().map(|it| pair(it).expect("pair")).collect();
        let remove_labels = remove.iter().map(|it| (*it).to_owned()).collect();
        let changes = LabelChanges { update_labels, remove_labels, clear_labels };
        Value::Object(changes.apply(&json!({"team": "infra", "env": "prod"})))
    }

    /// The bodies that the real gcloud sent.
    #[test]
    fn changes_come_to_what_gcloud_sends() {
        assert_eq!(changed(&["x=y", "team=z"], &[], false), json!({"env": "prod", "team": "z", "x": "y"}));
        assert_eq!(changed(&[], &["team"], false), json!({"env": "prod"}));
        assert_eq!(changed(&[], &["nothere"], false), json!({"env": "prod", "team": "infra"}));
        assert_eq!(changed(&[], &[], true), json!({}));
        assert_eq!(changed(&["a="], &[], true), json!({"a": ""}));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
