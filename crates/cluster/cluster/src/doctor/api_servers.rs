//! API servers that run, at their own addresses: what they use, and whether they agree with this host and with each other.

use keystead_crypto::sha256;

use super::check::{Check, Severity, Verdict};
use super::facts::{ApiServerFacts, Facts};
use crate::rollout::Provider;

pub(super) const CHECKS: [Check; 8] = [
    Check {
        id: "api-server-down",
        looks_at: "whether kube-apiserver runs on this host, answers at its own address, and is ready",
        judge: api_server_down,
    },
    Check {
        id: "unit-changed",
        looks_at: "where systemd runs kube-apiserver, whether something that a person changed in its unit is not in force",
        judge: unit_changed,
    },
    Check {
        id: "restart-needed",
        looks_at: "whether kube-apiserver was started before its manifest, its unit or its file changed, where it does not reload",
        judge: restart_needed,
    },
    Check {
        id: "reload-failed",
        looks_at: "whether kube-apiserver uses the EncryptionConfiguration that is on the disk, where it reloads",
        judge: reload_failed,
    },
    Check {
        id: "key-id-not-seen",
        looks_at: "whether kube-apiserver has the key id that the plugin of this host reports",
        judge: key_id_not_seen,
    },
    Check {
        id: "key-ids-differ",
        looks_at: "whether the API servers of all hosts have the same key id, by the metrics of each",
        judge: key_ids_differ,
    },
    Check {
        id: "kubeadm-without-flag",
        looks_at: "whether kubeadm's configuration in the cluster has flag and volumes, from which kubeadm upgrade writes manifests",
        judge: kubeadm_without_flag,
    },
    Check {
        id: "clock-off",
        looks_at: "the clock of this host, beside that of each API server",
        judge: clock_off,
    },
];

fn api_server_down(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?;
    if manifest.process.is_none() {
        verdict.error(
            format!("no kube-apiserver of {} runs on this host", manifest.path.display()),
            match &manifest.unit {
                Some(unit) => format!("`journalctl --no-pager -u {unit}` says why; {CHECKS_ABOVE}"),
                None => format!(
                    "`crictl ps -a --name kube-apiserver` and `journalctl -u kubelet` say why; {CHECKS_ABOVE}"
                ),
            },
        );
        return Ok(());
    }
    let server = facts.api_server.as_ref().map_err(Clone::clone)?;
    if let Some(reason) = server.silent.as_ref().or(server.not_ready.as_ref()) {
        verdict.error(
            format!("{} is not ready: {reason}", server.address),
            format!("`kubectl get --raw /readyz?verbose --server {}` shows each part; kms-providers and etcd have checks of their own here", server.address),
        );
    }
    Ok(())
}

const CHECKS_ABOVE: &str = "the checks above say what of its encryption would keep it from starting";

/// One that our drop-in hides, and one that no start has seen.
fn unit_changed(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for doubt in &facts.manifest()?.unit_changed {
        verdict.warning(&doubt.evidence, &doubt.advice);
    }
    Ok(())
}

/// Times of files are as old as the kernel's last tick, and a start takes a moment.
const MARGIN_S: f64 = 1.0;

fn restart(facts: &Facts) -> Result<String, String> {
    let manifest = facts.manifest()?;
    if let Some(unit) = &manifest.unit {
        return Ok(format!("have systemd start it anew: `systemctl restart {unit}`"));
    }
    let path = manifest.path.display();
    Ok(format!(
        "have the kubelet start it anew: move {path} out of its directory, wait until the process is gone, and move it back"
    ))
}

fn restart_needed(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?;
    let process = manifest.process.as_ref().ok_or("no kube-apiserver runs on this host")?;
    if process.has_flag != manifest.configuration.is_some() {
        let with = |has: bool| if has { "with" } else { "without" };
        verdict.error(
            format!(
                "kube-apiserver was started {} --encryption-provider-config, and what starts it is {} it",
                with(process.has_flag),
                with(manifest.configuration.is_some())
            ),
            restart(facts)?,
        );
        return Ok(());
    }
    if manifest.automatic_reload || manifest.configuration.is_none() {
        return Ok(());
    }
    let server = facts.api_server();
    match (server.as_ref().ok().and_then(|it| it.configuration.as_ref()), &manifest.digest) {
        (Some(loaded), Some(on_disk)) if loaded == on_disk => Ok(()),
        (Some(loaded), Some(on_disk)) => {
            verdict.error(
                format!("kube-apiserver uses a file with the SHA-256 {loaded}, and the one on the disk has {on_disk}; it does not reload by itself"),
                restart(facts)?,
            );
            Ok(())
        }
        _ if process.started > manifest.changed + MARGIN_S => Ok(()),
        _ => {
            verdict.warning(
                "the EncryptionConfiguration or the manifest was touched after kube-apiserver started, and it does not say which file it uses",
                restart(facts)?,
            );
            Ok(())
        }
    }
}

/// kube-apiserver looks at its file once a minute, and gives new plugins 10 s.
const RELOAD_S: f64 = 120.0;

fn reload_failed(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?;
    if !manifest.automatic_reload || manifest.configuration.is_none() {
        return Ok(());
    }
    let server = facts.api_server()?;
    let on_disk = manifest.digest.as_ref().ok_or("the EncryptionConfiguration cannot be read")?;
    let failed = server.failed_reload.is_some();
    let Some(loaded) = &server.configuration else {
        if failed {
            verdict.error(
                "kube-apiserver failed to load its EncryptionConfiguration, and loaded none since",
                ADVICE,
            );
            return Ok(());
        }
        return Err("this version of kube-apiserver does not say which file it uses".to_owned());
    };
    if loaded == on_disk {
        return Ok(());
    }
    let age = facts.now as f64 - manifest.changed;
    let evidence = format!(
        "kube-apiserver uses a file with the SHA-256 {loaded}, and the one on the disk has {on_disk}"
    );
    if failed && server.failed_reload.is_some_and(|at| at > manifest.changed) {
        verdict.error(format!("{evidence}: it tried to load it and failed"), ADVICE);
    } else if age > RELOAD_S {
        verdict.error(format!("{evidence}, since {age:.0} s"), ADVICE);
    } else {
        verdict.warning(format!("{evidence}, since {age:.0} s: it looks once a minute"), ADVICE);
    }
    Ok(())
}

const ADVICE: &str = "look again in two minutes; after that, correct what the checks above find in the file, because it is loaded only if every plugin in it is well, or put the earlier text back. kube-apiserver's log has the reason";

fn digest(key_id: &str) -> String {
    hex::encode(sha256(key_id.as_bytes()))
}

/// While a key is changed, hosts differ for minutes.
fn severity(facts: &Facts) -> Severity {
    match facts.promise() {
        Ok(Some(promise)) if !promise.reached => Severity::Warning,
        _ => Severity::Error,
    }
}

fn metrics(server: &ApiServerFacts) -> Result<(), String> {
    match (&server.silent, server.has_metrics) {
        (Some(reason), _) => Err(format!("{} does not answer: {reason}", server.address)),
        (None, false) => Err(format!("{} gives no metrics to this kubeconfig", server.address)),
        (None, true) => Ok(()),
    }
}

fn key_id_not_seen(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let plugins = facts.plugins()?;
    let server = facts.api_server()?;
    metrics(server)?;
    for plugin in plugins {
        let Provider::KmsV2 { name } = &plugin.provider else { continue };
        let key_id = match &plugin.key_id {
            Ok(key_id) => key_id,
            Err(reason) => {
                verdict.not_checked(format!("the plugin of {} was not asked: {reason}", plugin.provider));
                continue;
            }
        };
        match server.key_ids.get(name) {
            Some(seen) if *seen == digest(key_id) => {}
            None => verdict.not_checked(format!("{} has asked nothing of {} yet", server.address, plugin.provider)),
            Some(seen) => verdict.found(
                severity(facts),
                format!(
                    "the plugin of {} at {} reports key id {key_id}, and kube-apiserver has one whose SHA-256 is {seen}",
                    plugin.provider, plugin.socket
                ),
                format!(
                    "kube-apiserver asks once a minute: look again in two minutes. If it stays so, another plugin answers it: {}",
                    restart(facts)?
                ),
            ),
        }
    }
    Ok(())
}

fn key_ids_differ(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let own = facts.api_server()?;
    metrics(own)?;
    for other in facts.others.as_ref().map_err(Clone::clone)? {
        if let Err(reason) = metrics(other) {
            verdict.not_checked(reason);
            continue;
        }
        for (name, key_id) in &own.key_ids {
            if other.key_ids.get(name).is_some_and(|it| it != key_id) {
                verdict.found(
                    severity(facts),
                    format!(
                        "{} and {} have different key ids of kms:v2:{name}: the SHA-256 of one is {key_id}, of the other {}",
                        own.address,
                        other.address,
                        other.key_ids.get(name).map_or("", String::as_str)
                    ),
                    "give the plugins of both hosts the same key: copy the key file, or give the same key name and credentials. Each plugin must unwrap with a new version before any of them encrypts with it. After a change of the key, look again in three minutes",
                );
            }
        }
    }
    Ok(())
}

fn kubeadm_without_flag(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let lacking = facts.kubeadm.as_ref().map_err(Clone::clone)?;
    let advice = match facts.promise() {
        Ok(Some(promise)) => format!("have it put there: `{}`", promise.command()),
        _ => "add these to apiServer of its ClusterConfiguration: `kubectl -n kube-system edit configmap kubeadm-config`".to_owned(),
    };
    if !lacking.is_empty() {
        verdict.error(
            format!(
                "the ConfigMap kubeadm-config in kube-system lacks what the manifest has, and kubeadm upgrade would take it away: {}",
                lacking.join(", ")
            ),
            advice,
        );
    }
    Ok(())
}

/// Tokens and certificates are judged by the clock, and etcd's leases too; NTP keeps hosts within milliseconds.
const CLOCK_S: f64 = 5.0;

fn clock_off(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let own = facts.api_server.as_ref().map_err(Clone::clone)?;
    let others = match &facts.others {
        Ok(others) => others.as_slice(),
        Err(reason) => {
            verdict.not_checked(reason);
            &[]
        }
    };
    for server in std::iter::once(own).chain(others) {
        match server.clock_ahead {
            None => verdict.not_checked(format!("{} does not say what time it has", server.address)),
            Some(ahead) if ahead.abs() > CLOCK_S => {
                let direction = if ahead > 0.0 { "behind" } else { "ahead of" };
                verdict.error(
                    format!("the clock of this host is {:.0} s {direction} that of {}", ahead.abs(), server.address),
                    "set the clocks of all hosts by NTP: `timedatectl` and `chronyc tracking` show how they are",
                );
            }
            Some(_) => {}
        }
    }
    Ok(())
}
