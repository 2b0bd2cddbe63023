use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use keystead_cluster::reencrypt::Progress;

use crate::output::say;

/// How often a line is written where nobody watches a terminal.
const LINES_EVERY: Duration = Duration::from_secs(10);

/// How far the run is, on standard error: a bar on a terminal, elsewhere a line now and then.
pub(in crate::cluster) struct Bar {
    bar: Option<ProgressBar>,
    pass: u32,
    line: Instant,
}

impl Bar {
    pub(in crate::cluster) fn new() -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0));
        if let (Some(bar), Ok(style)) = (&bar, ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}")) {
            bar.set_style(style);
        }
        Self { bar, pass: 0, line: Instant::now() }
    }

    pub(in crate::cluster) fn show(&mut self, progress: &Progress) {
        let message = message(progress);
        if let Some(bar) = &self.bar {
            if self.pass != progress.pass {
                bar.reset();
            }
            bar.set_length(progress.total.unwrap_or(progress.done).max(progress.done));
            bar.set_position(progress.done);
            bar.set_message(message);
        } else if self.pass != progress.pass || self.line.elapsed() >= LINES_EVERY {
            self.line = Instant::now();
            let total = progress.total.map(|it| format!(" of {it}")).unwrap_or_default();
            say(&format!("{}{total} {message}", progress.done));
        }
        self.pass = progress.pass;
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn message(progress: &Progress) -> String {
    let Progress { pass, resource, namespace, rewritten, unsettled, rate, .. } = progress;
    let place = namespace.as_ref().map(|it| format!(" in {it}")).unwrap_or_default();
    let mut text = format!("pass {pass}, {resource}{place}: {rewritten} rewritten");
    if *unsettled > 0 {
        text.push_str(&format!(", {unsettled} could not be"));
    }
    if let Some(reason) = &progress.waits {
        text.push_str(&format!("; waits: {reason}"));
    } else if *rate > 0.0 {
        text.push_str(&format!("; {rate:.0}/s"));
        if let Some(remaining) = progress.remaining() {
            text.push_str(&format!(", {} to go", HumanDuration(remaining)));
        }
    }
    text
}
