//! What the plugin's Status is to say, for the API server of this host.

use std::fs;

use keystead_runtime::Failure;

use super::InstallArgs;
use crate::output::say;
use crate::plugin::settings::Settings;

/// kube-apiserver 1.27 and 1.28 take this alone, and later ones too.
const V2BETA1: &str = "v2beta1";
/// As a flag and as a variable.
const NAMES: (&str, &str) = ("status-version", "KEYSTEAD_STATUS_VERSION");

/// Adds it to the settings where the plugin's own default does not do, and says why.
pub(super) fn add(args: &InstallArgs, settings: &mut Settings) -> Result<(), Failure> {
    let minor = args.host.as_local_host()?.api_server_minor().ok().flatten();
    let needs_it = minor.is_some_and(|it| matches!(it, 27 | 28));
    let version = match (args.status_version.as_deref(), minor) {
        (Some("v2"), Some(minor)) if needs_it => {
            return Err(Failure::new(format!(
                "kube-apiserver 1.{minor} of this host does not take v2 from a plugin's Status"
            ))
            .usage()
            .hint(format!("leave --status-version out, or give {V2BETA1}: later versions take it too")));
        }
        (Some(given), _) => given,
        (None, Some(minor)) if needs_it => {
            say(&format!(
                "the plugin's Status will say {V2BETA1}: kube-apiserver 1.{minor} of this host takes nothing else"
            ));
            V2BETA1
        }
        // A running API server is never ready again once it changes.
        (None, _) if is_installed(args) => V2BETA1,
        (None, Some(_)) => "v2",
        (None, None) => {
            say(&format!(
                "no kube-apiserver here says its version: if it is 1.27 or 1.28, give --status-version {V2BETA1}, which later ones take too"
            ));
            "v2"
        }
    };
    if version == V2BETA1 {
        settings.files.push((NAMES.0, NAMES.1, V2BETA1.to_owned()));
    }
    Ok(())
}

/// Whether a plugin is installed that says it already.
fn is_installed(args: &InstallArgs) -> bool {
    let (flag, variable) = (format!("--{}={V2BETA1}", NAMES.0), format!("{}=\"{V2BETA1}\"", NAMES.1));
    let holds =
        |path: &std::path::Path, text: &str| fs::read_to_string(path).is_ok_and(|it| it.contains(text));
    holds(&args.host.plugin_manifest(), &flag) || holds(&args.host.environment_file(), &variable)
}
