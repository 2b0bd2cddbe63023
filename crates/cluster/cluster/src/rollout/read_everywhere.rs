//! Every server reads what any server may write, and what is stored.

use std::collections::BTreeSet;

use super::configuration::{Configuration, Order, Provider};
use super::files::{self, Change};
use super::load;
use super::observed::{Loaded, Server};
use super::plan::{Next, Obstacle};
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let (needed, written) = (situation.needed(), situation.written());
    let (mut changes, mut obstacles) = (Vec::new(), Vec::new());
    for server in &situation.servers {
        let Some(on_disk) = &server.on_disk else { continue };
        let on_disk = on_disk.order();
        let missing: Vec<&Provider> = needed.iter().filter(|it| !on_disk.reads(it)).collect();
        if missing.is_empty() {
            continue;
        }
        // One that is written already is put back, or the values are unreadable here whatever its plugin does.
        let new = missing.iter().copied().filter(|it| !written.contains(*it));
        let problems: Vec<Obstacle> = new.filter_map(|it| situation.plugin_problem(server, it)).collect();
        if problems.is_empty() {
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let order =
                on_disk.with_writer(&safe_writer(situation, server, &on_disk, &needed)).with_readers(&needed);
            changes.push(Change {
                server,
                to: Configuration::Providers(order),
                reason: format!("it must read {}, which is stored or will be written", names.join(", ")),
            });
        }
        obstacles.extend(problems);
    }
    if let Some(next) = files::write(situation, changes, obstacles) {
        return Some(next);
    }
    let behind: Vec<&Server> =
        situation.servers.iter().copied().filter(|it| !situation.reads_always(it, &needed)).collect();
    load::bring_up_to_date(situation, &behind)
}

/// Who writes in a file that is written for its readers: as it does now, if all others read that. They may not when somebody
/// overwrote the file or built the host anew; then in a way that all others read, and with a plugin on which all can rely.
fn safe_writer(
    situation: &Situation<'_>,
    server: &Server,
    on_disk: &Order,
    needed: &BTreeSet<Provider>,
) -> Provider {
    let loaded = match &server.loaded {
        Loaded::Known(Configuration::Providers(order)) => Some(&order.writer),
        _ => None,
    };
    let others_read = |writer: &Provider| {
        let mut others = situation.servers.iter().filter(|it| it.name != server.name);
        others.all(|it| situation.reads_always(it, [writer]))
    };
    let mut candidates = loaded.into_iter().chain([&on_disk.writer, &situation.writer]).chain(needed);
    let works = |writer: &Provider| situation.writing_problem(server, writer).is_none();
    // As long as it is not certain what the others read, readers are added and nothing else is touched.
    candidates.find(|it| others_read(it) && works(it)).unwrap_or(&on_disk.writer).clone()
}
