//! `keystead container operations ...`

use std::time::Duration;

use keystead_runtime::Failure;
use serde_json::{Value, json};

use super::names::Place;
use crate::kms::checked;
use crate::output::{ListArgs, say};
use crate::session::Session;

const TABLE: &str = "table(name, operationType:label=TYPE, location, targetLink.basename():label=TARGET, \
                     statusMessage:label=STATUS_MESSAGE, status, startTime:label=START_TIME, endTime:label=END_TIME)";
/// Between two looks at an operation that runs.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum OperationsCommand {
    /// Operations of the project, the oldest first
    List {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One operation
    Describe(Operation),
    /// Wait until an operation is done
    Wait(Operation),
    /// End an operation: what is not begun is not done
    Cancel(Operation),
}

/// An operation, named first.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Operation {
    /// The operation's name
    name: String,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(session: &Session<'_>, command: &OperationsCommand) -> Result<(), Failure> {
    match command {
        OperationsCommand::List { place, list } => {
            session.output().print_list(place.list(session, "operations")?, list, TABLE)
        }
        OperationsCommand::Describe(operation) => session.print(operation.get(session)?),
        OperationsCommand::Wait(operation) => {
            let parent = operation.place.name(session)?;
            session.print(finish(session, &parent, operation.get(session)?)?)
        }
        OperationsCommand::Cancel(operation) => {
            let question = format!("Are you sure you want to cancel operation {}?", operation.name);
            session.confirm_for_ever(&question)?;
            let path = format!("{}:cancel", operation.path(session)?);
            session.server().post(&path, &[], &json!({}))?;
            session.print_if_asked(operation.get(session)?)
        }
    }
}

impl Operation {
    fn path(&self, session: &Session<'_>) -> Result<String, Failure> {
        Ok(format!("/v1/{}/operations/{}", self.place.name(session)?, checked(&self.name)?))
    }

    fn get(&self, session: &Session<'_>) -> Result<Value, Failure> {
        session.server().get(&self.path(session)?, &[])
    }
}

/// Waits until an operation is done, and says what it waits for. One that did not do what it was for is a failure. Whoever ends the command
/// ends the waiting, not the operation.
pub(super) fn finish(session: &Session<'_>, parent: &str, mut operation: Value) -> Result<Value, Failure> {
    let name = text(&operation, "name").to_owned();
    let path = format!("/v1/{parent}/operations/{}", checked(&name)?);
    let mut told = String::new();
    loop {
        if text(&operation, "status") == "DONE" {
            let failed = text(&operation, "statusMessage");
            return if failed.is_empty() { Ok(operation) } else { Err(Failure::new(failed)) };
        }
        let detail = text(&operation, "detail");
        if detail != told {
            say(&format!("{name}: {detail}"));
            told = detail.to_owned();
        }
        std::thread::sleep(LOOK);
        let goes_on = || format!("the operation goes on: {}", how_to_wait(parent, &name));
        operation = session.server().get(&path, &[]).map_err(|failure| failure.hint(goes_on()))?;
    }
}

/// The command that waits for it again.
pub(super) fn how_to_wait(parent: &str, name: &str) -> String {
    let mut parts = parent.split('/').skip(1).step_by(2);
    let (project, location) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("`keystead container operations wait {name} --location {location} --project {project}`")
}

/// Says how to go on with an operation that nobody waits for; one that has ended already may have failed.
pub(super) fn leave(session: &Session<'_>, parent: &str, begun: Value) -> Result<(), Failure> {
    if text(&begun, "status") == "DONE" {
        return finish(session, parent, begun).map(drop);
    }
    say(&format!("It is under way: {}", how_to_wait(parent, text(&begun, "name"))));
    Ok(())
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
