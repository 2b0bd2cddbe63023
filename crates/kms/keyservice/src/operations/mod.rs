//! One file a use case; each has its command, its permission, its answer and its tests.

mod change_version_state;
mod create_crypto_key;
mod create_crypto_key_version;
mod create_key_ring;
mod decrypt;
mod delete_crypto_key;
mod delete_crypto_key_version;
mod encrypt;
mod generate_random_bytes;
mod get_audit_head;
mod get_crypto_key;
mod get_crypto_key_version;
mod get_key_ring;
mod iam_policy;
mod inventory;
mod issue_certificate;
mod list;
mod revoke_certificate;
mod update_crypto_key;
mod update_crypto_key_primary_version;

pub use change_version_state::{DestroyCryptoKeyVersion, RestoreCryptoKeyVersion, UpdateCryptoKeyVersion};
pub use create_crypto_key::CreateCryptoKey;
pub use create_crypto_key_version::CreateCryptoKeyVersion;
pub(crate) use create_crypto_key_version::after;
pub use create_key_ring::CreateKeyRing;
pub use decrypt::{Decrypt, Decrypted};
pub use delete_crypto_key::DeleteCryptoKey;
pub use delete_crypto_key_version::DeleteCryptoKeyVersion;
pub use encrypt::{Encrypt, Encrypted, MAX_TEXT_LEN};
pub use generate_random_bytes::{GenerateRandomBytes, RANDOM_BYTES};
pub use get_audit_head::GetAuditHead;
pub use get_crypto_key::{GetCryptoKey, KeyAndPrimary};
pub use get_crypto_key_version::GetCryptoKeyVersion;
pub use get_key_ring::GetKeyRing;
pub use iam_policy::{GetIamPolicy, PolicyAndEtag, SetIamPolicy, TestIamPermissions};
pub use inventory::{
    DeleteInventory, GetVersionUsage, Inventory, ListInventories, RegisterInventory, VersionUsage,
};
pub use issue_certificate::{IssueCertificate, Sign, SignedCertificate};
pub use list::{
    GetLocation, GetRetiredResource, ListCryptoKeyVersions, ListCryptoKeys, ListKeyRings, ListLocations,
    ListOptions, ListRetiredResources,
};
pub(crate) use revoke_certificate::CertificateState;
pub use revoke_certificate::RevokeCertificate;
pub use update_crypto_key::UpdateCryptoKey;
pub use update_crypto_key_primary_version::UpdateCryptoKeyPrimaryVersion;
