//! Where text is wrong, and why.

use std::fmt;

use super::MAX_LEN;

/// A place in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Position {
    /// The place of a byte.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why text was not read. It repeats nothing of the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct YamlError {
    /// Where.
    pub position: Position,
    /// Why, and what helps.
    pub problem: YamlProblem,
}

/// What is wrong with YAML text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlProblem {
    /// Nothing but white space and comments.
    #[error("the file is empty: put back the last good version")]
    Empty,
    /// Longer than [`MAX_LEN`].
    #[error("the file has {0} bytes; {MAX_LEN} is the most: is it the right file?")]
    TooLong(usize),
    /// A byte that is no UTF-8.
    #[error("not UTF-8 text: save the file as UTF-8")]
    NotUtf8,
    /// A character that YAML does not allow, or that some readers take for the end of a line.
    #[error("the character U+{0:04X} is not allowed here: remove it")]
    Character(u32),
    /// The parser's words.
    #[error("not valid YAML: {0}")]
    Syntax(String),
    /// Text that begins with a brace is JSON for Kubernetes.
    #[error("a file that begins with `{{` must be JSON, and this is not: correct it or write it as YAML")]
    Json,
    /// `---` in the middle.
    #[error(
        "a second document begins here, and Kubernetes reads only the first: keep one document in the file"
    )]
    SecondDocument,
    /// `%YAML` or `%TAG`.
    #[error("directives (`%`) are not supported: remove the line")]
    Directive,
    /// `!!str` and the like.
    #[error("tags (`!`) are not supported: remove it, and quote the value if it is text")]
    Tag,
    /// `<<`.
    #[error("merge keys (`<<`) are not supported: write the fields out")]
    MergeKey,
    /// A mapping or sequence as key.
    #[error("a key must be plain or quoted text")]
    Key,
    /// The same key twice in one mapping.
    #[error("this key stands twice in the same mapping: remove one of the two")]
    DuplicateKey,
    /// An alias inside its own anchor.
    #[error("this alias refers to what it is part of: write the value out")]
    Alias,
    /// More than [`super::reader::MAX_NODES`] with aliases written out.
    #[error("too many values; with aliases (`*`) written out there may be {0}")]
    TooMany(usize),
}
