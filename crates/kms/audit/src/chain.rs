//! Following the chain over lines that are no records.

use crate::line::Line;
use crate::{Hash, ProblemKind};

/// The chain as far as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// The record that was read last.
    sequence: u64,
    /// Its hash; none: it is not known.
    hash: Option<Hash>,
    /// Lines behind it that are no records. Each may have been one.
    damaged: u64,
}

impl Chain {
    /// Behind a record.
    pub(crate) fn after(sequence: u64, hash: Option<Hash>) -> Self {
        Self { sequence, hash, damaged: 0 }
    }

    /// Steps over a line that is no record.
    pub(crate) fn step_over(&mut self) {
        self.damaged += 1;
    }

    /// Goes on to a record, and says what is wrong with it at this place. One that was there already does not move the chain.
    pub(crate) fn follow(&mut self, line: &Line<'_>) -> Option<ProblemKind> {
        let next = self.sequence.saturating_add(1);
        if line.sequence < next {
            return Some(ProblemKind::Repeated { sequence: line.sequence });
        }
        // A damaged line stands for one record or for none.
        let latest = next.saturating_add(self.damaged);
        let replaced = line.sequence == next && self.hash.is_some_and(|it| it != line.previous);
        let problem = (line.sequence > latest)
            .then(|| ProblemKind::Missing { first: latest, last: line.sequence - 1 })
            .or(replaced.then_some(ProblemKind::Replaced));
        *self = Self::after(line.sequence, Some(line.hash));
        problem
    }

    /// The newest sequence that may have been given to a record.
    pub(crate) fn newest(&self) -> u64 {
        self.sequence.saturating_add(self.damaged)
    }

    /// The hash of the newest record that can be read.
    pub(crate) fn hash(&self) -> Option<Hash> {
        self.hash
    }

    /// How many damaged lines are behind the newest record that can be read.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }
}
