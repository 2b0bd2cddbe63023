//! `keystead projects ...`

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::{Map, Value};

use crate::iam::policy::{self, Binding, BindingToRemove, Mask, ReadsBy, Target};
use crate::kms::{checked, wait};
use crate::labels;
use crate::output::{ListArgs, say};
use crate::session::{Session, SessionArgs};

const TABLE: &str = "table(projectId:sort=1, name, projectNumber)";
/// What one page of this service holds.
const PAGE: u32 = 500;

/// Projects of the server, in gcloud's words
///
/// Keys, service accounts and grants belong to a project. The words, options and outputs are those of `gcloud projects`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProjectsArgs {
    #[command(flatten)]
    session: SessionArgs,
    #[command(subcommand)]
    command: ProjectsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ProjectsCommand {
    /// Create a project; its id never changes
    Create(CreateArgs),
    /// Projects that you may see
    List(ListArgs),
    /// One project, with the number that names its cluster service account
    Describe {
        /// The project's id or number
        project_id: String,
    },
    /// Who may do what in the project
    GetIamPolicy {
        /// The project's id or number
        project_id: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace the policy by a file in YAML or JSON
    SetIamPolicy {
        /// The project's id or number
        project_id: String,
        /// The policy, such as get-iam-policy prints it
        policy_file: PathBuf,
    },
    /// Grant a role on everything in the project
    AddIamPolicyBinding {
        /// The project's id or number
        project_id: String,
        #[command(flatten)]
        binding: Binding,
    },
    /// Take a role back
    RemoveIamPolicyBinding {
        /// The project's id or number
        project_id: String,
        #[command(flatten)]
        binding: BindingToRemove,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Id: 6 to 30 lower-case letters, digits and hyphens, a letter first
    #[arg(value_parser = project_id)]
    project_id: String,
    /// Name to show; otherwise the id
    #[arg(long)]
    name: Option<String>,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = labels::pair)]
    labels: Vec<(String, String)>,
    /// For scripts written for gcloud: there is no bundle of other services here that a new project could get or not
    #[arg(long, hide = true, conflicts_with = "enable_cloud_apis")]
    no_enable_cloud_apis: bool,
    #[arg(long, hide = true)]
    enable_cloud_apis: bool,
}

pub(crate) fn run(args: &ProjectsArgs) -> Result<(), Failure> {
    let session = &Session::open(&args.session)?;
    match &args.command {
        ProjectsCommand::Create(args) => create(session, args),
        ProjectsCommand::List(list) => {
            let active = [("filter", "lifecycleState:ACTIVE")];
            let projects = session.list("/v1/projects", "projects", &active, list, Some(PAGE))?;
            session.output().print_list(projects, list, TABLE)
        }
        ProjectsCommand::Describe { project_id } => {
            session.print(session.server().get(&path(project_id)?, &[])?)
        }
        ProjectsCommand::GetIamPolicy { project_id, list } => {
            policy::get(session, &target(project_id)?, list)
        }
        ProjectsCommand::SetIamPolicy { project_id, policy_file } => {
            policy::set(session, &target(project_id)?, policy_file, Mask::FileAndEtag)
        }
        ProjectsCommand::AddIamPolicyBinding { project_id, binding } => {
            policy::add(session, &target(project_id)?, binding)
        }
        ProjectsCommand::RemoveIamPolicyBinding { project_id, binding } => {
            policy::remove(session, &target(project_id)?, binding)
        }
    }
}

fn create(session: &Session<'_>, args: &CreateArgs) -> Result<(), Failure> {
    let id = &args.project_id;
    let mut body = Map::new();
    body.insert("projectId".to_owned(), id.as_str().into());
    body.insert("name".to_owned(), args.name.as_ref().unwrap_or(id).as_str().into());
    if !args.labels.is_empty() {
        body.insert("labels".to_owned(), Value::Object(labels::map(&args.labels)));
    }
    let operation = session.server().post("/v1/projects", &[], &Value::Object(body))?;
    let mut done = wait(session, operation)?;
    say(&format!("Created project [{id}]."));
    session.print_if_asked(done.get_mut("response").map(Value::take).unwrap_or_default())
}

fn project_id(text: &str) -> Result<String, String> {
    let is_good = text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
        && (6..=30).contains(&text.len());
    if is_good {
        Ok(text.to_owned())
    } else {
        Err("6 to 30 lower-case letters, digits and hyphens, a letter first".to_owned())
    }
}

fn path(project: &str) -> Result<String, Failure> {
    Ok(format!("/v1/projects/{}", checked(project)?))
}

fn target(project: &str) -> Result<Target<'_>, Failure> {
    Ok(Target { path: path(project)?, kind: "project", shown: project, reads_by: ReadsBy::PostWithBody })
}
