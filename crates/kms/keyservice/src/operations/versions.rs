//! Key versions, from their making to their end.

mod change_version_state;
mod create_crypto_key_version;
mod delete_crypto_key_version;
mod destroy_due_version;
mod second_user;
mod view_versions;

pub use change_version_state::{DestroyCryptoKeyVersion, RestoreCryptoKeyVersion, UpdateCryptoKeyVersion};
pub use create_crypto_key_version::CreateCryptoKeyVersion;
pub use delete_crypto_key_version::DeleteCryptoKeyVersion;
pub(crate) use destroy_due_version::{Attempt, DestroyDueVersion};
pub use view_versions::{GetCryptoKeyVersion, ListCryptoKeyVersions};
