//! Service accounts and their keys.

mod account_keys;
mod create_account;
mod create_account_key;
mod delete_account;
mod update_account;
mod view_accounts;

pub use account_keys::{DeleteServiceAccountKey, GetServiceAccountKey, ListServiceAccountKeys};
pub use create_account::CreateServiceAccount;
pub use create_account_key::{CreateServiceAccountKey, NewServiceAccountKey};
pub use delete_account::DeleteServiceAccount;
pub use update_account::{SwitchServiceAccount, UpdateServiceAccount};
pub use view_accounts::{AccountPage, GetServiceAccount, ListServiceAccounts};
