//! What a person sees: numbered steps, a spinner on a terminal, plain lines elsewhere.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keystead_runtime::print_result;

pub(super) struct Narration {
    step: Cell<u32>,
}

impl Narration {
    pub(super) fn new() -> Self {
        Self { step: Cell::new(0) }
    }

    /// The heading of the next step.
    pub(super) fn step(&self, title: &str) {
        self.step.set(self.step.get() + 1);
        self.say(&format!("\n{}. {title}", self.step.get()));
    }

    /// A fact.
    pub(super) fn say(&self, text: &str) {
        // Nobody to tell is no reason to stop: the exit code says how it ended.
        drop(print_result(&format!("{text}\n")));
    }

    /// Waits for `work`, with a spinner where somebody watches.
    pub(super) async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let spinner = ProgressBar::new_spinner().with_message(format!("{what} ..."));
        if let Ok(style) = ProgressStyle::with_template("   {spinner} {msg} {elapsed}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        spinner.finish_and_clear();
        done
    }

    pub(super) fn next_steps(&self) {
        self.say(
            "\nWhat next, on a control-plane host of a real cluster:\n\
             \x20  keystead-plugin key create     make a key; copy the file to a safe place\n\
             \x20  deploy/systemd/                units that start the plugin before the kubelet\n\
             \x20  keystead plugin check --socket /run/keystead/kms.sock\n\
             \x20  README.md, \"Install on a cluster\": every step, in order",
        );
    }
}
