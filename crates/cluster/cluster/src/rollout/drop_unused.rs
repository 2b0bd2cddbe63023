//! What nothing needs any more goes: providers that only read, and at last the flag. Only after a count that is true for the servers
//! as they are now.

use super::configuration::Configuration;
use super::plan::{Next, PlannedStep, Step};
use super::reencrypt;
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let end = situation.goal.end()?;
    if !reencrypt::is_clean(situation) {
        return None;
    }
    let mut steps: Vec<PlannedStep> = Vec::new();
    for server in situation.servers.iter().filter(|it| it.on_disk.as_ref() != Some(&end)) {
        let server = server.name.clone();
        steps.push(match &end {
            Configuration::NoEncryption => Step::RemoveFlag { server }
                .because("everything stored is plain, and every API server writes plain values"),
            Configuration::Providers(order) => Step::Write { server, order: order.clone() }
                .because("nothing is stored in another way, and no API server writes in another way"),
        });
    }
    Next::of(steps, Vec::new())
}
