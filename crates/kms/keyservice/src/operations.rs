//! Every use case, by what it is about; each has its command, its permission, its answer and its tests.

mod accounts;
mod audit;
mod backups;
mod certificates;
mod cluster_hosts;
mod clusters;
mod credential_list;
mod inventories;
mod keys;
mod list;
mod locations;
mod lockout;
mod policies;
mod projects;
mod protected_resources;
mod random;
mod rings;
mod services;
mod sessions;
mod tokens;
mod versions;

pub use crate::records::usage::Inventory;
pub use crate::service::{ProtectedCluster, VersionUsage};
pub use accounts::{
    AccountPage, CreateServiceAccount, CreateServiceAccountKey, DeleteServiceAccount,
    DeleteServiceAccountKey, GetServiceAccount, GetServiceAccountKey, ListServiceAccountKeys,
    ListServiceAccounts, NewServiceAccountKey, SwitchServiceAccount, UpdateServiceAccount,
};
pub use audit::GetAuditHead;
pub use backups::{Backup, BackupCopy, BackupStore, CreateBackup, PendingBackup};
pub use certificates::{
    CertificatePage, IssueCertificate, KnownCertificate, ListCertificates, RevokeCertificate, Sign,
    SignedCertificate,
};
pub(crate) use cluster_hosts::InviteLocalHost;
pub use cluster_hosts::{
    HostAnswer, HostCertificate, Invitation, InviteHost, IssuePluginToken, JoinCluster, ListHosts,
    RemoveHost, ReportHost, ReportInventory, ReviewToken, Reviewed,
};
pub(crate) use clusters::ReencryptDueCluster;
pub use clusters::{
    CancelClusterOperation, ClusterView, CreateCluster, DeleteCluster, GetCluster, GetClusterOperation,
    GetServerConfig, ListClusterOperations, ListClusters, SetClusterLabels, UpdateClusterEncryption,
};
pub use inventories::{DeleteInventory, GetVersionUsage, ListInventories, RegisterInventory};
pub(crate) use keys::RotateDueKey;
#[cfg(feature = "filling")]
pub(crate) use keys::with_key;
pub use keys::{
    CreateCryptoKey, Decrypt, Decrypted, DeleteCryptoKey, Encrypt, Encrypted, GetCryptoKey, KeyAndPrimary,
    ListCryptoKeys, ListProjectKeys, MAX_TEXT_LEN, ProjectKeysPage, UpdateCryptoKey,
    UpdateCryptoKeyPrimaryVersion,
};
pub use list::ListOptions;
pub use locations::{GetLocation, GetRetiredResource, ListLocations, ListRetiredResources};
pub use policies::{GetIamPolicy, PolicyAndEtag, SetIamPolicy, TestIamPermissions};
#[cfg(feature = "filling")]
pub(crate) use projects::with_project;
pub use projects::{CreateProject, GetProject, ListProjects, ProjectPage};
pub use protected_resources::{GetProtectedResourcesSummary, ProtectedPage, SearchProtectedResources};
pub use random::{GenerateRandomBytes, RANDOM_BYTES};
pub use rings::{CreateKeyRing, GetKeyRing, ListKeyRings, ListProjectKeyRings, ProjectKeyRingsPage};
pub use services::{GetService, ListServices, ServiceView, SwitchServices};
pub use sessions::{EndSession, ListSessions, NewSession};
pub use tokens::{CreateToken, ListTokens, NewToken, RevokeToken, TokenAnswer, TokenPage, TokenRefusal};
pub(crate) use versions::{Attempt, DestroyDueVersion};
pub use versions::{
    CreateCryptoKeyVersion, DeleteCryptoKeyVersion, DestroyCryptoKeyVersion, GetCryptoKeyVersion,
    ListCryptoKeyVersions, RestoreCryptoKeyVersion, UpdateCryptoKeyVersion,
};
