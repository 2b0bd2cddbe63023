//! Who uses the versions of a key: registered by whoever has counted, asked before a version is destroyed.

use jiff::SignedDuration;
use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::{CryptoKeyName, CryptoKeyVersionName, ErrorClass};
use keystead_store::Batch;

use crate::records::usage::Inventory;
use crate::records::{encode, record_name};
use crate::service::VersionUsage;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Longest name of a source, in bytes.
const MAX_SOURCE: usize = 200;
/// Most versions in one inventory.
const MAX_COUNTS: usize = 10_000;
/// A host's clock may be ahead of ours by this. What is further in the future would hide uses until then.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// Replaces what a source said before about a key.
pub struct RegisterInventory {
    /// The key.
    pub key: CryptoKeyName,
    /// What was counted.
    pub inventory: Inventory,
}

/// Lists what sources said about a key.
pub struct ListInventories {
    /// The key.
    pub key: CryptoKeyName,
}

/// Forgets a source that is gone for good.
pub struct DeleteInventory {
    /// The key.
    pub key: CryptoKeyName,
    /// Its name.
    pub source: String,
}

/// Says who uses a version.
pub struct GetVersionUsage {
    /// The version.
    pub name: CryptoKeyVersionName,
}

impl Operation for RegisterInventory {
    type Output = Inventory;

    fn method(&self) -> Method {
        method("RegisterInventory", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        // Whoever may change the key may say who uses it: an inventory can keep a version from being destroyed.
        Some(Permission::CryptoKeysUpdate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("source", recorded(&self.inventory.source))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Inventory, KmsError> {
        let Self { key, inventory } = authorised.command();
        check(inventory)?;
        let now = authorised.now();
        if inventory.observe_time.duration_since(now) > MAX_AHEAD {
            return Err(KmsError::invalid(format!(
                "observe_time {} is in the future: the server's clock says {now}. Correct the clock of the host that counted, and \
                 count again.",
                inventory.observe_time
            )));
        }
        authorised.service().read_key(key).await?;
        let record = record_name::inventory(key, &inventory.source);
        let inventory = Inventory { observe_time: inventory.observe_time.min(now), ..inventory.clone() };
        let before = authorised.service().read::<Inventory>(&record).await?;
        let later = before.as_ref().map(|it| it.value.observe_time);
        if let Some(later) = later.filter(|it| *it > inventory.observe_time && *it <= now) {
            let text = format!(
                "source {} was counted at {later}, which is later than {}: what was counted before says less. Count again.",
                inventory.source, inventory.observe_time
            );
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        authorised.service().prove_uses(key, inventory.observe_time).await?;
        let batch = match before {
            Some(before) => Batch::default().replace(record, before.revision, encode(&inventory)?),
            None => Batch::default().create(record, encode(&inventory)?),
        };
        match authorised.commit(batch).await {
            Ok(_) => Ok(inventory),
            // Another one of the source came meanwhile.
            Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
            Err(error) => Err(error),
        }
    }
}

impl Operation for ListInventories {
    type Output = Vec<Inventory>;

    fn method(&self) -> Method {
        method("ListInventories", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysGet)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<Vec<Inventory>, KmsError> {
        let key = &authorised.command().key;
        authorised.service().read_key(key).await?;
        authorised.service().read_all(&record_name::inventories(key)).await
    }
}

impl Operation for DeleteInventory {
    type Output = ();

    fn method(&self) -> Method {
        method("DeleteInventory", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeysUpdate)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKey(self.key.clone())
    }

    fn describe(&self) -> SafeFields {
        SafeFields::new().with_some("source", recorded(&self.source))
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<(), KmsError> {
        let Self { key, source } = authorised.command();
        check_source(source)?;
        let record = record_name::inventory(key, source);
        let Some(entry) = authorised.service().store.get(&record).await? else {
            return Err(KmsError::not_found("Inventory", format!("{key}/inventories/{source}")));
        };
        let batch = Batch::default().delete(record, entry.revision);
        authorised.commit(batch).await?;
        Ok(())
    }
}

impl Operation for GetVersionUsage {
    type Output = VersionUsage;

    fn method(&self) -> Method {
        method("GetVersionUsage", MethodKind::AdminRead)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::CryptoKeyVersionsGet)
    }

    fn target(&self) -> Resource {
        Resource::CryptoKeyVersion(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<VersionUsage, KmsError> {
        let name = &authorised.command().name;
        authorised.service().read_version(&name.key, name.version).await?;
        let key = authorised.service().read_key(&name.key).await?;
        authorised.service().version_usage(&key, name.version).await
    }
}

fn method(name: &'static str, kind: MethodKind) -> Method {
    Method { service: "keystead.io", name, kind }
}

fn check(inventory: &Inventory) -> Result<(), KmsError> {
    check_source(&inventory.source)?;
    if inventory.counts.len() > MAX_COUNTS {
        return Err(KmsError::invalid(format!(
            "counts must name at most {MAX_COUNTS} versions, not {}.",
            inventory.counts.len()
        )));
    }
    Ok(())
}

fn check_source(source: &str) -> Result<(), KmsError> {
    if is_source(source) {
        return Ok(());
    }
    let shown: String = source.chars().take(MAX_SOURCE).collect();
    Err(KmsError::invalid(format!(
        "source {shown:?} must be 1 to {MAX_SOURCE} printable ASCII characters without spaces and slashes."
    )))
}

fn is_source(text: &str) -> bool {
    (1..=MAX_SOURCE).contains(&text.len()) && text.chars().all(|it| it.is_ascii_graphic() && it != '/')
}

/// What the audit log says of a source: nothing of what is none.
fn recorded(source: &str) -> Option<&str> {
    Some(source).filter(|it| is_source(it))
}
