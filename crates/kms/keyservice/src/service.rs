pub(crate) mod accounts;
mod new_version;
pub(crate) mod policies;
pub(crate) mod projects;
mod settings;
pub(crate) mod usage;

pub use accounts::AccountName;
pub use settings::{Location, Settings};

use std::sync::Arc;

use jiff::Timestamp;
use keystead_audit::{AuditLog, RefusedCaller};
use keystead_crypto::Random;
use keystead_iam::{CompiledPolicy, Permission, Query, decide};
use keystead_model::ErrorClass;
use keystead_store::Store;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::call::audit_event;
use crate::identity::IdentityState;
use crate::key_material::Sealing;
use crate::ledger::Ledger;
use crate::records::Stored;
use crate::remembered::{Cache, Remembered};
use crate::root::RootDirectory;
use crate::{Act, Call, Caller, Detail, KmsError, Operation, Origin, Resource, records};

/// How often a mutation starts over because somebody was faster. Each time somebody else has succeeded.
const MAX_ATTEMPTS: usize = 128;

/// Lists that are read whole at the same time: others wait, so that they do not crowd out short calls.
pub(crate) const MOST_SCANS: usize = 4;

/// The key service: the only one who authorises, commits and records. REST, gRPC and the console call [`KeyService::run`].
pub struct KeyService {
    /// In step with what is remembered. Only the ledger commits.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) sealing: Sealing,
    pub(crate) settings: Settings,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) identity: IdentityState,
    /// Lists that are read whole, because they are filtered or ordered, at the same time.
    pub(crate) scans: Semaphore,
    /// Held open, so that no other server takes it.
    pub(crate) _root: RootDirectory,
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

impl KeyService {
    /// Authorises, acts and records one call. The record is durable before the answer.
    pub async fn run<C: Operation>(&self, call: &Call, command: C) -> Result<C::Output, KmsError> {
        self.audit.admits(audit_event::kind(command.method().kind))?;
        let (permission, target) = (command.permission(), command.target());
        let mut act = Act::new(self, call, command);
        let result = match self.authorise(call, permission, &target, &mut act.outcome().granted).await {
            Ok(()) => perform(&mut act).await,
            Err(refused) => Err(refused),
        };
        let (command, outcome) = act.recorded();
        // What has happened has its record, whatever came after.
        if !(outcome.committed || outcome.unrecorded && result.is_ok()) {
            let event = audit_event::of(call, command, outcome, result.as_ref().err());
            self.audit.append(&event).await?;
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

    /// Counts a request of a known caller that could not be read. It has no record of its own, because nothing of it is known.
    pub fn count_malformed(&self, call: &Call) {
        let principal = call.caller.principal.email().to_owned();
        self.audit.count_refusal(RefusedCaller::Principal(principal), call.time, "malformed");
    }

    /// Decides, and notes what was decided. Without the permission the answer is the same whether or not the resource exists.
    async fn authorise(
        &self,
        call: &Call,
        permission: Option<Permission>,
        target: &Resource,
        granted: &mut Option<bool>,
    ) -> Result<(), KmsError> {
        let Some(permission) = permission else { return Ok(()) };
        if *granted.insert(self.allowed(call, permission, target).await?) {
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
        records::read(self.store.as_ref(), record).await
    }

    /// A record from memory, or with one read.
    pub(crate) async fn cached<T: DeserializeOwned>(
        &self,
        cache: &Cache<T>,
        record: &str,
    ) -> Result<Option<Arc<T>>, KmsError> {
        if let Some(value) = cache.get(record) {
            return Ok(Some(value));
        }
        let read_after = cache.epoch();
        let Some(stored) = self.read(record).await? else { return Ok(None) };
        let value = Arc::new(stored.value);
        cache.keep(record, &value, read_after);
        Ok(Some(value))
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
