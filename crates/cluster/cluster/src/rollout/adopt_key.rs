//! A rotation within one KMS entry: every plugin can decrypt with the new key before any encrypts with it, and every server saw the
//! new key id before anything is rewritten. A server that did not see it yet takes new values for stale and rewrites them back
//! (k8s-contract 1.8).

use super::goal::Goal;
use super::plan::{Fact, Next, Obstacle, Step};
use super::situation::{Situation, wait};

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let Goal::Rotate { provider, to } = situation.goal else { return None };
    let (waits, mut obstacles) = situation.not_ready(|_| true);
    for server in &situation.servers {
        let unwraps = server.plugin(provider).is_some_and(|it| it.unwraps.contains(to));
        if !unwraps {
            let name = &server.name;
            obstacles.push(Obstacle::new(
                format!("the plugin of {provider} on {name} cannot unwrap what key id {to} wraps"),
                "Give it the new key as one that decrypts.",
            ));
        }
        obstacles.extend(situation.plugin_problem(server, provider));
    }
    if let Some(next) = Next::of(waits, obstacles) {
        return Some(next);
    }
    let (mut steps, mut late) = (Vec::new(), Vec::new());
    for server in &situation.servers {
        let plugin = server.plugin(provider);
        if plugin.and_then(|it| it.reports.as_ref()) != Some(to) {
            let until = Fact::Reports { provider: provider.clone(), key_id: to.clone() };
            late.push(wait(server, until).because("its plugin takes up the new key by itself"));
        } else if plugin.and_then(|it| it.seen.as_ref()) != Some(to) {
            let until = Fact::Sees { provider: provider.clone(), key_id: to.clone() };
            late.push(wait(server, until).because("it asks its plugin about once a minute"));
        }
    }
    let promoted = late.iter().all(|it| matches!(&it.step, Step::Wait { until: Fact::Sees { .. }, .. }));
    if !promoted {
        let promote = Step::PromoteKey { provider: provider.clone(), key_id: to.clone() };
        steps.push(promote.because("every plugin can decrypt with it"));
    }
    steps.extend(late);
    Next::of(steps, Vec::new())
}
