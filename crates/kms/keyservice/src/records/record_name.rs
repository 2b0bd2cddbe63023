//! Names of records in the store: the kind first, so that a prefix lists one kind under one parent.
//!
//! Those that each call looks up are put together without formatting, which takes several times as long.

use keystead_model::{
    ClusterHostName, ClusterName, ClusterOperationName, CryptoKeyName, CryptoKeyVersionName, KeyRingName,
    LocationName, Principal, ProjectId, VersionNumber,
};

pub(crate) fn project(id: &ProjectId) -> String {
    [PROJECTS, id.as_str()].concat()
}

pub(crate) const PROJECTS: &str = "project/";

pub(crate) fn project_number(number: u64) -> String {
    format!("project-number/{number}")
}

pub(crate) fn service(project: &ProjectId, api: &str) -> String {
    ["service/", project.as_str(), "/", api].concat()
}

/// `holder` as in [`crate::Resource::policy_holders`].
pub(crate) fn policy(holder: &str) -> String {
    ["policy/", holder].concat()
}

pub(crate) fn ring(name: &KeyRingName) -> String {
    format!("{}{}", rings(&name.location), name.ring)
}

pub(crate) fn rings(parent: &LocationName) -> String {
    format!("ring/{parent}/")
}

/// Those of every location of a project.
pub(crate) fn rings_of(project: &ProjectId) -> String {
    format!("ring/projects/{project}/")
}

pub(crate) fn key(name: &CryptoKeyName) -> String {
    [ALL_KEYS, &place(name)].concat()
}

/// Those of every ring.
pub(crate) const ALL_KEYS: &str = "key/";

/// The place of a key and of all that belongs to it, under each kind.
fn place(name: &CryptoKeyName) -> String {
    [&name.ring.text(), "/", name.key.as_str()].concat()
}

pub(crate) fn keys(parent: &KeyRingName) -> String {
    format!("{ALL_KEYS}{parent}/")
}

/// Those of every ring of a project.
pub(crate) fn keys_of(project: &ProjectId) -> String {
    format!("{ALL_KEYS}projects/{project}/")
}

/// Holds the uid of the key; stays when the key is deleted, so that its name is never used for another.
pub(crate) fn key_name(name: &CryptoKeyName) -> String {
    format!("key-name/{}", place(name))
}

/// What one source holds under the versions of a key.
pub(crate) fn inventory(key: &CryptoKeyName, source: &str) -> String {
    format!("{}{source}", inventories(key))
}

pub(crate) fn inventories(key: &CryptoKeyName) -> String {
    format!("inventory/{}/", place(key))
}

/// When a version last decrypted something.
pub(crate) fn usage(name: &CryptoKeyVersionName) -> String {
    format!("usage/{}/{:010}", place(&name.key), name.version.get())
}

/// Ten digits, so that names are in the order of the numbers.
pub(crate) fn version(name: &CryptoKeyVersionName) -> String {
    format!("{}{:010}", versions(&name.key), name.version.get())
}

pub(crate) fn versions(parent: &CryptoKeyName) -> String {
    [ALL_VERSIONS, &place(parent), "/"].concat()
}

/// Those of every key.
pub(crate) const ALL_VERSIONS: &str = "version/";

/// The sealed backing key: the only record that goes when a version is destroyed.
pub(crate) fn material(name: &CryptoKeyVersionName) -> String {
    format!("material/{}/{:010}", place(&name.key), name.version.get())
}

/// Which version a record is the material of.
pub(crate) fn version_of_material(record: &str) -> Option<CryptoKeyVersionName> {
    let (key, number) = record.strip_prefix("material/")?.rsplit_once('/')?;
    let (ring, key) = key.rsplit_once('/')?;
    let number = std::num::NonZeroU32::new(number.parse().ok()?)?;
    let key = CryptoKeyName { ring: ring.parse().ok()?, key: key.parse().ok()? };
    Some(CryptoKeyVersionName { key, version: VersionNumber(number) })
}

pub(crate) fn retired(parent: &LocationName, id: &str) -> String {
    format!("{}{id}", all_retired(parent))
}

pub(crate) fn all_retired(parent: &LocationName) -> String {
    format!("retired/{parent}/")
}

pub(crate) fn cluster(name: &ClusterName) -> String {
    format!("{}{}", clusters(&name.location), name.cluster)
}

pub(crate) fn clusters(parent: &LocationName) -> String {
    format!("{}{}/", clusters_of(&parent.project), parent.location)
}

/// Those of every location of a project.
pub(crate) fn clusters_of(project: &ProjectId) -> String {
    format!("{CLUSTERS}{project}/")
}

pub(crate) const CLUSTERS: &str = "cluster/";

pub(crate) fn cluster_host(name: &ClusterHostName) -> String {
    format!("{}{}", cluster_hosts(&name.cluster), name.host)
}

pub(crate) fn cluster_hosts(parent: &ClusterName) -> String {
    let ClusterName { location, cluster } = parent;
    format!("cluster-host/{}/{}/{cluster}/", location.project, location.location)
}

/// What is left of a local cluster is to be removed, by the cluster's id. Goes when it is.
pub(crate) fn deleted_local_cluster(id: &str) -> String {
    [DELETED_LOCAL_CLUSTERS, id].concat()
}

pub(crate) const DELETED_LOCAL_CLUSTERS: &str = "deleted-local-cluster/";

/// Written with each new cluster of a project.
pub(crate) fn counted_clusters(project: &ProjectId) -> String {
    format!("counted-clusters/{project}")
}

pub(crate) fn cluster_operation(name: &ClusterOperationName) -> String {
    format!("{}{}", cluster_operations(&name.location), name.operation)
}

pub(crate) fn cluster_operations(parent: &LocationName) -> String {
    format!("{}{}/", cluster_operations_of(&parent.project), parent.location)
}

/// Those of every location of a project.
pub(crate) fn cluster_operations_of(project: &ProjectId) -> String {
    format!("{CLUSTER_OPERATIONS}{project}/")
}

pub(crate) const CLUSTER_OPERATIONS: &str = "cluster-operation/";

/// That somebody wants to destroy a version in use, where two users have to.
pub(crate) fn forced_destruction(name: &CryptoKeyVersionName) -> String {
    format!("{FORCED_DESTRUCTIONS}{}/{}", place(&name.key), name.version)
}

pub(crate) const FORCED_DESTRUCTIONS: &str = "forced-destruction/";

/// Written whenever the server starts re-encryption by itself.
pub(crate) const REENCRYPTION: &str = "meta/reencryption";

pub(crate) fn service_account(project: &ProjectId, email: &str) -> String {
    format!("{}{email}", service_accounts(project))
}

pub(crate) fn service_accounts(project: &ProjectId) -> String {
    format!("service-account/{project}/")
}

/// Holds the unique id of the account; stays when it is deleted, so that its address is never given to another.
pub(crate) fn service_account_email(email: &str) -> String {
    format!("service-account-email/{email}")
}

pub(crate) fn service_account_key(email: &str, id: &str) -> String {
    format!("{}{id}", service_account_keys(email))
}

pub(crate) fn service_account_keys(email: &str) -> String {
    format!("service-account-key/{email}/")
}

/// Written with each new key of an account that has no record of its own.
pub(crate) fn newest_service_account_key(email: &str) -> String {
    format!("service-account-newest-key/{email}")
}

pub(crate) fn token(id: &str) -> String {
    [TOKENS, id].concat()
}

pub(crate) const TOKENS: &str = "token/";

/// All sessions of one principal.
pub(crate) fn sessions(principal: &Principal) -> String {
    format!("{SESSIONS}{principal}")
}

pub(crate) const SESSIONS: &str = "sessions/";

/// A client certificate that was issued or revoked, by its serial number: one number has one name, whoever writes zeros before
/// it.
pub(crate) fn certificate(serial: &str) -> String {
    [CERTIFICATES, serial.trim_start_matches('0')].concat()
}

pub(crate) const CERTIFICATES: &str = "certificate/";

pub(crate) fn backup(name: &str) -> String {
    format!("{BACKUPS}{name}")
}

/// In the order of time, because names begin with it.
pub(crate) const BACKUPS: &str = "backup/";

/// An audit record that was committed with its mutation and may not be in the audit log of that server yet.
pub(crate) fn outbox(server: &str, insert_id: &str) -> String {
    format!("{OUTBOX}{server}/{insert_id}")
}

pub(crate) const OUTBOX: &str = "outbox/";

/// What a receiver of webhooks is to be told, by its name. In the order of time, because ids begin with it.
pub(crate) fn notice(webhook: &str, id: &str) -> String {
    format!("{}{id}", notices(webhook))
}

pub(crate) fn notices(webhook: &str) -> String {
    format!("{NOTICES}{webhook}/")
}

pub(crate) const NOTICES: &str = "notice/";

/// How many notices were given up for a receiver.
pub(crate) fn dropped_notices(webhook: &str) -> String {
    format!("dropped-notices/{webhook}")
}

/// A host whose silence receivers of webhooks were told of.
pub(crate) fn silent_host(name: &ClusterHostName) -> String {
    format!("{SILENT_HOSTS}{name}")
}

pub(crate) const SILENT_HOSTS: &str = "lasting/silent-host/";

/// A cluster with values that are not under the primary version of its key.
pub(crate) fn old_versions(name: &ClusterName) -> String {
    format!("{OLD_VERSIONS}{name}")
}

pub(crate) const OLD_VERSIONS: &str = "lasting/old-versions/";

/// The store key, wrapped by the root key.
pub(crate) const STORE_KEY: &str = "meta/store-key";

/// The directories that were backup destinations.
pub(crate) const DESTINATIONS: &str = "meta/backup-destinations";

/// When an older database was put back.
pub(crate) const RESTORED: &str = "meta/restored";

/// The cached record that a written record belongs to: material is cached with its version.
pub(crate) fn cached_under(written: &str) -> String {
    match written.strip_prefix("material/") {
        Some(place) => format!("version/{place}"),
        None => written.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_materials_record_names_its_version() {
        let name: CryptoKeyVersionName =
            "projects/key-project/locations/us/keyRings/r/cryptoKeys/k/cryptoKeyVersions/12".parse().unwrap();
        assert_eq!(version_of_material(&material(&name)), Some(name.clone()));
        assert_eq!(version_of_material(&version(&name)), None);
    }

    #[test]
    fn material_is_cached_with_its_version() {
        let name: CryptoKeyVersionName =
            "projects/key-project/locations/us/keyRings/r/cryptoKeys/k/cryptoKeyVersions/7".parse().unwrap();
        assert_eq!(version(&name), "version/projects/key-project/locations/us/keyRings/r/k/0000000007");
        assert_eq!(cached_under(&version(&name)), version(&name));
        assert_eq!(cached_under(&material(&name)), version(&name));
        assert_eq!(cached_under(&key(&name.key)), key(&name.key));
    }
}
