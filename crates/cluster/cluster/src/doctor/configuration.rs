//! kube-apiserver's manifest and EncryptionConfiguration: what it would do if it started now, beside what is stored and promised.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::{Check, Severity, Verdict};
use super::facts::{EntryFacts, Facts, Promise, Refusal};
use crate::rollout::{Configuration, Order, Provider};

pub(super) const CHECKS: [Check; 13] = [
    Check {
        id: "manifest-unreadable",
        looks_at: "kube-apiserver's manifest or unit: it is there, and says what kube-apiserver is started with",
        judge: manifest_unreadable,
    },
    Check {
        id: "api-server-twice",
        looks_at: "other files in the directory of static pods that run kube-apiserver, such as copies of its manifest",
        judge: api_server_twice,
    },
    Check {
        id: "configuration-unreadable",
        looks_at: "the EncryptionConfiguration that the manifest names: it is there, is mounted, and can be read",
        judge: configuration_unreadable,
    },
    Check {
        id: "configuration-mounted-alone",
        looks_at: "whether the EncryptionConfiguration is mounted as a single file, whose replacement is never seen",
        judge: configuration_mounted_alone,
    },
    Check {
        id: "configuration-refused",
        looks_at: "every rule of kube-apiserver for the EncryptionConfiguration that no other check is about",
        judge: configuration_refused,
    },
    Check {
        id: "kms-name-twice",
        looks_at: "KMS entries of the EncryptionConfiguration that have one name",
        judge: kms_name_twice,
    },
    Check {
        id: "kms-v1-gate",
        looks_at: "KMS v1 entries without the feature gate KMSv1, which Kubernetes 1.29 and newer ask for",
        judge: kms_v1_gate,
    },
    Check {
        id: "kms-v1-cache",
        looks_at: "cachesize of KMS v1 entries, beside the number of stored values that need it",
        judge: kms_v1_cache,
    },
    Check {
        id: "kms-socket-shared",
        looks_at: "KMS entries with one socket, and plugins that serve one socket",
        judge: kms_socket_shared,
    },
    Check {
        id: "configuration-overwritten",
        looks_at: "stored values that no provider of the EncryptionConfiguration reads, and a file that is not what the last rollout left",
        judge: configuration_overwritten,
    },
    Check {
        id: "provider-renamed",
        looks_at: "stored values under a KMS name that the EncryptionConfiguration does not have, while the plugin of another entry unwraps them",
        judge: provider_renamed,
    },
    Check {
        id: "identity-first",
        looks_at: "whether identity is the first provider: then new values are stored plainly",
        judge: identity_first,
    },
    Check {
        id: "plugin-not-first",
        looks_at: "whether a key in the file comes before the KMS entry: then new values are not under the KMS",
        judge: plugin_not_first,
    },
];

fn manifest_unreadable(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    if let Err(reason) = &facts.manifest {
        verdict.error(
            reason,
            "name kube-apiserver's static pod with --manifest, or its unit of systemd with --unit, run this as root on a control-plane host, and repair the file if it is damaged",
        );
    }
    facts.manifest().map(drop)
}

fn api_server_twice(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let twins = facts.twins.as_ref().map_err(Clone::clone)?;
    let above = facts.manifest()?.path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    for path in twins {
        let path = path.display();
        verdict.error(
            format!("{path} runs kube-apiserver too: the kubelet takes every file there for a pod, whatever its name ends with"),
            format!("take it out of the directory: `mv {path} {}/`", above.display()),
        );
    }
    Ok(())
}

fn configuration_unreadable(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    facts.manifest()?;
    if let Err(reason) = &facts.configuration {
        verdict.error(
            format!("{reason}: kube-apiserver does not start with it"),
            "correct the line if one is named; otherwise put the file back where --encryption-provider-config names it, from previous in the state directory (/var/lib/keystead), from a backup or from another control-plane host; and mount its directory",
        );
    }
    Ok(())
}

fn configuration_mounted_alone(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?;
    if manifest.mounted_alone {
        let file = manifest.configuration.clone().unwrap_or_default();
        verdict.error(
            format!("{} mounts {file} as a single file: what is put in its place by rename is never seen before a restart", manifest.path.display()),
            format!("mount the directory {} instead, in volumes and volumeMounts", parent(Path::new(&file))),
        );
    }
    Ok(())
}

fn refused(facts: &Facts, verdict: &mut Verdict, wanted: Refusal, advice: &str) -> Result<(), String> {
    let Some(file) = facts.configuration()? else { return Ok(()) };
    for (_, text) in file.refused.iter().filter(|(refusal, _)| *refusal == wanted) {
        verdict.error(format!("{}:{text}", file.path.display()), advice);
    }
    Ok(())
}

fn configuration_refused(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let advice =
        "correct the line that is named: kube-apiserver does not start with it, and does not reload it";
    refused(facts, verdict, Refusal::Other, advice)
}

fn kms_name_twice(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let advice = "keep the name of the entry that values are stored under, which `keystead cluster inventory` shows, and give the other entry another name";
    refused(facts, verdict, Refusal::NameTwice, advice)
}

fn kms_v1_gate(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let manifest = facts.manifest()?.path.display();
    let advice = format!(
        "add --feature-gates=KMSv1=true to {manifest} until everything is moved to v2 with `keystead cluster migrate`; or write apiVersion: v2 if v2 is meant"
    );
    refused(facts, verdict, Refusal::KmsV1Gate, &advice)
}

/// Each value of KMS v1 has a data key of its own. What the cache does not hold is asked of the plugin at every start and list.
fn kms_v1_cache(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let Some(file) = facts.configuration()? else { return Ok(()) };
    let entries: Vec<_> =
        file.kms.iter().filter(|it| matches!(it.provider, Provider::KmsV1 { .. })).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let stored = verdict.stored(facts)?;
    let writer = facts.on_disk().ok().map(|it| it.order().writer);
    for entry in entries {
        let counts = stored.iter().flat_map(|it| &it.counts);
        // What is written anew comes under the writer.
        let is_under =
            |provider: &Provider| *provider == entry.provider || writer.as_ref() == Some(&entry.provider);
        let objects: u64 = counts.filter(|it| is_under(&it.stored_as.provider)).map(|it| it.objects).sum();
        let size = u64::try_from(entry.cache_size.unwrap_or(CACHE_SIZE)).unwrap_or(0);
        if objects > size {
            verdict.warning(
                format!("{} has cachesize {size}, and {objects} values need a data key of it each: the rest is asked of the plugin again and again", entry.provider),
                format!("write cachesize: {} or more for this entry, or move to v2 with `keystead cluster migrate`", objects.next_multiple_of(1000)),
            );
        }
    }
    Ok(())
}

/// kube-apiserver's own default.
const CACHE_SIZE: i32 = 1000;

fn kms_socket_shared(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let Some(file) = facts.configuration()? else { return Ok(()) };
    let mut by_socket: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
    for entry in &file.kms {
        // One plugin may well serve both versions on one socket, on the way from v1 to v2.
        let is_v1 = matches!(entry.provider, Provider::KmsV1 { .. });
        by_socket.entry((&entry.socket, is_v1)).or_default().push(entry.provider.to_string());
    }
    for ((socket, _), entries) in by_socket.iter().filter(|(_, it)| it.len() > 1) {
        verdict.warning(
            format!("{} have one socket, {socket}: one plugin with one key is behind all of these names", entries.join(" and ")),
            "give each entry the socket of its own plugin; or keep one of them, once nothing is stored under the others",
        );
    }
    for socket in file.kms.iter().map(|it| &it.socket) {
        let programs = facts.programs.as_ref().map_err(Clone::clone)?;
        for is_manifest in [true, false] {
            let all =
                programs.iter().filter(|it| it.is_manifest == is_manifest && it.serves.contains(socket));
            let all: Vec<&str> = all.map(|it| it.from.as_str()).collect();
            if all.len() > 1 {
                verdict.error(
                    format!(
                        "{} serve {socket}: which of them answers is decided by who starts first",
                        all.join(" and ")
                    ),
                    "keep one, and give any other a socket of its own",
                );
            }
        }
    }
    Ok(())
}

/// Values that are stored in a way that `order` does not read, in words, by provider.
fn unread(
    facts: &Facts,
    order: &Order,
    verdict: &mut Verdict,
) -> Result<BTreeMap<Provider, Vec<String>>, String> {
    let mut unread: BTreeMap<Provider, Vec<String>> = BTreeMap::new();
    for stored in verdict.stored(facts)? {
        for count in stored.counts.iter().filter(|it| it.objects > 0 && !order.reads(&it.stored_as.provider))
        {
            let text = format!("{} {} are stored as {}", count.objects, stored.resource, count.stored_as);
            unread.entry(count.stored_as.provider.clone()).or_default().push(text);
        }
    }
    Ok(unread)
}

/// A name that was changed is another failure than a file that was replaced: the file has a KMS entry under which nothing is stored, and its
/// plugin unwraps what is stored under the old name. Another entry that is new may have any key, and must keep its name.
fn new_name<'o>(facts: &Facts, order: &'o Order, stored: &Provider) -> Option<&'o Provider> {
    let counted = facts.stored.as_ref().map(Vec::as_slice).unwrap_or_default();
    let is_used = |it: &Provider| {
        counted
            .iter()
            .flat_map(|it| &it.counts)
            .any(|count| count.objects > 0 && count.stored_as.provider == *it)
    };
    let plugins = facts.plugins.as_ref().map(Vec::as_slice).unwrap_or_default();
    let opens =
        |it: &Provider| plugins.iter().any(|plugin| plugin.provider == *it && plugin.opens.contains(stored));
    order.providers().find(|it| !is_used(it) && opens(it))
}

fn configuration_overwritten(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let on_disk = facts.on_disk()?;
    let order = on_disk.order();
    let path = file_of(facts);
    let keep = "then run `keystead cluster status`; and let the installer leave the file and the flag alone";
    match facts.promise() {
        Ok(Some(Promise { goal, reached: true, .. })) => {
            if goal.sets_flag() && *on_disk == Configuration::NoEncryption {
                verdict.error(
                    format!("the last rollout promises to {goal}, and nothing encrypts on this host any more: the flag or the entry is gone"),
                    format!("put back what was there, from previous in the state directory (/var/lib/keystead), from a backup or from another control-plane host: {path}; {keep}"),
                );
            } else if goal.sets_flag() && !order.reads(&goal.writer()) {
                verdict.error(
                    format!("the last rollout promises to {goal}, and {path} has {on_disk}"),
                    format!("put back what was there, from previous in the state directory (/var/lib/keystead), from a backup or from another control-plane host; {keep}"),
                );
            }
        }
        Ok(_) => {}
        Err(reason) => verdict.not_checked(reason),
    }
    for (provider, texts) in unread(facts, &order, verdict)? {
        if new_name(facts, &order, &provider).is_none() {
            verdict.error(
                format!("{}, which no provider of {path} reads: it has {on_disk}", texts.join(", ")),
                format!("put back an entry for {provider}, from previous in the state directory (/var/lib/keystead), from a backup or from another control-plane host; {keep}"),
            );
        }
    }
    Ok(())
}

fn provider_renamed(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let order = facts.on_disk()?.order();
    for (provider, texts) in unread(facts, &order, verdict)? {
        if let Some(new) = new_name(facts, &order, &provider) {
            verdict.error(
                format!("{}, and {} has {new} instead: the name is part of each value", texts.join(", "), file_of(facts)),
                format!("give {new} its old name back, that of {provider}; a new name is a move to another provider: `keystead cluster migrate`"),
            );
        }
    }
    Ok(())
}

/// Entries for other resources than those of the rollout, which promises nothing of them.
fn others(facts: &Facts) -> Result<Vec<&EntryFacts>, String> {
    let Some(file) = facts.configuration()? else { return Ok(Vec::new()) };
    let own = facts.on_disk()?;
    let is_other = |it: &&EntryFacts| !matches!(own, Configuration::Providers(order) if *order == it.order);
    Ok(file.entries.iter().filter(is_other).collect())
}

fn identity_first(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for entry in others(facts)? {
        // Alone it says that they are not to be encrypted.
        if entry.order.writer == Provider::Identity
            && entry.order.readers.iter().any(|it| *it != Provider::Identity)
        {
            let names = entry.resources.join(", ");
            verdict.warning(
                format!("{} has {} for {names}: what is written of them from now on is stored plainly", file_of(facts), entry.order),
                "put the provider that is to encrypt in front of it, on every control-plane host, unless encryption is being switched off",
            );
        }
    }
    let Configuration::Providers(order) = facts.on_disk()? else { return Ok(()) };
    if order.writer != Provider::Identity || order.readers.is_empty() {
        return Ok(());
    }
    let evidence = format!("{} has {order}: what is written from now on is stored plainly", file_of(facts));
    match facts.promise()? {
        Some(it) if it.reached && it.goal.writer() != Provider::Identity => verdict.error(
            format!("{evidence}, and the last rollout promises to {}", it.goal),
            format!(
                "put {} in front of identity, then store anew what was written meanwhile: `{}`",
                it.goal.writer(),
                it.command()
            ),
        ),
        Some(it) if !it.reached => verdict.warning(
            format!("{evidence}. A rollout is under way"),
            "let it come to its end: `keystead cluster continue --yes`",
        ),
        Some(_) => {}
        None => verdict.warning(
            evidence,
            "put the provider that is to encrypt in front of it, on every control-plane host, unless encryption is being switched off",
        ),
    }
    Ok(())
}

fn plugin_not_first(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for entry in others(facts)? {
        let EntryFacts { resources, order } = entry;
        let kms = order.readers.iter().find(|it| it.is_kms());
        if let Some(kms) = kms
            && !order.writer.is_kms()
            && order.writer != Provider::Identity
        {
            let names = resources.join(", ");
            let named: String = resources.iter().map(|it| format!(" --resource {it}")).collect();
            verdict.warning(
                format!(
                    "{} has {order} for {names}: {} encrypts them with a key that stands in the file",
                    file_of(facts),
                    order.writer
                ),
                format!("put {kms} first, or have it done: `keystead cluster migrate{named}`"),
            );
        }
    }
    let Configuration::Providers(order) = facts.on_disk()? else { return Ok(()) };
    let Some(kms) = order.readers.iter().find(|it| it.is_kms()) else { return Ok(()) };
    if order.writer.is_kms() || order.writer == Provider::Identity {
        return Ok(());
    }
    let promise = facts.promise()?;
    let promised = promise.filter(|it| it.reached && it.goal.writer().is_kms());
    let severity = if promised.is_some() { Severity::Error } else { Severity::Warning };
    let advice = match promise {
        Some(it) if !it.reached => {
            "let the rollout come to its end: `keystead cluster continue --yes`".to_owned()
        }
        _ => format!("put {kms} first, or have it done: `keystead cluster migrate`"),
    };
    verdict.found(
        severity,
        format!(
            "{} has {order}: {} encrypts with a key that stands in the file",
            file_of(facts),
            order.writer
        ),
        advice,
    );
    Ok(())
}

/// The EncryptionConfiguration's path, as far as it is known.
fn file_of(facts: &Facts) -> String {
    let manifest = facts.manifest.as_ref().ok();
    let file = manifest.and_then(|it| it.configuration_on_host.as_ref());
    file.map_or_else(|| "the EncryptionConfiguration".to_owned(), |it| it.display().to_string())
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(Path::new("/")).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::facts::{ConfigurationFacts, PluginFacts};
    use super::*;

    fn kms(name: &str) -> Provider {
        Provider::KmsV2 { name: name.into() }
    }

    fn found(facts: &Facts, judge: fn(&Facts, &mut Verdict) -> Result<(), String>) -> usize {
        let mut verdict = Verdict::default();
        judge(facts, &mut verdict).expect("judged");
        verdict.into_parts().0.len()
    }

    #[test]
    fn entries_of_other_resources_are_judged_too() {
        let order = |writer, reader| Order { writer, readers: vec![reader] };
        let key = || Provider::AesCbc { key: "k".into() };
        let well = order(kms("a"), Provider::Identity);
        let entry =
            |name: &str, order: &Order| EntryFacts { resources: vec![name.into()], order: order.clone() };
        for (other, expected) in [
            (order(Provider::Identity, key()), (1, 0)),
            (order(key(), kms("a")), (0, 1)),
            (order(Provider::Identity, Provider::Identity), (0, 0)),
        ] {
            let mut facts = Facts::of_file(Configuration::Providers(well.clone()));
            let entries = vec![entry("secrets", &well), entry("configmaps", &other)];
            facts.configuration = Ok(Some(ConfigurationFacts {
                path: "/a".into(),
                has_keys: true,
                kms: Vec::new(),
                entries,
                refused: Vec::new(),
            }));
            assert_eq!((found(&facts, identity_first), found(&facts, plugin_not_first)), expected);
        }
    }

    /// To rename another entry to the lost name would put two keys under one name.
    #[test]
    fn only_who_unwraps_what_is_lost_was_renamed() {
        let order = Order { writer: kms("new"), readers: vec![Provider::Identity] };
        let mut facts = Facts::of_file(Configuration::Providers(order)).with_stored(&kms("old"), 3);
        facts.plugins = Ok(vec![PluginFacts::well(kms("new"), "/run/new.sock")]);
        assert_eq!((found(&facts, provider_renamed), found(&facts, configuration_overwritten)), (0, 1));
        for plugin in facts.plugins.iter_mut().flatten() {
            plugin.opens = vec![kms("old")];
        }
        assert_eq!((found(&facts, provider_renamed), found(&facts, configuration_overwritten)), (1, 0));
        // What is stored under its own name would be lost with that name.
        let facts = facts.with_stored(&kms("new"), 1);
        assert_eq!((found(&facts, provider_renamed), found(&facts, configuration_overwritten)), (0, 1));
    }
}
