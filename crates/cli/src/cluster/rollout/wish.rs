//! What the operator of this host wants of a rollout through the cluster: from the command line and this host's own record file, and from
//! nothing that is shared, which whoever may write Leases can write.

use keystead_cluster::executor::{NewVersion, Record, WantedGoal, Wants};
use keystead_cluster::rollout::{Configuration, Goal};
use keystead_runtime::Failure;

use super::Aim;
use super::told::tell;

/// The aim and the same for this host's part. `named` are the resources of the command line, `known` is this host's own record, `shared` that
/// of the last driver.
pub(super) fn settle(
    aim: Aim,
    named: &[String],
    known: Option<&Record>,
    shared: Option<&Record>,
) -> Result<(Aim, Wants), Failure> {
    let aim = match aim {
        Aim::Continue => Aim::Goal(continued(known, shared)?, Vec::new()),
        Aim::Undo => Aim::Goal(way_back(known, shared)?, Vec::new()),
        aim => aim,
    };
    let mut plugins = match &aim {
        Aim::Goal(_, plugins) => plugins.clone(),
        _ => Vec::new(),
    };
    let of_record = known.iter().flat_map(|it| it.plugins.clone());
    let of_record: Vec<_> =
        of_record.filter(|it| !plugins.iter().any(|other| other.provider == it.provider)).collect();
    plugins.extend(of_record);
    let resources = match (named, known) {
        ([], Some(known)) => known.resources.clone(),
        ([], None) => vec!["secrets".to_owned()],
        (named, _) => named.to_vec(),
    };
    let goal = match &aim {
        Aim::Goal(goal, _) => WantedGoal::Exactly(goal.clone()),
        Aim::Rotate(to, _) => WantedGoal::Rotation { to: to.clone() },
        Aim::Continue | Aim::Undo => return Err(unknown()),
    };
    Ok((aim, Wants { goal, plugins, resources }))
}

/// Says what a command goes to that does not name it.
pub(super) fn say_wish(wants: &Wants) {
    let WantedGoal::Exactly(goal) = &wants.goal else { return };
    tell(&format!("by the record of this host: {goal}, for {}", wants.resources.join(", ")));
    for plugin in &wants.plugins {
        tell(&format!("  the plugin of {} is at {}", plugin.provider, plugin.endpoint));
    }
}

fn continued(known: Option<&Record>, shared: Option<&Record>) -> Result<Goal, Failure> {
    let known = known.ok_or_else(unknown)?;
    let shared = later(known, shared);
    if let Some(other) = shared.filter(|it| it.goal != known.goal) {
        return Err(another(other));
    }
    if known.reached || shared.is_some_and(|it| it.reached) {
        return Err(Failure::new(format!("the last rollout is done: {}", known.goal)));
    }
    refuse_half_made(known)?;
    Ok(known.goal.clone())
}

fn way_back(known: Option<&Record>, shared: Option<&Record>) -> Result<Goal, Failure> {
    let known = known.ok_or_else(unknown)?;
    let back = match (&known.goal, &known.before) {
        (Goal::Undo { .. }, _) => known.goal.clone(),
        (_, Some(before)) => Goal::Undo { to: before.clone() },
        (_, None) => return Err(no_way_back()),
    };
    match later(known, shared).filter(|it| it.goal != known.goal && it.goal != back) {
        Some(other) => Err(another(other)),
        None => Ok(back),
    }
}

/// What drivers shared since this host wrote its record.
fn later<'r>(known: &Record, shared: Option<&'r Record>) -> Option<&'r Record> {
    shared.filter(|it| it.version() > known.version())
}

/// To go on with an earlier rollout, or back behind it, would undo what came later. It is only told, because it is only shared.
fn another(shared: &Record) -> Failure {
    Failure::new(format!(
        "another rollout came after the one that this host has a record of: {}",
        shared.goal
    ))
    .hint("if that one is yours, run its original command again on each host".to_owned())
}

fn unknown() -> Failure {
    Failure::new("this host has no record of a rollout of this cluster").usage().hint(
        "run the original command again on each host, such as `keystead cluster enable --over cluster --yes`, or name its --state directory"
            .to_owned(),
    )
}

/// What the API servers used before a rollout is not known.
pub(super) fn no_way_back() -> Failure {
    Failure::new("what the API servers used before is not known, so there is no way back to it")
        .hint("use `keystead cluster disable` or `keystead cluster migrate`".to_owned())
}

/// A rotation whose new version may or may not be there.
pub(super) fn refuse_half_made(record: &Record) -> Result<(), Failure> {
    match &record.new_version {
        Some(NewVersion { key, key_id: None, .. }) => {
            Err(Failure::new(format!("a new version of {key} was being made")).hint(
                "run the same `keystead cluster rotate --new-version` again: it makes no second one"
                    .to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

/// What this host's own file is to say of it, so that `continue` and `undo` need nobody else's word. Its version stays: where a driver shared
/// more, that is the newer one. `before` is what this host's files say now.
pub(super) fn remembered(
    known: Option<&Record>,
    goal: &Goal,
    wants: &Wants,
    cluster: &str,
    before: Option<&Configuration>,
) -> Record {
    let begins = known.is_none_or(|it| it.reached);
    let new = || Record::new(cluster.to_owned(), goal.clone(), Vec::new(), Vec::new());
    let mut record = known.cloned().unwrap_or_else(new);
    record.turn(goal.clone(), wants.resources.clone(), wants.plugins.clone());
    match goal {
        Goal::Undo { to } => record.before = Some(to.clone()),
        _ if begins => record.before = before.cloned(),
        _ => {}
    }
    record
}

#[cfg(test)]
mod tests {
    use keystead_cluster::executor::{Record, WantedGoal, Wants};
    use keystead_cluster::provider_order::KmsPlugin;
    use keystead_cluster::rollout::{Configuration, Goal, Provider};

    use super::{remembered, settle};
    use crate::cluster::rollout::Aim;

    fn kms() -> Provider {
        Provider::KmsV2 { name: "a".to_owned() }
    }

    fn plugin(path: &str) -> KmsPlugin {
        KmsPlugin { provider: kms(), endpoint: format!("unix://{path}"), timeout: None }
    }

    fn enable() -> Goal {
        Goal::Enable { to: kms(), keep_identity: false }
    }

    fn own() -> Record {
        let resources = vec!["secrets".to_owned(), "configmaps".to_owned()];
        let mut record = Record::new("uid".to_owned(), enable(), resources, vec![plugin("/a.sock")]);
        record.before = Some(Configuration::NoEncryption);
        record
    }

    fn goal_of(wants: &Wants) -> &Goal {
        match &wants.goal {
            WantedGoal::Exactly(goal) => goal,
            WantedGoal::Rotation { .. } => panic!("{wants:?}"),
        }
    }

    #[test]
    fn what_is_gone_on_with_comes_from_the_hosts_own_record() {
        let own = own();
        let mut shared = own.clone();
        shared.tenure = 7;
        shared.resources = vec!["leases".to_owned()];
        shared.plugins = vec![plugin("/forged.sock")];
        shared.before = Some(Configuration::Providers(Configuration::NoEncryption.order()));
        let (aim, wants) = settle(Aim::Continue, &[], Some(&own), Some(&shared)).expect("it goes on");
        assert!(matches!(aim, Aim::Goal(goal, _) if goal == enable()));
        assert_eq!(*goal_of(&wants), enable());
        assert_eq!(wants.resources, ["secrets", "configmaps"]);
        assert_eq!(wants.plugins, [plugin("/a.sock")], "without them it cannot finish");
        let (_, wants) = settle(Aim::Undo, &[], Some(&own), Some(&shared)).expect("it goes back");
        assert_eq!(*goal_of(&wants), Goal::Undo { to: Configuration::NoEncryption });
    }

    /// Written by another operator, or by somebody who may write Leases: nothing is done for it either way.
    #[test]
    fn a_goal_that_is_only_shared_is_told_and_not_followed() {
        let mut forged = Record::new("uid".to_owned(), Goal::Disable, vec!["secrets".to_owned()], Vec::new());
        forged.tenure = u64::MAX;
        for aim in [Aim::Continue, Aim::Undo] {
            let refused = settle(aim, &[], Some(&own()), Some(&forged)).map(drop).expect_err("refused");
            assert!(refused.to_string().contains("another rollout came after"), "{refused}");
        }
    }

    #[test]
    fn a_host_without_a_record_of_its_own_goes_on_with_nothing() {
        for aim in [Aim::Continue, Aim::Undo] {
            let refused = settle(aim, &[], None, Some(&own())).map(drop).expect_err("refused");
            assert_eq!(refused.code(), 2);
            assert!(refused.to_string().contains("run the original command again on each host"), "{refused}");
        }
        let mut done = own();
        done.reached = true;
        let refused = settle(Aim::Continue, &[], Some(&done), None).map(drop).expect_err("refused");
        assert!(refused.to_string().contains("is done"), "{refused}");
        // Another host has reached it meanwhile.
        done.tenure = 7;
        let refused = settle(Aim::Continue, &[], Some(&own()), Some(&done)).map(drop).expect_err("refused");
        assert!(refused.to_string().contains("is done"), "{refused}");
    }

    #[test]
    fn a_part_remembers_what_its_command_wanted_and_what_was_before() {
        let command = Aim::Goal(enable(), vec![plugin("/b.sock")]);
        let (_, wants) = settle(command, &["secrets".to_owned()], Some(&own()), None).expect("it begins");
        assert_eq!(wants.plugins, [plugin("/b.sock")], "what the command names counts");
        let now = Configuration::Providers(Configuration::NoEncryption.order());
        let first = remembered(None, &enable(), &wants, "uid", Some(&now));
        assert_eq!((first.version(), first.before.as_ref()), ((0, 0), Some(&now)));
        // The same command again, in the middle of it.
        let again = remembered(Some(&first), &enable(), &wants, "uid", None);
        assert_eq!(again.before, Some(now.clone()));
        let back = remembered(Some(&again), &Goal::Undo { to: now.clone() }, &wants, "uid", None);
        assert_eq!(back.before, Some(now));
    }
}
