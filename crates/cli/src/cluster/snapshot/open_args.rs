//! What opens values: plugins at their sockets.

use keystead_cluster::encryption_configuration::EncryptionConfiguration;
use keystead_cluster::restore::{Opener, Plugins};
use keystead_runtime::Failure;
use tokio::runtime::Runtime;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What opens values")]
pub(super) struct OpenArgs {
    /// Socket of a plugin that speaks KMS v1, v2 or both: a path, `unix://` and a path, or `@` and a name. With NAME= only for the KMS entry
    /// of that name; again for more
    #[arg(long = "socket", value_name = "[NAME=]SOCKET", value_parser = socket)]
    sockets: Vec<(Option<String>, String)>,
}

impl OpenArgs {
    pub(super) fn opener(
        &self,
        runtime: &Runtime,
        configuration: Option<&EncryptionConfiguration>,
    ) -> Result<Opener, Failure> {
        let mut plugins = Plugins::new(runtime.handle().clone());
        let mut names = Vec::new();
        for (name, socket) in &self.sockets {
            if names.contains(&name) {
                let text = match name {
                    Some(name) => format!("--socket names the KMS entry {name:?} twice"),
                    None => "--socket is given twice: name the KMS entry that each is for".to_owned(),
                };
                return Err(Failure::new(text).usage().hint("--socket NAME=SOCKET".to_owned()));
            }
            names.push(name);
            plugins.add(name.as_deref(), socket);
        }
        Ok(Opener::new(plugins, configuration))
    }
}

fn socket(text: &str) -> Result<(Option<String>, String), String> {
    let is_place = |text: &str| text.starts_with(['/', '@', '.']) || text.starts_with("unix://");
    let (name, place) = match text.split_once('=') {
        Some((name, place)) if !is_place(text) => (Some(name.to_owned()), place),
        _ => (None, text),
    };
    let place = place.strip_prefix("unix://").unwrap_or(place);
    // As kube-apiserver reads `unix:///@name`.
    let place = place.strip_prefix('/').filter(|it| it.starts_with('@')).unwrap_or(place);
    if place.is_empty() || name.as_deref() == Some("") {
        return Err("such as /run/keystead/kms.sock, or keystead=/run/keystead/kms.sock".to_owned());
    }
    Ok((name, place.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::socket;

    #[test]
    fn sockets_are_paths_urls_and_names() {
        for (text, name, place) in [
            ("/run/kms.sock", None, "/run/kms.sock"),
            ("kms.sock", None, "kms.sock"),
            ("unix:///run/a=b.sock", None, "/run/a=b.sock"),
            ("unix:///@kms", None, "@kms"),
            ("@kms", None, "@kms"),
            ("keystead=/run/kms.sock", Some("keystead"), "/run/kms.sock"),
            ("keystead=unix:///run/kms.sock", Some("keystead"), "/run/kms.sock"),
        ] {
            assert_eq!(socket(text), Ok((name.map(str::to_owned), place.to_owned())), "{text}");
        }
        for wrong in ["", "keystead=", "=kms.sock", "unix://"] {
            assert!(socket(wrong).is_err(), "{wrong}");
        }
    }
}
