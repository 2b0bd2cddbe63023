//! Prometheus' text format, as far as kube-apiserver writes it.

use std::collections::BTreeMap;

/// One line: labels and a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// The samples of one metric. A line that is none is passed over.
pub(super) fn samples(text: &str, name: &str) -> Vec<Sample> {
    text.lines().filter_map(|line| sample(line, name)).collect()
}

fn sample(line: &str, name: &str) -> Option<Sample> {
    let rest = line.strip_prefix(name)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None if rest.starts_with(' ') => (BTreeMap::new(), rest),
        None => return None,
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { labels, value })
}

/// What follows the opening brace, up to and without the closing one, and the rest of the line.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break after.get(at + 1..)?,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn labels_and_values_are_read() {
        let text =
            "# TYPE a counter\na 1\na{x=\"1\",y=\"a\\\"}\\\\b\"} 1.5e+03\nab 7\na{x=\"cut\na{} nonsense\n";
        let found = samples(text, "a");
        assert_eq!(found.len(), 2);
        assert!((found[1].value - 1500.0).abs() < 1e-9);
        assert_eq!(found[1].labels["y"], "a\"}\\b");
    }
}
