//! One reason may fill the log once, not for ever: warnings of one place in the code are limited in rate, and counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines of one place within one [`WINDOW`]. A person needs a few to see what happens. At 300 bytes a line this is at most
/// 600 bytes a second for each reason, whoever causes it.
const MAX_LINES: u64 = 20;
/// After it the count starts anew, and what was left out is reported.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts warnings and errors by the place in the code that logs them. There are as many entries as such places.
///
/// Other levels are not limited: what is logged there is bounded by its cause, or was asked for with `debug`.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    places: Mutex<HashMap<Identifier, Place>>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    lines: u64,
    /// Where in the code: the target and line, for the report.
    name: String,
}

impl LogLimit {
    /// Whether one more line may be written; if not, it is counted.
    fn admits(&self, place: Identifier, name: impl FnOnce() -> String, now: Instant) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert_with(|| Place { since: now, lines: 0, name: name() });
        // A window that left lines out ends with its report, so that none is forgotten.
        if now.duration_since(place.since) >= WINDOW && place.lines <= MAX_LINES {
            (place.since, place.lines) = (now, 0);
        }
        place.lines = place.lines.saturating_add(1);
        place.lines <= MAX_LINES
    }

    /// Reports what was left out in windows that are over, or in all of them.
    pub(crate) fn report(&self, all: bool) {
        for (place, suppressed) in self.take_suppressed(all, Instant::now()) {
            tracing::warn!(suppressed, place, "a reason that repeats was left out of the log");
        }
    }

    /// Starts new windows, and gives the counts of the old ones. No lock is held while these are logged.
    fn take_suppressed(&self, all: bool, now: Instant) -> Vec<(String, u64)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for place in places.values_mut() {
            let over = all || now.duration_since(place.since) >= WINDOW;
            if over && place.lines > MAX_LINES {
                taken.push((place.name.clone(), place.lines - MAX_LINES));
                (place.since, place.lines) = (now, 0);
            }
        }
        taken
    }
}

/// Puts a [`LogLimit`] before all other layers.
pub(crate) struct LimitLayer(pub(crate) std::sync::Arc<LogLimit>);

impl<S: Subscriber> Layer<S> for LimitLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Reports are as rare as windows are, and must not be left out themselves.
        if *metadata.level() > Level::WARN || metadata.target() == module_path!() {
            return true;
        }
        let name = || format!("{}:{}", metadata.target(), metadata.line().unwrap_or_default());
        self.0.admits(metadata.callsite(), name, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite;

    use super::*;

    fn place() -> Identifier {
        tracing::callsite!(name: "place", kind: tracing::metadata::Kind::EVENT, fields: message)
            .metadata()
            .callsite()
    }

    #[test]
    fn a_reason_that_repeats_is_limited_and_what_was_left_out_is_counted() {
        let limit = LogLimit::default();
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| limit.admits(place(), String::new, start)).count();
        assert_eq!(admitted as u64, MAX_LINES);
        assert_eq!(limit.take_suppressed(false, start), [], "its window is not over");
        let later = start + WINDOW;
        assert!(!limit.admits(place(), String::new, later), "not before the report");
        assert_eq!(limit.take_suppressed(false, later), [(String::new(), 1001 - MAX_LINES)]);
        assert!(limit.admits(place(), String::new, later));
        assert_eq!(limit.take_suppressed(true, later), [], "each is reported once");
    }

    #[test]
    fn what_comes_now_and_then_is_never_left_out() {
        let limit = LogLimit::default();
        let start = Instant::now();
        for second in 0..600 {
            assert!(limit.admits(place(), String::new, start + Duration::from_secs(second)));
        }
    }
}
