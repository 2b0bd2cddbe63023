//! What clients filter projects by. gcloud always asks for `lifecycleState:ACTIVE`.

use keystead_keyservice::{KmsError, Project};
use keystead_model::listing::{Node, Operator, Restriction, parse_filter};

/// A filter over projects, in the language of all lists.
pub(super) struct Filter(Option<Node<(Field, String)>>);

enum Field {
    State,
    Id,
    Name,
    Number,
    Label(String),
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, KmsError> {
        let read = parse_filter(text)?;
        read.map(|node| node.try_map(&mut condition)).transpose().map(Self)
    }

    pub(super) fn matches(&self, project: &Project) -> bool {
        let holds = |(field, wanted): &(Field, String)| match field {
            Field::Label(key) => project.labels.get(key).is_some_and(|value| fits(wanted, value)),
            Field::State => wanted == "active" || wanted == "*",
            Field::Id => fits(wanted, project.id.as_str()),
            Field::Name => fits(wanted, &project.display_name),
            Field::Number => fits(wanted, &project.number.to_string()),
        };
        self.0.as_ref().is_none_or(|node| node.holds(&holds))
    }
}

fn condition(restriction: Restriction) -> Result<(Field, String), KmsError> {
    let Restriction { path, operator, value, .. } = restriction;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let field = match path[..] {
        _ if !matches!(operator, Operator::Equal | Operator::Has) => None,
        ["lifecycleState" | "state"] => Some(Field::State),
        ["id" | "projectId"] => Some(Field::Id),
        ["name" | "displayName"] => Some(Field::Name),
        ["projectNumber"] => Some(Field::Number),
        ["labels", key] => Some(Field::Label(key.to_owned())),
        _ => None,
    };
    let field = field.ok_or_else(|| {
        let name: String = path.join(".").chars().take(100).collect();
        KmsError::invalid(format!(
            "The filter on {name:?} is not understood: lifecycleState, projectId, projectNumber, name and labels.KEY can be \
             compared with `:` or `=`, and a value may end in `*`."
        ))
    })?;
    Ok((field, value.to_lowercase()))
}

/// Upper and lower case are the same, as with Google.
fn fits(wanted: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    match wanted.strip_suffix('*') {
        Some(begin) => text.starts_with(begin),
        None => text == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project {
            id: "key-project".parse().expect("id"),
            number: 123_456_789_012,
            display_name: "Keys".to_owned(),
            create_time: jiff::Timestamp::UNIX_EPOCH,
            labels: [("team".to_owned(), "infra".to_owned())].into(),
        }
    }

    #[test]
    fn conditions_hold_together() {
        for (filter, matches) in [
            ("", true),
            ("lifecycleState:ACTIVE", true),
            ("lifecycleState=DELETE_REQUESTED", false),
            ("id:key-* AND lifecycleState:ACTIVE", true),
            ("projectId=key", false),
            ("name:KEYS", true),
            ("lifecycleState:ACTIVE AND (id=key-project)", true),
            ("lifecycleState:ACTIVE AND (id=key-project AND name=other)", false),
            ("labels.team=infra", true),
            ("labels.team:inf*", true),
            ("labels.team=other", false),
            ("labels.env:*", false),
            ("projectNumber=123456789012 name=other", false),
            ("id:other OR id:key-project", true),
            ("NOT id:key-project", false),
            ("name=\"keys\"", true),
        ] {
            let parsed = Filter::parse(filter).expect(filter);
            assert_eq!(parsed.matches(&project()), matches, "{filter}");
        }
        for bad in [
            "x",
            "labels.:b",
            "id:",
            "id:(a",
            "id:(a b)",
            "id>a",
            "parent:b",
            "a.b.c=d",
            &"id:x ".repeat(1000),
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad:.40}");
        }
    }
}
