//! The rule itself, asked of one step without its goal. An agent that is told what to do asks this before it does it, and so does not
//! depend on who planned.

use super::configuration::{Configuration, Order, Provider};
use super::goal::Goal;
use super::observed::{Inventory, Loaded, Observed, Server, Writing};
use super::plan::Step;
use super::prove;
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
        Step::PromoteKey { provider, key_id } => promotion(&situation, provider, key_id),
        Step::Reencrypt { .. } => reencryption(&situation),
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
    if new_order.writer != old_order.writer
        && let Some(problem) = new_writer(situation, server, &new_order.writer)
    {
        return Some(problem);
    }
    if let Some(unread) = unread(situation, server, &new_order) {
        return Some(unread);
    }
    if let Some(lost) = old_order.providers().find(|it| !new_order.reads(it) && !is_gone(situation, it)) {
        return Some(uncertain(lost));
    }
    // What is written already is unreadable here until the file has it, whatever its plugin does.
    let written = situation.written();
    let mut added = new_order.providers().filter(|it| !old_order.reads(it) && !written.contains(it));
    if let Some(broken) = added.find_map(|it| situation.plugin_unhealthy(server, it)) {
        return Some(broken.reason);
    }
    let has_flag = |it: &Configuration| *it != Configuration::NoEncryption;
    if has_flag(new) == has_flag(old) { None } else { alone(situation, server) }
}

/// Why `server` must not begin to write with `writer`.
fn new_writer(situation: &Situation<'_>, server: &Server, writer: &Provider) -> Option<String> {
    let may_not_read = |it: &&&Server| it.name != server.name && !situation.reads_always(it, [writer]);
    if let Some(other) = situation.servers.iter().find(may_not_read) {
        return Some(format!("{} may not read {writer}", other.name));
    }
    situation.writing_problem(server, writer).map(|it| it.reason)
}

fn restart(situation: &Situation<'_>, server: Option<&Server>, name: &str) -> Option<String> {
    let Some((server, on_disk)) = server.and_then(|it| Some((it, it.on_disk.as_ref()?))) else {
        return Some(format!("what {name} would start with is not known"));
    };
    let order = on_disk.order();
    if let Some(unread) = unread(situation, server, &order) {
        return Some(unread);
    }
    if server.loaded == Loaded::Unknown && !is_counted_since(situation, server) {
        return Some(format!(
            "what {name} uses is not known, and nothing was counted since it was seen how it writes"
        ));
    }
    if let Some(broken) = order.providers().find_map(|it| situation.plugin_unhealthy(server, it)) {
        return Some(broken.reason);
    }
    alone(situation, server)
}

fn promotion(situation: &Situation<'_>, provider: &Provider, key_id: &str) -> Option<String> {
    let unwraps = |it: &Server| it.plugin(provider).is_some_and(|it| it.unwraps.contains(key_id));
    if let Some(late) = situation.servers.iter().find(|it| !unwraps(it)) {
        return Some(format!("{} cannot unwrap what {key_id} wraps", late.name));
    }
    let problem = situation.servers.iter().find_map(|it| situation.plugin_problem(it, provider))?;
    Some(problem.reason)
}

/// A pass spreads what the servers write over everything, so that each must have read what every other writes.
fn reencryption(situation: &Situation<'_>) -> Option<String> {
    for server in &situation.servers {
        let Some(canary) = situation.observed.canary(server) else {
            return Some(format!("nobody saw how {} writes", server.name));
        };
        if prove::is_outdated(canary, server) {
            return Some(format!("{} writes under another key since it was seen how it writes", server.name));
        }
        // A reload or a crash can bring about any of them in the middle of the pass.
        let writer = &canary.writer.stored_as.provider;
        if let Some(other) = situation.known(server).into_iter().find(|it| it.writer != *writer) {
            return Some(format!("{} may begin at any moment to write with {}", server.name, other.writer));
        }
        let read = |it: &Server| prove::reading_failed(canary, it) == Some(None);
        if let Some(other) = situation.servers.iter().find(|it| it.name != server.name && !read(it)) {
            return Some(format!("nobody saw that {} reads what {} writes", other.name, server.name));
        }
    }
    let writers = situation.observed.writers();
    let (a, b) = writers.iter().zip(writers.iter().skip(1)).find(|(a, b)| a.stored_as != b.stored_as)?;
    Some(format!("{} and {} would rewrite each other's values back", a.server, b.server))
}

/// What `server` could not read with `order`, although it is written or stored or may be. Nothing is certain before a count, where one
/// is possible.
fn unread(situation: &Situation<'_>, server: &Server, order: &Order) -> Option<String> {
    let stored = &situation.observed.stored;
    if stored.is_empty() {
        return Some("no resource is named, so that nobody knows what is stored".into());
    }
    if let Some(uncounted) = stored.iter().find(|it| it.inventory == Inventory::NotTaken) {
        return Some(format!("nobody counted yet how {} are stored", uncounted.resource));
    }
    let (name, lacks) = (&server.name, |it: &Provider| !order.reads(it));
    if let Some(unread) = situation.written().into_iter().find(lacks) {
        return Some(format!("{name} could not read {unread}, which an API server writes"));
    }
    let counted = stored.iter().filter_map(|it| match &it.inventory {
        Inventory::Counted { counts, .. } => Some(counts),
        _ => None,
    });
    let mut stored = counted.flatten().filter(|it| it.objects > 0).map(|it| &it.stored_as.provider);
    if let Some(unread) = stored.find(|it| lacks(it)) {
        return Some(format!("{name} could not read {unread}, which is stored"));
    }
    // What it uses can be the only reader of something, and so can what was in a file that somebody overwrote.
    let used = situation.known(server);
    let mut seen = used.iter().flat_map(Order::providers).chain(&situation.observed.seen_before);
    seen.find(|it| lacks(it) && !was_gone(situation, it)).map(uncertain)
}

fn uncertain(lost: &Provider) -> String {
    format!("it is not certain that nothing is stored as {lost}")
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
    let is_certain =
        |it: &&Server| situation.possible(it).is_some() && situation.observed.canary(it).is_some();
    situation.servers.iter().all(is_certain) && found_gone(situation, provider, |it| it == writers)
}

/// The same without asking that every server still is as it was at the count: in the middle of a rolling drop some have restarted.
fn was_gone(situation: &Situation<'_>, provider: &Provider) -> bool {
    !situation.unknown_while_there() && found_gone(situation, provider, |it| !it.is_empty())
}

/// Whether all was counted, with writers that are right, `provider` was not found, and nobody was seen to write it then or since.
fn found_gone(
    situation: &Situation<'_>,
    provider: &Provider,
    are_right: impl Fn(&[Writing]) -> bool,
) -> bool {
    let writers_are_right =
        |it: &[Writing]| are_right(it) && it.iter().all(|it| it.stored_as.provider != *provider);
    let observed = situation.observed;
    !observed.written_since.contains(provider)
        && observed.stored.iter().all(|it| match &it.inventory {
            Inventory::NotTaken => false,
            Inventory::NoAccess { .. } => it.last_clean.as_deref().is_some_and(writers_are_right),
            Inventory::Counted { began_with, counts, .. } => {
                writers_are_right(began_with)
                    && counts.iter().all(|it| it.objects == 0 || it.stored_as.provider != *provider)
            }
        })
}

/// Whether all was counted after it was seen how `server` writes.
fn is_counted_since(situation: &Situation<'_>, server: &Server) -> bool {
    let observed = situation.observed;
    let Some(canary) = observed.canary(server) else { return false };
    observed.stored.iter().all(|it| match &it.inventory {
        Inventory::Counted { began_with, .. } => began_with.contains(&canary.writer),
        Inventory::NotTaken | Inventory::NoAccess { .. } => false,
    })
}
