//! Plugins: whether they answer, whether kube-apiserver gets to them, whether they have the key, and what their manifests give away.

use super::check::{Check, Verdict};
use super::facts::{Facts, ManifestFacts, PluginFacts, SocketFacts};
use crate::pod_user::PodUser;
use crate::rollout::Provider;

pub(super) const CHECKS: [Check; 8] = [
    Check {
        id: "plugin-unhealthy",
        looks_at: "each plugin of the EncryptionConfiguration at its socket: somebody serves it, is well, and wraps and unwraps",
        judge: plugin_unhealthy,
    },
    Check {
        id: "socket-hidden",
        looks_at: "whether kube-apiserver's manifest mounts the directory of each plugin's socket under the same path",
        judge: socket_hidden,
    },
    Check {
        id: "socket-closed",
        looks_at: "whether kube-apiserver's user may open each plugin's socket, by owner and mode of it and its directories",
        judge: socket_closed,
    },
    Check {
        id: "socket-open",
        looks_at: "whether anybody on the host may open a plugin's socket",
        judge: socket_open,
    },
    Check {
        id: "plugin-other-key",
        looks_at: "whether each plugin unwraps one seed of every key id that is stored under its name",
        judge: plugin_other_key,
    },
    Check {
        id: "key-file-not-used",
        looks_at: "the key file of a plugin: it is there, and is what the plugin encrypts with",
        judge: key_file_not_used,
    },
    Check {
        id: "secret-in-manifest",
        looks_at: "tokens, passwords and keys in the command or in variables of whatever serves a plugin's socket",
        judge: secret_in_manifest,
    },
    Check {
        id: "kms-behind-cluster",
        looks_at: "whether the KMS of a plugin is a Service of the cluster that it protects",
        judge: kms_behind_cluster,
    },
];

fn plugin_unhealthy(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for plugin in facts.plugins()? {
        if let Err(reason) = &plugin.key_id {
            verdict.error(
                format!("the plugin of {} at {}: {reason}", plugin.provider, plugin.socket),
                format!(
                    "start it, or read its log; what it lacks is shown by `keystead plugin check --socket {}`",
                    plugin.socket
                ),
            );
        }
    }
    Ok(())
}

fn socket_hidden(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?;
    for plugin in facts.plugins()?.iter().filter(|it| !it.is_mounted) {
        let directory = plugin.socket.rsplit_once('/').map_or("/", |(it, _)| it);
        if let Some(unit) = &manifest.unit {
            verdict.error(
                format!("a directive of {unit} hides {directory}: kube-apiserver finds no socket of {}", plugin.provider),
                format!("give the plugin a socket in another directory, such as /run/keystead, or take the directive away that `systemctl show {unit}` has: PrivateTmp=, ProtectHome=, InaccessiblePaths=, TemporaryFileSystem=, BindPaths="),
            );
            continue;
        }
        verdict.error(
            format!(
                "{} does not mount {directory}: in its container kube-apiserver finds no socket of {}",
                manifest.path.display(),
                plugin.provider
            ),
            format!(
                "add a hostPath volume of {directory}, of the type DirectoryOrCreate, and mount it at {directory}; and in apiServer.extraVolumes of the ConfigMap kubeadm-config too"
            ),
        );
    }
    Ok(())
}

/// User and groups of kube-apiserver. A manifest that says nothing means root.
fn user(manifest: &ManifestFacts) -> PodUser {
    let process = manifest.process.as_ref().and_then(|it| it.runs_as.as_ref());
    let user = manifest.runs_as.as_ref().or(process);
    user.cloned().unwrap_or(PodUser { user: 0, groups: Vec::new() })
}

fn socket_closed(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let who = user(facts.manifest()?);
    let PodUser { user, groups } = &who;
    for plugin in facts.plugins()? {
        let path = match &plugin.path {
            Ok(path) => path,
            Err(reason) => {
                verdict.not_checked(format!("{} is not there: {reason}", plugin.socket));
                continue;
            }
        };
        if let Some(closed) = path.iter().find(|it| !opens(it, &who)) {
            let at = closed.path.display();
            let group = groups.first().copied().unwrap_or(*user);
            let mode = if closed.is_directory { "g+x" } else { "g+rw" };
            verdict.error(
                format!(
                    "kube-apiserver is user {user} and may not open {at}, of user {}, group {} and mode {:04o}: it gets to no socket of {}",
                    closed.user, closed.group, closed.mode, plugin.provider
                ),
                format!(
                    "let it in by its group: `chgrp {group} {at} && chmod {mode} {at}`; and for good with --socket-mode=0660 and --allow-uid={user} of keystead-plugin"
                ),
            );
        }
    }
    Ok(())
}

/// To connect is to write to the socket, and to go through a directory needs the right to search it.
fn opens(it: &SocketFacts, user: &PodUser) -> bool {
    user.may_by(it.user, it.group, it.mode, if it.is_directory { 0o1 } else { 0o2 })
}

fn socket_open(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for plugin in facts.plugins()? {
        if plugin.socket.starts_with('@') {
            verdict.warning(
                format!("{} is a name in the abstract name space, which has no permissions", plugin.socket),
                "give the plugin a socket in a directory of root's",
            );
            continue;
        }
        let path = match &plugin.path {
            Ok(path) => path,
            Err(reason) => {
                verdict.not_checked(format!("{} is not there: {reason}", plugin.socket));
                continue;
            }
        };
        let is_open = |it: &SocketFacts| it.mode & if it.is_directory { 0o1 } else { 0o2 } != 0;
        if path.iter().all(is_open)
            && let Some(socket) = path.last()
        {
            let at = socket.path.display();
            verdict.error(
                format!(
                    "anybody on this host may open {at}, of mode {:04o}, and have seeds unwrapped",
                    socket.mode
                ),
                format!("`chmod o-rwx {at}`; and for good with --socket-mode=0600 of keystead-plugin"),
            );
        }
    }
    Ok(())
}

fn plugin_other_key(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let plugins = facts.plugins()?;
    if let Err(reason) = verdict.stored(facts) {
        verdict.not_checked(reason);
    }
    for plugin in plugins {
        if let Err(reason) = &plugin.key_id {
            verdict.not_checked(format!("the plugin of {} was not asked: {reason}", plugin.provider));
            continue;
        }
        if matches!(plugin.provider, Provider::KmsV1 { .. }) {
            verdict.not_checked(format!(
                "what is stored under {} does not say which key it needs",
                plugin.provider
            ));
        }
        for it in &plugin.unasked {
            verdict.not_checked(format!(
                "the plugin of {} did not say whether it unwraps what is stored under key id {}: {}",
                plugin.provider, it.key_id, it.reason
            ));
        }
        for it in &plugin.unopened {
            verdict.error(
                format!(
                    "the plugin of {} at {} does not unwrap what is stored under key id {}: {}",
                    plugin.provider, plugin.socket, it.key_id, it.reason
                ),
                "give the plugin the key that it had: the key file of another control-plane host or of a backup, or the credentials and the name of the right key; if it is another plugin, give it a name and a socket of its own",
            );
        }
    }
    Ok(())
}

fn key_file_not_used(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let programs = facts.programs()?;
    let files = programs.iter().filter_map(|it| Some((it, it.key_file.as_ref()?)));
    let mut is_any = false;
    for (program, (path, stands_for)) in files {
        is_any = true;
        let at = path.display();
        let key_id = match stands_for {
            Ok(key_id) => key_id,
            Err(reason) => {
                verdict.error(
                    format!("{}: {reason}: the plugin does not start again with it", program.from),
                    format!("put the key file back at {at}, from another control-plane host or a backup: losing the key loses every Secret"),
                );
                continue;
            }
        };
        let serves = |it: &&PluginFacts| program.sockets.contains(&it.socket);
        for plugin in facts.plugins()?.iter().filter(serves) {
            let uses = plugin.key_id.as_ref().map(String::as_str).unwrap_or_default();
            // Of KMS v1 nothing is known, and one that does not answer is another check's.
            if !uses.is_empty() && uses != key_id {
                verdict.error(
                    format!(
                        "{at} stands for key id {key_id}, and the plugin of {} encrypts with {uses}: it does not take the file that is there now",
                        plugin.provider
                    ),
                    format!("look again in a minute if the file was replaced just now. Otherwise put the right key file back at {at}; the plugin's log says why it refuses this one"),
                );
            }
        }
    }
    for program in programs {
        let Some(path) = &program.key_file_inside else { continue };
        // Of a process in a pod whose manifest is here more is known by that.
        let is_known = programs.iter().any(|it| {
            !program.is_manifest
                && it.key_file.is_some()
                && it.sockets.iter().any(|it| program.sockets.contains(it))
        });
        if !is_known {
            is_any = true;
            verdict.not_checked(format!(
                "the key file {} of {} is in its container, and no mount that is known brings it there",
                path.display(),
                program.from
            ));
        }
    }
    if is_any { Ok(()) } else { Err("no plugin with a key file was found".to_owned()) }
}

fn secret_in_manifest(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for program in facts.programs()? {
        for place in &program.secrets {
            let put_up =
                if program.allows_token_in_env { ", which --allow-token-in-env puts up with" } else { "" };
            verdict.error(
                format!(
                    "a secret stands in {place} of {}{put_up}: the kubelet copies a static pod into etcd in clear, and a command line is seen by everybody on the host",
                    program.from
                ),
                "replace the secret, because it is known now; write the new one into a file of mode 0600, for keystead-plugin /etc/keystead/credentials.json, and leave at most its public id there",
            );
        }
    }
    Ok(())
}

fn kms_behind_cluster(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let advice = "give the plugin an address of the KMS that does not need this cluster, and run the KMS outside of it";
    for plugin in facts.plugins()? {
        if let Some(evidence) = &plugin.way.behind_cluster {
            verdict.error(
                format!(
                    "the KMS of {} is inside of the cluster that it protects: {evidence}. After a restart of the whole cluster neither can start without the other",
                    plugin.provider
                ),
                advice,
            );
        }
        for doubt in &plugin.way.doubts {
            let text = format!(
                "the KMS of {} may be inside of the cluster that it protects: {doubt}",
                plugin.provider
            );
            verdict.warning(text, advice);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_opens_everything_and_others_by_their_bits() {
        let socket = |mode| SocketFacts { path: "/s".into(), is_directory: false, mode, user: 0, group: 7 };
        let user = |user, groups: &[u32]| PodUser { user, groups: groups.to_vec() };
        assert!(opens(&socket(0o600), &user(0, &[])) && !opens(&socket(0o600), &user(5, &[7])));
        assert!(opens(&socket(0o620), &user(5, &[7])) && !opens(&socket(0o620), &user(5, &[8])));
        assert!(opens(&socket(0o602), &user(5, &[])));
    }
}
