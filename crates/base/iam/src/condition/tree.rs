use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// A typed expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A literal.
    Constant(Constant),
    /// `resource.name`.
    ResourceName,
    /// `resource.type`.
    ResourceType,
    /// `resource.service`.
    ResourceService,
    /// `request.time`.
    RequestTime,
    /// `!a`.
    Not(Box<Node>),
    /// `a && b`.
    And(Box<[Node; 2]>),
    /// `a || b`.
    Or(Box<[Node; 2]>),
    /// `a ? b : c`.
    Choose(Box<[Node; 3]>),
    /// `a < b` and so on, of two of one type.
    Compare(Comparison, Box<[Node; 2]>),
    /// `a in [b, c]`.
    In(Box<Node>, Vec<Node>),
    /// `a.startsWith(b)` and so on.
    Match(Match, Box<[Node; 2]>),
    /// `a.extract("before{name}after")`.
    Extract(Box<Node>, Template),
    /// A time plus (or, negated, minus) a duration.
    Shift(Box<[Node; 2]>, Sign),
    /// `a.getHours("+01:00")` and so on.
    Part(Part, Box<Node>, Offset),
}

/// A value that is known when the condition is compiled.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    Time(Timestamp),
    Duration(SignedDuration),
}

/// What a node gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Text,
    Time,
    Duration,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Duration => "a duration",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Starts,
    Ends,
    Contains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// A part of a time, with CEL's counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    /// From 0.
    Month,
    /// From 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// From 0, which is Sunday.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// The argument of `extract`.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) before: Box<str>,
    pub(super) after: Box<str>,
}
