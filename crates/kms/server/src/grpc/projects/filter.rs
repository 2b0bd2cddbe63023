//! What clients filter projects by. gcloud always asks for `lifecycleState:ACTIVE`.

use keystead_keyservice::{KmsError, Project};

/// Longest filter, in bytes.
const MAX_LEN: usize = 1024;

/// Conditions that all must hold.
pub(super) struct Filter(Vec<(Field, String)>);

enum Field {
    State,
    Id,
    Name,
    Number,
    Label(String),
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, KmsError> {
        let terms = text.split_whitespace().filter(|term| !term.eq_ignore_ascii_case("and"));
        if text.len() > MAX_LEN {
            return Err(KmsError::invalid(format!("The filter must be at most {MAX_LEN} bytes.")));
        }
        // All must hold, so parentheses change nothing. gcloud puts them around what a person asks for.
        let bare = terms.map(|term| term.trim_start_matches('(').trim_end_matches(')'));
        bare.filter(|term| !term.is_empty()).map(condition).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, project: &Project) -> bool {
        self.0.iter().all(|(field, wanted)| match field {
            Field::Label(key) => project.labels.get(key).is_some_and(|value| fits(wanted, value)),
            Field::State => wanted == "active" || wanted == "*",
            Field::Id => fits(wanted, project.id.as_str()),
            Field::Name => fits(wanted, &project.display_name),
            Field::Number => fits(wanted, &project.number.to_string()),
        })
    }
}

fn condition(term: &str) -> Result<(Field, String), KmsError> {
    let refused = || {
        let term: String = term.chars().take(100).collect();
        KmsError::invalid(format!(
            "The filter {term:?} is not understood: lifecycleState, projectId, projectNumber, name and \
             labels.KEY can be compared with `:` or `=`, and a value may end in `*`."
        ))
    };
    let (field, value) = term.split_once([':', '=']).ok_or_else(refused)?;
    let field = match field {
        "lifecycleState" | "state" => Field::State,
        "id" | "projectId" => Field::Id,
        "name" | "displayName" => Field::Name,
        "projectNumber" => Field::Number,
        _ => match field.strip_prefix("labels.") {
            Some(key) if !key.is_empty() => Field::Label(key.to_owned()),
            _ => return Err(refused()),
        },
    };
    let value = value.trim_matches('"').to_lowercase();
    if value.is_empty() || value.contains(['(', ')']) { Err(refused()) } else { Ok((field, value)) }
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
        ] {
            let parsed = Filter::parse(filter).expect(filter);
            assert_eq!(parsed.matches(&project()), matches, "{filter}");
        }
        for bad in
            ["x", "labels.:b", "id:", "id:(a", "id:(a b)", "id:a OR id:b", "NOT id:x", &"id:x ".repeat(300)]
        {
            assert!(Filter::parse(bad).is_err(), "{bad:.40}");
        }
    }
}
