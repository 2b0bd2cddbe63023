//! `keystead kms keys versions ...`

use keystead_runtime::Failure;
use serde_json::{Value, json};

use super::keys::{set_primary, wait};
use super::names::{InKey, Version, id};
use crate::output::{ListArgs, say};
use crate::session::Session;

const TABLE: &str = "table(name, state)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum VersionsCommand {
    /// Make a new version; with --primary this rotates the key
    ///
    /// This rotates the key in the service and nothing else. Secrets in etcd stay on the version that encrypted them until
    /// they are written anew, and API servers adopt the new version at their next poll of the plugin. (`plugin key rotate`
    /// rotates a plugin's local key file instead.)
    Create {
        #[command(flatten)]
        key: InKey,
        /// Encrypt with the new version from now on
        #[arg(long)]
        primary: bool,
    },
    /// Versions of a key
    List {
        #[command(flatten)]
        key: InKey,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One version
    Describe(Version),
    /// Let a disabled version work again
    Enable(Version),
    /// Stop a version at once: nothing can be encrypted or decrypted with it until it is enabled
    Disable(Version),
    /// Set the state of a version
    Update {
        #[command(flatten)]
        version: Version,
        #[arg(long, value_enum, ignore_case = true)]
        state: State,
    },
    /// Schedule the end of a version's material
    ///
    /// Until then `restore` brings it back. After that, whatever it encrypted is lost: write the Secrets anew first.
    Destroy(Version),
    /// Bring back a version that is scheduled for destruction; it is disabled then
    Restore(Version),
    /// Remove the record of a version whose material is destroyed, for ever
    Delete(Version),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum State {
    Enabled,
    Disabled,
}

pub(crate) fn run(session: &Session<'_>, command: &VersionsCommand) -> Result<(), Failure> {
    match command {
        VersionsCommand::Create { key, primary } => create(session, &key.name(session)?, *primary),
        VersionsCommand::List { key, list } => {
            let path = format!("/v1/{}/cryptoKeyVersions", key.name(session)?);
            session.output().print_list(
                session.list(&path, "cryptoKeyVersions", &[], list, None)?,
                list,
                TABLE,
            )
        }
        VersionsCommand::Describe(version) => {
            session.print(session.server().get(&path(session, version)?, &[])?)
        }
        VersionsCommand::Enable(version) => session.print(set_state(session, version, "ENABLED")?),
        VersionsCommand::Disable(version) => session.print(set_state(session, version, "DISABLED")?),
        VersionsCommand::Update { version, state } => {
            let state = match state {
                State::Enabled => "ENABLED",
                State::Disabled => "DISABLED",
            };
            session.print_if_asked(set_state(session, version, state)?)
        }
        VersionsCommand::Destroy(version) => {
            let path = format!("{}:destroy", path(session, version)?);
            session.print_if_asked(session.server().post(&path, &[], &json!({}))?)
        }
        VersionsCommand::Restore(version) => {
            let path = format!("{}:restore", path(session, version)?);
            session.print_if_asked(session.server().post(&path, &[], &json!({}))?)
        }
        VersionsCommand::Delete(version) => delete(session, version),
    }
}

fn create(session: &Session<'_>, key: &str, primary: bool) -> Result<(), Failure> {
    let made = session.server().post(&format!("/v1/{key}/cryptoKeyVersions"), &[], &json!({}))?;
    if primary {
        let name = made.get("name").and_then(Value::as_str).unwrap_or_default();
        let version = id(name);
        set_primary(session, key, version).map_err(|failure| {
            failure
                .caused_by(format!("version {version} was created before that"))
                .hint(format!("`kms keys set-primary-version {key} --version {version}` makes it primary"))
        })?;
        // In gcloud's words, for scripts that look for them.
        say(&format!(
            "Successfully created key version [{version}] and set it as the primary version. Future encryption requests \
             will use [{version}] until the next key rotation. Data that was encrypted with an older key version can \
             still be decrypted, and Cloud KMS will automatically choose the correct key for decryption based on the \
             ciphertext."
        ));
    }
    session.print_if_asked(made)
}

fn delete(session: &Session<'_>, version: &Version) -> Result<(), Failure> {
    let name = version.name(session)?;
    session.confirm_for_ever(&format!("The record of [{name}] will be deleted for ever."))?;
    let operation = session.server().delete(&format!("/v1/{name}"))?;
    let done = wait(session, operation)?;
    say(&format!("Deleted version [{name}]."));
    session.print_if_asked(done)
}

fn set_state(session: &Session<'_>, version: &Version, state: &str) -> Result<Value, Failure> {
    session.server().patch(&path(session, version)?, &[("updateMask", "state")], &json!({"state": state}))
}

fn path(session: &Session<'_>, version: &Version) -> Result<String, Failure> {
    Ok(format!("/v1/{}", version.name(session)?))
}
