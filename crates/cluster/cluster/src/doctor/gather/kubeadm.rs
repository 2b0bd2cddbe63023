//! kubeadm's configuration beside the manifest: what it lacks, by name. Other lines of it may hold anything, such as a proxy's password.

use keystead_model::ErrorChain;

use super::with_manifest;
use crate::api::ApiServer;
use crate::api_server_flags::{CONFIG, KMS_V1, RELOAD};
use crate::api_server_manifest::EncryptionSettings;
use crate::doctor::facts::Seen;
use crate::executor::kubeadm_patch;
use crate::host::Report;

/// What it lacks, or has otherwise. Without the flag nothing is lacking.
pub(super) async fn look(report: &Seen<Report>, connected: &Seen<ApiServer>) -> Seen<Vec<String>> {
    let report = with_manifest(report)?;
    let server = connected.as_ref().map_err(Clone::clone)?;
    if !report.has_flag {
        return Ok(Vec::new());
    }
    let settings = report.settings.as_ref().map_err(Clone::clone)?;
    let patch = kubeadm_patch(server, settings, true).await;
    let patch = patch.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(patch.map(|it| lacking(&it.old, &it.new, settings)).unwrap_or_default())
}

/// Names of flags, a gate and volumes, which are the manifest's and no text of the ConfigMap.
fn lacking(old: &str, new: &str, settings: &EncryptionSettings) -> Vec<String> {
    let flags = [CONFIG, RELOAD].map(|it| (it, format!("--{it}")));
    let gate = [(KMS_V1, format!("the feature gate {KMS_V1}"))];
    let volumes = settings.directories.iter().map(|it| {
        let name = format!("the volume {} of {}", it.volume, it.path);
        (it.path.as_str(), name)
    });
    let names = flags.into_iter().chain(gate).chain(volumes);
    let found = names.filter(|(name, _)| lines(old, name) != lines(new, name)).map(|(_, told)| told);
    let found: Vec<String> = found.collect();
    match found.is_empty() {
        true => vec![format!("the same value of --{CONFIG} or of a volume")],
        false => found,
    }
}

/// The lines that have a name as a whole word.
fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let is_letter = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_' | '/' | '.');
    let has =
        |line: &&str| line.split(|it: char| !is_letter(it)).any(|it| it.trim_start_matches("--") == name);
    text.lines().filter(has).collect()
}

#[cfg(test)]
mod tests {
    use super::lacking;
    use crate::api_server_manifest::{DirectoryMount, EncryptionSettings};

    #[test]
    fn only_what_is_missing_is_named() {
        let settings = EncryptionSettings {
            configuration: "/etc/kubernetes/enc/a.yaml".into(),
            automatic_reload: Some(true),
            kms_v1: false,
            directories: vec![DirectoryMount {
                volume: "enc".into(),
                path: "/run/kms".into(),
                read_only: true,
            }],
        };
        let old = "apiServer:\n  extraArgs:\n    a: b\n  extraEnvs:\n  - {name: P, value: 'http://u:canary@p'}\nx: y\n";
        let new = "apiServer:\n  extraArgs:\n    a: b\n    encryption-provider-config: /etc/kubernetes/enc/a.yaml\n  extraEnvs:\n  - {name: P, value: 'http://u:canary@p'}\n  extraVolumes:\n  - {name: enc, hostPath: /run/kms}\nx: y\n";
        assert_eq!(
            lacking(old, new, &settings),
            ["--encryption-provider-config", "the volume enc of /run/kms"]
        );
        let changed = new.replace("x: y", "x: canary");
        assert_eq!(
            lacking(new, &changed, &settings),
            ["the same value of --encryption-provider-config or of a volume"]
        );
    }
}
