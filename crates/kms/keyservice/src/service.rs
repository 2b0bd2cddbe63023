use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keystead_audit::{AuditLog, Record};
use keystead_crypto::Random;
use keystead_iam::{CompiledPolicy, Permission, Query, decide};
use keystead_model::{CryptoKey, ErrorClass};
use keystead_store::{Batch, Expect, Revision, Store, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backup::{self, Destinations};
use crate::cache::Cache;
use crate::identity::IdentityState;
use crate::keyring::{ActiveVersion, Sealing};
use crate::policies::StoredPolicy;
use crate::projects::ServiceState;
use crate::root::{RootDirectory, Witness};
use crate::schedule::Agenda;
use crate::usage::LastUses;
use crate::{
    Act, Call, Caller, Detail, KmsError, Operation, Origin, Resource, Settings, audit_event, record_name,
};

/// How often a mutation starts over because somebody was faster. Each time somebody else has succeeded.
const MAX_ATTEMPTS: usize = 128;

/// The key service: the only one who authorises, commits and records. REST, gRPC and the console call [`KeyService::run`].
pub struct KeyService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) sealing: Sealing,
    pub(crate) settings: Settings,
    pub(crate) keys: Cache<CryptoKey>,
    pub(crate) versions: Cache<ActiveVersion>,
    pub(crate) policies: Cache<StoredPolicy>,
    pub(crate) services: Cache<ServiceState>,
    pub(crate) agenda: Agenda,
    pub(crate) last_uses: LastUses,
    pub(crate) identity: IdentityState,
    pub(crate) witness: Witness,
    pub(crate) destinations: Destinations,
    /// Held open, so that no other server takes it.
    pub(crate) _root: RootDirectory,
    /// Outbox records whose audit records are durable; the next commit deletes them.
    pub(crate) delivered: Mutex<Vec<String>>,
}

/// Tells the time: an argument, so that tests can move it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The same clock for the audit log. A process reads one clock: what one clock dates, another one must not age.
pub fn audit_clock(clock: &Arc<dyn Clock>) -> keystead_audit::Clock {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.now())
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A commit that has happened.
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    /// Whether the witness knows it too; nobody is answered before it does.
    pub(crate) witnessed: Result<(), KmsError>,
}

/// A record and the commit that wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) revision: Revision,
}

impl KeyService {
    /// Authorises, acts and records one call. The record is durable before the answer.
    pub async fn run<C: Operation>(&self, call: &Call, command: C) -> Result<C::Output, KmsError> {
        self.audit.admits(audit_event::kind(command.method().kind))?;
        let (permission, target) = (command.permission(), command.target());
        let mut act = Act::new(self, call, command);
        let result = match self.authorise(call, permission, &target).await {
            Ok(()) => perform(&mut act).await,
            Err(refused) => Err(refused),
        };
        match act.outcome().committed.take() {
            // It has happened, whatever came after: its record is the one in the outbox.
            Some(record) => {
                self.audit.append_record(record).await?;
                self.delivered().push(record_name::outbox(call.id()));
            }
            None if act.outcome().unrecorded && result.is_ok() => {}
            None => {
                let (command, outcome) = act.recorded();
                let event = audit_event::of(call, command, outcome, result.as_ref().err());
                self.audit.append(&event).await?;
            }
        }
        result
    }

    /// Records a call that was refused before it became a command: malformed, or not served.
    pub async fn record_refused(
        &self,
        call: &Call,
        method: crate::Method,
        resource: &str,
        error: &KmsError,
    ) -> Result<(), KmsError> {
        self.audit.append(&audit_event::refused(call, method, resource, error)).await?;
        Ok(())
    }

    /// Decides. Without the permission the answer is the same whether or not the resource exists.
    async fn authorise(
        &self,
        call: &Call,
        permission: Option<Permission>,
        target: &Resource,
    ) -> Result<(), KmsError> {
        let Some(permission) = permission else { return Ok(()) };
        if self.allowed(call, permission, target).await? {
            return self.require_enabled_service(service_of(permission), target).await;
        }
        Err(KmsError::new(
            ErrorClass::Denied,
            format!(
                "Permission '{}' denied on resource '{target}' (or it may not exist).",
                permission.as_str()
            ),
        )
        .with(Detail::ErrorInfo {
            reason: "IAM_PERMISSION_DENIED".to_owned(),
            domain: service_of(permission).to_owned(),
            metadata: [
                ("permission".to_owned(), permission.as_str().to_owned()),
                ("resource".to_owned(), target.to_string()),
            ]
            .into(),
        }))
    }

    /// Whether policies allow it, without a record.
    pub(crate) async fn allowed(
        &self,
        call: &Call,
        permission: Permission,
        target: &Resource,
    ) -> Result<bool, KmsError> {
        let mut policies = Vec::new();
        for holder in target.policy_holders() {
            let stored = self.policy(&holder).await?;
            policies.push((holder, stored));
        }
        let policies: Vec<(&str, &CompiledPolicy)> =
            policies.iter().map(|(holder, stored)| (holder.as_str(), &stored.compiled)).collect();
        let name = target.to_string();
        let query = Query {
            principal: &call.caller.principal,
            groups: &call.caller.groups,
            permission,
            resource_name: &name,
            resource_type: target.kind(),
            service: service_of(permission),
            time: call.time,
        };
        Ok(decide(&query, &policies).is_allowed())
    }

    /// Reads one record.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        record: &str,
    ) -> Result<Option<Stored<T>>, KmsError> {
        match self.store.get(record).await? {
            Some(entry) => {
                let value = decode(&entry.name, &entry.value)?;
                Ok(Some(Stored { value, revision: entry.revision }))
            }
            None => Ok(None),
        }
    }

    /// Commits, with the audit record of the call in the outbox, and drops what was cached of it.
    pub(crate) async fn commit(
        &self,
        mut batch: Batch,
        recorded: Option<(&str, &Record)>,
    ) -> Result<Committed, KmsError> {
        self.witness.ready().await?;
        let versions = self.version_events(&batch).await?;
        let kept = self.kept_versions(&batch, &versions).await?;
        self.destinations.keep(&kept).await?;
        let delivered = std::mem::take(&mut *self.delivered());
        for outbox in &delivered {
            batch.writes.push(Write { name: outbox.clone(), expect: Expect::Any, value: None });
        }
        if let Some((call_id, record)) = recorded {
            batch = batch.put(record_name::outbox(call_id), record.to_json());
        }
        let writes = batch.writes.clone();
        let written: Vec<String> =
            writes.iter().map(|write| record_name::cached_under(&write.name)).collect();
        let committed = self.store.commit(batch).await;
        // Also after a failure: it may have been written.
        self.keys.forget(written.iter().map(String::as_str));
        self.versions.forget(written.iter().map(String::as_str));
        self.policies.forget(written.iter().map(String::as_str));
        self.services.forget(written.iter().map(String::as_str));
        self.identity.forget(&written);
        match committed {
            Ok(revision) => {
                for write in &writes {
                    self.agenda.note_written(&write.name, write.value.as_deref())?;
                }
                self.destinations.settle(&kept).await;
                self.destinations.forget(&backup::destroyed(&versions)).await;
                let witnessed = self.witness.advance(self.point(revision), versions).await;
                Ok(Committed { revision, witnessed })
            }
            Err(error) => {
                let nothing_written = [ErrorClass::Aborted, ErrorClass::AlreadyExists, ErrorClass::Invalid]
                    .contains(&error.class());
                if nothing_written {
                    self.destinations.withdraw(&kept).await;
                }
                self.delivered().extend(delivered);
                Err(error.into())
            }
        }
    }

    pub(crate) fn delivered(&self) -> MutexGuard<'_, Vec<String>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that begins now.
    pub(crate) fn call(&self, caller: Arc<Caller>, origin: Origin) -> Result<Call, KmsError> {
        let mut id = [0; 16];
        let filled = self.random.fill(&mut id);
        filled.map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
        Ok(Call { caller, origin, id: hex::encode(id), time: self.clock.now() })
    }
}

/// Performs an operation, from its start again while somebody else was faster.
async fn perform<C: Operation>(act: &mut Act<'_, C>) -> Result<C::Output, KmsError> {
    for _ in 0..MAX_ATTEMPTS {
        let result = C::perform(act).await;
        if !act.take_conflict() {
            return result;
        }
    }
    Err(KmsError::new(ErrorClass::Aborted, "Too many callers change this at the same time. Please retry."))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, KmsError> {
    serde_json::to_vec(value)
        .map_err(|error| KmsError::new(ErrorClass::Bug, format!("a record cannot be written: {error}")))
}

pub(crate) fn decode<T: DeserializeOwned>(record: &str, bytes: &[u8]) -> Result<T, KmsError> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(record, %error, "a stored record cannot be read");
        KmsError::new(ErrorClass::Corrupt, format!("the stored record {record} is damaged"))
    })
}

/// The API that a permission belongs to.
fn service_of(permission: Permission) -> &'static str {
    match permission.as_str().split('.').next() {
        Some("cloudkms") => "cloudkms.googleapis.com",
        Some("resourcemanager") => "cloudresourcemanager.googleapis.com",
        Some("serviceusage") => "serviceusage.googleapis.com",
        Some("iam") => "iam.googleapis.com",
        _ => "keystead.io",
    }
}
