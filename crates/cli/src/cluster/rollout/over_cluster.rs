//! A rollout in which each host runs the same command.

use keystead_cluster::executor::{
    HostAccess, Part, Record, RecordFile, Turn, Waits, WantedGoal, Wants, shared_record, take_turn,
};
use keystead_cluster::host::{Answer, LocalHost, Task};
use keystead_cluster::rollout::{Configuration, Goal};
use keystead_runtime::Failure;

use super::driver::{not_driving, servers, tell_uncertain};
use super::looks::reached;
use super::parts::{RunningPart, await_parts, unasked};
use super::told::tell;
use super::wish::{remembered, say_wish, settle};
use super::{Aim, Held, RunArgs, Several, Way};
use crate::cluster::reencrypt::exit;

impl RunArgs {
    /// Does the part of this host, until it is its turn to drive. None: another driver has reached the goal. What is held until the command ends
    /// goes into `held`.
    pub(super) async fn over_cluster(
        &self,
        several: &Several<'_>,
        file: Option<&RecordFile>,
        known: Option<&Record>,
        aim: Aim,
        held: &mut Held,
    ) -> Result<Option<Way>, Failure> {
        let (server, stop, patience) = (several.server, several.stop, aim.patience(self));
        let servers = reached(patience, stop, async || servers(several.kubeconfig, server).await).await?;
        let peers = self.fleet.peers(server).await?;
        // Before this host does anything for a driver: what that one reaches is newer.
        let read = async || shared_record(&servers).await.map_err(|error| not_driving(&error));
        let shared = reached(patience, stop, read).await?;
        let before = shared.as_ref().map(Record::version);
        let is_named = !matches!(aim, Aim::Continue | Aim::Undo);
        let of_cluster = shared.as_ref().filter(|it| it.cluster == server.cluster());
        let (aim, wants) = settle(aim, &self.resources, known, of_cluster)?;
        if !is_named {
            say_wish(&wants);
        }
        let here = self.fleet.here()?;
        let mut hosts = vec![HostAccess::Local(here.clone())];
        let resources = wants.resources.clone();
        let Some(file) = file else {
            hosts.extend(unasked(peers, &servers));
            return Ok(Some(Way { hosts, shared, aim, resources }));
        };
        let failed = |error: keystead_cluster::executor::RecordError| {
            Failure::from_error(&error).exit(exit(error.class()))
        };
        let holder = file.holder(&here.name).map_err(failed)?;
        let found = on_disk(&here, &wants).await;
        if let WantedGoal::Exactly(goal) = &wants.goal {
            let record = remembered(known, goal, &wants, server.cluster(), found.as_ref());
            file.save(&record).map_err(failed)?;
        }
        let part = Part {
            host: here.clone(),
            servers: servers.clone(),
            holder: holder.clone(),
            wants: wants.clone(),
        };
        held.part = Some(RunningPart::start(part, stop));
        let patience = self.patience.get();
        let turn = take_turn(&servers, &holder, &wants, before, patience, stop, &mut say_waits).await;
        match turn.map_err(|error| not_driving(&error))? {
            Turn::Drives(lease, shared) => {
                held.lease = Some(lease.clone());
                hosts.extend(await_parts(peers, &servers, &lease, patience, stop).await?);
                Ok(Some(Way { hosts, shared, aim, resources }))
            }
            Turn::Reached(record) => {
                // Whoever may write Leases can write that, too.
                if !is_at(&record.goal, on_disk(&here, &wants).await.as_ref()) {
                    return Err(not_here(&record.goal));
                }
                let mut own = remembered(known, &record.goal, &wants, server.cluster(), found.as_ref());
                own.reached = true;
                file.save(&own).map_err(failed)?;
                tell(&format!("done: {}", record.goal));
                Ok(None)
            }
        }
    }
}

/// Whether the files of this host are as they are at the end.
fn is_at(goal: &Goal, now: Option<&Configuration>) -> bool {
    now.is_some_and(|now| {
        let has_flag = *now != Configuration::NoEncryption;
        now.order().writer == goal.writer() && has_flag == goal.sets_flag()
    })
}

fn not_here(goal: &Goal) -> Failure {
    Failure::new(format!(
        "another host says that the rollout is done ({goal}), and the files of this host are not so"
    ))
    .hint("look with `keystead cluster status`, then run the same command again on each host".to_owned())
}

fn say_waits(waits: Waits<'_>) {
    match waits {
        Waits::ForCertainty(other) => tell_uncertain(other),
        Waits::WhileDriven(other) => tell(&format!("{other} drives, and this host does its part")),
    }
}

/// What this host's files say of the resources; none where that is not clear.
async fn on_disk(here: &LocalHost, wants: &Wants) -> Option<Configuration> {
    let look = Task::Look { resources: wants.resources.clone(), plugins: Vec::new() };
    match here.perform(&look).await {
        Ok(Answer::Report(report)) => report.on_disk.ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use keystead_cluster::rollout::{Configuration, Goal, Order, Provider};

    use super::is_at;

    #[test]
    fn what_another_host_calls_done_is_seen_here() {
        let kms = || Provider::KmsV2 { name: "a".to_owned() };
        let writes = |writer| Configuration::Providers(Order { writer, readers: Vec::new() });
        let enable = Goal::Enable { to: kms(), keep_identity: false };
        let rotate = Goal::Rotate { provider: kms(), to: "k".to_owned() };
        for (goal, now, done) in [
            (&enable, Some(writes(kms())), true),
            (&rotate, Some(writes(kms())), true),
            (&enable, Some(writes(Provider::Identity)), false),
            (&enable, Some(Configuration::NoEncryption), false),
            (&enable, None, false),
            (&Goal::Disable, Some(Configuration::NoEncryption), true),
            (&Goal::Disable, Some(writes(Provider::Identity)), false),
            (&Goal::Undo { to: writes(Provider::Identity) }, Some(writes(Provider::Identity)), true),
        ] {
            assert_eq!(is_at(goal, now.as_ref()), done, "{goal} {now:?}");
        }
    }
}
