//! IAM policies: read, change one binding, write back under the etag that was read.

mod condition;
mod edit;

use std::path::{Path, PathBuf};

use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use crate::output::{ListArgs, say};
use crate::session::Session;
use condition::Wanted;
use edit::{has_condition, insert, take};

/// The version that knows conditions; what is read or written with a lower one may lose them.
const VERSION: u8 = 3;

/// The binding that is added or removed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Binding {
    /// Who: user:EMAIL, serviceAccount:EMAIL, group:EMAIL or allAuthenticatedUsers
    #[arg(long, value_name = "PRINCIPAL")]
    member: String,
    /// Which role, such as roles/cloudkms.cryptoKeyEncrypterDecrypter
    #[arg(long)]
    role: String,
    /// When: expression=CEL,title=TEXT[,description=TEXT], or None for a binding without a condition
    #[arg(long, value_name = "KEY=VALUE,...")]
    condition: Option<String>,
    /// The same from a file in YAML or JSON
    #[arg(long, value_name = "FILE", conflicts_with = "condition")]
    condition_from_file: Option<PathBuf>,
}

/// The binding that is removed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BindingToRemove {
    #[command(flatten)]
    binding: Binding,
    /// Remove it whatever its condition is
    #[arg(long, conflicts_with_all = ["condition", "condition_from_file"])]
    all: bool,
}

/// A resource that has a policy, and how it is called.
pub(crate) struct Target<'a> {
    /// Path behind the server's address, without a verb.
    pub(crate) path: String,
    /// As in `Updated IAM policy for key [frodo].`
    pub(crate) kind: &'a str,
    pub(crate) shown: &'a str,
    pub(crate) reads_by: ReadsBy,
}

/// How a service spells the call that reads a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReadsBy {
    /// Cloud KMS.
    Get,
    /// Resource Manager: the options are in the body.
    PostWithBody,
    /// IAM: the options are in the query.
    PostWithQuery,
}

/// The fields that a policy file replaces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mask {
    /// What the file has, and the version.
    FileAndVersion,
    /// What the file has, and the etag.
    FileAndEtag,
    /// No mask: the service has none.
    Whole,
}

/// `get-iam-policy`
pub(crate) fn get(session: &Session<'_>, target: &Target<'_>, list: &ListArgs) -> Result<(), Failure> {
    session.output().print_parts(shown(read(session, target)?), list)
}

/// `add-iam-policy-binding`
pub(crate) fn add(session: &Session<'_>, target: &Target<'_>, binding: &Binding) -> Result<(), Failure> {
    let condition = binding.condition()?;
    let mut policy = read(session, target)?;
    let conditional = has_condition(&policy);
    if conditional && condition == Wanted::NotSaid {
        let text = "the policy has bindings with conditions, so it must be said whether this one has one";
        return Err(Failure::new(text).hint("--condition=None adds a binding without a condition".to_owned()));
    }
    if !conditional && matches!(condition, Wanted::This(_)) {
        say(
            "warning: this is the first condition in the policy: from now on adding and removing need --condition",
        );
    }
    insert(&mut policy, &binding.role, &binding.member, condition.value());
    write(session, target, policy, None)
}

/// `remove-iam-policy-binding`
pub(crate) fn remove(
    session: &Session<'_>,
    target: &Target<'_>,
    wanted: &BindingToRemove,
) -> Result<(), Failure> {
    let BindingToRemove { binding, all } = wanted;
    let condition = binding.condition()?;
    let mut policy = read(session, target)?;
    if !all && condition == Wanted::NotSaid && has_condition(&policy) {
        let text = "the policy has bindings with conditions, so it must be said which one to remove";
        let hint = "--condition=None removes the binding without a condition, --all every one of this principal and role";
        return Err(Failure::new(text).hint(hint.to_owned()));
    }
    let condition = if *all { None } else { Some(condition.value()) };
    if !take(&mut policy, &binding.role, &binding.member, condition) {
        let text = format!(
            "{} has no such binding in the policy of {} [{}]",
            binding.member, target.kind, target.shown
        );
        return Err(Failure::new(text).hint("get-iam-policy shows the bindings".to_owned()));
    }
    write(session, target, policy, None)
}

/// `set-iam-policy`
pub(crate) fn set(
    session: &Session<'_>,
    target: &Target<'_>,
    file: &Path,
    mask: Mask,
) -> Result<(), Failure> {
    let mut policy = parse(file)?;
    let mut fields: Vec<String> = policy.keys().cloned().collect();
    fields.sort();
    if mask != Mask::FileAndVersion && !policy.contains_key("etag") {
        session.confirm(
            "The file has no etag: whatever others changed in the policy since it was read will be overwritten.",
        )?;
    }
    let also = if mask == Mask::FileAndVersion { "version" } else { "etag" };
    if !fields.iter().any(|it| it == also) {
        fields.push(also.to_owned());
    }
    // A list of nothing is the same as no list.
    policy.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    let mask = (mask != Mask::Whole).then(|| fields.join(","));
    write(session, target, Value::Object(policy), mask)
}

fn read(session: &Session<'_>, target: &Target<'_>) -> Result<Value, Failure> {
    let path = format!("{}:getIamPolicy", target.path);
    let query = [("options.requestedPolicyVersion", "3")];
    match target.reads_by {
        ReadsBy::Get => session.server().get(&path, &query),
        ReadsBy::PostWithQuery => session.server().post_without_body(&path, &query),
        ReadsBy::PostWithBody => {
            session.server().post(&path, &[], &json!({"options": {"requestedPolicyVersion": VERSION}}))
        }
    }
}

fn write(
    session: &Session<'_>,
    target: &Target<'_>,
    mut policy: Value,
    mask: Option<String>,
) -> Result<(), Failure> {
    if let Value::Object(policy) = &mut policy {
        policy.insert("version".to_owned(), VERSION.into());
    }
    let mut body = json!({"policy": policy});
    if let (Value::Object(body), Some(mask)) = (&mut body, mask) {
        body.insert("updateMask".to_owned(), mask.into());
    }
    let policy = session.server().post(&format!("{}:setIamPolicy", target.path), &[], &body)?;
    say(&format!("Updated IAM policy for {} [{}].", target.kind, target.shown));
    session.print(shown(policy))
}

/// An etag is bytes; gcloud shows and writes it in the alphabet that is safe in addresses, and files go from one to the other.
fn shown(mut policy: Value) -> Value {
    if let Some(Value::String(etag)) = policy.get_mut("etag") {
        *etag = etag.replace('+', "-").replace('/', "_");
    }
    policy
}

fn parse(file: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |what: String| Failure::new(format!("policy file {}: {what}", file.display())).usage();
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    // JSON is YAML.
    match serde_saphyr::from_str(&text) {
        Ok(Value::Object(policy)) => Ok(policy),
        Ok(_) => Err(wrong("it is no policy: bindings, etag and version were expected".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}
