//! Path templates of `google.api.http`: `/v1/{name=projects/*/locations/*}/keyRings:verb`.

/// A parsed template. The verb is no part of it: routes are looked up by their verb.
pub(super) struct Template {
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

enum Segment {
    Literal(String),
    /// `operation-*`: one segment that begins so. It is no word of Google's; ours tells two APIs apart whose paths are alike.
    Begins(String),
    /// `*`: any one segment.
    One,
    /// `**`: one or more.
    Many,
}

struct Variable {
    field: String,
    /// Where in `segments` its value begins and ends.
    begin: usize,
    end: usize,
}

impl Template {
    /// Parses a template; the second part of the answer is its verb.
    pub(super) fn parse(text: &str) -> Option<(Self, Option<String>)> {
        let (path, verb) = match text.split_once(':') {
            Some((path, verb)) => (path, Some(verb.to_owned())),
            None => (text, None),
        };
        let mut template = Self { segments: Vec::new(), variables: Vec::new() };
        let mut rest = path.strip_prefix('/')?;
        loop {
            rest = match rest.strip_prefix('{') {
                Some(variable) => {
                    let (variable, after) = variable.split_once('}')?;
                    template.variable(variable);
                    after
                }
                None => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    let (segment, after) = rest.split_at(end);
                    template.segment(segment);
                    after
                }
            };
            match rest.strip_prefix('/') {
                Some(after) => rest = after,
                None if rest.is_empty() => break,
                None => return None,
            }
        }
        let many = template.segments.iter().filter(|segment| matches!(segment, Segment::Many)).count();
        (many <= 1).then_some((template, verb))
    }

    fn variable(&mut self, text: &str) {
        let (field, pattern) = text.split_once('=').unwrap_or((text, "*"));
        let begin = self.segments.len();
        for segment in pattern.split('/') {
            self.segment(segment);
        }
        self.variables.push(Variable { field: field.to_owned(), begin, end: self.segments.len() });
    }

    fn segment(&mut self, text: &str) {
        self.segments.push(match text {
            "*" => Segment::One,
            "**" => Segment::Many,
            other => match other.strip_suffix('*') {
                Some(beginning) => Segment::Begins(beginning.to_owned()),
                None => Segment::Literal(other.to_owned()),
            },
        });
    }

    /// The paths of the fields that the variables are for, in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.field.as_str())
    }

    /// How exact it is: of two templates that match, the one with more literals is meant.
    pub(super) fn literals(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| matches!(segment, Segment::Literal(_) | Segment::Begins(_)))
            .count()
    }

    /// The value of each variable, if the path (split at its slashes, still percent-encoded) is of this form.
    pub(super) fn matches<'p>(&self, path: &[&'p str]) -> Option<Vec<Vec<&'p str>>> {
        let has_many = self.segments.iter().any(|segment| matches!(segment, Segment::Many));
        let many = (path.len() + 1).checked_sub(self.segments.len()).filter(|many| *many > 0)?;
        if !has_many && many != 1 {
            return None;
        }
        let mut left = path;
        let mut values = vec![Vec::new(); self.variables.len()];
        for (position, segment) in self.segments.iter().enumerate() {
            let taken = if matches!(segment, Segment::Many) { many } else { 1 };
            let (part, after) = left.split_at_checked(taken)?;
            left = after;
            let fits = match segment {
                Segment::Literal(literal) => part == [literal],
                Segment::Begins(beginning) => part
                    .iter()
                    .all(|part| part.strip_prefix(beginning.as_str()).is_some_and(|rest| !rest.is_empty())),
                Segment::One | Segment::Many => part.iter().all(|part| !part.is_empty()),
            };
            if !fits {
                return None;
            }
            for (variable, value) in self.variables.iter().zip(&mut values) {
                if (variable.begin..variable.end).contains(&position) {
                    value.extend_from_slice(part);
                }
            }
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(template: &str, path: &str) -> Option<Vec<String>> {
        let (template, _) = Template::parse(template).expect("template");
        let path: Vec<&str> = path.split('/').collect();
        Some(template.matches(&path)?.iter().map(|value| value.join("/")).collect())
    }

    #[test]
    fn variables_take_their_part_of_the_path() {
        let key = "/v1/{name=projects/*/keyRings/*}/x";
        assert_eq!(values(key, "v1/projects/p/keyRings/r/x"), Some(vec!["projects/p/keyRings/r".into()]));
        assert_eq!(values(key, "v1/projects/p/keyRings/r/y"), None);
        assert_eq!(values(key, "v1/projects/p/keyRings/r"), None);
        assert_eq!(values(key, "v1/projects/p/keyRings/r/x/"), None);
        assert_eq!(values(key, "v1/projects//keyRings/r/x"), None);
        assert_eq!(values("/v1/projects/{id}", "v1/projects/p"), Some(vec!["p".into()]));
        assert_eq!(values("/v1/{a=x/*}/y/{b}", "v1/x/1/y/2"), Some(vec!["x/1".into(), "2".into()]));
        assert_eq!(values("/v1/projects", "v1/projects"), Some(vec![]));
    }

    #[test]
    fn a_beginning_is_a_part_of_one_segment() {
        let begins = "/v1/{name=operations/operation-*}";
        assert_eq!(values(begins, "v1/operations/operation-1"), Some(vec!["operations/operation-1".into()]));
        for other in ["v1/operations/operation-", "v1/operations/delete-key.x", "v1/operations/operation-1/x"]
        {
            assert_eq!(values(begins, other), None, "{other}");
        }
    }

    #[test]
    fn two_stars_take_one_segment_or_more() {
        let many = "/v1/{name=keys/**}/end";
        assert_eq!(values(many, "v1/keys/k/end"), Some(vec!["keys/k".into()]));
        assert_eq!(values(many, "v1/keys/k/versions/1/end"), Some(vec!["keys/k/versions/1".into()]));
        assert_eq!(values(many, "v1/keys/end"), None);
        assert_eq!(values(many, "v1/keys//end"), None);
    }

    #[test]
    fn refuses_what_is_no_template() {
        for text in ["", "v1", "/v1/{name", "/v1/{name=**}/{other=**}", "/v1/{name}x"] {
            assert!(Template::parse(text).is_none(), "{text}");
        }
        let (_, verb) = Template::parse("/v1/{name=keys/*}:encrypt").expect("template");
        assert_eq!(verb.as_deref(), Some("encrypt"));
    }
}
