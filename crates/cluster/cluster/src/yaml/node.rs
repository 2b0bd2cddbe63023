//! What text means, with the place of everything.

use std::ops::Range;

use zeroize::Zeroizing;

use super::Value;

/// One value and where it stands.
pub struct Node {
    /// Bytes of the text, without anchors, comments and white space around it. Of an alias: the alias.
    pub(crate) span: Range<usize>,
    /// In brackets or braces; of scalars: quoted.
    pub(crate) flow: bool,
    /// What it means.
    pub content: Content,
}

/// The meaning of a node.
pub enum Content {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, but also `yes`, `on`, `y`.
    Bool(bool),
    /// A number without a fraction that fits.
    Integer(i64),
    /// Any other number, as it is written.
    Number(String),
    /// Text.
    String(Zeroizing<String>),
    /// A list.
    Sequence(Vec<Node>),
    /// Names and values, in the order of the text.
    Mapping(Vec<Entry>),
}

/// One line of a mapping.
pub struct Entry {
    /// The name.
    pub key: Zeroizing<String>,
    /// Where the name stands.
    pub(crate) key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The entry of a mapping with this key; none in anything else.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| *entry.key == key),
            _ => None,
        }
    }

    /// The value of [`Self::entry`].
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Text; none for anything else, also for a number without quotes.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none in anything else.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; none in anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The meaning alone.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Integer(value) => Value::Integer(*value),
            Content::Number(text) => Value::Number(text.clone()),
            Content::String(text) => Value::String(text.clone()),
            Content::Sequence(items) => Value::List(items.iter().map(Self::value).collect()),
            Content::Mapping(entries) => {
                Value::Map(entries.iter().map(|entry| (entry.key.to_string(), entry.value.value())).collect())
            }
        }
    }

    /// A copy, for an alias: what is inside keeps its place in the text.
    pub(super) fn copy(&self) -> Self {
        let content = match &self.content {
            Content::Null => Content::Null,
            Content::Bool(value) => Content::Bool(*value),
            Content::Integer(value) => Content::Integer(*value),
            Content::Number(text) => Content::Number(text.clone()),
            Content::String(text) => Content::String(text.clone()),
            Content::Sequence(items) => Content::Sequence(items.iter().map(Self::copy).collect()),
            Content::Mapping(entries) => Content::Mapping(entries.iter().map(Entry::copy).collect()),
        };
        Self { span: self.span.clone(), flow: self.flow, content }
    }

    /// How many nodes it has with itself.
    pub(super) fn count(&self) -> usize {
        1 + match &self.content {
            Content::Sequence(items) => items.iter().map(Self::count).sum(),
            Content::Mapping(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
            _ => 0usize,
        }
    }
}

impl Entry {
    fn copy(&self) -> Self {
        Self { key: self.key.clone(), key_span: self.key_span.clone(), value: self.value.copy() }
    }
}
