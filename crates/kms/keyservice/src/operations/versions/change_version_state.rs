//! Enable, disable, schedule destruction, restore: one version, one state after another.

use keystead_audit::{Destruction, SafeFields};
use keystead_iam::Permission;
use keystead_model::destruction::{OVERRIDE_LABEL, Permit, check_unused, users};
use keystead_model::{CryptoKeyVersion, CryptoKeyVersionName};
use keystead_store::Batch;

use super::second_user::{agreed, without_agreement};
use crate::records::notice::EventKind;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Enables or disables a version. Disabling is never refused: it is the emergency brake.
pub struct UpdateCryptoKeyVersion {
    /// The version.
    pub name: CryptoKeyVersionName,
    /// ENABLED, otherwise DISABLED.
    pub enabled: bool,
}

/// Schedules the destruction of a version, unless somebody uses it. In use, a label lets it go, or a label and two users: see
/// [`keystead_model::destruction::second_user`].
pub struct DestroyCryptoKeyVersion {
    /// The version.
    pub name: CryptoKeyVersionName,
}

/// Takes a scheduled destruction back; the version is disabled then.
pub struct RestoreCryptoKeyVersion {
    /// The version.
    pub name: CryptoKeyVersionName,
}

impl Operation for UpdateCryptoKeyVersion {
    type Output = CryptoKeyVersion;

    fn method(&self) -> Method {
        Method::kms("UpdateCryptoKeyVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsUpdate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with("state", if self.enabled { "ENABLED" } else { "DISABLED" })
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let enabled = authorised.command().enabled;
        let name = authorised.command().name.clone();
        let stored = authorised.service().read_version(&name.key, name.version).await?;
        let changed = if enabled { stored.value.enable()? } else { stored.value.disable()? };
        replace(authorised, Batch::default(), &changed, stored.revision).await?;
        Ok(changed)
    }
}

impl Operation for DestroyCryptoKeyVersion {
    type Output = CryptoKeyVersion;

    fn method(&self) -> Method {
        Method::kms("DestroyCryptoKeyVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsDestroy)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let service = authorised.service();
        let name = authorised.command().name.clone();
        let key = service.read_key(&name.key).await?;
        let stored = service.read_version(&name.key, name.version).await?;
        let scheduled =
            stored.value.schedule_destruction(authorised.now(), key.value.destroy_scheduled_duration_s)?;
        let usage = service.usage(&key, name.version).await?;
        let (now, rule) = (authorised.now(), service.settings.in_use);
        // The key as it was read: a cluster that has come to need it since has written it.
        let mut batch =
            Batch::default().replace(record_name::key(&name.key), key.revision, encode(&key.value)?);
        if check_unused(now, rule, &key.value, &name, &usage)? == Permit::Overridden {
            authorised.outcome().response.add("override", OVERRIDE_LABEL);
            batch = agreed(authorised, batch, &stored, users(now, rule, &usage)).await?;
            let text = "It is in use, and the label keystead-destroy of its key has overridden that. What is encrypted with it will be lost.";
            authorised.tell(EventKind::DestructionForced, &name, text);
        }
        let (by, time) = (authorised.caller(), scheduled.destroy_time.map(|it| it.to_string()));
        let text = format!(
            "{by} has scheduled its destruction for {}. Until then it can be restored, and whatever is encrypted with it cannot be read.",
            time.unwrap_or_default()
        );
        authorised.tell(EventKind::DestructionScheduled, &name, text);
        // Before the commit, because the record is committed with the change.
        authorised.outcome().destruction = Some(Destruction::Scheduled);
        batch = batch.replace(record_name::version(&name), stored.revision, encode(&scheduled)?);
        authorised.commit(batch).await?;
        Ok(scheduled)
    }
}

impl Operation for RestoreCryptoKeyVersion {
    type Output = CryptoKeyVersion;

    fn method(&self) -> Method {
        Method::kms("RestoreCryptoKeyVersion", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsRestore)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let name = authorised.command().name.clone();
        let stored = authorised.service().read_version(&name.key, name.version).await?;
        let restored = stored.value.restore()?;
        let text = format!(
            "{} has taken its scheduled destruction back. It is disabled until it is enabled.",
            authorised.caller()
        );
        authorised.tell(EventKind::VersionRestored, &name, text);
        let batch = without_agreement(authorised.service(), Batch::default(), &name).await?;
        replace(authorised, batch, &restored, stored.revision).await?;
        Ok(restored)
    }
}

async fn replace<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    batch: Batch,
    version: &CryptoKeyVersion,
    read_at: keystead_store::Revision,
) -> Result<(), KmsError> {
    let batch = batch.replace(record_name::version(&version.name), read_at, encode(version)?);
    authorised.commit(batch).await?;
    Ok(())
}
