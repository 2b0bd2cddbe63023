use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::SafeFields;

/// One call, as it is recorded. Nothing in it is secret: texts are names and sentences, never a credential or a payload.
#[derive(Clone, Debug)]
pub struct Event {
    /// Names the record; the same for a record that is appended again because nobody knows whether it was.
    pub insert_id: String,
    /// When the call was answered.
    pub time: Timestamp,
    /// Such as `cloudkms.googleapis.com`.
    pub service: &'static str,
    /// Such as `Encrypt`, without package and service.
    pub method: Cow<'static, str>,
    /// The full name of what was acted on.
    pub resource: String,
    /// Which log it belongs to, and whether it changes anything.
    pub kind: EventKind,
    /// The caller's email or subject. None: nobody that is known, or the server itself.
    pub principal: Option<String>,
    /// Which credential: the id of a token, the name of a key, the serial number of a certificate. Never a secret.
    pub credential: Option<String>,
    /// What was asked of IAM, and what it said.
    pub permissions: Vec<Checked>,
    /// From where.
    pub caller_ip: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The id of the call, as the caller and the log of the process have it.
    pub request_id: Option<String>,
    /// What of the request may be shown.
    pub request: SafeFields,
    /// What of the response may be shown.
    pub response: SafeFields,
    /// None when the call succeeded.
    pub status: Option<Status>,
    /// For the calls and the planned steps that end a key version; they are counted for an alert.
    pub destruction: Option<Destruction>,
}

impl Event {
    /// A call that succeeded, with nothing said about caller, request and response.
    pub fn new(
        insert_id: impl Into<String>,
        time: Timestamp,
        service: &'static str,
        method: impl Into<Cow<'static, str>>,
        resource: impl Into<String>,
        kind: EventKind,
    ) -> Self {
        Self {
            insert_id: insert_id.into(),
            time,
            service,
            method: method.into(),
            resource: resource.into(),
            kind,
            principal: None,
            credential: None,
            permissions: Vec::new(),
            caller_ip: None,
            user_agent: None,
            request_id: None,
            request: SafeFields::new(),
            response: SafeFields::new(),
            status: None,
            destruction: None,
        }
    }
}

/// What a call does, as the type of its permission says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Reads what is configured: get, list, `GetIamPolicy`.
    AdminRead,
    /// Changes what is configured: create, update, destroy, restore, `SetIamPolicy`.
    AdminWrite,
    /// Encrypt, Decrypt.
    DataRead,
    /// Writes data. No method of Cloud KMS does.
    DataWrite,
    /// The server changed something by itself: a rotation or a destruction whose time had come.
    System,
}

impl EventKind {
    /// Whether something is different afterwards. Mutations are refused first when space runs out.
    pub fn is_mutation(self) -> bool {
        matches!(self, Self::AdminWrite | Self::DataWrite | Self::System)
    }

    /// The log of Cloud Audit Logs, as it stands in `logName`.
    pub(crate) fn log(self) -> &'static str {
        match self {
            Self::AdminWrite => "activity",
            Self::AdminRead | Self::DataRead | Self::DataWrite => "data_access",
            Self::System => "system_event",
        }
    }
}

/// One question to IAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Such as `cloudkms.cryptoKeyVersions.useToEncrypt`.
    pub permission: Cow<'static, str>,
    /// The answer.
    pub granted: bool,
    /// The full name of the resource that was asked about.
    pub resource: String,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC status code.
    pub code: i32,
    /// What the caller was told.
    pub message: String,
}

/// A step towards the end of a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destruction {
    /// It can still be restored.
    Scheduled,
    /// Its key material is gone.
    Destroyed,
}

impl Destruction {
    /// As in the metric `keystead_key_destructions_total` and in the record's labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Destroyed => "destroyed",
        }
    }
}
