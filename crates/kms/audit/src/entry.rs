//! A record's content: a log entry with the field names of Cloud Audit Logs.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::resource::Resource;
use crate::safe_value::{MAX_TEXT, clip};
use crate::{Checked, Destruction, Event, SafeFields, Status};

/// Longest method: twice the longest of the APIs that are served.
const MAX_METHOD: usize = 96;
/// Longest user agent that is kept: gcloud's has about 300 bytes.
const MAX_USER_AGENT: usize = 512;
/// Most permissions of one call; the largest call asks for five.
const MAX_PERMISSIONS: usize = 32;

/// Longest content of a record, in bytes: a list of 256 names of 1 KiB and all the rest. Twice as much, which it may take in
/// the outbox of a store, is still less than the 1 MiB that a store takes.
pub(crate) const MAX_CONTENT: usize = 384 * 1024;

/// The label of a record about a step towards a key version's end.
const DESTRUCTION: &str = "keystead/destruction";

/// What records of the log itself begin with: `@type` of their `jsonPayload`.
pub(crate) const FOOTER: &str = "keystead.audit.SegmentFooter";

/// One JSON object, without its braces, so that the writer can put sequence and hashes around it. Where it would be longer
/// than [`MAX_CONTENT`], its lists are left out, and if that is not enough, all that it says of request and response.
pub(crate) fn of_event(event: &Event) -> Vec<u8> {
    let whole = content(event);
    if whole.len() <= MAX_CONTENT {
        return whole;
    }
    let (request, response) = (event.request.without_lists(), event.response.without_lists());
    let shorter = content(&Event { request, response, ..event.clone() });
    if shorter.len() <= MAX_CONTENT {
        return shorter;
    }
    content(&Event { request: event.request.omitted(), response: event.response.omitted(), ..event.clone() })
}

fn content(event: &Event) -> Vec<u8> {
    let name = clip(&event.resource, MAX_TEXT);
    let resource = Resource::of(name, event.service, clip(&event.method, MAX_METHOD));
    let severity = match (&event.status, event.kind.is_mutation()) {
        (Some(_), _) => "ERROR",
        (None, true) => "NOTICE",
        (None, false) => "INFO",
    };
    let log_name =
        format!("projects/{}/logs/cloudaudit.googleapis.com%2F{}", resource.project(), event.kind.log());
    inside(&Entry {
        log_name,
        timestamp: event.time,
        severity,
        insert_id: clip(&event.insert_id, MAX_TEXT),
        labels: event.destruction.map(|it| Labels { destruction: it.name() }),
        resource,
        proto_payload: AuditLog(event, name),
    })
}

/// The record with which a segment ends.
pub(crate) fn of_footer(first: u64, last: u64, time: Timestamp) -> Vec<u8> {
    let payload =
        Footer { kind: FOOTER, first_sequence: first, last_sequence: last, records: last - first + 1 };
    of_log_itself(&payload, time, "INFO", None)
}

/// A record about the log itself. Its payload stands first, so that it is known by its first bytes.
pub(crate) fn of_log_itself(
    payload: &impl Serialize,
    time: Timestamp,
    severity: &'static str,
    insert_id: Option<&str>,
) -> Vec<u8> {
    inside(&OwnEntry {
        json_payload: payload,
        log_name: "keystead/logs/audit_log",
        timestamp: time,
        severity,
        insert_id,
    })
}

/// Reads a footer again.
pub(crate) fn footer(content: &[u8]) -> Option<Footer<String>> {
    #[derive(serde::Deserialize)]
    struct Record {
        #[serde(rename = "jsonPayload")]
        json_payload: Footer<String>,
    }
    if !is_own(content, FOOTER) {
        return None;
    }
    let object = [b"{", content, b"}"].concat();
    Some(serde_json::from_slice::<Record>(&object).ok()?.json_payload)
}

/// The time of a record.
pub(crate) fn timestamp(content: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Record {
        timestamp: Timestamp,
    }
    let object = [b"{", content, b"}"].concat();
    Some(serde_json::from_slice::<Record>(&object).ok()?.timestamp)
}

/// The id of a record, which stands in its outermost object.
pub(crate) fn insert_id(content: &[u8]) -> Option<Cow<'_, str>> {
    /// Inside a text a quote has a backslash before it, so this is found only where a field begins.
    const FIELD: &[u8] = b",\"insertId\":\"";
    let start = content.windows(FIELD.len()).position(|it| it == FIELD)? + FIELD.len() - 1;
    let rest = content.get(start..)?;
    let mut escaped = false;
    let end = rest.iter().skip(1).position(|it| {
        let end = *it == b'"' && !escaped;
        escaped = *it == b'\\' && !escaped;
        end
    })?;
    serde_json::from_slice::<Text<'_>>(rest.get(..end + 2)?).ok().map(|it| it.0)
}

/// The step towards a key version's end that a record is about.
pub(crate) fn destruction(content: &[u8]) -> Option<Destruction> {
    [Destruction::Scheduled, Destruction::Destroyed].into_iter().find(|step| {
        // Inside a text a quote has a backslash before it.
        let label = format!(",\"labels\":{{\"{DESTRUCTION}\":\"{}\"}}", step.name());
        content.windows(label.len()).any(|it| it == label.as_bytes())
    })
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a record's content is one of the log itself, of that type.
pub(crate) fn is_own(content: &[u8], kind: &str) -> bool {
    content
        .strip_prefix(b"\"jsonPayload\":{\"@type\":\"")
        .and_then(|rest| rest.strip_prefix(kind.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"\""))
}

/// How many records a segment holds, not counting the footer itself.
#[derive(Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Footer<T> {
    #[serde(rename = "@type")]
    pub kind: T,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub records: u64,
}

impl<T> Footer<T> {
    /// Whether it is the footer of a segment with these records.
    pub(crate) fn describes(&self, first: u64, last: u64) -> bool {
        let records = last.checked_sub(first).map(|it| it + 1);
        (self.first_sequence, self.last_sequence, Some(self.records)) == (first, last, records)
    }
}

fn inside(entry: &impl Serialize) -> Vec<u8> {
    // A typical record; the writer adds about 200 bytes around it.
    let mut bytes = Vec::with_capacity(1024);
    // Writing to memory fails only when a map's keys are no texts, and these are.
    if serde_json::to_writer(&mut bytes, entry).is_err() {
        bytes.clear();
        bytes.extend_from_slice(b"{}");
    }
    bytes.pop();
    bytes.remove(0);
    bytes
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    log_name: String,
    #[serde(serialize_with = "time")]
    timestamp: Timestamp,
    severity: &'static str,
    insert_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Labels>,
    resource: Resource<'a>,
    proto_payload: AuditLog<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnEntry<'a, P> {
    json_payload: &'a P,
    log_name: &'static str,
    #[serde(serialize_with = "time")]
    timestamp: Timestamp,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    insert_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "keystead/destruction")]
    destruction: &'static str,
}

struct AuditLog<'a>(&'a Event, &'a str);

impl Serialize for AuditLog<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(event, name) = self;
        let mut out = serializer.serialize_struct("AuditLog", 10)?;
        out.serialize_field("@type", "type.googleapis.com/google.cloud.audit.AuditLog")?;
        out.serialize_field("serviceName", event.service)?;
        out.serialize_field("methodName", clip(&event.method, MAX_METHOD))?;
        out.serialize_field("resourceName", name)?;
        out.serialize_field(
            "authenticationInfo",
            &AuthenticationInfo {
                principal_email: event.principal.as_deref().map(|it| clip(it, MAX_TEXT)),
                credential_id: event.credential.as_deref().map(|it| clip(it, MAX_TEXT)),
            },
        )?;
        if !event.permissions.is_empty() {
            let permissions = event.permissions.iter().take(MAX_PERMISSIONS);
            out.serialize_field(
                "authorizationInfo",
                &permissions.map(Authorization::of).collect::<Vec<_>>(),
            )?;
        }
        let metadata = RequestMetadata {
            caller_ip: event.caller_ip,
            caller_supplied_user_agent: event.user_agent.as_deref().map(|it| clip(it, MAX_USER_AGENT)),
            request_attributes: event
                .request_id
                .as_deref()
                .map(|it| RequestAttributes { id: clip(it, MAX_TEXT) }),
        };
        out.serialize_field("requestMetadata", &metadata)?;
        for (key, fields) in [("request", &event.request), ("response", &event.response)] {
            if !SafeFields::is_empty(fields) {
                out.serialize_field(key, fields)?;
            }
        }
        out.serialize_field("status", &StatusText::of(event.status.as_ref()))?;
        out.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Authorization<'a> {
    permission: &'a str,
    granted: bool,
    resource: &'a str,
}

impl<'a> Authorization<'a> {
    fn of(checked: &'a Checked) -> Self {
        Self {
            permission: clip(&checked.permission, MAX_TEXT),
            granted: checked.granted,
            resource: clip(&checked.resource, MAX_TEXT),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_ip: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_supplied_user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_attributes: Option<RequestAttributes<'a>>,
}

#[derive(Serialize)]
struct RequestAttributes<'a> {
    id: &'a str,
}

/// Empty when the call succeeded, as in Cloud Audit Logs.
#[derive(Serialize)]
struct StatusText<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> StatusText<'a> {
    fn of(status: Option<&'a Status>) -> Self {
        Self { code: status.map(|it| it.code), message: status.map(|it| clip(&it.message, MAX_TEXT)) }
    }
}

fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
