//! Conditions: the part of the Common Expression Language that Cloud IAM documents, checked when the policy is set.
//!
//! The crate `cel` parses; what is evaluated is a tree of our own, typed when it is compiled. So an expression that is no
//! yes-or-no question is refused when it is set and not when somebody is locked out, there is nothing that can loop, and
//! times need no second library.

mod evaluate;
mod lower;
mod tree;

use cel::parser::Parser;

use crate::Query;

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_LEN: usize = 2_048;
/// Most `&&`, `||`, `!` and `?:` of one expression: Google's limit.
pub const MAX_LOGICAL_OPERATORS: usize = 12;
/// Deepest nesting; a person does not read 8.
const MAX_DEPTH: u16 = 24;

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
        if nesting(source) > usize::from(MAX_DEPTH) {
            return Err(InvalidCondition::TooDeep);
        }
        let parsed = Parser::new()
            .max_recursion_depth(8 * MAX_DEPTH)
            .parse(source)
            .map_err(|errors| InvalidCondition::Syntax { text: first_line(&errors.to_string()) })?;
        Ok(Self { root: lower::lower(&parsed)? })
    }

    /// Whether it holds. What cannot be evaluated does not hold.
    pub(crate) fn is_true(&self, query: &Query<'_>) -> bool {
        evaluate::is_true(&self.root, query)
    }
}

/// Brackets inside brackets, wherever they are, texts included: the parser behind it recurses, so this comes first.
fn nesting(source: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// Why an expression is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// Longer than [`MAX_EXPRESSION_LEN`].
    #[error("the expression is longer than {MAX_EXPRESSION_LEN} bytes")]
    TooLong,
    /// Nested too deep.
    #[error("the expression is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_LOGICAL_OPERATORS`].
    #[error("the expression has more than {MAX_LOGICAL_OPERATORS} logical operators")]
    TooManyOperators,
    /// Not the Common Expression Language.
    #[error("the expression cannot be parsed: {text}")]
    Syntax {
        /// The parser's first complaint.
        text: String,
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
