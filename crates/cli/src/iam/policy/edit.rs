//! One member of one binding in a policy, as pure changes of its JSON.

use serde_json::{Value, json};

/// Whether any binding has a condition.
pub(super) fn has_condition(policy: &Value) -> bool {
    bindings(policy).any(|binding| binding.get("condition").is_some())
}

/// Adds the member to the binding of this role and condition, or a binding where there is none.
pub(super) fn insert(policy: &mut Value, role: &str, member: &str, condition: Option<&Value>) {
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
pub(super) fn take(policy: &mut Value, role: &str, member: &str, condition: Option<Option<&Value>>) -> bool {
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

fn bindings(policy: &Value) -> impl Iterator<Item = &Value> {
    policy.get("bindings").and_then(Value::as_array).into_iter().flatten()
}

fn is_for(binding: &Value, role: &str, condition: Option<&Value>) -> bool {
    let same = |name: &str| {
        binding.get("condition").and_then(|it| it.get(name)) == condition.and_then(|it| it.get(name))
    };
    binding.get("role").is_some_and(|it| it == role)
        && binding.get("condition").is_some() == condition.is_some()
        && ["expression", "title", "description"].into_iter().all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{insert, take};

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
}
