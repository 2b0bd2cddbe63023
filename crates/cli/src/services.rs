//! `keystead services ...`

use keystead_runtime::Failure;
use serde_json::json;

use crate::kms::{checked, wait};
use crate::output::ListArgs;
use crate::session::{Session, SessionArgs};

const TABLE: &str = "table(config.name:label=NAME:sort=1, config.title)";
/// What one page of this service holds.
const PAGE: u32 = 200;

/// APIs that a project uses, in gcloud's words
///
/// A project can use an API of the server once it is enabled. The words, options and outputs are those of `gcloud services`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    session: SessionArgs,
    #[command(subcommand)]
    command: ServicesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ServicesCommand {
    /// Let the project use APIs, such as cloudkms.googleapis.com
    Enable {
        #[arg(required = true)]
        service: Vec<String>,
    },
    /// Refuse every call to these APIs in the project
    Disable {
        #[arg(required = true)]
        service: Vec<String>,
        /// Also when they are in use, and with them what depends on them
        #[arg(long)]
        force: bool,
    },
    /// APIs of the project
    List {
        /// Those that the project uses (the default)
        #[arg(long, conflicts_with = "available")]
        enabled: bool,
        /// Those that it could use
        #[arg(long)]
        available: bool,
        #[command(flatten)]
        list: ListArgs,
    },
}

pub(crate) fn run(args: &ServicesArgs) -> Result<(), Failure> {
    let session = &Session::open(&args.session)?;
    let services = format!("/v1/projects/{}/services", checked(&session.project()?)?);
    match &args.command {
        ServicesCommand::Enable { service } => enable(session, &services, service),
        ServicesCommand::Disable { service, force } => {
            let usage = if *force { "SKIP" } else { "CHECK" };
            let body = json!({"checkIfServiceHasUsage": usage, "disableDependentServices": force});
            for service in service {
                let path = format!("{services}/{}:disable", checked(service)?);
                wait(session, session.server().post(&path, &[], &body)?)?;
            }
            Ok(())
        }
        ServicesCommand::List { enabled: _, available, list } => {
            let filter: &[(&str, &str)] = if *available { &[] } else { &[("filter", "state:ENABLED")] };
            let found = session.list(&services, "services", filter, list, Some(PAGE))?;
            session.output().print_list(found, list, TABLE)
        }
    }
}

fn enable(session: &Session<'_>, services: &str, wanted: &[String]) -> Result<(), Failure> {
    let operation = match wanted {
        [one] => session.server().post(&format!("{services}/{}:enable", checked(one)?), &[], &json!({}))?,
        several => {
            session.server().post(&format!("{services}:batchEnable"), &[], &json!({"serviceIds": several}))?
        }
    };
    wait(session, operation).map(drop)
}
