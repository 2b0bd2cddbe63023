//! The condition of a binding, from a flag or a file.

use keystead_runtime::Failure;
use serde_json::{Map, Value};

use super::{Binding, parse};

/// Roles of a whole project, which take no condition.
const BASIC_ROLES: [&str; 3] = ["roles/editor", "roles/owner", "roles/viewer"];

/// What was said about the condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    NotSaid,
    Without,
    This(Value),
}

impl Wanted {
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::This(condition) => Some(condition),
            Self::NotSaid | Self::Without => None,
        }
    }
}

impl Binding {
    pub(super) fn condition(&self) -> Result<Wanted, Failure> {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::pairs;

    #[test]
    fn conditions_may_hold_commas() {
        let fields = pairs("expression=a == b,title=t").expect("pairs");
        assert_eq!(Value::Object(fields), json!({"expression": "a == b", "title": "t"}));
        let fields = pairs("^:^title=t:expression=f(a, b)").expect("pairs");
        assert_eq!(Value::Object(fields), json!({"expression": "f(a, b)", "title": "t"}));
        assert!(pairs("expression=f(a, b),title=t").is_err());
    }
}
