//! What nothing needs any more goes: providers that only read, and at last the flag. Only after a count that is true for the servers
//! as they are now.

use super::files::{self, Change};
use super::plan::{Next, Obstacle};
use super::reencrypt;
use super::situation::Situation;

pub(super) fn next(situation: &Situation<'_>) -> Option<Next> {
    let end = situation.goal.end()?;
    if !reencrypt::is_clean(situation) {
        return None;
    }
    let (mut changes, mut obstacles) = (Vec::new(), Vec::new());
    for server in situation.servers.iter().filter(|it| it.on_disk.as_ref() != Some(&end)) {
        // An earlier configuration can have readers that this file does not have. An API server does not start without their plugins.
        let order = end.order();
        let added = order
            .providers()
            .filter(|it| !server.on_disk.as_ref().is_some_and(|on_disk| on_disk.order().reads(it)));
        let broken: Vec<Obstacle> = added.filter_map(|it| situation.plugin_unhealthy(server, it)).collect();
        if broken.is_empty() {
            changes.push(Change {
                server,
                to: end.clone(),
                reason: "nothing is stored in another way, and no API server writes in another way".into(),
            });
        }
        obstacles.extend(broken);
    }
    files::write(situation, changes, obstacles)
}
