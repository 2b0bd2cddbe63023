use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::api::LeftOut;

use super::outcome::Outcome;
use super::plan::Via;
use super::tally::Tally;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Uid of the namespace kube-system.
    pub cluster: String,
    /// The API server.
    pub server: String,
    /// Who wrote the objects in the first pass. Of the in-tree migration, what was written since it began counts as rewritten by it.
    pub via: Via,
    /// How it ended.
    pub ending: Ending,
    /// Whether it went on where another one was cut.
    pub resumed: bool,
    /// One for each pass; the last one may be cut. The counts of a pass that was cut and went on have the objects of the page that
    /// was under way as already current.
    pub passes: Vec<Pass>,
    /// What was asked for in general and was left out, as the plan says.
    pub left_out: Vec<LeftOut>,
    /// Objects that this run itself dealt with, in all passes.
    pub objects_sent: u64,
    /// How long it took.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A pass over all objects, from its beginning to its end in this run, found each of them current.
    AllCurrent,
    /// The last pass rewrote none; and some could not be, or could not be seen.
    Refused,
    /// Even the last pass that was allowed rewrote some.
    StillRewriting,
    /// It was told to stop.
    Stopped,
    /// Something made it impossible to go on.
    Interrupted,
}

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pass {
    /// By resource, such as `secrets`.
    pub resources: BTreeMap<String, Tally>,
}

impl Report {
    /// Objects a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.objects_sent as f64 / self.seconds } else { 0.0 }
    }

    /// How many objects were stored anew, in all passes.
    pub fn rewritten(&self) -> u64 {
        self.passes.iter().map(|pass| pass.count(Outcome::Rewritten)).sum()
    }

    /// How many objects could not be rewritten in the last pass, and how many lists were not read to their end.
    pub fn unsettled(&self) -> u64 {
        self.passes.last().map_or(0, |pass| pass.resources.values().map(Tally::unsettled).sum())
    }

    /// What of it is not done, in numbers.
    pub fn what_is_left(&self) -> String {
        let lists = self.passes.last().map_or(0, |pass| pass.count(Outcome::NotListed));
        let migrations = self.passes.last().map_or(0, |pass| pass.count(Outcome::NotMigrated));
        let objects = self.unsettled() - lists - migrations;
        let unseen = self.left_out.iter().filter(|it| it.unseen).count() as u64;
        let left = [
            (objects, "objects could not be rewritten"),
            (lists, "lists of objects could not be read to their end"),
            (migrations, "in-tree migrations failed"),
            (unseen, "resources could not be seen"),
        ];
        let left = left.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        left.collect::<Vec<_>>().join(", ")
    }

    /// What is to be done now.
    pub fn next_step(&self) -> String {
        match self.ending {
            Ending::AllCurrent => {
                "every object is stored as the API server that was asked writes now; before a key is destroyed, see in etcd that none is \
                 under it: keystead cluster inventory"
                    .to_owned()
            }
            Ending::Refused => format!(
                "{}, for the reasons in this report: what is stored of them is as before, so do not destroy the key that it is under",
                self.what_is_left()
            ),
            Ending::StillRewriting => {
                "the last pass still found stale objects: API servers do not agree on the key yet; wait until each shows the same key id, \
                 then run it again"
                    .to_owned()
            }
            Ending::Stopped if self.via == Via::StorageVersionMigration && self.passes.len() == 1 => {
                "kube-controller-manager goes on with the migration; run the same command again: it goes on watching it and looks at every object afterwards"
                    .to_owned()
            }
            Ending::Stopped | Ending::Interrupted => {
                "run the same command again: it goes on where it stopped".to_owned()
            }
        }
    }
}

impl Pass {
    /// How many objects had this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.resources.values().map(|tally| tally.count(outcome)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pass) in self.passes.iter().enumerate() {
            writeln!(f, "pass {}:", index + 1)?;
            for (resource, tally) in &pass.resources {
                let counts: Vec<String> = tally
                    .counts
                    .iter()
                    .map(|(outcome, count)| format!("{count} {}", outcome.name()))
                    .collect();
                writeln!(f, "  {resource}: {}", counts.join(", "))?;
            }
        }
        let (objects, seconds) = (self.objects_sent, self.seconds);
        writeln!(f, "{objects} objects looked at in {seconds:.1} s: {:.0} a second", self.rate())?;
        let last = self.passes.last().into_iter().flat_map(|pass| &pass.resources);
        for (resource, tally) in last {
            for outcome in Outcome::ALL {
                let Some(advice) = outcome.advice().filter(|_| tally.count(outcome) > 0) else { continue };
                writeln!(f, "\n{resource}: {} {}; {advice}", tally.count(outcome), outcome.name())?;
                for named in tally.named.iter().filter(|it| it.outcome == outcome) {
                    let namespace = match named.namespace.as_str() {
                        "" => String::new(),
                        namespace => format!("{namespace}/"),
                    };
                    writeln!(f, "  {namespace}{}: {}", named.name, named.reason)?;
                }
            }
        }
        for LeftOut { resource, reason, .. } in &self.left_out {
            writeln!(f, "left out: {resource}: {reason}")?;
        }
        writeln!(f, "\nnext: {}", self.next_step())
    }
}
