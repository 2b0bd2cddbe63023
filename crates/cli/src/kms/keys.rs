//! `keystead kms keys ...`

mod create;
mod delete;
mod update;

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::json;

use super::names::{InRing, Key, id};
use super::versions::{self, VersionsCommand};
use crate::iam::policy::{self, Binding, BindingToRemove, Mask, ReadsBy, Target};
use crate::output::ListArgs;
use crate::session::Session;

pub(crate) use delete::wait;

const TABLE: &str = "table(name, purpose, version_template.algorithm, version_template.protection_level, \
                     labels.list(), primary.name.segment(9):label=PRIMARY_ID, primary.state:label=PRIMARY_STATE)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key with its first version
    Create(Box<create::CreateArgs>),
    /// Keys of a ring
    List {
        #[command(flatten)]
        ring: InRing,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One key, with its primary version
    Describe(Key),
    /// Change rotation schedule, labels, algorithm or primary version
    Update(Box<update::UpdateArgs>),
    /// Say when the service makes a new primary version by itself
    ///
    /// This is a rotation of the key in the service: what is encrypted stays on the version that encrypted it.
    SetRotationSchedule(update::ScheduleArgs),
    /// Stop making new versions by itself
    RemoveRotationSchedule(Key),
    /// Say which version encrypts from now on
    ///
    /// What is encrypted already stays readable as long as its own version is enabled.
    SetPrimaryVersion {
        #[command(flatten)]
        key: Key,
        /// Number of the version
        #[arg(long)]
        version: String,
    },
    /// Delete a key for ever; its versions must have been deleted before
    Delete(Key),
    /// Who may do what with the key
    GetIamPolicy {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace the policy by a file in YAML or JSON
    SetIamPolicy {
        #[command(flatten)]
        key: Key,
        /// The policy, such as get-iam-policy prints it
        policy_file: PathBuf,
    },
    /// Grant a role on the key
    AddIamPolicyBinding {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        binding: Binding,
    },
    /// Take a role back
    RemoveIamPolicyBinding {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        binding: BindingToRemove,
    },
    /// Versions of a key: rotate, switch off, destroy
    #[command(subcommand)]
    Versions(VersionsCommand),
}

pub(crate) fn run(session: &Session<'_>, command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => create::run(session, args),
        KeysCommand::List { ring, list } => {
            let path = format!("/v1/{}/cryptoKeys", ring.name(session)?);
            session.output().print_list(session.list(&path, "cryptoKeys", &[], list, None)?, list, TABLE)
        }
        KeysCommand::Describe(key) => {
            session.print(session.server().get(&format!("/v1/{}", key.name(session)?), &[])?)
        }
        KeysCommand::Update(args) => update::run(session, args),
        KeysCommand::SetRotationSchedule(args) => update::set_schedule(session, args),
        KeysCommand::RemoveRotationSchedule(key) => update::remove_schedule(session, key),
        KeysCommand::SetPrimaryVersion { key, version } => {
            session.print(set_primary(session, &key.name(session)?, id(version))?)
        }
        KeysCommand::Delete(key) => delete::run(session, key),
        KeysCommand::GetIamPolicy { key, list } => policy::get(session, &target(&key.name(session)?), list),
        KeysCommand::SetIamPolicy { key, policy_file } => {
            policy::set(session, &target(&key.name(session)?), policy_file, Mask::FileAndVersion)
        }
        KeysCommand::AddIamPolicyBinding { key, binding } => {
            policy::add(session, &target(&key.name(session)?), binding)
        }
        KeysCommand::RemoveIamPolicyBinding { key, binding } => {
            policy::remove(session, &target(&key.name(session)?), binding)
        }
        KeysCommand::Versions(command) => versions::run(session, command),
    }
}

/// Makes a version primary; the answer is the key.
pub(crate) fn set_primary(
    session: &Session<'_>,
    key: &str,
    version: &str,
) -> Result<serde_json::Value, Failure> {
    let path = format!("/v1/{key}:updatePrimaryVersion");
    session.server().post(&path, &[], &json!({"cryptoKeyVersionId": version}))
}

fn target(name: &str) -> Target<'_> {
    Target { path: format!("/v1/{name}"), kind: "key", shown: id(name), reads_by: ReadsBy::Get }
}
