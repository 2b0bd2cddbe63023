use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;

use super::parser::{self, Node, Operator, Restriction};
use super::{FieldKind, FieldValue, Fields, InvalidListing};

/// A filter over fields of `T`.
///
/// `=`, `!=`, `<`, `<=`, `>`, `>=` compare; `:` finds a part of a text without case, and `FIELD:*` asks whether the field is
/// set. `AND` may be left out; `OR` binds tighter than `AND`; `NOT` and `-` negate. A field that is not set is unequal to
/// everything and neither less nor greater than anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<T> {
    root: Option<Node<Test>>,
    of: PhantomData<fn() -> T>,
}

/// One comparison, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    field: &'static str,
    label: Option<String>,
    operator: Operator,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// `:*`.
    IsSet,
    Text(String),
    Bool(bool),
    Time(Timestamp),
    Seconds(i64),
}

impl<T: Fields> Filter<T> {
    /// Reads a filter and checks it against the fields of `T`; empty matches everything.
    pub fn parse(text: &str) -> Result<Self, InvalidListing> {
        let root = match parser::parse_filter(text)? {
            Some(node) => Some(node.try_map(&mut typed::<T>)?),
            None => None,
        };
        Ok(Self { root, of: PhantomData })
    }

    /// Whether it lets everything through.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Whether it names a field that begins with this.
    pub(super) fn names(&self, prefix: &str) -> bool {
        self.root.as_ref().is_some_and(|root| root.has(&|test| test.field.starts_with(prefix)))
    }

    /// Whether an item is to be listed.
    pub fn matches(&self, item: &T) -> bool {
        self.root.as_ref().is_none_or(|root| root.holds(&|test| test.holds(item)))
    }
}

impl<T> fmt::Display for Filter<T> {
    /// With every parenthesis and quotation mark; reads back as the same filter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.as_ref().map_or(Ok(()), |root| root.fmt(f))
    }
}

fn typed<T: Fields>(restriction: Restriction) -> Result<Test, InvalidListing> {
    let Restriction { path, operator, value, quoted } = restriction;
    let (field, kind, label) = resolve::<T>(&path)?;
    let shown = || cut(&path.join("."));
    let invalid = |wanted| InvalidListing::FilterValue { field: shown(), value: cut(&value), wanted };
    let is_set = operator == Operator::Has && value == "*" && !quoted;
    let refused =
        |kind| Err(InvalidListing::FilterOperator { field: shown(), operator: operator.as_str(), kind });
    let value = match kind {
        _ if is_set => Value::IsSet,
        FieldKind::Text => Value::Text(value),
        // `labels:team` asks for the key.
        FieldKind::Labels if operator == Operator::Has => {
            return Ok(Test { field, label: Some(value), operator, value: Value::IsSet });
        }
        FieldKind::Labels => return refused("a set of labels: name one, such as labels.team"),
        FieldKind::Bool if matches!(operator, Operator::Equal | Operator::NotEqual) => match value.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(invalid("true or false")),
        },
        FieldKind::Bool => return refused("true or false"),
        FieldKind::Time if operator == Operator::Has => return refused("a time"),
        FieldKind::Time => Value::Time(
            value.parse().map_err(|_| invalid("a time with its offset, such as 2026-01-31T08:00:00Z"))?,
        ),
        FieldKind::Seconds if operator == Operator::Has => return refused("a duration"),
        FieldKind::Seconds => Value::Seconds(
            value
                .strip_suffix('s')
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| invalid("a duration in seconds such as 86400s"))?,
        ),
    };
    Ok(Test { field, label, operator, value })
}

type Resolved = (&'static str, FieldKind, Option<String>);

/// Finds a field by its name in JSON or in the protocol: `primary.createTime` and `primary.create_time`.
fn resolve<T: Fields>(path: &[String]) -> Result<Resolved, InvalidListing> {
    if let [first, key] = path
        && first == "labels"
        && let Some((field, FieldKind::Labels)) = T::FIELDS.iter().find(|(name, _)| name == first)
    {
        return Ok((field, FieldKind::Text, Some(key.clone())));
    }
    let name = path.iter().map(|part| crate::field_mask::camel_case(part)).collect::<Vec<_>>().join(".");
    match T::FIELDS.iter().find(|(field, _)| *field == name) {
        Some((field, kind)) => Ok((field, *kind, None)),
        None => {
            let known: Vec<_> = T::FIELDS.iter().map(|(name, _)| *name).collect();
            Err(InvalidListing::UnknownField { field: cut(&path.join(".")), known: known.join(", ") })
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

impl Test {
    fn holds(&self, item: &impl Fields) -> bool {
        let found = item.field(self.field);
        let found = match (&self.label, found) {
            (Some(key), Some(FieldValue::Labels(labels))) => {
                labels.get(key).map(|value| FieldValue::Text(value.as_str().into()))
            }
            (_, found) => found,
        };
        let Some(found) = found else { return self.operator == Operator::NotEqual };
        if self.value == Value::IsSet {
            return true;
        }
        if let (Operator::Has, Value::Text(part), FieldValue::Text(text)) =
            (self.operator, &self.value, &found)
        {
            return text.to_lowercase().contains(&part.to_lowercase());
        }
        let order = match (&found, &self.value) {
            (FieldValue::Text(a), Value::Text(b)) => (**a).cmp(b.as_str()),
            (FieldValue::Bool(a), Value::Bool(b)) => a.cmp(b),
            (FieldValue::Time(a), Value::Time(b)) => a.cmp(b),
            (FieldValue::Seconds(a), Value::Seconds(b)) => a.cmp(b),
            _ => return false,
        };
        match self.operator {
            Operator::Equal | Operator::Has => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if let Some(key) = &self.label {
            write!(f, ".{}", parser::quoted(key))?;
        }
        f.write_str(self.operator.as_str())?;
        match &self.value {
            Value::IsSet => f.write_str("*"),
            Value::Text(text) => f.write_str(&parser::quoted(text)),
            Value::Bool(it) => it.fmt(f),
            Value::Time(it) => write!(f, "\"{it}\""),
            Value::Seconds(it) => write!(f, "{it}s"),
        }
    }
}
