//! IAM policies: read, change one binding, write back under the etag that was read.

use std::path::{Path, PathBuf};

use keystead_runtime::Failure;
use serde_json::{Map, Value, json};

use crate::output::{ListArgs, say};
use crate::session::Session;

/// The version that knows conditions; what is read or written with a lower one may lose them.
const VERSION: u8 = 3;
/// Roles of a whole project, which take no condition.
const BASIC_ROLES: [&str; 3] = ["roles/editor", "roles/owner", "roles/viewer"];

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

/// What was said about the condition.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    NotSaid,
    Without,
    This(Value),
}

impl Wanted {
    fn value(&self) -> Option<&Value> {
        match self {
            Self::This(condition) => Some(condition),
            Self::NotSaid | Self::Without => None,
        }
    }
}

impl Binding {
    fn condition(&self) -> Result<Wanted, Failure> {
        let fields = match (&self.condition, &self.condition_from_file) {
            (Some(text), _) if text == "None" => return Ok(Wanted::Without),
            (Some(text), _) => pairs(text)?,
            (None, Some(file)) => parse(file)?,
            (None, None) => return Ok(Wanted::NotSaid),
        };
        let known = |name: &String| ["expression", "title", "description"].contains(&name.as_str());
        let given = |name: &str| fields.get(name).and_then(Value::as_str).is_some_and(|it| !it.is_empty());
        if !given("expression") || !given("title") || !fields.keys().all(known) {
            return Err(wrong_condition());
        }
        if BASIC_ROLES.contains(&self.role.as_str()) {
            return Err(
                Failure::new(format!("{} is a basic role, which takes no condition", self.role)).usage()
            );
        }
        Ok(Wanted::This(Value::Object(fields)))
    }
}

fn wrong_condition() -> Failure {
    let hint = "--condition='expression=EXPRESSION,title=TITLE,description=TEXT'; \
                with a comma inside: --condition='^:^title=TITLE:expression=EXPRESSION'";
    Failure::new("a condition is None, or it has an expression and a title").usage().hint(hint.to_owned())
}

/// `a=b,c=d`; `^:^a=b:c=d` names another separator, as `gcloud topic escaping` has it.
fn pairs(text: &str) -> Result<Map<String, Value>, Failure> {
    let (separator, text) = match text.strip_prefix('^').and_then(|rest| rest.split_once('^')) {
        Some((separator, rest)) if !separator.is_empty() => (separator, rest),
        _ => (",", text),
    };
    let mut fields = Map::new();
    for part in text.split(separator) {
        let (name, value) = part.split_once('=').ok_or_else(wrong_condition)?;
        fields.insert(name.trim().to_owned(), value.into());
    }
    Ok(fields)
}

fn bindings(policy: &Value) -> impl Iterator<Item = &Value> {
    policy.get("bindings").and_then(Value::as_array).into_iter().flatten()
}

fn has_condition(policy: &Value) -> bool {
    bindings(policy).any(|binding| binding.get("condition").is_some())
}

fn is_for(binding: &Value, role: &str, condition: Option<&Value>) -> bool {
    let same = |name: &str| {
        binding.get("condition").and_then(|it| it.get(name)) == condition.and_then(|it| it.get(name))
    };
    binding.get("role").is_some_and(|it| it == role)
        && binding.get("condition").is_some() == condition.is_some()
        && ["expression", "title", "description"].into_iter().all(same)
}

/// Adds the member to the binding of this role and condition, or a binding where there is none.
fn insert(policy: &mut Value, role: &str, member: &str, condition: Option<&Value>) {
    let Value::Object(policy) = policy else { return };
    let list = policy.entry("bindings").or_insert_with(|| json!([]));
    let Value::Array(list) = list else { return };
    let found = list.iter_mut().find(|binding| is_for(binding, role, condition));
    if let Some(Value::Array(members)) = found.and_then(|binding| binding.get_mut("members")) {
        if !members.iter().any(|it| it == member) {
            members.push(member.into());
        }
        return;
    }
    let mut binding = json!({"role": role, "members": [member]});
    if let (Value::Object(binding), Some(condition)) = (&mut binding, condition) {
        binding.insert("condition".to_owned(), condition.clone());
    }
    list.push(binding);
}

/// Takes the member out, from bindings of any condition when none is given. Says whether it was there.
fn take(policy: &mut Value, role: &str, member: &str, condition: Option<Option<&Value>>) -> bool {
    let Value::Object(policy) = policy else { return false };
    let Some(Value::Array(list)) = policy.get_mut("bindings") else { return false };
    let mut found = false;
    for binding in list.iter_mut() {
        let fits = match condition {
            Some(condition) => is_for(binding, role, condition),
            None => binding.get("role").is_some_and(|it| it == role),
        };
        if let (true, Some(Value::Array(members))) = (fits, binding.get_mut("members")) {
            let before = members.len();
            members.retain(|it| it != member);
            found |= members.len() < before;
        }
    }
    list.retain(|binding| binding.get("members").and_then(Value::as_array).is_some_and(|it| !it.is_empty()));
    if list.is_empty() {
        policy.remove("bindings");
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{insert, pairs, take};

    fn policy() -> Value {
        json!({"etag": "ACAB", "bindings": [
            {"role": "roles/a", "members": ["user:x", "user:y"]},
            {"role": "roles/a", "members": ["user:x"], "condition": {"title": "t", "expression": "e"}}]})
    }

    #[test]
    fn a_member_joins_the_binding_of_its_role_and_condition() {
        let mut it = policy();
        insert(&mut it, "roles/a", "user:z", None);
        insert(&mut it, "roles/a", "user:z", None);
        insert(&mut it, "roles/a", "user:z", Some(&json!({"title": "t", "expression": "e"})));
        insert(&mut it, "roles/a", "user:z", Some(&json!({"title": "other", "expression": "e"})));
        insert(&mut it, "roles/b", "user:z", None);
        let members: Vec<&Value> = super::bindings(&it).map(|it| &it["members"]).collect();
        assert_eq!(
            members,
            [
                &json!(["user:x", "user:y", "user:z"]),
                &json!(["user:x", "user:z"]),
                &json!(["user:z"]),
                &json!(["user:z"])
            ]
        );
        let mut empty = json!({"etag": "ACAB"});
        insert(&mut empty, "roles/a", "user:z", None);
        assert_eq!(empty["bindings"], json!([{"role": "roles/a", "members": ["user:z"]}]));
    }

    #[test]
    fn a_member_leaves_the_binding_that_is_meant_and_empty_ones_go() {
        let condition = json!({"title": "t", "expression": "e"});
        let mut it = policy();
        assert!(take(&mut it, "roles/a", "user:x", Some(Some(&condition))));
        assert_eq!(it["bindings"], json!([{"role": "roles/a", "members": ["user:x", "user:y"]}]));
        let mut it = policy();
        assert!(take(&mut it, "roles/a", "user:x", Some(None)));
        assert_eq!(it["bindings"][0]["members"], json!(["user:y"]));
        let mut it = policy();
        assert!(take(&mut it, "roles/a", "user:x", None), "of any condition");
        assert_eq!(it["bindings"], json!([{"role": "roles/a", "members": ["user:y"]}]));
        assert!(!take(&mut it, "roles/a", "user:x", None), "no longer there");
        assert!(take(&mut it, "roles/a", "user:y", None));
        assert_eq!(it, json!({"etag": "ACAB"}), "gcloud writes no empty list");
    }

    #[test]
    fn conditions_may_hold_commas() {
        let fields = pairs("expression=a == b,title=t").expect("pairs");
        assert_eq!(Value::Object(fields), json!({"expression": "a == b", "title": "t"}));
        let fields = pairs("^:^title=t:expression=f(a, b)").expect("pairs");
        assert_eq!(Value::Object(fields), json!({"expression": "f(a, b)", "title": "t"}));
        assert!(pairs("expression=f(a, b),title=t").is_err());
    }
}
