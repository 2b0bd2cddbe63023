//! `--format`: `NAME[attribute,...](column,...)`, as in gcloud.

use std::str::FromStr;

use super::path::{Column, Step, Transform};

/// How a result is printed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Format {
    pub(super) kind: Kind,
    pub(super) heading: bool,
    pub(super) separator: Option<String>,
    pub(super) delimiter: String,
    pub(super) columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Json,
    Yaml,
    /// Values of one resource on a line, with tabs between.
    Value,
    Csv,
    Table,
    /// One line a value, with its path.
    Text,
    None,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let end = text.find(['[', '(']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let kind = match name {
            "json" => Kind::Json,
            "yaml" | "default" => Kind::Yaml,
            "value" | "get" => Kind::Value,
            "csv" => Kind::Csv,
            "table" => Kind::Table,
            "text" | "flattened" => Kind::Text,
            "none" | "disable" => Kind::None,
            _ => return Err("it is json, yaml, value(...), table(...), csv(...), text or none".to_owned()),
        };
        let mut format =
            Self { kind, heading: true, separator: None, delimiter: ";".to_owned(), columns: vec![] };
        let mut cursor = Cursor::new(rest);
        if cursor.take('[') {
            format.attributes(&mut cursor)?;
        }
        if cursor.take('(') {
            format.columns = columns(&mut cursor)?;
        }
        cursor.end()?;
        if format.columns.is_empty() && matches!(kind, Kind::Value | Kind::Csv | Kind::Table) {
            return Err(format!("{name} needs columns, such as {name}(name,state)"));
        }
        Ok(format)
    }
}

impl Format {
    fn attributes(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        loop {
            let name = cursor.word();
            let value = if cursor.take('=') { Some(cursor.argument()?) } else { None };
            match (name.as_str(), value) {
                ("no-heading", None) => self.heading = false,
                ("separator", Some(value)) => self.separator = Some(value),
                ("delimiter", Some(value)) => self.delimiter = value,
                _ => {
                    return Err(format!(
                        "attribute {name:?} is none of no-heading, separator=TEXT, delimiter=TEXT"
                    ));
                }
            }
            if cursor.take(']') {
                return Ok(());
            }
            cursor.expect(',')?;
        }
    }

    /// The columns of a list's own table keep their headings when someone chooses among them.
    pub(super) fn with_labels_of(mut self, table: &Self) -> Self {
        for column in &mut self.columns {
            if column.label.is_none() {
                column.label =
                    table.columns.iter().find(|it| it.is_at(&column.path)).and_then(|it| it.label.clone());
            }
        }
        self
    }
}

/// A path alone, as `--sort-by` and `--flatten` take it.
pub(super) fn path(text: &str) -> Result<Vec<Step>, String> {
    let mut cursor = Cursor::new(text);
    let column = column(&mut cursor)?;
    cursor.end()?;
    if column.transforms.is_empty() && !column.path.is_empty() {
        Ok(column.path)
    } else {
        Err(format!("{text:?} is not the path of a field, such as primary.state"))
    }
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    loop {
        cursor.blanks();
        if columns.is_empty() && cursor.take(')') {
            return Ok(columns);
        }
        columns.push(column(cursor)?);
        cursor.blanks();
        if cursor.take(')') {
            return Ok(columns);
        }
        cursor.expect(',')?;
    }
}

fn column(cursor: &mut Cursor<'_>) -> Result<Column, String> {
    let mut column = Column { path: vec![], transforms: vec![], label: None, sort: None, reverse: false };
    loop {
        if cursor.take('[') {
            column.path.push(cursor.index()?);
        } else {
            let name = cursor.word();
            if name.is_empty() {
                return Err(cursor.unexpected("the name of a field"));
            }
            if cursor.take('(') {
                column.transforms.push(Transform::new(&name, &cursor.arguments()?)?);
            } else if column.transforms.is_empty() {
                column.path.push(Step::Field(name));
            } else {
                return Err(format!("after a transform comes another one, not the field {name:?}"));
            }
        }
        if !cursor.take('.') && !cursor.is_at('[') {
            break;
        }
    }
    while cursor.take(':') {
        let name = cursor.word();
        let value = if cursor.take('=') { Some(cursor.argument()?) } else { None };
        match (name.as_str(), value) {
            ("label", Some(label)) => column.label = Some(label),
            ("sort", Some(place)) => {
                column.sort = Some(place.parse().map_err(|_| format!("sort={place} is not a number"))?);
            }
            ("reverse", None) => column.reverse = true,
            _ => return Err(format!("{name:?} behind a colon is none of label=TEXT, sort=N, reverse")),
        }
    }
    Ok(column)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn is_at(&self, letter: char) -> bool {
        self.rest.starts_with(letter)
    }

    fn take(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, letter: char) -> Result<(), String> {
        if self.take(letter) { Ok(()) } else { Err(self.unexpected(&letter.to_string())) }
    }

    fn end(&mut self) -> Result<(), String> {
        self.blanks();
        if self.rest.is_empty() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.rest {
            "" => format!("it ends where {wanted} was expected"),
            rest => format!("{wanted} was expected at {rest:?}"),
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn word(&mut self) -> String {
        self.blanks();
        let end = self
            .rest
            .find(|it: char| !(it.is_alphanumeric() || "_-@".contains(it)))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// `[]`, `[0]`, `[-1]`, behind the bracket.
    fn index(&mut self) -> Result<Step, String> {
        if self.take(']') {
            return Ok(Step::Each);
        }
        let word = self.word();
        let index = word.parse().map_err(|_| format!("[{word}] is not the place of an element"))?;
        self.expect(']')?;
        Ok(Step::Index(index))
    }

    fn arguments(&mut self) -> Result<Vec<String>, String> {
        let mut arguments = Vec::new();
        if self.take(')') {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.argument()?);
            if self.take(')') {
                return Ok(arguments);
            }
            self.expect(',')?;
        }
    }

    fn argument(&mut self) -> Result<String, String> {
        self.blanks();
        let Some(quote) = self.rest.chars().next().filter(|it| "'\"".contains(*it)) else {
            return Ok(self.word());
        };
        let inside = self.rest.get(1..).unwrap_or_default();
        let end = inside.find(quote).ok_or_else(|| format!("a quote in {:?} does not end", self.rest))?;
        self.rest = inside.get(end + 1..).unwrap_or_default();
        Ok(inside.get(..end).unwrap_or_default().replace("\\n", "\n").replace("\\t", "\t"))
    }
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn wrong_formats_say_what_is_wrong() {
        for (text, reason) in [
            ("nonsense", "json, yaml"),
            ("table", "needs columns"),
            ("value()", "needs columns"),
            ("table(name.nothing())", "transforms basename"),
            ("value(name", "it ends where , was expected"),
            ("value(name))", "the end was expected at \")\""),
            ("value(.)", "the name of a field"),
            ("value(name.basename().x)", "another one"),
            ("table[box](name)", "no-heading"),
            ("table(name:colour=red)", "label=TEXT"),
            ("value(a[x])", "place of an element"),
            ("value[separator='](name)", "does not end"),
        ] {
            let error = text.parse::<Format>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
