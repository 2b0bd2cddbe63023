//! Where a policy wants two users to destroy what is in use: what was asked for before, and what becomes of that.

use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::destruction::User;
use keystead_model::destruction::second_user::{APPROVER_ROLE, Asking, Consent, ForcedDestruction, Waiting};
use keystead_model::{Binding, CryptoKeyVersion, CryptoKeyVersionName, Principal};
use keystead_store::Batch;

use crate::records::{Stored, encode, record_name};
use crate::{Authorised, KeyService, KmsError, Operation, Resource};

/// Goes on with a batch that destroys a version which these use, if one user is enough or two have agreed on it. Otherwise the call is kept as
/// the request of the first one, and nothing becomes of the version.
///
/// # Errors
///
/// It waits for the second user, or the caller does not count as one.
pub(super) async fn agreed<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    batch: Batch,
    version: &Stored<CryptoKeyVersion>,
    users: Vec<User>,
) -> Result<Batch, KmsError> {
    let name = &version.value.name;
    let service = authorised.service();
    if !service.takes_two_users(name).await? {
        return Ok(batch);
    }
    let call = authorised.call();
    let resource = Resource::CryptoKeyVersion(name.clone());
    let asking = Asking {
        principal: &call.caller().principal,
        is_approver: service.allowed(call, Permission::DestructionsApprove, &resource).await?,
        can_be_others: service.allowed(call, Permission::UserCredentialsCreate, &Resource::Server).await?,
    };
    let before = service.forced_destruction(name).await?;
    let kept = before.as_ref().map(|it| &it.value);
    match ForcedDestruction::ask(kept, asking, &users, authorised.now())? {
        Consent::Given(both) => {
            authorised.outcome().response.add("twoUsers", named(&both));
            keep(batch, name, before, &both)
        }
        Consent::Requested(request) => {
            authorised.outcome().response.add("waitsForSecondUser", named(&request));
            // With the version as it was read, so that what two have agreed on meanwhile is not overwritten.
            let unchanged = encode(&version.value)?;
            let batch = batch.replace(record_name::version(name), version.revision, unchanged);
            authorised.commit(keep(batch, name, before, &request)?).await?;
            Err(waiting(name, users, request))
        }
        Consent::Waits(request) => Err(waiting(name, users, request)),
    }
}

/// Takes back what was agreed on, or asked for.
pub(super) async fn without_agreement(
    service: &KeyService,
    batch: Batch,
    name: &CryptoKeyVersionName,
) -> Result<Batch, KmsError> {
    Ok(match service.forced_destruction(name).await? {
        Some(kept) => batch.delete(record_name::forced_destruction(name), kept.revision),
        None => batch,
    })
}

fn keep(
    batch: Batch,
    name: &CryptoKeyVersionName,
    before: Option<Stored<ForcedDestruction>>,
    now: &ForcedDestruction,
) -> Result<Batch, KmsError> {
    let (record, now) = (record_name::forced_destruction(name), encode(now)?);
    Ok(match before {
        Some(before) => batch.replace(record, before.revision, now),
        None => batch.create(record, now),
    })
}

/// Both, as the audit record of either call and of the end has them.
pub(super) fn named(request: &ForcedDestruction) -> SafeFields {
    SafeFields::new()
        .with("requestedBy", request.requested_by.email())
        .with("requestTime", request.request_time.to_string())
        .with_some("approvedBy", request.approved_by.as_ref().map(Principal::email))
}

fn waiting(name: &CryptoKeyVersionName, users: Vec<User>, request: ForcedDestruction) -> KmsError {
    Waiting { version: Box::new(name.clone()), users, request: Box::new(request) }.into()
}

impl KeyService {
    /// Whether a policy above a version names an approver, whatever the condition of the binding.
    pub(super) async fn takes_two_users(&self, name: &CryptoKeyVersionName) -> Result<bool, KmsError> {
        for holder in Resource::CryptoKeyVersion(name.clone()).policy_holders() {
            let stored = self.policy(&holder).await?;
            let names_approver = |it: &Binding| it.role == APPROVER_ROLE && !it.members.is_empty();
            if stored.policy.bindings.iter().any(names_approver) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn forced_destruction(
        &self,
        name: &CryptoKeyVersionName,
    ) -> Result<Option<Stored<ForcedDestruction>>, KmsError> {
        self.read(&record_name::forced_destruction(name)).await
    }
}
