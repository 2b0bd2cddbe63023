//! Conditions: the part of the Common Expression Language that Cloud IAM documents, checked when the policy is set.
//!
//! `token` and `syntax` read, `lower` checks types, `evaluate` answers. Parser and tree are our own because everything here
//! is hostile input: each step is bounded, nothing recurses deeper than the limit and nothing can loop. An expression that
//! is no yes-or-no question is refused when it is set, not when somebody is locked out. The tests compare it with another
//! implementation of the language.

mod evaluate;
mod lower;
mod syntax;
mod token;
mod tree;

use crate::Query;

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_LEN: usize = 2_048;
/// Most `&&`, `||`, `!` and `?:` of one expression: Google's limit.
pub const MAX_LOGICAL_OPERATORS: usize = 12;
/// Deepest nesting; a person does not read 8.
const MAX_DEPTH: usize = 24;

/// A condition, compiled.
#[derive(Clone, Debug)]
pub struct Expression {
    root: tree::Node,
}

impl Expression {
    /// Parses and checks. It must be a yes-or-no question over `request.time`, `resource.name`, `resource.type` and
    /// `resource.service`.
    pub fn compile(source: &str) -> Result<Self, InvalidCondition> {
        if source.len() > MAX_EXPRESSION_LEN {
            return Err(InvalidCondition::TooLong);
        }
        Ok(Self { root: lower::lower(&syntax::parse(source)?)? })
    }

    /// Whether it holds. What cannot be evaluated does not hold.
    pub(crate) fn is_true(&self, query: &Query<'_>) -> bool {
        evaluate::is_true(&self.root, query)
    }
}

/// Why an expression is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// Longer than [`MAX_EXPRESSION_LEN`], or more than 512 words and signs.
    #[error("the expression is longer than {MAX_EXPRESSION_LEN} bytes or 512 words and signs")]
    TooLong,
    /// Nested too deep.
    #[error("the expression is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_LOGICAL_OPERATORS`].
    #[error("the expression has more than {MAX_LOGICAL_OPERATORS} logical operators")]
    TooManyOperators,
    /// Not the Common Expression Language.
    #[error("at character {at}, {expected} is expected, but there is {found}")]
    Syntax {
        /// Where, in characters from 1.
        at: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Not `true` or `false`.
    #[error("the expression is {found}, and must be true or false")]
    NotBool {
        /// The type it has.
        found: &'static str,
    },
    /// A name that conditions do not have.
    #[error(
        "`{name}` is unknown here: conditions see request.time, resource.name, resource.type and resource.service"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A function, operator or macro that conditions do not have.
    #[error("`{name}` cannot be used in a condition")]
    Function {
        /// The function.
        name: String,
    },
    /// Operands of types that do not go together.
    #[error("`{operator}` cannot be applied to {operands}")]
    Operands {
        /// The operator or function.
        operator: String,
        /// The types.
        operands: String,
    },
    /// A text inside that is not what its function takes.
    #[error("{text:?} is not {wanted}")]
    Literal {
        /// What was given.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
}
