//! Patterns of types of resources: of the language that the API names (RE2), what is of use for names of types.

use keystead_keyservice::KmsError;

/// Longest pattern, in characters.
const MAX_PATTERN_LEN: usize = 200;
/// How much of a bad pattern an answer repeats, in characters.
const SHOWN: usize = 60;

/// One character, as often as `repeats` says.
struct Part {
    /// None: any.
    wanted: Option<char>,
    /// `*`; otherwise once.
    repeats: bool,
}

/// Refuses a pattern that does not match this type, which is the only one.
pub(super) fn check(pattern: &str, kind: &str) -> Result<(), KmsError> {
    let shown: String = pattern.chars().take(SHOWN).collect();
    let Some(parts) = parse(pattern) else {
        return Err(KmsError::invalid(format!(
            "The resource type {shown:?} is none that Keystead reads: a name, in which `.` is any character and `.*` any text, of at \
             most {MAX_PATTERN_LEN} characters."
        )));
    };
    if matches(&parts, kind) {
        return Ok(());
    }
    Err(KmsError::invalid(format!(
        "The resource type {shown:?} matches none that keys protect here: {kind}."
    )))
}

fn parse(pattern: &str) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        let wanted = match next {
            '.' => None,
            // A letter after it would be a class of characters.
            '\\' => Some(rest.next().filter(char::is_ascii_punctuation)?),
            '*' => {
                let last = parts.last_mut().filter(|last| !last.repeats)?;
                last.repeats = true;
                continue;
            }
            other if "^$+?()[]{}|".contains(other) => return None,
            other => Some(other),
        };
        parts.push(Part { wanted, repeats: false });
    }
    (parts.len() <= MAX_PATTERN_LEN).then_some(parts)
}

/// Whether the parts are the whole text. Time grows with the product of both lengths, whatever the pattern is.
fn matches(parts: &[Part], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Where in the text the parts so far can have ended.
    let mut ends = vec![false; text.len() + 1];
    if let Some(begin) = ends.first_mut() {
        *begin = true;
    }
    for part in parts {
        let fits =
            |at: usize| text.get(at).is_some_and(|found| part.wanted.is_none_or(|wanted| wanted == *found));
        let mut next = if part.repeats { ends.clone() } else { vec![false; ends.len()] };
        for at in 0..text.len() {
            let from = if part.repeats { &next } else { &ends };
            if from.get(at) == Some(&true)
                && fits(at)
                && let Some(end) = next.get_mut(at + 1)
            {
                *end = true;
            }
        }
        ends = next;
    }
    ends.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "container.googleapis.com/Cluster";

    #[test]
    fn a_pattern_matches_the_whole_name_of_a_type() {
        for good in [
            CLUSTER,
            "container.googleapis.com.*",
            ".*Cluster",
            ".*Clus.*",
            ".*",
            r"container\.googleapis\.com/C.uster",
            "c*ontainer.*",
            "x*container.*r",
            ".*.*.*.*.*.*.*",
        ] {
            assert_eq!(check(good, CLUSTER), Ok(()), "{good}");
        }
        for bad in [
            "Cluster",
            "container",
            ".*Disk",
            "compute.googleapis.com.*",
            "",
            r"container\.",
            ".*Cluste",
            CLUSTER.trim_end_matches('r'),
        ] {
            let error = check(bad, CLUSTER).expect_err(bad);
            assert!(error.message().contains("matches none"), "{error}");
        }
    }

    #[test]
    fn what_is_not_read_is_refused() {
        let long = "a".repeat(MAX_PATTERN_LEN + 1);
        for bad in ["*", "a**", "(a|b)", "[a]", "a+", "^a", "a$", r"\d", r"a\", "a{2}", "a?", long.as_str()] {
            let error = check(bad, CLUSTER).expect_err(bad);
            assert!(error.message().contains("none that Keystead reads"), "{error}");
        }
    }

    #[test]
    fn many_repetitions_take_no_more_time() {
        let pattern = ".*a".repeat(60);
        assert!(check(&pattern, CLUSTER).is_err());
    }
}
