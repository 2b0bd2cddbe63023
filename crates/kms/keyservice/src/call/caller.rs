use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_model::Principal;

use crate::{KeyService, KmsError};

/// Who calls: what authentication found out, and nothing that could be used to authenticate again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The identity that policies name.
    pub principal: Principal,
    /// Addresses of the groups that it is in.
    pub groups: Vec<String>,
    /// What it authenticated with.
    pub credential: Credential,
}

/// A credential by its public name, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An opaque token, by its id.
    Token(String),
    /// A key of a service account, by its id.
    ServiceAccountKey(String),
    /// A client certificate, by its serial number.
    Certificate(String),
    /// A session of a browser, by its id.
    Session(String),
    /// The server's own schedule.
    Schedule,
}

/// What a transport knows about a request, whoever makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection.
    pub address: Option<IpAddr>,
    /// `User-Agent`, at most 512 characters.
    pub user_agent: Option<String>,
}

/// One authenticated call. Only [`crate::KeyService::authenticate`] and the schedule make them.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) caller: Arc<Caller>,
    pub(crate) origin: Origin,
    /// Names this call in the audit log and in the answer.
    pub(crate) id: String,
    pub(crate) time: Timestamp,
}

impl Call {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// When it came in.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Where it comes from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Names this call in the audit log, in the log and in the answer.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl KeyService {
    /// Another call of the same caller, for a request that asks for several things: each has its own record, by its own id.
    pub fn continue_call(&self, call: &Call) -> Result<Call, KmsError> {
        self.call(Arc::clone(&call.caller), call.origin.clone())
    }

    /// A call that begins now.
    pub(crate) fn call(&self, caller: Arc<Caller>, origin: Origin) -> Result<Call, KmsError> {
        let id = hex::encode(self.random_bytes::<16>()?);
        Ok(Call { caller, origin, id, time: self.clock.now() })
    }
}

impl Credential {
    /// As the audit log names it.
    pub fn public_name(&self) -> String {
        match self {
            Self::Token(id) => format!("token/{id}"),
            Self::ServiceAccountKey(id) => format!("serviceAccountKey/{id}"),
            Self::Certificate(serial) => format!("certificate/{serial}"),
            Self::Session(id) => format!("session/{id}"),
            Self::Schedule => "schedule".to_owned(),
        }
    }
}
