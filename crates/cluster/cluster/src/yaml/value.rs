//! What is to be written, and what was meant: values without a place.

use zeroize::Zeroizing;

use super::scalar;

/// A value of YAML.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction.
    Integer(i64),
    /// Any other number, as it is written.
    Number(String),
    /// Text.
    String(Zeroizing<String>),
    /// A list.
    List(Vec<Self>),
    /// Names and values, in this order.
    Map(Vec<(String, Self)>),
}

impl Value {
    /// Text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(Zeroizing::new(text.into()))
    }

    /// A mapping in this order.
    pub fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// How a person indents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// From a key to the keys below it.
    pub(super) map: usize,
    /// From a key to the dashes below it.
    pub(super) list: usize,
    /// From a dash to what follows it.
    pub(super) item: usize,
}

/// The lines of a value in block style, which go on where `column` says; the first one is not indented.
pub(super) fn block(value: &Value, column: usize, style: Style) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    write_block(&mut out, value, column, style);
    out
}

/// One line of JSON, which is YAML too.
pub(super) fn json(value: &Value) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    write_json(&mut out, value);
    out
}

fn write_block(out: &mut Zeroizing<String>, value: &Value, column: usize, style: Style) {
    match value {
        Value::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    new_line(out, column);
                }
                out.push('-');
                out.push_str(&" ".repeat(style.item.saturating_sub(1).max(1)));
                write_block(out, item, column + style.item.max(2), style);
            }
        }
        Value::Map(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    new_line(out, column);
                }
                out.push_str(&scalar::text(key));
                out.push(':');
                let nested = match value {
                    Value::List(items) if !items.is_empty() => Some(column + style.list),
                    Value::Map(entries) if !entries.is_empty() => Some(column + style.map),
                    _ => None,
                };
                match nested {
                    Some(column) => new_line(out, column),
                    None => out.push(' '),
                }
                write_block(out, value, nested.unwrap_or(column), style);
            }
        }
        Value::String(text) => out.push_str(&scalar::text(text)),
        value => write_json(out, value),
    }
}

fn new_line(out: &mut Zeroizing<String>, column: usize) {
    out.push('\n');
    out.push_str(&" ".repeat(column));
}

fn write_json(out: &mut Zeroizing<String>, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => out.push_str(&value.to_string()),
        Value::Number(text) => out.push_str(text),
        Value::String(text) => out.push_str(&scalar::quoted(text)),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_json(out, item);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&scalar::quoted(key));
                out.push_str(": ");
                write_json(out, value);
            }
            out.push('}');
        }
    }
}
