//! `keystead kms inventory ...`

use keystead_runtime::Failure;

use super::names::{InRing, checked};
use crate::output::ListArgs;
use crate::session::Session;

/// Resources that the server puts on one page of a search.
const MOST_RESOURCES: u32 = 500;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum InventoryCommand {
    /// Keys of the project, in whatever location and key ring they are
    ListKeys(ListArgs),
    /// Clusters that a key protects, with the versions of the key that each of them needs
    SearchProtectedResources(SearchArgs),
    /// How many clusters a key protects, and where
    GetProtectedResourcesSummary(KeyName),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Where to look: the number of an organization, which is the whole server whatever it is, or projects/PROJECT
    #[arg(long, value_name = "ORGANIZATION_ID")]
    scope: String,
    #[command(flatten)]
    key: KeyName,
    /// Only these types, such as container.googleapis.com/Cluster or container.googleapis.com.*
    #[arg(long, value_delimiter = ',')]
    resource_types: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// A key by flags; other commands call the first of them --key.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KeyName {
    /// Key: its id, or its full name
    #[arg(long)]
    keyname: Option<String>,
    #[command(flatten)]
    ring: InRing,
}

pub(crate) fn run(session: &Session<'_>, command: &InventoryCommand) -> Result<(), Failure> {
    match command {
        InventoryCommand::ListKeys(list) => {
            let path = format!("/v1/projects/{}/cryptoKeys", checked(&session.project()?)?);
            session.output().print_list(session.list(&path, "cryptoKeys", &[], list, None)?, list, "yaml")
        }
        InventoryCommand::SearchProtectedResources(args) => search(session, args),
        InventoryCommand::GetProtectedResourcesSummary(key) => {
            let path = format!("/v1/{}/protectedResourcesSummary", key.name(session)?);
            session.print(session.server().get(&path, &[])?)
        }
    }
}

fn search(session: &Session<'_>, args: &SearchArgs) -> Result<(), Failure> {
    let SearchArgs { scope, key, resource_types, list } = args;
    let scope = match scope.strip_prefix("projects/") {
        Some(project) => format!("projects/{}", checked(project)?),
        None => format!("organizations/{}", checked(scope)?),
    };
    let key = key.name(session)?;
    let types = resource_types.iter().map(|kind| ("resourceTypes", kind.as_str()));
    let query: Vec<(&str, &str)> = [("cryptoKey", key.as_str())].into_iter().chain(types).collect();
    let path = format!("/v1/{scope}/protectedResources:search");
    let found = session.list(&path, "protectedResources", &query, list, Some(MOST_RESOURCES))?;
    session.output().print_list(found, list, "yaml")
}

impl KeyName {
    fn name(&self, session: &Session<'_>) -> Result<String, Failure> {
        self.ring.key(session, "--keyname", self.keyname.as_deref())
    }
}
