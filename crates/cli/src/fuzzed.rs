//! What the fuzz targets reach of the parsers of this crate, which are nobody else's.

use std::time::Duration;

use serde_json::Value;

/// The key to which an agent with this configuration brings its host when a server answers this, and how long it waits. None: one of the
/// two is refused.
pub fn heard_by_agent(configuration: &str, answer: &Value) -> Option<(Option<String>, Duration)> {
    crate::agent::heard(configuration, answer)
}

/// A kubeconfig as it is read and as it is written with an entry of this name. None: it is refused.
pub fn kubeconfig_with(text: &str, entry: &str) -> Option<[Value; 2]> {
    crate::container::kubeconfig_with(text, entry)
}
