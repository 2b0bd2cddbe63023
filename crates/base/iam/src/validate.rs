use std::collections::{BTreeMap, BTreeSet};

use keystead_model::{Binding, Condition, Policy};

use crate::{Expression, InvalidPolicy, Member, ResourceKind, Role};

/// Most members over all bindings, each mention counted: Google's limit.
pub const MAX_MEMBERS: usize = 1_500;
/// Most bindings with a condition: Google's limit. It bounds the cost of a decision too.
pub const MAX_CONDITIONAL_BINDINGS: usize = 100;
/// Longest title of a condition: Google's limit.
pub const MAX_TITLE_CHARS: usize = 100;
/// Longest description of a condition: Google's limit.
pub const MAX_DESCRIPTION_CHARS: usize = 256;

/// Checks a policy that somebody wants to set, and gives it as it is stored: bindings of one role and condition merged,
/// sorted, each member once in lower case, bindings without members left out; version 3 with conditions, else 1.
pub fn validate(policy: &Policy, at: ResourceKind) -> Result<Policy, InvalidPolicy> {
    if !matches!(policy.version, 0 | 1 | 3) {
        return Err(InvalidPolicy::Version { version: policy.version });
    }
    check_sizes(policy)?;
    let mut merged: BTreeMap<(&str, Option<ConditionKey<'_>>), BTreeSet<Member>> = BTreeMap::new();
    for binding in &policy.bindings {
        let role = check_role(&binding.role, at)?;
        let condition = binding.condition.as_ref().filter(|it| **it != Condition::default());
        if let Some(condition) = condition {
            check_condition(policy.version, role, condition)?;
        }
        let members = merged.entry((role.name, condition.map(condition_key))).or_default();
        for member in &binding.members {
            members.insert(Member::parse(member)?);
        }
    }
    let bindings: Vec<Binding> = merged
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|((role, condition), members)| Binding {
            role: role.to_owned(),
            members: members.iter().map(Member::to_string).collect(),
            condition: condition.map(|(expression, title, description)| Condition {
                expression: expression.to_owned(),
                title: title.to_owned(),
                description: description.to_owned(),
            }),
        })
        .collect();
    let conditional = bindings.iter().any(|binding| binding.condition.is_some());
    Ok(Policy { version: if conditional { 3 } else { 1 }, bindings })
}

type ConditionKey<'a> = (&'a str, &'a str, &'a str);

fn condition_key(condition: &Condition) -> ConditionKey<'_> {
    (&condition.expression, &condition.title, &condition.description)
}

/// Before anything is parsed, so that a huge policy costs little.
fn check_sizes(policy: &Policy) -> Result<(), InvalidPolicy> {
    let members: usize = policy.bindings.iter().map(|binding| binding.members.len()).sum();
    // A binding without members counts as one: bindings are bounded too.
    let given = members.max(policy.bindings.len());
    if given > MAX_MEMBERS {
        return Err(InvalidPolicy::TooManyMembers { given });
    }
    let given = policy.bindings.iter().filter(|binding| binding.condition.is_some()).count();
    if given > MAX_CONDITIONAL_BINDINGS {
        return Err(InvalidPolicy::TooManyConditions { given });
    }
    Ok(())
}

fn check_role(name: &str, at: ResourceKind) -> Result<&'static Role, InvalidPolicy> {
    Role::find(name)
        .filter(|role| role.bound_at.contains(&at))
        .ok_or_else(|| InvalidPolicy::Role { role: name.chars().take(200).collect() })
}

fn check_condition(version: i32, role: &'static Role, condition: &Condition) -> Result<(), InvalidPolicy> {
    let role_name = role.name;
    if version != 3 {
        return Err(InvalidPolicy::ConditionNeedsVersion3 { role: role_name.to_owned() });
    }
    if role.is_basic() {
        return Err(InvalidPolicy::BasicRoleWithCondition { role: role_name });
    }
    let title_fits = (1..=MAX_TITLE_CHARS).contains(&condition.title.chars().count());
    if !title_fits || condition.description.chars().count() > MAX_DESCRIPTION_CHARS {
        return Err(InvalidPolicy::ConditionTexts { role: role_name });
    }
    match Expression::compile(&condition.expression) {
        Ok(_) => Ok(()),
        Err(source) => Err(InvalidPolicy::Condition { role: role_name, source }),
    }
}
