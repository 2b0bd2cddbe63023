//! `keystead kms locations list` and `keystead kms retired-resources ...`

use keystead_runtime::Failure;

use super::names::Location;
use crate::output::ListArgs;
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum LocationsCommand {
    /// Places where key rings can be
    List(ListArgs),
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RetiredCommand {
    /// Names of deleted keys and versions
    List {
        #[command(flatten)]
        location: Location,
        #[command(flatten)]
        list: ListArgs,
    },
}

pub(crate) fn run(session: &Session<'_>, command: &LocationsCommand) -> Result<(), Failure> {
    let LocationsCommand::List(list) = command;
    let path = format!("/v1/projects/{}/locations", super::names::checked(&session.project()?)?);
    let table = "table(locationId, metadata.hsmAvailable, metadata.ekmAvailable)";
    session.output().print_list(session.list(&path, "locations", &[], list, None)?, list, table)
}

pub(crate) fn run_retired(session: &Session<'_>, command: &RetiredCommand) -> Result<(), Failure> {
    let RetiredCommand::List { location, list } = command;
    let table = "table(name.basename():label=NAME, originalResource, resourceType, deleteTime)";
    session.output().print_list(location.list(session, "retiredResources", list)?, list, table)
}
