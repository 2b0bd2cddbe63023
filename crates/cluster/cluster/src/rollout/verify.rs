//! Whether what was promised holds, by facts that can be had without writing anything.

use super::configuration::{Configuration, Provider};
use super::goal::Goal;
use super::observed::{Answer, Inventory, Loaded, Observed, Server};

/// What is not as the goal promises. Nothing: everything stored that was counted is as the goal has it, every API server runs with what is
/// in its file, and writes as the goal has it.
pub fn broken_promises(goal: &Goal, observed: &Observed) -> Vec<String> {
    let servers: Vec<&Server> =
        observed.servers.iter().filter(|it| !observed.removed.contains(&it.name)).collect();
    let mut broken = Vec::new();
    if servers.is_empty() {
        broken.push("no API server is known".to_owned());
    }
    for server in &servers {
        broken.extend(server_is_not(server, goal));
    }
    let writer = goal.writer();
    if let Provider::KmsV2 { .. } = writer {
        broken.extend(key_ids_differ(&servers, &writer));
    }
    for stored in &observed.stored {
        let resource = &stored.resource;
        match &stored.inventory {
            Inventory::NotTaken => broken.push(format!("{resource}: what is stored was not counted")),
            Inventory::NoAccess { reason } => {
                broken.push(format!("{resource}: etcd cannot be read: {reason}"))
            }
            Inventory::Counted { counts, malformed, .. } => {
                let other = counts.iter().filter(|it| it.objects > 0 && !goal.leaves(&it.stored_as));
                broken.extend(
                    other.map(|it| format!("{} {resource} are stored as {}", it.objects, it.stored_as)),
                );
                if *malformed > 0 {
                    broken.push(format!("{malformed} {resource} cannot be read by any API server"));
                }
            }
        }
    }
    broken
}

/// What is stored in another way than by this provider; as [`broken_promises`] where nobody promised more than that.
pub fn stored_otherwise(writer: &Provider, observed: &Observed) -> Vec<String> {
    let mut found = Vec::new();
    for stored in &observed.stored {
        let Inventory::Counted { counts, .. } = &stored.inventory else { continue };
        let other = counts.iter().filter(|it| it.objects > 0 && it.stored_as.provider != *writer);
        let resource = &stored.resource;
        found.extend(other.map(|it| format!("{} {resource} are stored as {}", it.objects, it.stored_as)));
    }
    found
}

fn server_is_not(server: &Server, goal: &Goal) -> Vec<String> {
    let name = &server.name;
    match &server.answer {
        Answer::Ready => {}
        Answer::NotReady { reason } => return vec![format!("{name} is not ready: {reason}")],
        Answer::Silent { reason } => return vec![format!("{name} does not answer: {reason}")],
    }
    let Some(on_disk) = &server.on_disk else {
        return vec![format!("what {name} would start with could not be read")];
    };
    let mut broken = Vec::new();
    match &server.loaded {
        Loaded::Known(loaded) if loaded == on_disk => {}
        Loaded::Known(loaded) => {
            broken.push(format!("{name} uses {loaded}, and its file has {on_disk}"));
        }
        _ => broken.push(format!("it is not known what {name} uses")),
    }
    let wanted = goal.end().unwrap_or_else(|| on_disk.clone());
    if *on_disk != wanted {
        broken.push(format!("the file of {name} has {on_disk} instead of {wanted}"));
    }
    if on_disk.order().writer != goal.writer() {
        broken.push(format!("{name} writes with {} instead of {}", on_disk.order().writer, goal.writer()));
    }
    if let Configuration::Providers(order) = on_disk {
        for provider in order.providers().filter(|it| it.is_kms()) {
            match server.plugin(provider).map(|it| (&it.unhealthy, it.unwraps_others)) {
                Some((None, true)) => {}
                Some((None, false)) => broken.push(format!(
                    "the plugin of {provider} on {name} does not unwrap what the other hosts' plugins wrap"
                )),
                Some((Some(reason), _)) => {
                    broken.push(format!("the plugin of {provider} on {name} is not healthy: {reason}"));
                }
                None => broken.push(format!("there is no plugin of {provider} on {name}")),
            }
        }
    }
    broken
}

fn key_ids_differ(servers: &[&Server], writer: &Provider) -> Vec<String> {
    let mut broken = Vec::new();
    let mut known: Option<(&str, &str)> = None;
    for server in servers {
        let Some(plugin) = server.plugin(writer) else { continue };
        let Some(reports) = &plugin.reports else { continue };
        match known {
            None => known = Some((&server.name, reports)),
            Some((_, id)) if id == reports => {}
            Some((other, id)) => broken.push(format!(
                "the plugin of {writer} on {} has key id {reports}, and on {other} {id}",
                server.name
            )),
        }
        if plugin.seen.as_ref().is_some_and(|it| it != reports) {
            broken.push(format!("{} has not seen key id {reports} of its plugin yet", server.name));
        }
    }
    broken
}
