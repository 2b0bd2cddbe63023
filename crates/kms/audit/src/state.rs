use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{AuditError, EventKind};

/// A write that takes longer is a disk that hangs: callers are better off with a refusal that they can act on. Cloud disks
/// pause for a second now and then.
const STUCK: Duration = Duration::from_secs(2);

/// Whether calls can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogState {
    /// As it should be.
    Normal,
    /// The file system is full and more than 80 % of the reserve is used: somebody must act now.
    Low,
    /// More than 90 % of the reserve is used: what is left is for reads, Encrypt and Decrypt.
    MutationsRefused,
    /// Nothing can be recorded, so nothing is done.
    Full,
}

impl LogState {
    const ALL: [Self; 4] = [Self::Normal, Self::Low, Self::MutationsRefused, Self::Full];

    /// By how much of the reserve is used.
    pub(crate) fn of(used: u64, reserve: u64) -> Self {
        // In hundredths; a reserve is far below 2^57 bytes.
        match (used * 100).checked_div(reserve).unwrap_or_default() {
            0..=80 => Self::Normal,
            81..=90 => Self::Low,
            _ => Self::MutationsRefused,
        }
    }
}

/// What callers ask before they act, without waiting for anything.
pub(crate) struct Admission {
    state: AtomicU8,
    base: Instant,
    /// When the write under way began, in milliseconds after `base`, plus one; 0: none is.
    writing_since: AtomicU64,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(0), base: Instant::now(), writing_since: AtomicU64::new(0) }
    }

    pub(crate) fn state(&self) -> LogState {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        LogState::ALL.get(state).copied().unwrap_or(LogState::Full)
    }

    pub(crate) fn set(&self, state: LogState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn writing(&self, now: bool) {
        let since = if now { self.milliseconds() + 1 } else { 0 };
        self.writing_since.store(since, Ordering::Relaxed);
    }

    pub(crate) fn admits(&self, kind: EventKind) -> Result<(), AuditError> {
        match self.state() {
            LogState::Full => {
                let cause = "nothing can be written, and the reserved space is used up or the disk fails";
                return Err(AuditError::Refused { what: "any call", cause });
            }
            LogState::MutationsRefused if kind.is_mutation() => {
                let cause = "the file system is full, and nearly all of the reserved space is used";
                return Err(AuditError::Refused { what: "changes", cause });
            }
            _ => {}
        }
        let since = self.writing_since.load(Ordering::Relaxed);
        let waited = Duration::from_millis((self.milliseconds() + 1).saturating_sub(since));
        if since > 0 && waited > STUCK {
            return Err(AuditError::Stuck { seconds: waited.as_secs() });
        }
        Ok(())
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_says_what_is_refused() {
        for (used, reserve, wanted) in [
            (0, 0, LogState::Normal),
            (0, 100, LogState::Normal),
            (80, 100, LogState::Normal),
            (81, 100, LogState::Low),
            (90, 100, LogState::Low),
            (91, 100, LogState::MutationsRefused),
            (100, 100, LogState::MutationsRefused),
        ] {
            assert_eq!(LogState::of(used, reserve), wanted, "{used} of {reserve}");
        }
        let admission = Admission::new();
        for (state, reads, mutations) in [
            (LogState::Normal, true, true),
            (LogState::Low, true, true),
            (LogState::MutationsRefused, true, false),
            (LogState::Full, false, false),
        ] {
            admission.set(state);
            assert_eq!(admission.state(), state);
            for kind in [EventKind::AdminRead, EventKind::DataRead] {
                assert_eq!(admission.admits(kind).is_ok(), reads, "{state:?} {kind:?}");
            }
            for kind in [EventKind::AdminWrite, EventKind::DataWrite, EventKind::System] {
                assert_eq!(admission.admits(kind).is_ok(), mutations, "{state:?} {kind:?}");
            }
        }
    }
}
