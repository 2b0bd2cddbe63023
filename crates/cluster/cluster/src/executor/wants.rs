//! What the operator of a host asked for, and which changes of that host lead there.

use super::record::Record;
use crate::host::{Change, Report};
use crate::provider_order::KmsPlugin;
use crate::rollout::{Configuration, Goal, Order, Provider};

/// What the operator of a host wants. It comes from the command line and the record file of that host, never from what is shared: whoever may
/// write Leases can write that.
#[derive(Clone, Debug)]
pub struct Wants {
    /// Where the rollout is to go.
    pub goal: WantedGoal,
    /// The plugins that the command and the record file of this host name.
    pub plugins: Vec<KmsPlugin>,
    /// For these resources, as an EncryptionConfiguration names them.
    pub resources: Vec<String>,
}

/// Where the rollout is to go, as far as the operator said it.
#[derive(Clone, Debug)]
pub enum WantedGoal {
    /// Exactly there.
    Exactly(Goal),
    /// To a new key of the entry that writes already.
    Rotation {
        /// Its key id; none: whatever the plugins report.
        to: Option<String>,
    },
}

impl Wants {
    /// Whether another driver's rollout is this one, for the same resources at least.
    pub(super) fn takes(&self, record: &Record) -> bool {
        self.mismatch(record).is_none()
    }

    /// Why another driver's rollout is another one.
    pub(super) fn mismatch(&self, record: &Record) -> Option<String> {
        let ours = match &self.goal {
            WantedGoal::Exactly(goal) if *goal == record.goal => None,
            WantedGoal::Exactly(goal) => Some(goal.to_string()),
            WantedGoal::Rotation { to } => match (&record.goal, to) {
                (Goal::Rotate { .. }, None) => None,
                (Goal::Rotate { to: theirs, .. }, Some(to)) if theirs == to => None,
                (_, Some(to)) => Some(format!("rotate to key id {to}")),
                (_, None) => Some("rotate to a new key".to_owned()),
            },
        };
        if let Some(ours) = ours {
            return Some(format!(
                "the command that runs on this host is to {ours}, and the rollout is to {}",
                record.goal
            ));
        }
        let missing = self.resources.iter().find(|it| !record.resources.contains(it))?;
        Some(format!(
            "the command that runs on this host is for {missing} too, and the rollout is for {}: name the same with --resource on each host",
            record.resources.join(", ")
        ))
    }

    /// Of the plugins that a driver names those that this host may ask: what its operator named, and entries of its own file, where the
    /// file's socket counts.
    pub(super) fn known(&self, plugins: &[KmsPlugin], file: &[Provider]) -> Vec<KmsPlugin> {
        let is_known = |it: &&KmsPlugin| self.plugins.contains(it) || file.contains(&it.provider);
        plugins.iter().filter(is_known).cloned().collect()
    }

    /// Why a change does not lead to the goal. `here` is what this host says for [`Self::resources`] and no more plugins than its file has.
    pub(super) fn refusal(&self, change: &Change, goal: &Goal, here: &Report) -> Option<String> {
        let resources = match change {
            Change::Restart { .. } => return None,
            Change::Write { resources, .. } | Change::RemoveFlag { resources } => resources,
        };
        let is_ours = |it: &&String| self.resources.contains(it) || here.resources.contains(it);
        if let Some(other) = resources.iter().find(|it| !is_ours(it)) {
            return Some(format!(
                "the command that runs on this host is not for {other}: name it with --resource on each host"
            ));
        }
        let now = match &here.on_disk {
            Ok(now) => now,
            Err(reason) => return Some(format!("the files of this host are not clear: {reason}")),
        };
        match change {
            Change::Write { order, plugins, .. } => self.write_refusal(order, plugins, goal, now, here),
            _ if goal.sets_flag() => Some(format!("to {goal}, the flag is not taken away")),
            _ => None,
        }
    }

    fn write_refusal(
        &self,
        order: &Order,
        plugins: &[KmsPlugin],
        goal: &Goal,
        now: &Configuration,
        here: &Report,
    ) -> Option<String> {
        let now = now.order();
        // A rotation stays with the entry that writes, whatever the goal names.
        let is_goals = order.writer == goal.writer() && !matches!(goal, Goal::Rotate { .. });
        if order.writer != now.writer && !is_goals {
            return Some(format!("to {goal}, nothing is written with {}", order.writer));
        }
        let end = goal.end().map(|it| it.order());
        let stays = |it: &&Provider| end.as_ref().is_none_or(|end| end.reads(it));
        if let Some(dropped) = now.providers().filter(|it| !order.reads(it)).find(stays) {
            return Some(format!("to {goal}, {dropped} stays readable"));
        }
        let there = |it: &Provider| here.plugins.iter().any(|plugin| plugin.provider == *it);
        let is_new = |it: &&KmsPlugin| order.reads(&it.provider) && !there(&it.provider);
        let unknown = plugins.iter().filter(is_new).find(|it| !self.plugins.contains(it))?;
        Some(format!(
            "the command that runs on this host names no plugin of {} at {}",
            unknown.provider, unknown.endpoint
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{WantedGoal, Wants};
    use crate::executor::Record;
    use crate::host::{Change, EtcdAccess, PluginReport, Report, Seen};
    use crate::kms_way::KmsWay;
    use crate::provider_order::KmsPlugin;
    use crate::rollout::{Configuration, Goal, Order, Provider};

    fn kms(name: &str) -> Provider {
        Provider::KmsV2 { name: name.to_owned() }
    }

    fn plugin(name: &str, path: &str) -> KmsPlugin {
        KmsPlugin { provider: kms(name), endpoint: format!("unix://{path}"), timeout: None }
    }

    fn order(providers: &[Provider]) -> Order {
        let mut providers = providers.iter().cloned();
        Order { writer: providers.next().expect("a writer"), readers: providers.collect() }
    }

    fn wants(goal: WantedGoal) -> Wants {
        let resources = vec!["secrets".to_owned()];
        Wants { goal, plugins: vec![plugin("a", "/a.sock")], resources }
    }

    fn record(goal: Goal, resources: &[&str]) -> Record {
        let resources = resources.iter().map(|it| (*it).to_owned()).collect();
        Record::new("uid".to_owned(), goal, resources, Vec::new())
    }

    /// What a host says whose file has these providers.
    fn here(on_disk: Configuration) -> Report {
        let plugins = on_disk.order().providers().filter(|it| it.is_kms()).cloned().collect::<Vec<_>>();
        let no_way = |provider| PluginReport { provider, probe: Err(String::new()), way: KmsWay::default() };
        Report {
            address: "https://10.0.0.1:6443".to_owned(),
            minor: Some(37),
            has_flag: on_disk != Configuration::NoEncryption,
            seen: Seen::default(),
            on_disk: Ok(on_disk),
            resources: vec!["configmaps".to_owned(), "secrets".to_owned()],
            earlier: std::collections::BTreeMap::new(),
            changed: 0.0,
            automatic_reload: true,
            settings: Err(String::new()),
            others: Vec::new(),
            is_restarting: false,
            process: None,
            remarks: Vec::new(),
            etcd: EtcdAccess::default(),
            plugins: plugins.into_iter().map(no_way).collect(),
        }
    }

    fn write(providers: &[Provider], plugins: Vec<KmsPlugin>) -> Change {
        Change::Write { resources: vec!["secrets".to_owned()], order: order(providers), plugins }
    }

    #[test]
    fn another_rollout_is_not_taken_for_ones_own() {
        let goal = Goal::Enable { to: kms("a"), keep_identity: false };
        let enable = wants(WantedGoal::Exactly(goal.clone()));
        assert!(enable.takes(&record(goal.clone(), &["secrets", "configmaps"])));
        assert!(!enable.takes(&record(goal.clone(), &["configmaps"])), "it is for secrets");
        let undo = Goal::Undo { to: Configuration::NoEncryption };
        let elsewhere = Goal::Undo { to: Configuration::Providers(order(&[Provider::Identity])) };
        for forged in [Goal::Disable, undo.clone(), Goal::Enable { to: kms("a"), keep_identity: true }] {
            assert!(!enable.takes(&record(forged.clone(), &["secrets"])), "{forged}");
        }
        let back = wants(WantedGoal::Exactly(undo.clone()));
        assert!(back.takes(&record(undo, &["secrets"])) && !back.takes(&record(elsewhere, &["secrets"])));
        let rotation = |to: Option<&str>| wants(WantedGoal::Rotation { to: to.map(str::to_owned) });
        let rotate = record(Goal::Rotate { provider: kms("a"), to: "2".to_owned() }, &["secrets"]);
        assert!(rotation(None).takes(&rotate) && rotation(Some("2")).takes(&rotate));
        assert!(!rotation(Some("3")).takes(&rotate));
        assert!(!rotation(None).takes(&record(Goal::Disable, &["secrets"])));
    }

    #[test]
    fn a_part_does_nothing_that_its_operator_did_not_ask_for() {
        let goal = Goal::Enable { to: kms("a"), keep_identity: false };
        let enable = wants(WantedGoal::Exactly(goal.clone()));
        let plain = here(Configuration::Providers(order(&[Provider::Identity])));
        let ours = || vec![plugin("a", "/a.sock")];
        let refused = |change: &Change, here: &Report| enable.refusal(change, &goal, here);
        assert_eq!(refused(&write(&[Provider::Identity, kms("a")], ours()), &plain), None);
        assert_eq!(refused(&write(&[kms("a"), Provider::Identity], ours()), &plain), None);
        let other = write(&[kms("b"), Provider::Identity, kms("a")], ours());
        assert!(refused(&other, &plain).is_some(), "another provider writes");
        let elsewhere = vec![plugin("a", "/elsewhere.sock")];
        let elsewhere = write(&[kms("a"), Provider::Identity], elsewhere);
        assert!(refused(&elsewhere, &plain).is_some(), "the plugin is somewhere else");
        let remove = |resource: &str| Change::RemoveFlag { resources: vec![resource.to_owned()] };
        assert!(refused(&remove("secrets"), &plain).is_some(), "it is to be set");
        // Encrypted already, nobody asked for plain values.
        let encrypts = here(Configuration::Providers(order(&[kms("a")])));
        assert!(refused(&write(&[Provider::Identity, kms("a")], ours()), &encrypts).is_some());
        let disable = wants(WantedGoal::Exactly(Goal::Disable));
        assert_eq!(disable.refusal(&remove("secrets"), &Goal::Disable, &encrypts), None);
        assert_eq!(disable.refusal(&remove("configmaps"), &Goal::Disable, &encrypts), None, "one entry");
        let beside = disable.refusal(&remove("leases"), &Goal::Disable, &encrypts);
        assert!(beside.is_some_and(|it| it.contains("leases")), "of another entry");
    }

    #[test]
    fn what_the_goal_keeps_readable_is_not_dropped() {
        let goal = Goal::Migrate { to: kms("a"), keep_identity: true };
        let migrate = wants(WantedGoal::Exactly(goal.clone()));
        let both = here(Configuration::Providers(order(&[kms("a"), kms("b"), Provider::Identity])));
        let refused = |providers: &[Provider]| migrate.refusal(&write(providers, Vec::new()), &goal, &both);
        assert_eq!(refused(&[kms("a"), Provider::Identity]), None);
        assert!(refused(&[kms("a"), kms("b")]).is_some_and(|it| it.contains("identity stays readable")));
        // A rotation drops nothing, and writes with what writes now, whatever the shared goal names.
        let forged = Goal::Rotate { provider: Provider::Identity, to: "2".to_owned() };
        let rotate = wants(WantedGoal::Rotation { to: None });
        let all = [Provider::Identity, kms("a"), kms("b")];
        assert!(rotate.refusal(&write(&all, Vec::new()), &forged, &both).is_some());
        assert!(rotate.refusal(&write(&[kms("a"), kms("b")], Vec::new()), &forged, &both).is_some());
    }

    #[test]
    fn sockets_that_only_a_driver_names_are_not_asked() {
        let enable = wants(WantedGoal::Exactly(Goal::Disable));
        let named = [plugin("a", "/a.sock"), plugin("b", "/b.sock"), plugin("c", "/run/other.sock")];
        let known = enable.known(&named, &[kms("b")]);
        assert_eq!(known, named[..2]);
    }
}
