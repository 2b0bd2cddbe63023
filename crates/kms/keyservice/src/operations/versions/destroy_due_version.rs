use keystead_audit::{Destruction, SafeFields};
use keystead_iam::Permission;
use keystead_model::CryptoKeyVersionName;
use keystead_model::destruction::second_user::{ForcedDestruction, not_agreed};
use keystead_model::destruction::{Act, plan, users};
use keystead_store::Batch;

use super::second_user::{named, without_agreement};
use crate::records::notice::EventKind;
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Destroys the material of a version whose time has come, unless somebody uses it.
pub(crate) struct DestroyDueVersion {
    pub(crate) version: CryptoKeyVersionName,
}

/// What became of a version that was due.
pub(crate) enum Attempt {
    /// Its material is gone.
    Destroyed,
    /// Somebody uses it; the reason says who.
    Kept(String),
    /// It was restored meanwhile, or is gone already.
    NotDue,
}

impl Operation for DestroyDueVersion {
    type Output = Attempt;

    fn method(&self) -> Method {
        Method::kms("DestroyDueCryptoKeyVersion", MethodKind::System)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.version.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Attempt, KmsError> {
        let service = authorised.service();
        let name = authorised.command().version.clone();
        let key = service.read_key(&name.key).await?;
        let stored = service.read_version(&name.key, name.version).await?;
        let usage = service.usage(&key, name.version).await?;
        let users = users(authorised.now(), service.settings.in_use, &usage);
        let versions = [(stored.value.clone(), usage)];
        let Some(step) = plan(authorised.now(), service.settings.in_use, &key.value, &versions).pop() else {
            authorised.outcome().unrecorded = true;
            return Ok(Attempt::NotDue);
        };
        authorised.outcome().response = SafeFields::new().with("reason", step.reason.as_str());
        if step.act == Act::Keep {
            // A record with every tick would fill the audit log.
            authorised.outcome().unrecorded = true;
            return Ok(Attempt::Kept(step.reason));
        }
        // The label alone would be one user's word, and whoever came to need it since was not agreed on.
        if !users.is_empty() && service.takes_two_users(&name).await? {
            let agreed = service.forced_destruction(&name).await?.map(|it| it.value);
            match agreed.filter(|it: &ForcedDestruction| it.covers(&users)) {
                Some(both) => authorised.outcome().response.add("twoUsers", named(&both)),
                None => {
                    authorised.outcome().unrecorded = true;
                    return Ok(Attempt::Kept(not_agreed(&users)));
                }
            }
        }
        authorised.outcome().destruction = Some(Destruction::Destroyed);
        let backups = service.backups_that_hold(&stored.value).await?;
        if !backups.is_empty() {
            tracing::warn!(version = %name, ?backups, "these backups still hold a version that is destroyed now");
            authorised.outcome().response.add("backupsThatHoldIt", backups);
        }
        let destroyed = stored.value.destroyed(authorised.now())?;
        let text = "Its key material is gone. Whatever is encrypted with it and nothing else is lost, unless a backup of the server holds it.";
        authorised.tell(EventKind::VersionDestroyed, &name, text);
        // The key as it was read: a cluster that has come to need it since has written it.
        let mut batch = Batch::default()
            .replace(record_name::key(&name.key), key.revision, encode(&key.value)?)
            .replace(record_name::version(&name), stored.revision, encode(&destroyed)?);
        batch = without_agreement(service, batch, &name).await?;
        let material = record_name::material(&name);
        if let Some(entry) = service.store.get(&material).await? {
            batch = batch.delete(material, entry.revision);
        }
        // Out of every file soon, not only out of the table.
        batch.erase = true;
        authorised.commit(batch).await?;
        Ok(Attempt::Destroyed)
    }
}
