//! Enable, disable, schedule destruction, restore: one version, one state after another.

use keystead_audit::{Destruction, SafeFields};
use keystead_iam::Permission;
use keystead_model::destruction::{Permit, check_unused};
use keystead_model::{CryptoKeyVersion, CryptoKeyVersionName};
use keystead_store::Batch;

use crate::records::{encode, record_name};
use crate::{Act, KmsError, Method, MethodKind, Operation, Resource};

/// Enables or disables a version. Disabling is never refused: it is the emergency brake.
pub struct UpdateCryptoKeyVersion {
    /// The version.
    pub name: CryptoKeyVersionName,
    /// ENABLED, otherwise DISABLED.
    pub enabled: bool,
}

/// Schedules the destruction of a version, unless somebody uses it.
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let enabled = act.command().enabled;
        let name = act.command().name.clone();
        let stored = act.service().read_version(&name.key, name.version).await?;
        let changed = if enabled { stored.value.enable()? } else { stored.value.disable()? };
        replace(act, &changed, stored.revision).await?;
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let service = act.service();
        let name = act.command().name.clone();
        let key = service.read_key(&name.key).await?.value;
        let stored = service.read_version(&name.key, name.version).await?;
        let scheduled = stored.value.schedule_destruction(act.now(), key.destroy_scheduled_duration_s)?;
        let usage = service.usage(&name).await?;
        if check_unused(act.now(), service.settings.in_use, &key, &name, &usage)? == Permit::Overridden {
            act.outcome().response = SafeFields::new().with("override", "keystead-destroy");
        }
        // Before the commit, because the record is committed with the change.
        act.outcome().destruction = Some(Destruction::Scheduled);
        replace(act, &scheduled, stored.revision).await?;
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

    async fn perform(act: &mut Act<'_, Self>) -> Result<CryptoKeyVersion, KmsError> {
        let name = act.command().name.clone();
        let stored = act.service().read_version(&name.key, name.version).await?;
        let restored = stored.value.restore()?;
        replace(act, &restored, stored.revision).await?;
        Ok(restored)
    }
}

async fn replace<C: Operation>(
    act: &mut Act<'_, C>,
    version: &CryptoKeyVersion,
    read_at: keystead_store::Revision,
) -> Result<(), KmsError> {
    let batch = Batch::default().replace(record_name::version(&version.name), read_at, encode(version)?);
    act.commit(batch).await?;
    Ok(())
}
