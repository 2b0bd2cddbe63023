//! Every server writes with the goal's provider. One goes first and is seen to be read by all others, so that a key that differs
//! somewhere shows on one canary and not on everything.
//!
//! This comes only after every server has loaded what it needs to read. That holds for a single server as well: requests that
//! began before a reload end with the old providers.

use super::configuration::Configuration;
use super::files::{self, Change};
use super::load;
use super::observed::Server;
use super::plan::{Next, Obstacle};
use super::prove;
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let arrived = |it: &Server| situation.writes_always(it);
    if situation.servers.iter().all(|it| arrived(it)) {
        return None;
    }
    let problems: Vec<Obstacle> =
        situation.servers.iter().filter_map(|it| situation.plugin_problem(it, &situation.writer)).collect();
    if !problems.is_empty() {
        return Some(Next::Blocked(problems));
    }
    let (waits, obstacles) = situation.not_ready(|_| true);
    if let Some(next) = Next::of(waits, obstacles) {
        return Some(next);
    }
    let Some(pilot) = situation.servers.iter().find(|it| arrived(it)) else {
        let begun = situation.servers.iter().find(|it| writes_on_disk(situation, it));
        let first = begun.or(situation.servers.first())?;
        return switch(
            situation,
            &[first],
            "it goes first, and every API server can read what it will write",
        );
    };
    prove::one(situation, pilot).or_else(|| {
        let rest: Vec<&Server> = situation.servers.iter().copied().filter(|it| !arrived(it)).collect();
        let reason =
            format!("every API server can read what it will write, as they read it from {}", pilot.name);
        switch(situation, &rest, &reason)
    })
}

/// Files first, and when all are written, the servers.
fn switch(situation: &Situation<'_>, servers: &[&Server], reason: &str) -> Option<Next> {
    let mut changes = Vec::new();
    for server in servers.iter().filter(|it| !writes_on_disk(situation, it)) {
        let Some(on_disk) = &server.on_disk else { continue };
        let to = Configuration::Providers(on_disk.order().with_writer(&situation.writer));
        changes.push(Change { server, to, reason: reason.to_owned() });
    }
    files::write(situation, changes, Vec::new()).or_else(|| load::bring_up_to_date(situation, servers))
}

fn writes_on_disk(situation: &Situation<'_>, server: &Server) -> bool {
    server.on_disk.as_ref().is_some_and(|it| it.order().writer == situation.writer)
}
