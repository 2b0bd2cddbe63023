//! Edits of a document, each proven by reading the result.

use std::ops::Range;

use zeroize::Zeroizing;

use super::error::{Position, YamlError};
use super::lines::{self, Lines, SharedLine};
use super::node::{Content, Entry, Node};
use super::value::{self, Style, Value};
use super::{Document, scalar};

/// One step from a node to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into a mapping.
    Key(&'a str),
    /// Into a list.
    Index(usize),
}

/// Why text was not edited. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// Files of another system, or with a byte order mark.
    #[error(
        "{0}: edited are only files with UNIX line ends and without a byte order mark: run `dos2unix` on it"
    )]
    LineEnds(Position),
    /// Something else stands on the same line.
    #[error("{0}: this item or field shares its line with another: write each on a line of its own")]
    SharedLine(Position),
    /// The new text would not mean what was intended.
    #[error(
        "{0}: this part cannot be edited without changing something else, perhaps because an anchor (`&`) or alias (`*`) is in it: write it out"
    )]
    Meaning(Position),
    /// The new text is too long or, which is an error of this program, no YAML.
    #[error("the edited text is refused")]
    Result(#[source] YamlError),
    /// There is no such place in the document; an error of the caller.
    #[error("there is nothing to edit at {0}")]
    NoSuchPlace(String),
}

impl Document {
    /// New text, indented by two.
    pub fn write(value: &Value) -> Result<Self, EditError> {
        let mut text = value::block(value, 0, Style { map: 2, list: 2, item: 2 });
        text.push('\n');
        let document = Self::parse(text.as_bytes()).map_err(EditError::Result)?;
        if document.root.value() != *value {
            return Err(EditError::Meaning(Position { line: 1, column: 1 }));
        }
        Ok(document)
    }

    /// Puts an item into a list, before the one at `index` or at the end. An absent, empty or `null` list becomes one.
    pub fn insert(&self, list: &[Step<'_>], index: usize, item: &Value) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        let (node, floor) = match self.find(list) {
            Some((node, floor)) if !node.items().is_empty() => (node, floor),
            _ => {
                let Some((Step::Key(key), map)) = list.split_last() else { return Err(no_such(list)) };
                return self.set(map, key, &Value::List(vec![item.clone()]));
            }
        };
        match meaning.at(list) {
            Some(Value::List(items)) if index <= items.len() => items.insert(index, item.clone()),
            _ => return Err(no_such(list)),
        }
        let mut text = self.editable()?;
        if node.flow {
            let new = value::json(item);
            match (node.items().get(index), node.items().last()) {
                (Some(next), _) => {
                    text.insert_str(next.span.start, &format!("{}{}", *new, self.separator(node)))
                }
                (None, Some(last)) => {
                    text.insert_str(last.span.end, &format!("{}{}", self.separator(node), *new))
                }
                (None, None) => return Err(no_such(list)),
            }
        } else {
            let all = self.items(node, floor)?;
            let (column, style) = (all.first().map_or(0, |lines| lines.column), self.style_of(node, &all));
            let block = value::block(&Value::List(vec![item.clone()]), column, style);
            let at = place(&all, index);
            insert_lines(&mut text, at, &format!("{}{}\n", " ".repeat(column), *block));
        }
        self.proven(text, &meaning, node)
    }

    /// Puts text in the place of a scalar in a list.
    pub fn replace(&self, list: &[Step<'_>], index: usize, new: &str) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        match meaning.at(list) {
            Some(Value::List(items)) => {
                *items.get_mut(index).ok_or_else(|| no_such(list))? = Value::string(new)
            }
            _ => return Err(no_such(list)),
        }
        let (node, _) = self.find(list).ok_or_else(|| no_such(list))?;
        let item = node.items().get(index).ok_or_else(|| no_such(list))?;
        if matches!(item.content, Content::Sequence(_) | Content::Mapping(_)) || item.span.is_empty() {
            return Err(no_such(list));
        }
        let mut text = self.editable()?;
        // Quotes stay where there were some.
        let written = if node.flow || item.flow { scalar::quoted(new) } else { scalar::text(new) };
        text.replace_range(item.span.clone(), &written);
        self.proven(text, &meaning, node)
    }

    /// Takes an item out of a list. The last one cannot be taken.
    pub fn remove(&self, list: &[Step<'_>], index: usize) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        match meaning.at(list) {
            Some(Value::List(items)) if index < items.len() && items.len() > 1 => drop(items.remove(index)),
            _ => return Err(no_such(list)),
        }
        let (node, floor) = self.find(list).ok_or_else(|| no_such(list))?;
        let mut text = self.editable()?;
        if node.flow {
            text.replace_range(flow_range(&item_spans(node), index).ok_or_else(|| no_such(list))?, "");
        } else {
            let all = self.items(node, floor)?;
            let lines = all.get(index).ok_or_else(|| no_such(list))?;
            remove_lines(&mut text, lines.start, lines.end);
        }
        self.proven(text, &meaning, node)
    }

    /// Moves an item of a list, with the comments that belong to it, so that it stands at `to` afterwards.
    pub fn move_item(&self, list: &[Step<'_>], from: usize, to: usize) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        match meaning.at(list) {
            Some(Value::List(items)) if from < items.len() && to < items.len() => {
                let item = items.remove(from);
                items.insert(to, item);
            }
            _ => return Err(no_such(list)),
        }
        let (node, floor) = self.find(list).ok_or_else(|| no_such(list))?;
        let mut text = self.editable()?;
        if from == to {
            return self.proven(text, &meaning, node);
        }
        // Where it goes, counted before it is taken out.
        let before = if to > from { to + 1 } else { to };
        if node.flow {
            let item = node.items().get(from).ok_or_else(|| no_such(list))?;
            let source = self.text.get(item.span.clone()).unwrap_or_default();
            let (at, new) = match (node.items().get(before), node.items().last()) {
                (Some(next), _) => (next.span.start, joined(source, self.separator(node))),
                (None, Some(last)) => (last.span.end, joined(self.separator(node), source)),
                (None, None) => return Err(no_such(list)),
            };
            let range = flow_range(&item_spans(node), from).ok_or_else(|| no_such(list))?;
            if at > range.start {
                text.insert_str(at, &new);
                text.replace_range(range, "");
            } else {
                text.replace_range(range, "");
                text.insert_str(at, &new);
            }
        } else {
            let all = self.items(node, floor)?;
            let lines = *all.get(from).ok_or_else(|| no_such(list))?;
            let source = self.text.get(lines.lead..lines.end).unwrap_or_default();
            let source = joined(source, if source.ends_with('\n') { "" } else { "\n" });
            let at = place(&all, before);
            if at > lines.lead {
                insert_lines(&mut text, at, &source);
                remove_lines(&mut text, lines.lead, lines.end);
            } else {
                remove_lines(&mut text, lines.lead, lines.end);
                insert_lines(&mut text, at, &source);
            }
        }
        self.proven(text, &meaning, node)
    }

    /// Gives an entry of a mapping a value; a new entry comes last. What stood there may only be a scalar or empty.
    pub fn set(&self, map: &[Step<'_>], key: &str, new: &Value) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        let Some(Value::Map(entries)) = meaning.at(map) else { return Err(no_such(map)) };
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, value)) => *value = new.clone(),
            None => entries.push((key.to_owned(), new.clone())),
        }
        let (node, _) = self.find(map).ok_or_else(|| no_such(map))?;
        let mut text = self.editable()?;
        if let Some(entry) = node.entry(key) {
            let old = &entry.value;
            let simple = match &old.content {
                Content::Sequence(items) => items.is_empty(),
                Content::Mapping(entries) => entries.is_empty(),
                _ => true,
            };
            if !simple {
                return Err(no_such(map));
            }
            let nests = match new {
                Value::List(items) => !items.is_empty(),
                Value::Map(entries) => !entries.is_empty(),
                _ => false,
            };
            if nests && !node.flow {
                let style = self.style();
                let deeper = if matches!(new, Value::List(_)) { style.list } else { style.map };
                let column = lines::column(&self.text, entry.key_span.start) + deeper;
                let block = value::block(new, column, style);
                let from = self.after_colon(entry);
                text.replace_range(
                    from..old.span.end.max(from),
                    &format!("\n{}{}", " ".repeat(column), *block),
                );
                return self.proven(text, &meaning, node);
            }
            let written = match new {
                // Quotes stay where there were some.
                Value::String(text) if !node.flow && !old.flow => scalar::text(text),
                new => value::json(new),
            };
            if matches!(old.content, Content::Null) && old.span.is_empty() {
                // Nothing is written there; behind the colon, then.
                text.insert_str(self.after_colon(entry), &format!(" {}", *written));
            } else {
                text.replace_range(old.span.clone(), &written);
            }
        } else if node.flow {
            let new = Zeroizing::new(format!("{}: {}", *scalar::quoted(key), *value::json(new)));
            match node.entries().last() {
                Some(last) => {
                    text.insert_str(last.value.span.end.max(last.key_span.end), &format!(", {}", *new))
                }
                None => text.insert_str(node.span.start + 1, &new),
            }
        } else {
            let last = node.entries().last().ok_or_else(|| no_such(map))?;
            let column =
                node.entries().first().map_or(0, |first| lines::column(&self.text, first.key_span.start));
            let end = lines::end(&self.text, last.value.span.end.max(last.key_span.end), column)
                .ok_or_else(|| EditError::SharedLine(self.key_position(last)))?;
            let block = value::block(&Value::Map(vec![(key.to_owned(), new.clone())]), column, self.style());
            insert_lines(&mut text, end, &format!("{}{}\n", " ".repeat(column), *block));
        }
        self.proven(text, &meaning, node)
    }

    /// Takes an entry out of a mapping that has others.
    pub fn unset(&self, map: &[Step<'_>], key: &str) -> Result<Self, EditError> {
        let mut meaning = self.root.value();
        match meaning.at(map) {
            Some(Value::Map(entries)) if entries.len() > 1 => entries.retain(|(name, _)| name != key),
            _ => return Err(no_such(map)),
        }
        let (node, _) = self.find(map).ok_or_else(|| no_such(map))?;
        let entries = node.entries();
        let index = entries.iter().position(|it| *it.key == key).ok_or_else(|| no_such(map))?;
        let mut text = self.editable()?;
        if node.flow {
            let span = |it: &Entry| it.key_span.start..it.value.span.end.max(it.key_span.end);
            let all: Vec<_> = entries.iter().map(span).collect();
            text.replace_range(flow_range(&all, index).ok_or_else(|| no_such(map))?, "");
        } else {
            let lines = self.entry_lines(node, entries.get(index).ok_or_else(|| no_such(map))?)?;
            remove_lines(&mut text, lines.start, lines.end);
        }
        self.proven(text, &meaning, node)
    }

    /// The node at the end of a path, and where the key before it ends.
    pub(super) fn find(&self, path: &[Step<'_>]) -> Option<(&Node, usize)> {
        let mut found = (&self.root, 0);
        for step in path {
            found = match step {
                Step::Key(key) => {
                    let entry = found.0.entry(key)?;
                    (&entry.value, entry.key_span.end)
                }
                Step::Index(index) => {
                    let item = found.0.items().get(*index)?;
                    (item, item.span.start)
                }
            };
        }
        Some(found)
    }

    /// A copy of the text to edit; a list of bytes that are counted one by one in lines that end with one byte.
    fn editable(&self) -> Result<Zeroizing<String>, EditError> {
        match self.text.find(['\r', '\u{feff}']) {
            Some(offset) => Err(EditError::LineEnds(Position::of(&self.text, offset))),
            None => {
                // Room for an edit: growing would leave secrets behind.
                let mut text = Zeroizing::new(String::with_capacity(self.text.len() * 2 + ROOM));
                text.push_str(&self.text);
                Ok(text)
            }
        }
    }

    fn items(&self, list: &Node, floor: usize) -> Result<Vec<Lines>, EditError> {
        lines::items(&self.text, list, floor)
            .map_err(|SharedLine { offset }| EditError::SharedLine(Position::of(&self.text, offset)))
    }

    fn entry_lines(&self, map: &Node, entry: &Entry) -> Result<Lines, EditError> {
        let before = map.entries().iter().take_while(|other| other.key_span != entry.key_span).last();
        let above =
            before.map_or(entry.key_span.start, |before| before.value.span.end.max(before.key_span.end));
        let end = entry.value.span.end.max(entry.key_span.end);
        lines::lines(&self.text, lines::line_end(&self.text, above), entry.key_span.start, end)
            .map_err(|SharedLine { offset }| EditError::SharedLine(Position::of(&self.text, offset)))
    }

    fn after_colon(&self, entry: &Entry) -> usize {
        let colon = self.text.get(entry.key_span.end..).and_then(|rest| rest.find(':'));
        colon.map_or(self.text.len(), |colon| entry.key_span.end + colon + 1)
    }

    /// What stands between two items in brackets.
    fn separator(&self, list: &Node) -> &str {
        let between = match list.items() {
            [first, second, ..] => self.text.get(first.span.end..second.span.start),
            _ => None,
        };
        let only_a_comma = |text: &&str| text.chars().all(|it| it == ',' || it.is_whitespace());
        between.filter(only_a_comma).unwrap_or(", ")
    }

    fn style_of(&self, list: &Node, all: &[Lines]) -> Style {
        let mut style = self.style();
        if let (Some(item), Some(lines)) = (list.items().first(), all.first()) {
            let dash = lines.start + lines.column;
            if lines::line_start(&self.text, item.span.start) == lines.start && item.span.start > dash {
                style.item = item.span.start - dash;
            }
        }
        style
    }

    /// How this text is indented, from the first place that shows it.
    fn style(&self) -> Style {
        let mut style = Style { map: 0, list: usize::MAX, item: 2 };
        self.look(&self.root, &mut style);
        if style.map == 0 {
            style.map = 2;
        }
        if style.list == usize::MAX {
            style.list = style.map;
        }
        style
    }

    fn look(&self, node: &Node, style: &mut Style) {
        for entry in node.entries().iter().filter(|_| !node.flow) {
            let (key, value) = (lines::column(&self.text, entry.key_span.start), &entry.value);
            let below = lines::column(&self.text, value.span.start).checked_sub(key);
            match (&value.content, below) {
                (Content::Mapping(_), Some(below)) if !value.flow && style.map == 0 => style.map = below,
                (Content::Sequence(_), _) if !value.flow && style.list == usize::MAX => {
                    let first = lines::items(&self.text, value, entry.key_span.end).ok();
                    let column = first.and_then(|lines| lines.first().map(|lines| lines.column));
                    style.list = column.and_then(|column| column.checked_sub(key)).unwrap_or(usize::MAX);
                }
                _ => (),
            }
            self.look(value, style);
        }
        for item in node.items().iter().filter(|_| !node.flow) {
            self.look(item, style);
        }
    }

    fn proven(&self, text: Zeroizing<String>, meaning: &Value, edited: &Node) -> Result<Self, EditError> {
        let document = Self::parse(text.as_bytes()).map_err(EditError::Result)?;
        if document.root.value() != *meaning {
            return Err(EditError::Meaning(self.position(edited)));
        }
        Ok(document)
    }
}

/// What an edit adds is far less than this, in bytes.
const ROOM: usize = 16 * 1024;

impl Value {
    fn at(&mut self, path: &[Step<'_>]) -> Option<&mut Self> {
        let mut found = self;
        for step in path {
            found = match (step, found) {
                (Step::Key(key), Self::Map(entries)) => {
                    &mut entries.iter_mut().find(|(name, _)| name == key)?.1
                }
                (Step::Index(index), Self::List(items)) => items.get_mut(*index)?,
                _ => return None,
            };
        }
        Some(found)
    }
}

fn place(all: &[Lines], index: usize) -> usize {
    match all.get(index) {
        Some(lines) => lines.lead,
        None => all.last().map_or(0, |lines| lines.end),
    }
}

/// `new` ends with a line break; it stays the last one of the text only if the text ended with one.
fn insert_lines(text: &mut String, at: usize, new: &str) {
    if at == text.len() && !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
        text.push_str(new.trim_end_matches('\n'));
    } else {
        text.insert_str(at, new);
    }
}

fn remove_lines(text: &mut String, start: usize, end: usize) {
    let ended = text.ends_with('\n');
    text.replace_range(start..end, "");
    if !ended && text.ends_with('\n') {
        text.pop();
    }
}

/// An item in brackets with one of its commas; `all` are the spans of all items.
fn flow_range(all: &[Range<usize>], index: usize) -> Option<Range<usize>> {
    let item = all.get(index)?;
    match (all.get(index + 1), index.checked_sub(1).and_then(|before| all.get(before))) {
        (Some(next), _) => Some(item.start..next.start),
        (None, Some(before)) => Some(before.end..item.end),
        (None, None) => Some(item.clone()),
    }
}

fn item_spans(list: &Node) -> Vec<Range<usize>> {
    list.items().iter().map(|it| it.span.clone()).collect()
}

/// Made at once, because growing would leave secrets behind.
fn joined(one: &str, other: &str) -> Zeroizing<String> {
    Zeroizing::new([one, other].concat())
}

fn no_such(path: &[Step<'_>]) -> EditError {
    let steps: Vec<String> = path
        .iter()
        .map(|step| match step {
            Step::Key(key) => (*key).to_owned(),
            Step::Index(index) => index.to_string(),
        })
        .collect();
    EditError::NoSuchPlace(steps.join("."))
}
