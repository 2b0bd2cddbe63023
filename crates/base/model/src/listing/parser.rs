//! The language of filters (AIP-160, the part that Cloud KMS documents).
//!
//! ```text
//! filter      = any { [ "AND" ] any }
//! any         = one { "OR" one }
//! one         = [ "NOT" | "-" ] ( "(" filter ")" | restriction )
//! restriction = path ( "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ) value
//! path        = name { "." ( name | text ) }
//! value       = text | whatever has no space, quotation mark, comma and parenthesis and begins with no operator
//! text        = '"' { character | '\' character } '"', or the same with "'"
//! ```

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use super::InvalidListing;

/// Longest filter, in bytes.
pub const MAX_FILTER_LEN: usize = 4_096;
/// Most parentheses and negations inside each other.
pub const MAX_DEPTH: usize = 16;

/// A filter over leaves of one kind, such as [`Restriction`] as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node<L> {
    /// Every one holds.
    All(Vec<Node<L>>),
    /// One or more hold.
    Any(Vec<Node<L>>),
    /// It does not hold.
    Not(Box<Node<L>>),
    /// A leaf.
    Is(L),
}

/// `path operator value`, not yet checked against anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The parts of the field's name: `labels`, `team`.
    pub path: Vec<String>,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: String,
    /// Whether quotation marks stood around the value: then a star in it is no sign.
    pub quoted: bool,
}

/// How a field is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `:`
    Has,
}

impl Operator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Has => ":",
        }
    }
}

/// Reads a filter without knowing its fields; none when there is nothing but space.
pub fn parse_filter(text: &str) -> Result<Option<Node<Restriction>>, InvalidListing> {
    if text.len() > MAX_FILTER_LEN {
        return Err(InvalidListing::FilterTooLong);
    }
    let mut parser = Parser { rest: text.chars().peekable(), at: 1, depth: 0 };
    parser.skip_space();
    if parser.peek().is_none() {
        return Ok(None);
    }
    let node = parser.all()?;
    match parser.peek() {
        None => Ok(Some(node)),
        Some(_) => Err(parser.expected("the end, AND, OR or a field")),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn all(&mut self) -> Result<Node<Restriction>, InvalidListing> {
        let mut parts = vec![self.any()?];
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(')') => break,
                Some(_) => {
                    self.keyword("AND");
                    parts.push(self.any()?);
                }
            }
        }
        Ok(one_or(parts, Node::All))
    }

    fn any(&mut self) -> Result<Node<Restriction>, InvalidListing> {
        let mut parts = vec![self.one()?];
        self.skip_space();
        while self.keyword("OR") {
            parts.push(self.one()?);
            self.skip_space();
        }
        Ok(one_or(parts, Node::Any))
    }

    fn one(&mut self) -> Result<Node<Restriction>, InvalidListing> {
        self.skip_space();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(InvalidListing::FilterTooDeep);
        }
        let node = if self.take('-') || self.keyword("NOT") {
            Node::Not(Box::new(self.one()?))
        } else if self.take('(') {
            let inner = self.all()?;
            if !self.take(')') {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            Node::Is(self.restriction()?)
        };
        self.depth -= 1;
        Ok(node)
    }

    fn restriction(&mut self) -> Result<Restriction, InvalidListing> {
        let mut path = vec![self.name()?];
        while self.take('.') {
            path.push(match self.peek() {
                Some('"' | '\'') => self.text()?,
                _ => self.name()?,
            });
        }
        self.skip_space();
        let operator = self.operator()?;
        self.skip_space();
        let (value, quoted) = match self.peek() {
            Some('"' | '\'') => (self.text()?, true),
            _ => (self.word()?, false),
        };
        Ok(Restriction { path, operator, value, quoted })
    }

    fn name(&mut self) -> Result<String, InvalidListing> {
        let mut name = String::new();
        while let Some(next) = self.rest.next_if(|it| it.is_alphanumeric() || matches!(it, '_' | '-')) {
            self.at += 1;
            name.push(next);
        }
        // The words of the language are no names, so that `a=b AND OR c=d` is no filter on a field `OR`.
        if name.is_empty() || matches!(name.as_str(), "AND" | "OR" | "NOT") {
            return Err(self.expected("the name of a field"));
        }
        Ok(name)
    }

    fn operator(&mut self) -> Result<Operator, InvalidListing> {
        let operator = match self.peek() {
            Some('=') => Operator::Equal,
            Some('!') => Operator::NotEqual,
            Some('<') => Operator::Less,
            Some('>') => Operator::Greater,
            Some(':') => Operator::Has,
            _ => return Err(self.expected("one of = != < <= > >= :")),
        };
        self.advance();
        match operator {
            Operator::NotEqual if !self.take('=') => Err(self.expected("`=` after `!`")),
            Operator::Less if self.take('=') => Ok(Operator::LessOrEqual),
            Operator::Greater if self.take('=') => Ok(Operator::GreaterOrEqual),
            _ => Ok(operator),
        }
    }

    fn word(&mut self) -> Result<String, InvalidListing> {
        let mut word = String::new();
        // `name==x` is a slip, not a comparison with `=x`.
        if matches!(self.peek(), Some('=' | '!' | '<' | '>' | ':')) {
            return Err(self.expected("a value"));
        }
        while let Some(next) =
            self.rest.next_if(|it| !it.is_whitespace() && !matches!(it, '(' | ')' | '"' | '\'' | ','))
        {
            self.at += 1;
            word.push(next);
        }
        if word.is_empty() {
            return Err(self.expected("a value"));
        }
        Ok(word)
    }

    fn text(&mut self) -> Result<String, InvalidListing> {
        let quote = self.advance();
        let mut text = String::new();
        loop {
            let next = match self.advance() {
                Some('\\') => self.advance(),
                end if end == quote => return Ok(text),
                other => other,
            };
            match next {
                Some(next) => text.push(next),
                None => return Err(self.expected("a closing quotation mark")),
            }
        }
    }

    /// Takes a word of the language if it is next and whole: `ORDER=1` does not begin with `OR`.
    fn keyword(&mut self, word: &str) -> bool {
        let mut after = self.rest.clone();
        let is_next = word.chars().all(|expected| after.next() == Some(expected));
        let is_whole = after.peek().is_none_or(|next| next.is_whitespace() || *next == '(');
        if is_next && is_whole {
            self.rest = after;
            self.at += word.len();
        }
        is_next && is_whole
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|it| it.is_whitespace()).is_some() {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let taken = self.rest.next_if_eq(&wanted).is_some();
        self.at += usize::from(taken);
        taken
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.at += usize::from(next.is_some());
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn expected(&mut self, expected: &'static str) -> InvalidListing {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(found) if found.is_control() => format!("`{}`", found.escape_default()),
            Some(found) => format!("`{found}`"),
        };
        InvalidListing::FilterSyntax { at: self.at, expected, found }
    }
}

fn one_or(
    mut parts: Vec<Node<Restriction>>,
    many: fn(Vec<Node<Restriction>>) -> Node<Restriction>,
) -> Node<Restriction> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}

impl<L> Node<L> {
    /// The same over other leaves, or the first error.
    pub fn try_map<M, E>(self, leaf: &mut impl FnMut(L) -> Result<M, E>) -> Result<Node<M>, E> {
        let mut each =
            |parts: Vec<Self>| parts.into_iter().map(|it| it.try_map(leaf)).collect::<Result<_, E>>();
        Ok(match self {
            Self::All(parts) => Node::All(each(parts)?),
            Self::Any(parts) => Node::Any(each(parts)?),
            Self::Not(inner) => Node::Not(Box::new(inner.try_map(leaf)?)),
            Self::Is(it) => Node::Is(leaf(it)?),
        })
    }

    /// Whether it has such a leaf.
    pub(super) fn has(&self, leaf: &impl Fn(&L) -> bool) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|it| it.has(leaf)),
            Self::Not(inner) => inner.has(leaf),
            Self::Is(it) => leaf(it),
        }
    }

    /// Whether it holds, where `leaf` says which leaves do.
    pub fn holds(&self, leaf: &impl Fn(&L) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|it| it.holds(leaf)),
            Self::Any(parts) => parts.iter().any(|it| it.holds(leaf)),
            Self::Not(inner) => !inner.holds(leaf),
            Self::Is(it) => leaf(it),
        }
    }
}

impl<L: fmt::Display> fmt::Display for Node<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            parts.iter().enumerate().try_for_each(|(at, part)| {
                f.write_str(if at == 0 { "" } else { word })?;
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})"),
                    _ => part.fmt(f),
                }
            })
        };
        match self {
            Self::All(parts) => join(f, parts, " AND "),
            Self::Any(parts) => join(f, parts, " OR "),
            Self::Not(inner) => match **inner {
                Self::All(_) | Self::Any(_) => write!(f, "NOT ({inner})"),
                _ => write!(f, "NOT {inner}"),
            },
            Self::Is(it) => it.fmt(f),
        }
    }
}

/// A text as it stands in a filter.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
