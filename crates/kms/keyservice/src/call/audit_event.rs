//! Calls as the audit log records them.

use keystead_audit::{Checked, Event, EventKind, Status};
use keystead_iam::Permission;

use super::Outcome;
use crate::{Call, Credential, KmsError, Method, MethodKind, Operation};

/// Longest name that is repeated, in bytes; a version's has at most 291.
const MAX_NAME: usize = 512;

/// A call that became a command.
pub(crate) fn of<O: Operation>(
    call: &Call,
    command: &O,
    outcome: &Outcome,
    failure: Option<&KmsError>,
) -> Event {
    let target = command.target().to_string();
    let resource = outcome.resource.as_deref().unwrap_or(&target);
    let mut event = begin(call, command.method(), resource, failure);
    // Nothing is said of a permission that nobody came to decide about.
    event.permissions = command
        .permission()
        .zip(outcome.granted)
        .map(|(permission, granted): (Permission, bool)| Checked {
            permission: permission.as_str().into(),
            granted,
            resource: target,
        })
        .into_iter()
        .collect();
    event.request = command.describe();
    event.response = outcome.response.clone();
    // A step that failed did not happen, and is not counted.
    event.destruction = outcome.destruction.filter(|_| failure.is_none());
    if outcome.in_doubt {
        // The call's id is kept for the record of what may have happened.
        event.insert_id.push_str("-in-doubt");
    }
    event
}

/// A call that was refused before it became a command. `resource` is as the caller sent it.
pub(crate) fn refused(call: &Call, method: Method, resource: &str, error: &KmsError) -> Event {
    let name = if may_be_name(resource) { resource } else { "" };
    begin(call, method, name, Some(error))
}

/// Whether a text has the characters and the length of a resource name, of whatever kind.
fn may_be_name(text: &str) -> bool {
    let of_name = |it: char| it.is_ascii_alphanumeric() || "/-_.:@~%+".contains(it);
    text.len() <= MAX_NAME && text.chars().all(of_name)
}

pub(crate) fn kind(kind: MethodKind) -> EventKind {
    match kind {
        MethodKind::AdminWrite => EventKind::AdminWrite,
        MethodKind::AdminRead => EventKind::AdminRead,
        MethodKind::DataAccess => EventKind::DataRead,
        MethodKind::System => EventKind::System,
    }
}

fn begin(call: &Call, method: Method, resource: &str, failure: Option<&KmsError>) -> Event {
    let mut event =
        Event::new(call.id.clone(), call.time, method.service, method.name, resource, kind(method.kind));
    if call.caller.credential != Credential::Schedule {
        event.principal = Some(call.caller.principal.email().to_owned());
        event.credential = Some(call.caller.credential.public_name());
    }
    event.caller_ip = call.origin.address;
    event.user_agent.clone_from(&call.origin.user_agent);
    event.request_id = Some(call.id.clone());
    event.status =
        failure.map(|error| Status { code: error.class().grpc_code(), message: error.message().to_owned() });
    event
}
