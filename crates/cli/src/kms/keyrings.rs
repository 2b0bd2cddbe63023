//! `keystead kms keyrings ...`

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::json;

use super::names::{Location, Ring, id, parent};
use crate::iam::policy::{self, Binding, BindingToRemove, Mask, ReadsBy, Target};
use crate::output::{ListArgs, Shape};
use crate::session::Session;

const TABLE: &str = "table(name)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyringsCommand {
    /// Create a key ring
    Create(Ring),
    /// Key rings of a location
    List {
        #[command(flatten)]
        location: Location,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One key ring
    Describe(Ring),
    /// Who may do what with the keys of the ring
    GetIamPolicy {
        #[command(flatten)]
        ring: Ring,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace the policy by a file in YAML or JSON
    SetIamPolicy {
        #[command(flatten)]
        ring: Ring,
        /// The policy, such as get-iam-policy prints it
        policy_file: PathBuf,
    },
    /// Grant a role on every key of the ring
    AddIamPolicyBinding {
        #[command(flatten)]
        ring: Ring,
        #[command(flatten)]
        binding: Binding,
    },
    /// Take a role back
    RemoveIamPolicyBinding {
        #[command(flatten)]
        ring: Ring,
        #[command(flatten)]
        binding: BindingToRemove,
    },
}

pub(crate) fn run(session: &Session<'_>, command: &KeyringsCommand) -> Result<(), Failure> {
    match command {
        KeyringsCommand::Create(ring) => create(session, ring),
        KeyringsCommand::List { location, list } => {
            session.output().print_list(location.list(session, "keyRings", list)?, list, TABLE)
        }
        KeyringsCommand::Describe(ring) => {
            session.print(session.server().get(&format!("/v1/{}", ring.name(session)?), &[])?)
        }
        KeyringsCommand::GetIamPolicy { ring, list } => {
            policy::get(session, &target(&ring.name(session)?), list)
        }
        KeyringsCommand::SetIamPolicy { ring, policy_file } => {
            policy::set(session, &target(&ring.name(session)?), policy_file, Mask::FileAndVersion)
        }
        KeyringsCommand::AddIamPolicyBinding { ring, binding } => {
            policy::add(session, &target(&ring.name(session)?), binding)
        }
        KeyringsCommand::RemoveIamPolicyBinding { ring, binding } => {
            policy::remove(session, &target(&ring.name(session)?), binding)
        }
    }
}

fn create(session: &Session<'_>, ring: &Ring) -> Result<(), Failure> {
    let name = ring.name(session)?;
    let path = format!("/v1/{}/keyRings", parent(&name));
    let made = session.server().post(&path, &[("keyRingId", id(&name))], &json!({}))?;
    // gcloud gives what it creates here as a list of one.
    session.output().print(vec![made], "none", Shape::Many)
}

fn target(name: &str) -> Target<'_> {
    Target { path: format!("/v1/{name}"), kind: "keyring", shown: id(name), reads_by: ReadsBy::Get }
}
