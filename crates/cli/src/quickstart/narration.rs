//! What a person sees: numbered steps, a spinner on a terminal, plain lines elsewhere.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use keystead_runtime::print_result;

use crate::env::quote;

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

    /// A command, as a person would type it into a shell.
    pub(super) fn command(&self, words: &[&str]) {
        let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
        self.say(&format!("   $ keystead {}", words.join(" ")));
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
            "\nWhat next, for a real cluster (README.md has every step, in order):\n\
             \x20  keystead-server --data-dir /var/lib/keystead     a key management service for gcloud and keystead;\n\
             \x20                                                    \"Run the key management service\"\n\
             \x20  keystead-plugin key create                       or only a key file on each control-plane host;\n\
             \x20                                                    \"Install on a cluster\"\n\
             \x20  keystead plugin install --as static-pod          the plugin, on every control-plane host\n\
             \x20  keystead cluster enable                          encrypts what is stored while clients go on",
        );
    }
}
