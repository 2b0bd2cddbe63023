//! `keystead iam service-accounts ...`

mod keys;

use std::path::PathBuf;

use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use crate::iam::policy::{self, Binding, BindingToRemove, Mask, ReadsBy, Target};
use crate::kms::checked;
use crate::output::{ListArgs, say};
use crate::session::Session;

const TABLE: &str = "table(displayName:label=\"DISPLAY NAME\", email, disabled)";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServiceAccountsCommand {
    /// Create a service account
    Create {
        /// What is before the @ of its e-mail address
        name: String,
        /// Name to show
        #[arg(long)]
        display_name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Service accounts of the project
    List(ListArgs),
    /// One service account
    Describe(Account),
    /// Delete a service account; its keys stop working at once
    Delete(Account),
    /// Let a disabled service account call again
    Enable(Account),
    /// Refuse every call of the service account until it is enabled
    Disable(Account),
    /// Who may act as, or administer, the service account
    GetIamPolicy {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace the policy by a file in YAML or JSON
    SetIamPolicy {
        #[command(flatten)]
        account: Account,
        /// The policy, such as get-iam-policy prints it
        policy_file: PathBuf,
    },
    /// Grant a role on the service account itself (a role for it is granted on keys, rings and projects)
    AddIamPolicyBinding {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        binding: Binding,
    },
    /// Take a role back
    RemoveIamPolicyBinding {
        #[command(flatten)]
        account: Account,
        #[command(flatten)]
        binding: BindingToRemove,
    },
    /// Key files with which programs prove to be the service account
    #[command(subcommand)]
    Keys(keys::KeysCommand),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Account {
    /// E-mail address or unique id of the service account
    #[arg(value_name = "SERVICE_ACCOUNT", value_parser = account)]
    email: String,
}

pub(crate) fn run(session: &Session<'_>, command: &ServiceAccountsCommand) -> Result<(), Failure> {
    match command {
        ServiceAccountsCommand::Create { name, display_name, description } => {
            create(session, name, display_name.as_deref(), description.as_deref())
        }
        ServiceAccountsCommand::List(list) => {
            let mut accounts = session.list(&collection(session)?, "accounts", &[], list, None)?;
            for account in &mut accounts {
                if let Value::Object(account) = account {
                    account.entry("disabled").or_insert(Value::Bool(false));
                }
            }
            session.output().print_list(accounts, list, TABLE)
        }
        ServiceAccountsCommand::Describe(account) => {
            session.print(session.server().get(&path(&account.email), &[])?)
        }
        ServiceAccountsCommand::Delete(account) => delete(session, &account.email),
        ServiceAccountsCommand::Enable(account) => switch(session, &account.email, "enable", "Enabled"),
        ServiceAccountsCommand::Disable(account) => switch(session, &account.email, "disable", "Disabled"),
        ServiceAccountsCommand::GetIamPolicy { account, list } => {
            policy::get(session, &target(&account.email, path(&account.email)), list)
        }
        ServiceAccountsCommand::SetIamPolicy { account, policy_file } => {
            let target = Target { kind: "service account", ..target(&account.email, path(&account.email)) };
            policy::set(session, &target, policy_file, Mask::Whole)
        }
        ServiceAccountsCommand::AddIamPolicyBinding { account, binding } => {
            policy::add(session, &target(&account.email, path_in_project(session, &account.email)?), binding)
        }
        ServiceAccountsCommand::RemoveIamPolicyBinding { account, binding } => policy::remove(
            session,
            &target(&account.email, path_in_project(session, &account.email)?),
            binding,
        ),
        ServiceAccountsCommand::Keys(command) => keys::run(session, command),
    }
}

fn create(
    session: &Session<'_>,
    name: &str,
    display_name: Option<&str>,
    description: Option<&str>,
) -> Result<(), Failure> {
    let texts = [("displayName", display_name), ("description", description)];
    let texts: Map<String, Value> =
        texts.into_iter().filter_map(|(field, text)| Some((field.to_owned(), text?.into()))).collect();
    let body = json!({"accountId": name, "serviceAccount": texts});
    let made = session.server().post(&collection(session)?, &[], &body)?;
    say(&format!("Created service account [{name}]."));
    session.print_if_asked(made)
}

fn delete(session: &Session<'_>, email: &str) -> Result<(), Failure> {
    session.confirm(&format!("You are about to delete service account [{email}]"))?;
    session.server().delete(&path(email))?;
    say(&format!("deleted service account [{email}]"));
    Ok(())
}

fn switch(session: &Session<'_>, email: &str, verb: &str, done: &str) -> Result<(), Failure> {
    session.server().post(&format!("{}:{verb}", path_in_project(session, email)?), &[], &json!({}))?;
    say(&format!("{done} service account [{email}]."));
    Ok(())
}

fn collection(session: &Session<'_>) -> Result<String, Failure> {
    Ok(format!("/v1/projects/{}/serviceAccounts", checked(&session.project()?)?))
}

/// The address says which project it belongs to, so none is named, as in gcloud.
fn path(email: &str) -> String {
    format!("/v1/projects/-/serviceAccounts/{email}")
}

/// Some calls of gcloud name the project all the same.
fn path_in_project(session: &Session<'_>, email: &str) -> Result<String, Failure> {
    Ok(format!("{}/{email}", collection(session)?))
}

fn target(email: &str, path: String) -> Target<'_> {
    Target { path, kind: "serviceAccount", shown: email, reads_by: ReadsBy::PostWithQuery }
}

/// An e-mail address, or the number that no other account ever gets.
fn account(text: &str) -> Result<String, String> {
    let is_number = !text.is_empty() && text.chars().all(|it| it.is_ascii_digit());
    let is_address = text.split_once('@').is_some_and(|(name, domain)| {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|it| it.is_ascii_alphanumeric() || "-._:".contains(it))
        };
        plain(name) && plain(domain)
    });
    if is_number || is_address {
        Ok(text.to_owned())
    } else {
        Err("an address such as NAME@PROJECT.iam.gserviceaccount.com, or a unique id".to_owned())
    }
}
