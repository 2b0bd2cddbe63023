//! What receivers of webhooks are told: written with the change that it is about, and deleted once it was delivered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest text of a notice, in bytes: a host says up to 2,048 of why it failed.
const MAX_TEXT_LEN: usize = 2560;

/// What receivers can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The destruction of a key version was scheduled.
    DestructionScheduled,
    /// The same of a version that is in use: the owner of its key has overridden that.
    DestructionForced,
    /// The material of a key version is gone.
    VersionDestroyed,
    /// A scheduled destruction was taken back.
    VersionRestored,
    /// An operation of a cluster did not do what it was for.
    OperationFailed,
    /// A host of a cluster is silent.
    AgentAway,
    /// It is heard again.
    AgentBack,
    /// Values of a cluster are still under something else than the primary version of its key.
    OldVersions,
    /// Notices for this receiver were given up.
    NoticesDropped,
    /// Somebody tries whether notices arrive.
    Test,
}

impl EventKind {
    /// Those that a receiver can choose. The others are always sent.
    pub const CHOOSABLE: [Self; 8] = [
        Self::DestructionScheduled,
        Self::DestructionForced,
        Self::VersionDestroyed,
        Self::VersionRestored,
        Self::OperationFailed,
        Self::AgentAway,
        Self::AgentBack,
        Self::OldVersions,
    ];

    /// As settings and notices have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DestructionScheduled => "key_version.destruction_scheduled",
            Self::DestructionForced => "key_version.destruction_forced",
            Self::VersionDestroyed => "key_version.destroyed",
            Self::VersionRestored => "key_version.restored",
            Self::OperationFailed => "cluster.operation_failed",
            Self::AgentAway => "cluster.agent_away",
            Self::AgentBack => "cluster.agent_back",
            Self::OldVersions => "cluster.values_under_old_versions",
            Self::NoticesDropped => "webhook.notices_dropped",
            Self::Test => "webhook.test",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// The full name of what it is about.
    pub(crate) resource: String,
    /// A sentence for a person.
    pub(crate) text: String,
}

impl Event {
    pub(crate) fn new(kind: EventKind, resource: impl ToString, text: impl Into<String>) -> Self {
        Self { kind, resource: resource.to_string(), text: text.into() }
    }
}

/// A notice for one receiver, as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same in every delivery, and of no other event.
    pub id: String,
    /// JSON of at most 4 KiB: `type`, `timestamp`, and `data` with `resource` and `text`.
    pub body: String,
}

impl Notice {
    /// Of an event at a time.
    pub(crate) fn new(id: String, event: &Event, time: Timestamp) -> Self {
        let Event { kind, resource, text } = event;
        let text = text.get(..text.floor_char_boundary(MAX_TEXT_LEN)).unwrap_or_default();
        let data = serde_json::json!({"resource": resource, "text": text});
        let body = serde_json::json!({"type": kind.name(), "timestamp": time, "data": data}).to_string();
        Self { id, body }
    }

    /// One with which somebody tries whether notices arrive.
    pub fn test(webhook: &str, time: Timestamp) -> Self {
        let text = "Somebody tries whether notices of Keystead arrive here. Nothing has happened.";
        let id = format!("test-{:014}", time.as_millisecond());
        Self::new(id, &Event::new(EventKind::Test, format!("webhooks/{webhook}"), text), time)
    }
}

/// What was given up for a receiver, since it was first set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped {
    pub(crate) notices: u64,
}

/// Something that lasts and that receivers are told of once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lasting {
    /// Since when it is so.
    pub(crate) since: Timestamp,
    /// Whether receivers were told.
    pub(crate) told: bool,
}
