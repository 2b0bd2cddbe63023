//! Keys, and what they are for: Encrypt and Decrypt.

mod create_crypto_key;
mod decrypt;
mod delete_crypto_key;
mod encrypt;
mod list_project_keys;
mod rotate_due_key;
mod update_crypto_key;
mod update_crypto_key_primary_version;
mod view_keys;

pub use create_crypto_key::CreateCryptoKey;
#[cfg(feature = "filling")]
pub(crate) use create_crypto_key::with_key;
pub use decrypt::{Decrypt, Decrypted};
pub use delete_crypto_key::DeleteCryptoKey;
pub use encrypt::{Encrypt, Encrypted, MAX_TEXT_LEN};
pub use list_project_keys::{ListProjectKeys, ProjectKeysPage};
pub(crate) use rotate_due_key::RotateDueKey;
pub use update_crypto_key::UpdateCryptoKey;
pub use update_crypto_key_primary_version::UpdateCryptoKeyPrimaryVersion;
pub use view_keys::{GetCryptoKey, KeyAndPrimary, ListCryptoKeys};
