//! A column of `--format`: where a value is in a resource, and what is done to it, such as `name.basename():label=KEY`.

use serde_json::{Map, Value};

/// One step into a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Field(String),
    /// Counted from the end when negative.
    Index(i64),
    /// Every element.
    Each,
}

/// A projected value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) path: Vec<Step>,
    pub(super) transforms: Vec<Transform>,
    pub(super) label: Option<String>,
    /// `:sort=N`: the first key to sort by is 1.
    pub(super) sort: Option<u32>,
    pub(super) reverse: bool,
}

/// What is done to a value before it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Transform {
    /// The last part of a name.
    Basename,
    /// One part of a name, counted from 0 or from the end.
    Segment(i64),
    /// What follows a collection in a name.
    Scope(String),
    /// `a=b,c=d`
    List,
    Len,
    YesNo(String, String),
}

/// For the text of an error.
pub(super) const TRANSFORMS: &str = "basename, segment, scope, list, len, yesno";

impl Transform {
    pub(super) fn new(name: &str, arguments: &[String]) -> Result<Self, String> {
        let number = || match arguments {
            [] => Ok(-1),
            [text] => text.parse().map_err(|_| format!("segment({text}) takes a number")),
            _ => Err("segment() takes one number".to_owned()),
        };
        let text = |index: usize| arguments.get(index).cloned();
        match name {
            "basename" => Ok(Self::Basename),
            "segment" => Ok(Self::Segment(number()?)),
            "scope" => {
                text(0).map(Self::Scope).ok_or_else(|| "scope() takes the name of a collection".to_owned())
            }
            "list" => Ok(Self::List),
            "len" => Ok(Self::Len),
            "yesno" => Ok(Self::YesNo(
                text(0).unwrap_or_else(|| "Yes".to_owned()),
                text(1).unwrap_or_else(|| "No".to_owned()),
            )),
            _ => Err(format!("{name}() is not one of the transforms {TRANSFORMS}")),
        }
    }

    fn apply(&self, value: Value) -> Value {
        let part = |found: Option<&str>| found.map_or(Value::Null, |part| Value::String(part.to_owned()));
        match (self, &value) {
            (Self::Basename, Value::String(text)) => part(text.rsplit('/').next()),
            (Self::Segment(index), Value::String(text)) => {
                let parts: Vec<&str> = text.split('/').collect();
                part(element(&parts, *index).copied())
            }
            (Self::Scope(collection), Value::String(text)) => {
                let marker = format!("/{collection}/");
                part(text.split_once(&marker).map(|(_, rest)| rest).or_else(|| text.rsplit('/').next()))
            }
            (Self::List, Value::Object(map)) => {
                let parts: Vec<String> =
                    sorted(map).map(|(key, it)| format!("{key}={}", plain(it))).collect();
                Value::String(parts.join(","))
            }
            (Self::List, Value::Array(list)) => {
                Value::String(list.iter().map(plain).collect::<Vec<_>>().join(","))
            }
            (Self::Len, Value::Object(map)) => map.len().into(),
            (Self::Len, Value::Array(list)) => list.len().into(),
            (Self::Len, Value::String(text)) => text.chars().count().into(),
            (Self::Len, _) => 0.into(),
            (Self::YesNo(yes, no), _) => {
                Value::String(if is_true(&value) { yes.clone() } else { no.clone() })
            }
            _ => value,
        }
    }
}

impl Column {
    /// The value in a resource, transformed; null where there is none.
    pub(super) fn value(&self, resource: &Value) -> Value {
        self.transforms.iter().fold(at(resource, &self.path), |value, transform| transform.apply(value))
    }

    /// Whether another column would show the same field.
    pub(super) fn is_at(&self, path: &[Step]) -> bool {
        self.path.len() == path.len() && self.path.iter().zip(path).all(|(one, other)| one.is_like(other))
    }
}

impl Step {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Field(one), Self::Field(other)) => camel_case(one) == camel_case(other),
            _ => self == other,
        }
    }
}

/// What is at the end of a path. Through a list it is the list of what is found in each element.
pub(super) fn at(value: &Value, path: &[Step]) -> Value {
    let Some((step, rest)) = path.split_first() else { return value.clone() };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => field(map, name).map_or(Value::Null, |it| at(it, rest)),
        (Step::Index(index), Value::Array(list)) => {
            element(list, *index).map_or(Value::Null, |it| at(it, rest))
        }
        (Step::Each, Value::Array(list)) => each(list, rest),
        (Step::Field(_), Value::Array(list)) => each(list, path),
        _ => Value::Null,
    }
}

/// A field by its name in JSON or by its name in the proto files.
pub(super) fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| map.get(&camel_case(name)))
}

/// `a_bC` as the JSON of Google's APIs has it: `aBC`.
pub(super) fn camel_case(name: &str) -> String {
    let mut upper = false;
    let letters = name.chars().filter_map(|letter| {
        let letter = if std::mem::take(&mut upper) { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '_';
        (!upper).then_some(letter)
    });
    letters.collect()
}

/// A map's fields in the order in which they are shown.
pub(super) fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut fields: Vec<_> = map.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    fields.into_iter()
}

/// A value as text, as it stands in a cell.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => nested(value),
    }
}

/// A list or map inside a value, in the form that scripts written for gcloud expect: that of Python.
fn nested(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::String(text) if text.contains('\'') && !text.contains('"') => format!("\"{text}\""),
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Value::Array(list) => format!("[{}]", list.iter().map(nested).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = sorted(map).map(|(key, it)| format!("'{key}': {}", nested(it)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_) | Value::Number(_) => plain(value),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
    }
}

fn each(list: &[Value], rest: &[Step]) -> Value {
    let found: Vec<Value> = list.iter().map(|it| at(it, rest)).filter(|it| !it.is_null()).collect();
    if found.is_empty() { Value::Null } else { Value::Array(found) }
}

fn element<T>(list: &[T], index: i64) -> Option<&T> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let index = if index < 0 { list.len().checked_sub(distance)? } else { distance };
    list.get(index)
}
