use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// Names kept of each outcome that is not settled: enough to see what they have in common.
const NAMES_MAX: usize = 20;
/// Bytes of a reason that are kept.
const REASON_MAX: usize = 400;

/// Counts of outcomes, and some of the objects that could not be rewritten by name. Bounded, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many objects had each outcome.
    pub counts: BTreeMap<Outcome, u64>,
    /// The first 20 of each outcome that is not settled.
    pub named: Vec<Named>,
    /// Patches that had to be sent again because somebody else wrote the object at the same moment.
    pub conflicts: u64,
    /// Patches that had to be sent again because the API server failed, was throttling or did not answer.
    pub retries: u64,
}

/// An object that could not be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Empty for one that is in no namespace.
    pub namespace: String,
    /// Its name; `*` for all that were not listed.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// In the API server's words.
    pub reason: String,
}

impl Tally {
    /// How many objects had this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(&outcome).copied().unwrap_or(0)
    }

    /// How many objects were looked at.
    pub fn objects(&self) -> u64 {
        self.counts
            .iter()
            .filter(|(outcome, _)| !matches!(outcome, Outcome::NotListed | Outcome::NotMigrated))
            .map(|(_, count)| count)
            .sum()
    }

    /// How many objects could not be rewritten, and how many lists were not read to their end.
    pub fn unsettled(&self) -> u64 {
        self.counts.iter().filter(|(outcome, _)| !outcome.is_settled()).map(|(_, count)| count).sum()
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: Self) {
        for (outcome, count) in other.counts {
            *self.counts.entry(outcome).or_default() += count;
        }
        for named in other.named {
            self.keep(named);
        }
        self.conflicts += other.conflicts;
        self.retries += other.retries;
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        *self.counts.entry(outcome).or_default() += 1;
    }

    pub(super) fn add_named(&mut self, namespace: &str, name: &str, outcome: Outcome, reason: &str) {
        self.add(outcome);
        if !outcome.is_settled() {
            let reason = reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or_default().to_owned();
            self.keep(Named { namespace: namespace.to_owned(), name: name.to_owned(), outcome, reason });
        }
    }

    fn keep(&mut self, named: Named) {
        if self.named.iter().filter(|it| it.outcome == named.outcome).count() < NAMES_MAX {
            self.named.push(named);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_counts_are_not() {
        let mut sum = Tally::default();
        for page in 0..3 {
            let mut tally = Tally::default();
            for index in 0..15 {
                let name = format!("{page}-{index}");
                tally.add_named("n", &name, Outcome::AdmissionDenied, &"ä".repeat(1000));
                tally.add_named("n", &name, Outcome::Forbidden, "no");
                tally.add(Outcome::Rewritten);
            }
            sum.merge(tally);
        }
        assert_eq!((sum.objects(), sum.unsettled(), sum.count(Outcome::AdmissionDenied)), (135, 90, 45));
        assert_eq!(sum.named.len(), 2 * NAMES_MAX);
        assert!(sum.named.iter().all(|it| it.reason.len() <= REASON_MAX));
    }
}
