//! Every use case, by what it is about; each has its command, its permission, its answer and its tests.

mod accounts;
mod audit;
mod backups;
mod certificates;
mod inventories;
mod keys;
mod list;
mod policies;
mod projects;
mod random;
mod rings;
mod services;
mod tokens;
mod versions;

pub use accounts::{
    AccountPage, CreateServiceAccount, CreateServiceAccountKey, DeleteServiceAccount,
    DeleteServiceAccountKey, GetServiceAccount, GetServiceAccountKey, ListServiceAccountKeys,
    ListServiceAccounts, NewServiceAccountKey, SwitchServiceAccount, UpdateServiceAccount,
};
pub use audit::GetAuditHead;
pub use backups::{Backup, BackupCopy, BackupStore, CreateBackup, PendingBackup};
pub(crate) use certificates::CertificateState;
pub use certificates::{IssueCertificate, RevokeCertificate, Sign, SignedCertificate};
pub use inventories::{
    DeleteInventory, GetVersionUsage, Inventory, ListInventories, RegisterInventory, VersionUsage,
};
pub(crate) use keys::RotateDueKey;
pub use keys::{
    CreateCryptoKey, Decrypt, Decrypted, DeleteCryptoKey, Encrypt, Encrypted, GetCryptoKey, KeyAndPrimary,
    MAX_TEXT_LEN, UpdateCryptoKey, UpdateCryptoKeyPrimaryVersion,
};
pub use list::{
    GetLocation, GetRetiredResource, ListCryptoKeyVersions, ListCryptoKeys, ListKeyRings, ListLocations,
    ListOptions, ListRetiredResources,
};
pub use policies::{GetIamPolicy, PolicyAndEtag, SetIamPolicy, TestIamPermissions};
pub use projects::{CreateProject, GetProject, ListProjects, ProjectPage};
pub use random::{GenerateRandomBytes, RANDOM_BYTES};
pub use rings::{CreateKeyRing, GetKeyRing};
pub use services::{GetService, ListServices, SwitchServices};
pub(crate) use tokens::IdTokens;
pub use tokens::{CreateToken, ListTokens, NewToken, RevokeToken, TokenAnswer, TokenPage, TokenRefusal};
pub(crate) use versions::{Attempt, DestroyDueVersion, after};
pub use versions::{
    CreateCryptoKeyVersion, DeleteCryptoKeyVersion, DestroyCryptoKeyVersion, GetCryptoKeyVersion,
    RestoreCryptoKeyVersion, UpdateCryptoKeyVersion,
};
