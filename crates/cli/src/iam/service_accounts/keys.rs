//! `keystead iam service-accounts keys ...`

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_runtime::{Failure, print_result};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::{account, path};
use crate::kms::{checked, id};
use crate::output::{ListArgs, say};
use crate::output_file::NewSecretFile;
use crate::session::Session;

const TABLE: &str = "table(name.scope(keys):label=KEY_ID, validAfterTime:label=CREATED_AT, \
                     validBeforeTime:label=EXPIRES_AT, disabled, disable_reason, extended_status)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and write its file, readable by its owner only; the server keeps only the public half
    Create {
        /// Where to write the key file, which must not exist; - is standard output
        output_file: PathBuf,
        #[command(flatten)]
        account: OfAccount,
    },
    /// Keys of a service account
    List {
        #[command(flatten)]
        account: OfAccount,
        /// Whose keys: those that people made, those of the service, or both
        #[arg(long, default_value = "any", value_parser = ["user", "system", "any"])]
        managed_by: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Delete a key: whoever holds its file can no longer call
    Delete {
        /// Id of the key
        key_id: String,
        #[command(flatten)]
        account: OfAccount,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct OfAccount {
    /// E-mail address or unique id of the service account
    #[arg(long, value_name = "SERVICE_ACCOUNT", value_parser = account)]
    iam_account: String,
}

pub(super) fn run(session: &Session<'_>, command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create { output_file, account } => create(session, &account.iam_account, output_file),
        KeysCommand::List { account, managed_by, list } => {
            let query: &[(&str, &str)] = match managed_by.as_str() {
                "user" => &[("keyTypes", "USER_MANAGED")],
                "system" => &[("keyTypes", "SYSTEM_MANAGED")],
                _ => &[],
            };
            let mut answer = session.server().get(&format!("{}/keys", path(&account.iam_account)), query)?;
            let keys = match answer.get_mut("keys").map(Value::take) {
                Some(Value::Array(keys)) => keys,
                _ => Vec::new(),
            };
            session.output().print_list(keys, list, TABLE)
        }
        KeysCommand::Delete { key_id, account } => delete(session, &account.iam_account, key_id),
    }
}

fn create(session: &Session<'_>, email: &str, file: &Path) -> Result<(), Failure> {
    // Before the key is made: one that cannot be written would be left behind unused.
    let place = (file.as_os_str() != "-")
        .then(|| NewSecretFile::prepare(file).map_err(|error| cannot_write(file, &error)))
        .transpose()?;
    let body = json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"});
    let mut made = session.server().post_for_secret(&format!("{}/keys", path(email)), &body)?;
    let key = content(&mut made)?;
    let name = made.get("name").and_then(Value::as_str).unwrap_or_default();
    if let Some(place) = place {
        place.finish(&key).map_err(|error| {
            let ends =
                format!("keystead iam service-accounts keys delete {} --iam-account {email}", id(name));
            cannot_write(file, &error).hint(format!("the key works; `{ends}` ends it"))
        })?;
    } else {
        let text =
            std::str::from_utf8(&key).map_err(|_| Failure::new("the server's key file is not text"))?;
        print_result(text)?;
    }
    say(&format!("created key [{}] of type [json] as [{}] for [{email}]", id(name), file.display()));
    Ok(())
}

fn delete(session: &Session<'_>, email: &str, key: &str) -> Result<(), Failure> {
    session.confirm(&format!("You are about to delete key [{key}] for service account [{email}]."))?;
    session.server().delete(&format!("{}/keys/{}", path(email), checked(key)?))?;
    say(&format!("deleted key [{key}] for service account [{email}]"));
    Ok(())
}

fn content(made: &mut Value) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(Value::String(text)) = made.get_mut("privateKeyData") else {
        return Err(Failure::new("the server's answer holds no private key"));
    };
    let key = STANDARD.decode(&*text).map(Zeroizing::new);
    text.zeroize();
    key.map_err(|_| Failure::new("the private key in the server's answer is not base64"))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", file.display()))
}
