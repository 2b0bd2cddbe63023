//! What clients filter projects by. gcloud always asks for `lifecycleState:ACTIVE`.

use keystead_keyservice::{KmsError, Project};

/// Longest filter, in bytes.
const MAX_LEN: usize = 1024;

/// Conditions that all must hold.
pub(super) struct Filter(Vec<(Field, String)>);

#[derive(Clone, Copy)]
enum Field {
    State,
    Id,
    Name,
    Number,
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, KmsError> {
        let terms = text.split_whitespace().filter(|term| !term.eq_ignore_ascii_case("and"));
        if text.len() > MAX_LEN {
            return Err(KmsError::invalid(format!("The filter must be at most {MAX_LEN} bytes.")));
        }
        terms.map(condition).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, project: &Project) -> bool {
        self.0.iter().all(|(field, wanted)| match field {
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
            "The filter {term:?} is not understood: lifecycleState, projectId, projectNumber and name can be compared with `:` \
             or `=`, and a value may end in `*`."
        ))
    };
    let (field, value) = term.split_once([':', '=']).ok_or_else(refused)?;
    let field = match field {
        "lifecycleState" | "state" => Field::State,
        "id" | "projectId" => Field::Id,
        "name" | "displayName" => Field::Name,
        "projectNumber" => Field::Number,
        _ => return Err(refused()),
    };
    let value = value.trim_matches('"').to_lowercase();
    if value.is_empty() { Err(refused()) } else { Ok((field, value)) }
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
            labels: Default::default(),
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
            ("projectNumber=123456789012 name=other", false),
        ] {
            let parsed = Filter::parse(filter).expect(filter);
            assert_eq!(parsed.matches(&project()), matches, "{filter}");
        }
        for bad in ["x", "labels.a:b", "id:", "NOT id:x", &"id:x ".repeat(300)] {
            assert!(Filter::parse(bad).is_err(), "{bad:.40}");
        }
    }
}
