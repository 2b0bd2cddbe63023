//! `--filter`: which resources of a list are shown, with gcloud's operators.

use std::cmp::Ordering;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use super::format::path;
use super::path::{Step, at, plain};

/// A condition on a resource.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    Term { path: Vec<Step>, operator: Operator, values: Vec<String> },
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    Has,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    (":", Operator::Has),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim(), depth: 0 };
        let filter = parser.sequence()?;
        if parser.rest.is_empty() { Ok(filter) } else { Err(format!("unexpected {:?}", parser.rest)) }
    }
}

impl Filter {
    /// Whether the resource is shown.
    pub(super) fn matches(&self, resource: &Value) -> bool {
        match self {
            Self::Term { path, operator, values } => {
                let value = at(resource, path);
                match operator {
                    // What is not there is not equal to anything.
                    Operator::NotEqual => {
                        !values.iter().any(|wanted| matches(&value, Operator::Equal, wanted))
                    }
                    _ => values.iter().any(|wanted| matches(&value, *operator, wanted)),
                }
            }
            Self::Not(inner) => !inner.matches(resource),
            Self::All(all) => all.iter().all(|it| it.matches(resource)),
            Self::Any(any) => any.iter().any(|it| it.matches(resource)),
        }
    }
}

fn matches(value: &Value, operator: Operator, wanted: &str) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => list.iter().any(|it| matches(it, operator, wanted)),
        Value::Object(map) if operator == Operator::Has => {
            wanted == "*" || map.iter().any(|(key, it)| key == wanted || matches(it, operator, wanted))
        }
        _ => compare(&plain(value), operator, wanted),
    }
}

fn compare(have: &str, operator: Operator, wanted: &str) -> bool {
    let order = order(have, wanted);
    match operator {
        Operator::Has => has(&have.to_lowercase(), &wanted.to_lowercase()),
        Operator::Equal | Operator::NotEqual => order == Ordering::Equal,
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
        Operator::Greater => order == Ordering::Greater,
        Operator::GreaterOrEqual => order != Ordering::Less,
    }
}

/// Part of the text; with a star at its end, how the text begins.
fn has(have: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => have.starts_with(start),
        None => have.contains(wanted),
    }
}

/// As numbers if both are, as times if both are, otherwise as text in any case of letters.
fn order(have: &str, wanted: &str) -> Ordering {
    if let (Ok(have), Ok(wanted)) = (have.parse::<f64>(), wanted.parse::<f64>()) {
        return have.total_cmp(&wanted);
    }
    if let (Some(have), Some(wanted)) = (time(have), time(wanted)) {
        return have.cmp(&wanted);
    }
    have.to_lowercase().cmp(&wanted.to_lowercase())
}

fn time(text: &str) -> Option<Timestamp> {
    let day = || format!("{text}T00:00:00Z").parse().ok();
    text.parse().ok().or_else(day)
}

struct Parser<'a> {
    rest: &'a str,
    /// Parentheses and NOTs around what is read now.
    depth: usize,
}

/// Deeper than anybody writes; each level takes some of the stack.
const MAX_DEPTH: usize = 64;

impl Parser<'_> {
    /// Terms beside each other must all hold. That binds less than OR; AND and OR together need parentheses, as in gcloud.
    fn sequence(&mut self) -> Result<Filter, String> {
        let mut all = vec![self.group()?];
        while !self.rest.is_empty() && !self.rest.starts_with(')') {
            all.push(self.group()?);
        }
        Ok(single(all, Filter::All))
    }

    fn group(&mut self) -> Result<Filter, String> {
        let first = self.unit()?;
        let (mut all, mut any) = (Vec::new(), Vec::new());
        loop {
            if self.word("AND") {
                all.push(self.unit()?);
            } else if self.word("OR") {
                any.push(self.unit()?);
            } else {
                break;
            }
            if !all.is_empty() && !any.is_empty() {
                return Err("AND and OR together need parentheses".to_owned());
            }
        }
        if any.is_empty() {
            all.insert(0, first);
            Ok(single(all, Filter::All))
        } else {
            any.insert(0, first);
            Ok(Filter::Any(any))
        }
    }

    fn unit(&mut self) -> Result<Filter, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("parentheses and NOT are nested more than {MAX_DEPTH} deep"));
        }
        let unit = self.nested();
        self.depth -= 1;
        unit
    }

    fn nested(&mut self) -> Result<Filter, String> {
        if self.word("NOT") || self.take("-") {
            return Ok(Filter::Not(Box::new(self.unit()?)));
        }
        if self.take("(") {
            let inner = self.sequence()?;
            return if self.take(")") { Ok(inner) } else { Err("a parenthesis does not close".to_owned()) };
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter, String> {
        let end = self.rest.find(|it: char| "!=<>:~() ".contains(it)).unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        if key.is_empty() {
            return Err(match rest {
                "" => "it ends where a term such as state=ENABLED was expected".to_owned(),
                _ => format!("a term such as state=ENABLED was expected at {rest:?}"),
            });
        }
        let rest = rest.trim_start();
        if rest.starts_with(['~', '!']) && !rest.starts_with("!=") {
            return Err(
                "regular expressions (~ and !~) are not known here: NAME:PART looks for a part".to_owned()
            );
        }
        let found = OPERATORS.iter().find_map(|(sign, it)| rest.strip_prefix(sign).map(|rest| (*it, rest)));
        let Some((operator, rest)) = found else {
            return Err(format!("behind {key:?} comes one of = != : < <= > >= and a value"));
        };
        let path = path(key)?;
        self.rest = rest.trim_start();
        Ok(Filter::Term { path, operator, values: self.values(key)? })
    }

    /// One value, or several in parentheses of which one is enough.
    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        if !self.take("(") {
            return Ok(vec![self.value(key)?]);
        }
        let mut values = Vec::new();
        while !self.take(")") {
            values.push(self.value(key)?);
            self.take(",");
            if self.word("OR") && self.rest.is_empty() {
                return Err("a parenthesis does not close".to_owned());
            }
        }
        Ok(values)
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        let missing = || format!("a value for {key:?} is missing");
        let Some(quote) = self.rest.chars().next().filter(|it| "'\"".contains(*it)) else {
            let end = self.rest.find([' ', ')', '(', ',']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest.trim_start();
            return if value.is_empty() { Err(missing()) } else { Ok(value.to_owned()) };
        };
        let inside = self.rest.get(1..).unwrap_or_default();
        let (value, rest) = inside.split_once(quote).ok_or_else(|| "a quote does not end".to_owned())?;
        self.rest = rest.trim_start();
        Ok(value.to_owned())
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    fn word(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        let ends = rest.is_empty() || rest.starts_with([' ', '(']);
        if ends {
            self.rest = rest.trim_start();
        }
        ends
    }
}

fn single(mut filters: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        Some(last) => {
            filters.push(last);
            several(filters)
        }
        None => several(filters),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Filter;

    #[test]
    fn a_filter_that_is_nested_without_end_is_refused() {
        for text in ["(".repeat(30_000), "NOT ".repeat(30_000), "-".repeat(30_000)] {
            let refused = text.parse::<Filter>().expect_err("too deep");
            assert_eq!(refused, "parentheses and NOT are nested more than 64 deep");
        }
        let deep = format!("{}name:k{}", "(".repeat(60), ")".repeat(60));
        assert!(deep.parse::<Filter>().is_ok());
    }

    /// Each line was run with the real gcloud on the same two keys; regular expressions aside.
    #[test]
    fn filters_choose_what_gcloud_chooses() {
        let keys = [
            json!({"name": "p/keyRings/r1/cryptoKeys/k1", "purpose": "ENCRYPT_DECRYPT", "rotationPeriod": "7776000s",
                "createTime": "2026-11-01T10:00:00.123456Z", "labels": {"team": "infra"}, "primary": {"state": "ENABLED"}}),
            json!({"name": "p/keyRings/r1/cryptoKeys/empty", "purpose": "ENCRYPT_DECRYPT", "createTime": "2026-11-02T10:00:00Z"}),
        ];
        for (text, expected) in [
            ("labels.team=infra", [true, false]),
            ("labels.team=INFRA OR name:empty", [true, true]),
            ("primary.state=ENABLED AND name:k1", [true, false]),
            ("rotationPeriod:*", [true, false]),
            ("NOT rotationPeriod:*", [false, true]),
            ("createTime>2026-11-02", [false, true]),
            ("createTime<2026-11-02T00:00:00Z", [true, false]),
            ("-name:empty purpose:encrypt", [true, false]),
            ("primary.state=(ENABLED,DISABLED)", [true, false]),
            ("primary.state:(DISABLED ENABLED)", [true, false]),
            ("NOT primary.state:(DISABLED OR ENABLED)", [false, true]),
            ("labels.team!=infra", [false, true]),
            ("(name:k1 OR name:empty) AND labels.team:inf*", [true, false]),
            ("purpose=\"ENCRYPT_DECRYPT\"", [true, true]),
            ("labels:team", [true, false]),
        ] {
            let filter: Filter = text.parse().expect(text);
            assert_eq!(keys.each_ref().map(|key| filter.matches(key)), expected, "{text}");
        }
    }

    #[test]
    fn wrong_filters_say_what_is_wrong() {
        for (text, reason) in [
            ("", "it ends"),
            ("name=", "a value for \"name\" is missing"),
            ("(((", "it ends"),
            ("(name=x", "does not close"),
            ("name=(x", "is missing"),
            ("a=1 AND b=2 OR c=3", "need parentheses"),
            ("name~k", "regular expressions"),
            ("name!~k", "regular expressions"),
            ("name", "comes one of"),
            ("=x", "a term"),
            ("name='x", "does not end"),
            ("a=1)", "unexpected"),
        ] {
            let error = text.parse::<Filter>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
