//! What etcd holds, beside what was promised.

use super::check::{Check, Severity, Verdict};
use super::facts::{Facts, Promise, StoredFacts};
use crate::encryption_configuration::GroupResource;
use crate::rollout::{Configuration, Provider};

pub(super) const CHECKS: [Check; 4] = [
    Check {
        id: "stored-plain",
        looks_at: "objects that are stored plainly although their resource is encrypted",
        judge: stored_plain,
    },
    Check {
        id: "stored-under-old-key",
        looks_at: "objects that are stored under another provider or key id than new ones",
        judge: stored_under_old_key,
    },
    Check {
        id: "stored-damaged",
        looks_at: "stored values that no API server can read, whatever its keys",
        judge: stored_damaged,
    },
    Check {
        id: "rollout-unfinished",
        looks_at: "whether the last rollout that is remembered on this host came to its end",
        judge: rollout_unfinished,
    },
];

/// What a rollout left undone is its own business until it is done; what it promised is not.
fn severity(promise: Option<&Promise>) -> Severity {
    match promise {
        Some(Promise { reached: true, .. }) => Severity::Error,
        _ => Severity::Warning,
    }
}

fn advice(promise: Option<&Promise>, resource: &str) -> String {
    match promise {
        Some(promise) => format!("store them anew: `{}`", promise.command()),
        None => format!("store them anew: `keystead cluster reencrypt {resource} --yes`"),
    }
}

/// The provider that encrypts; none: nothing is encrypted.
fn writer(facts: &Facts) -> Result<Option<Provider>, String> {
    Ok(match facts.on_disk()? {
        Configuration::Providers(order) if order.writer != Provider::Identity => Some(order.writer.clone()),
        _ => match facts.promise()? {
            Some(it) if it.reached => Some(it.goal.writer()).filter(|it| *it != Provider::Identity),
            _ => None,
        },
    })
}

fn stored_plain(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    uncounted(facts, verdict);
    let stored = verdict.stored(facts)?;
    let file = facts.configuration.as_ref().ok().and_then(Option::as_ref);
    let other = |resource: &str| {
        let order = file.and_then(|it| it.order_of(resource));
        order.is_some_and(|it| it.writer != Provider::Identity)
    };
    let is_encrypted = writer(facts)?.is_some();
    if !is_encrypted && !stored.iter().any(|it| other(&it.resource)) {
        return Err("nothing is encrypted on this host, and no rollout promises it".to_owned());
    }
    let promise = facts.promise()?;
    for it in stored.iter().filter(|it| is_encrypted || other(&it.resource)) {
        for count in it.counts.iter().filter(|it| it.stored_as.provider == Provider::Identity) {
            if count.objects > 0 && promise.is_none_or(|promise| !promise.goal.leaves(&count.stored_as)) {
                verdict.found(
                    severity(promise),
                    format!("{} {} are stored in plain text", count.objects, it.resource),
                    advice(promise, &it.resource),
                );
            }
        }
    }
    Ok(())
}

/// What other entries encrypt is not counted unless somebody asks for it. Wildcards are told of in their place.
fn uncounted(facts: &Facts, verdict: &mut Verdict) {
    let entries = facts.configuration.as_ref().ok().and_then(Option::as_ref).map(|it| it.entries.as_slice());
    let counted = facts.stored.as_ref().map(Vec::as_slice).unwrap_or_default();
    for entry in entries.unwrap_or_default().iter().filter(|it| it.order.writer != Provider::Identity) {
        let left = entry.resources.iter().filter(|name| {
            let is_it = |it: &StoredFacts| GroupResource::parse(&it.resource) == GroupResource::parse(name);
            !facts.uncounted.contains(name) && !counted.iter().any(is_it)
        });
        for name in left {
            verdict.not_checked(format!(
                "what is stored of {name} is not counted: name it with --resource {name}"
            ));
        }
    }
}

fn stored_under_old_key(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    let stored = verdict.stored(facts)?;
    let Some(writer) = writer(facts)? else {
        return Err("nothing is encrypted on this host, and no rollout promises it".to_owned());
    };
    let promise = facts.promise()?;
    let plugins = facts.plugins.as_ref().map(Vec::as_slice).unwrap_or_default();
    let current = plugins.iter().find(|it| it.provider == writer).map(|it| it.key_id.as_ref());
    let current = match current {
        Some(Ok(key_id)) if !key_id.is_empty() => Some(key_id),
        Some(Err(reason)) => {
            verdict.not_checked(format!("the key id of {writer} is not known: {reason}"));
            None
        }
        _ => None,
    };
    for it in stored {
        let other = |count: &&crate::rollout::Count| {
            let way = &count.stored_as;
            let is_other_key =
                current.is_some_and(|it| way.key_id.as_ref().is_some_and(|stored| stored != it));
            way.provider != Provider::Identity
                && (way.provider != writer || is_other_key)
                && promise.is_none_or(|it| !matches!(it.goal, crate::rollout::Goal::Undo { .. }))
        };
        for count in it.counts.iter().filter(|it| it.objects > 0).filter(other) {
            let is_promised = promise.is_some_and(|it| it.reached && !it.goal.leaves(&count.stored_as));
            let new = current.map(|it| format!(" (key id {it})")).unwrap_or_default();
            let rotated = promise.is_some() && count.stored_as.provider == writer;
            let advice = match rotated {
                true => "store them anew: `keystead cluster rotate --yes`".to_owned(),
                false => advice(promise, &it.resource),
            };
            verdict.found(
                if is_promised { Severity::Error } else { Severity::Warning },
                format!(
                    "{} {} are stored as {}, and new ones as {writer}{new}: whoever deletes the old key loses them",
                    count.objects, it.resource, count.stored_as
                ),
                advice,
            );
        }
    }
    Ok(())
}

fn stored_damaged(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    for it in verdict.stored(facts)?.iter().filter(|it| it.malformed > 0) {
        verdict.error(
            format!("{} values of {} cannot be read by any API server", it.malformed, it.resource),
            format!(
                "`keystead cluster inventory --resource {}` names them: bring them back from a backup, or delete the objects",
                it.resource
            ),
        );
    }
    Ok(())
}

fn rollout_unfinished(facts: &Facts, verdict: &mut Verdict) -> Result<(), String> {
    if let Some(promise) = facts.promise()?.filter(|it| !it.reached) {
        verdict.warning(
            format!("the rollout to {} is not at its end", promise.goal),
            "`keystead cluster status` says what comes next, and `keystead cluster continue --yes` does it",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::facts::{ConfigurationFacts, EntryFacts};
    use super::*;
    use crate::rollout::Order;

    #[test]
    fn resources_of_other_entries_are_counted_or_named() {
        let order = |writer| Order { writer, readers: vec![] };
        let entry = |name: &str, writer| EntryFacts { resources: vec![name.into()], order: order(writer) };
        let kms = Provider::KmsV2 { name: "a".into() };
        let mut facts = Facts::of_file(Configuration::NoEncryption).with_stored(&Provider::Identity, 3);
        let judged = |facts: &Facts| {
            let mut verdict = Verdict::default();
            let outcome = stored_plain(facts, &mut verdict);
            let (findings, not_checked) = verdict.into_parts();
            (findings.len(), not_checked, outcome.is_ok())
        };
        assert_eq!(judged(&facts), (0, vec![], false));
        facts.configuration = Ok(Some(ConfigurationFacts {
            path: "/a".into(),
            has_keys: false,
            kms: Vec::new(),
            entries: vec![
                entry("secrets", kms.clone()),
                entry("configmaps", kms),
                entry("pods", Provider::Identity),
            ],
            refused: Vec::new(),
        }));
        let left = "what is stored of configmaps is not counted: name it with --resource configmaps";
        assert_eq!(judged(&facts), (1, vec![left.to_owned()], true));
    }
}
