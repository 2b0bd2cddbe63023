//! How a server comes to use its file: by a reload that can be seen, else by a restart, one server at a time.

use super::configuration::Configuration;
use super::observed::{Inventory, Loaded, Server, Stored};
use super::plan::{Fact, Next, Obstacle, PlannedStep, Step};
use super::situation::{Situation, wait};

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let uses_file =
        |it: &Server| matches!((&it.loaded, &it.on_disk), (Loaded::Known(used), Some(file)) if used == file);
    let behind: Vec<&Server> = situation.servers.iter().copied().filter(|it| !uses_file(it)).collect();
    if behind.is_empty() {
        let (steps, obstacles) = situation.not_ready(|_| true);
        return Next::of(steps, obstacles);
    }
    bring_up_to_date(situation, &behind)
}

/// Makes each of `servers`, whose files are as they should be, use its file.
pub(super) fn bring_up_to_date(situation: &Situation<'_>, servers: &[&Server]) -> Option<Next> {
    let (mut steps, mut obstacles) = (Vec::new(), Vec::new());
    let mut to_restart = Vec::new();
    for server in servers {
        if let Some(silent) = situation.silent(server) {
            obstacles.push(silent);
            continue;
        }
        let Some(on_disk) = &server.on_disk else {
            obstacles.push(unreadable_file(server));
            continue;
        };
        let unhealthy: Vec<Obstacle> =
            on_disk.order().providers().filter_map(|it| situation.plugin_unhealthy(server, it)).collect();
        if !unhealthy.is_empty() {
            // It would refuse the reload, and after a restart it could not read what it reads now.
            obstacles.extend(unhealthy);
        } else if server.loaded == Loaded::NotRunning {
            steps.push(wait(server, Fact::Ready).because("it starts with what is in its file"));
        } else if will_reload(server, on_disk) {
            let until = Fact::Loaded { configuration: on_disk.clone() };
            steps.push(wait(server, until).because("it reloads its file by itself"));
        } else {
            match before_a_restart(situation, server) {
                None => to_restart.push(*server),
                Some(Next::Steps(first)) => steps.extend(first),
                Some(Next::Blocked(first)) => obstacles.extend(first),
                Some(Next::Done(_)) => {}
            }
        }
    }
    let (restart, in_the_way) = restart_one(situation, &to_restart);
    steps.extend(restart);
    obstacles.extend(in_the_way);
    Next::of(steps, obstacles)
}

/// One at a time: whoever is left serves everybody. One that does not serve goes first, because nobody misses it.
fn restart_one(situation: &Situation<'_>, servers: &[&Server]) -> (Vec<PlannedStep>, Vec<Obstacle>) {
    let Some(server) = servers.iter().find(|it| !it.is_ready()).or(servers.first()) else {
        return (Vec::new(), Vec::new());
    };
    let others_ready = situation.servers.iter().all(|it| it.name == server.name || it.is_ready());
    if server.is_ready() && !others_ready {
        return situation.not_ready(|it| it.name != server.name);
    }
    let restart = Step::Restart { server: server.name.clone() };
    (vec![restart.because("only a start makes it certain that it uses its file")], Vec::new())
}

/// Whether it reloads by itself and will say so. A flag that comes or goes is only read at the start.
fn will_reload(server: &Server, on_disk: &Configuration) -> bool {
    let flag_stays = *on_disk != Configuration::NoEncryption
        && server.loaded != Loaded::Known(Configuration::NoEncryption);
    server.automatic_reload && server.tells_loaded_file() && flag_stays
}

/// What must be known of a server before it is restarted. If anything may be in use, that may be the only thing that reads what is
/// stored, and what it wrote since the last count. One that is ready was asked, and then all was counted, before anything else.
fn before_a_restart(situation: &Situation<'_>, server: &Server) -> Option<Next> {
    if server.loaded != Loaded::Unknown {
        return None;
    }
    let uncounted = |it: &Stored| matches!(it.inventory, Inventory::NoAccess { .. });
    if situation.observed.stored.iter().any(uncounted) {
        return Some(Next::Blocked(vec![Obstacle::new(
            format!(
                "somebody else changed the file of {} while it ran, and etcd cannot be asked what it must read after a restart",
                server.name
            ),
            "Give access to etcd, or put back the file that it started with.",
        )]));
    }
    if situation.observed.canary(server).is_some() {
        return None;
    }
    let (waits, obstacles) = situation.not_ready(|it| it.name == server.name);
    Next::of(waits, obstacles)
}

fn unreadable_file(server: &Server) -> Obstacle {
    Obstacle::new(
        format!("what the API server on {} would start with could not be read", server.name),
        "Repair its manifest or its configuration file.",
    )
}
