//! `keystead kms keys delete`, and waiting for what the service does in its own time.

use std::time::{Duration, Instant};

use keystead_runtime::Failure;
use serde_json::Value;

use crate::kms::names::Key;
use crate::output::say;
use crate::session::Session;

/// Our server answers with what is done; Google's takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(session: &Session<'_>, key: &Key) -> Result<(), Failure> {
    let name = key.name(session)?;
    session.confirm_for_ever(&format!(
        "The key [{name}] will be deleted for ever, and its name will never be given again."
    ))?;
    let operation = session.server().delete(&format!("/v1/{name}"))?;
    let done = wait(session, operation)?;
    say(&format!("Deleted key [{name}]."));
    session.print_if_asked(done)
}

/// Asks for a long-running operation until it is done; its failure is this one's.
pub(crate) fn wait(session: &Session<'_>, mut operation: Value) -> Result<Value, Failure> {
    let start = Instant::now();
    loop {
        let name = operation.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(message) = operation.pointer("/error/message").and_then(Value::as_str) {
            return Err(Failure::new(format!("operation {name} failed: {message}")));
        }
        if name.is_empty() || operation.get("done") == Some(&Value::Bool(true)) {
            return Ok(operation);
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(format!("operation {name} is not done after {} s", PATIENCE.as_secs()))
                .hint("it goes on without this command".to_owned()));
        }
        std::thread::sleep(PAUSE);
        operation = session.server().get(&format!("/v1/{name}"), &[])?;
    }
}
