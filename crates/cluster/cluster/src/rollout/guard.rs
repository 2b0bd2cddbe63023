//! The rule itself, asked of one step without its goal. An agent that is told what to do asks this before it does it, and so does not
//! depend on who planned.

use super::configuration::{Configuration, Provider};
use super::goal::Goal;
use super::observed::{Inventory, Loaded, Observed, Server};
use super::plan::Step;
use super::situation::Situation;

/// Why `step` would break the rule that every API server reads what any of them writes and what is stored, or take away more than
/// one API server at a time. None: by these facts it is safe.
pub fn refusal(step: &Step, observed: &Observed) -> Option<String> {
    // A goal has no part in what is asked here.
    let goal = Goal::Disable;
    let situation = Situation::new(&goal, observed);
    let server = |name: &String| situation.servers.iter().copied().find(|it| it.name == *name);
    match step {
        Step::Write { server: name, order } => {
            file(&situation, server(name), name, &Configuration::Providers(order.clone()))
        }
        Step::RemoveFlag { server: name } => {
            file(&situation, server(name), name, &Configuration::NoEncryption)
        }
        Step::Restart { server: name } => restart(&situation, server(name), name),
        Step::PromoteKey { provider, key_id } => {
            let unwraps = |it: &Server| it.plugin(provider).is_some_and(|it| it.unwraps.contains(key_id));
            let late = situation.servers.iter().find(|it| !unwraps(it))?;
            Some(format!("{} cannot unwrap what {key_id} wraps", late.name))
        }
        Step::Reencrypt { .. } => {
            let unproven = situation.servers.iter().find(|it| observed.canary(it).is_none());
            if let Some(server) = unproven {
                return Some(format!("nobody saw how {} writes", server.name));
            }
            let writers = observed.writers();
            let differ = writers.iter().zip(writers.iter().skip(1)).find(|(a, b)| a.stored_as != b.stored_as);
            differ
                .map(|(a, b)| format!("{} and {} would rewrite each other's values back", a.server, b.server))
        }
        Step::Wait { .. } | Step::Canary { .. } | Step::TakeInventory { .. } => None,
    }
}

fn file(
    situation: &Situation<'_>,
    server: Option<&Server>,
    name: &str,
    new: &Configuration,
) -> Option<String> {
    let Some((server, old)) = server.and_then(|it| Some((it, it.on_disk.as_ref()?))) else {
        return Some(format!("what is in the file of {name} is not known"));
    };
    let (new_order, old_order) = (new.order(), old.order());
    if new_order.writer != old_order.writer {
        let always = |it: &&&Server| !situation.reads_always(it, [&new_order.writer]);
        if let Some(other) = situation.servers.iter().filter(|it| it.name != name).find(always) {
            return Some(format!("{} may not read {}", other.name, new_order.writer));
        }
    }
    if let Some(unread) = situation.written().into_iter().find(|it| !new_order.reads(it)) {
        return Some(format!("{name} could not read {unread}, which an API server writes"));
    }
    for lost in old_order.providers().filter(|it| !new_order.reads(it)) {
        if !is_gone(situation, lost) {
            return Some(format!("it is not certain that nothing is stored as {lost}"));
        }
    }
    let has_flag = |it: &Configuration| *it != Configuration::NoEncryption;
    if has_flag(new) == has_flag(old) { None } else { alone(situation, server) }
}

fn restart(situation: &Situation<'_>, server: Option<&Server>, name: &str) -> Option<String> {
    let Some((server, on_disk)) = server.and_then(|it| Some((it, it.on_disk.as_ref()?))) else {
        return Some(format!("what {name} would start with is not known"));
    };
    let order = on_disk.order();
    let counted = situation.observed.stored.iter().filter_map(|it| match &it.inventory {
        Inventory::Counted { counts, .. } => Some(counts),
        _ => None,
    });
    let stored = counted.flatten().filter(|it| it.objects > 0).map(|it| it.stored_as.provider.clone());
    if let Some(unread) = situation.written().into_iter().chain(stored).find(|it| !order.reads(it)) {
        return Some(format!("{name} could not read {unread} after it"));
    }
    if let Some(broken) = order.providers().find_map(|it| situation.plugin_unhealthy(server, it)) {
        return Some(broken.reason);
    }
    alone(situation, server)
}

/// Whether `server` may be away for a while.
fn alone(situation: &Situation<'_>, server: &Server) -> Option<String> {
    let mut others = situation.servers.iter().filter(|it| it.name != server.name);
    let other = others.find(|it| !it.is_ready()).filter(|_| server.is_ready())?;
    Some(format!("{} is not ready, and two would be away at once", other.name))
}

/// Whether nothing can be stored with `provider`: what is stored was counted when every server wrote as it still does.
fn is_gone(situation: &Situation<'_>, provider: &Provider) -> bool {
    let writers = situation.observed.writers();
    let certain = situation
        .servers
        .iter()
        .all(|it| it.loaded != Loaded::Unknown && situation.observed.canary(it).is_some());
    let counted = situation.observed.stored.iter().all(|it| match &it.inventory {
        Inventory::NotTaken => false,
        Inventory::NoAccess { .. } => it.last_clean.as_ref() == Some(&writers),
        Inventory::Counted { began_with, counts, .. } => {
            *began_with == writers
                && counts.iter().all(|it| it.objects == 0 || it.stored_as.provider != *provider)
        }
    });
    certain && counted && writers.iter().all(|it| it.stored_as.provider != *provider)
}
