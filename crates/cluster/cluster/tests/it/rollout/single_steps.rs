//! Steps that no planner chose: whatever [`refusal`] lets through keeps the rule.

use keystead_cluster::rollout::{Configuration, Next, Observed, Order, Provider, Step, plan, refusal};

use super::choices::Choices;
use super::fleet::{Fleet, aescbc, kms_a, kms_b, kms_v1, secretbox};
use super::operator::{Operator, View};
use super::run::{Broken, broken, happens, judge, setting, trouble};

/// Steps of one run, refused ones included.
const STEPS: usize = 60;

/// How many steps were let through that change something: the rule is easily kept by whoever refuses everything.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) reads_more: u64,
    pub(crate) reads_less: u64,
    pub(crate) writers: u64,
    pub(crate) restarts: u64,
    pub(crate) promotions: u64,
    pub(crate) passes: u64,
}

pub(crate) fn single_steps(choices: &mut Choices, allowed: &mut Allowed) -> Result<(), Broken> {
    let (mut fleet, goals) = setting(choices);
    if choices.one_in(4) {
        // Another key behind the same name, which only this host has.
        let odd = choices.below(fleet.hosts.len());
        let plugin = fleet.hosts[odd].plugin(&kms_b());
        plugin.reports = "b2".into();
        plugin.unwraps = ["b2".to_owned()].into();
    }
    let mut operator = Operator::new(goals[0].clone(), choices);
    steps(&mut fleet, &mut operator, choices, allowed).map_err(|rule| broken(rule, fleet))
}

fn steps(
    fleet: &mut Fleet,
    operator: &mut Operator,
    choices: &mut Choices,
    allowed: &mut Allowed,
) -> Result<(), String> {
    for _ in 0..choices.below(STEPS) {
        if choices.below(2) == 1 {
            trouble(fleet, operator, choices)?;
        }
        for at in 0..fleet.hosts.len() {
            if choices.below(2) == 1 {
                fleet.settle(at);
                judge(fleet)?;
            }
        }
        let mut meanwhile = |fleet: &mut Fleet, choices: &mut Choices| happens(fleet, choices);
        let (observed, saw) = operator.observe(fleet, choices, &mut meanwhile)?;
        let step = match plan(&operator.goal, &observed).next {
            // Without these it would stay near the beginning.
            Next::Steps(mut steps) if choices.below(3) == 1 => steps.swap_remove(0).step,
            _ => any_step(&observed, choices),
        };
        if refusal(&step, &observed).is_some() {
            continue;
        }
        allowed.count(&step, &observed);
        let view = View { observed: &observed, believed: &observed, saw, flawed: false };
        operator.perform(&step, view, fleet, choices, &mut meanwhile)?;
        judge(fleet)?;
    }
    Ok(())
}

fn any_step(observed: &Observed, choices: &mut Choices) -> Step {
    let seen = &observed.servers[choices.below(observed.servers.len())];
    let (server, file) = (seen.name.clone(), seen.on_disk.clone().unwrap_or(Configuration::NoEncryption));
    let mut all: Vec<Provider> = file.order().providers().cloned().collect();
    let one = choices.below(all.len());
    let others = [kms_a(), kms_b(), aescbc(), secretbox(), kms_v1(), Provider::Identity];
    match choices.below(12) {
        0 | 1 => Step::Canary { server },
        2 => Step::TakeInventory { resource: "secrets".into() },
        3 => Step::Reencrypt { resource: "secrets".into(), resume: false },
        4 | 5 => Step::Restart { server },
        6 => Step::RemoveFlag { server },
        7 => {
            let key_id = ["a2", "a1"][choices.below(2)].into();
            Step::PromoteKey { provider: kms_a(), key_id }
        }
        8 if all.len() > 1 => {
            all.remove(one);
            write(server, all)
        }
        9 | 10 => {
            all.swap(0, one);
            write(server, all)
        }
        _ => {
            let other = others[choices.below(others.len())].clone();
            all.retain(|it| *it != other);
            all.push(other);
            write(server, all)
        }
    }
}

/// The first of `all` writes.
fn write(server: String, all: Vec<Provider>) -> Step {
    Step::Write { server, order: Order { writer: all[0].clone(), readers: all[1..].to_vec() } }
}

impl Allowed {
    fn count(&mut self, step: &Step, observed: &Observed) {
        let file = |name: &String| observed.servers.iter().find(|it| it.name == *name)?.on_disk.clone();
        match step {
            Step::Write { server, .. } | Step::RemoveFlag { server } => {
                let Some(old) = file(server).map(|it| it.order()) else { return };
                let new = match step {
                    Step::Write { order, .. } => order.clone(),
                    _ => Configuration::NoEncryption.order(),
                };
                self.reads_more += u64::from(new.providers().any(|it| !old.reads(it)));
                self.reads_less += u64::from(old.providers().any(|it| !new.reads(it)));
                self.writers += u64::from(new.writer != old.writer);
            }
            Step::Restart { .. } => self.restarts += 1,
            Step::PromoteKey { .. } => self.promotions += 1,
            Step::Reencrypt { .. } => self.passes += 1,
            Step::Wait { .. } | Step::Canary { .. } | Step::TakeInventory { .. } => {}
        }
    }

    /// The rarest kind.
    pub(crate) fn fewest(&self) -> u64 {
        let Self { reads_more, reads_less, writers, restarts, promotions, passes } = *self;
        reads_more.min(reads_less).min(writers).min(restarts).min(promotions).min(passes)
    }
}
