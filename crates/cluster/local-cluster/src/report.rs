//! What the supervisor says: lines on standard error, which the server has led into the file `log`.

use std::io::Write as _;

use jiff::Timestamp;

/// Says something, on one line. Whoever closed standard error does not want to know.
pub(crate) fn say(text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let line: String = lines.join("; ").chars().filter(|it| !it.is_control()).collect();
    drop(writeln!(std::io::stderr(), "{:.0} {line}", Timestamp::now()));
}

/// A trouble that is met again and again: it is said once, until it is another one.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    said: Option<String>,
}

impl Trouble {
    pub(crate) fn say(&mut self, text: &str) {
        if self.said.as_deref() != Some(text) {
            say(text);
            self.said = Some(text.to_owned());
        }
    }

    pub(crate) fn is_over(&mut self) {
        self.said = None;
    }
}
