use super::{InvalidCondition, MAX_DEPTH};
use crate::condition::token::{Token, tokens};

/// An expression as it is written, untyped.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Syntax {
    Bool(bool),
    Int(i64),
    Text(String),
    Name(String),
    /// `a.b`.
    Select(Box<Syntax>, String),
    /// `f(a, b)`, `a.f(b)`, and operators as CEL names them without their places: `&&`, `<`, `?:`.
    Call {
        target: Option<Box<Syntax>>,
        name: String,
        arguments: Vec<Syntax>,
    },
    List(Vec<Syntax>),
}

/// Reads an expression of the Common Expression Language: what conditions use of it. Maps, messages, indexes, arithmetic
/// beyond `+` and `-`, bytes and floating point are named in the error when they are met.
pub(super) fn parse(source: &str) -> Result<Syntax, InvalidCondition> {
    let mut parser = Parser { tokens: tokens(source)?, next: 0, depth: 0 };
    let whole = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(whole),
        _ => Err(parser.expected("an operator or the end")),
    }
}

struct Parser {
    /// Ends with [`Token::End`].
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

/// Binary operators by how tight they bind, loosest first.
const LEVELS: [&[&str]; 4] = [&["||"], &["&&"], &["<", "<=", ">=", ">", "==", "!=", "in"], &["+", "-"]];

impl Parser {
    fn expression(&mut self) -> Result<Syntax, InvalidCondition> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(InvalidCondition::TooDeep);
        }
        let question = self.binary(0)?;
        let whole = if self.take("?") {
            let yes = self.binary(0)?;
            self.require(":", "`:` of `?:`")?;
            let no = self.expression()?;
            operator("?:", vec![question, yes, no])
        } else {
            question
        };
        self.depth -= 1;
        Ok(whole)
    }

    /// Operators of one level, from the left.
    fn binary(&mut self, level: usize) -> Result<Syntax, InvalidCondition> {
        let Some(names) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(name) = names.iter().find(|name| self.take(name)) {
            let right = self.binary(level + 1)?;
            left = operator(name, vec![left, right]);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Syntax, InvalidCondition> {
        if self.take("-") {
            return match self.advance() {
                Token::Int(number) => match 0_i64.checked_sub_unsigned(number) {
                    Some(number) => Ok(Syntax::Int(number)),
                    None => Err(self.unfit("a number of 64 bits")),
                },
                _ => Err(InvalidCondition::Function { name: "-".into() }),
            };
        }
        let mut negated = 0;
        while self.take("!") {
            negated += 1;
        }
        let mut it = self.member()?;
        for _ in 0..negated {
            it = operator("!", vec![it]);
        }
        match self.peek() {
            Token::Symbol(name @ ("*" | "/" | "%")) => {
                Err(InvalidCondition::Function { name: (*name).into() })
            }
            _ => Ok(it),
        }
    }

    fn member(&mut self) -> Result<Syntax, InvalidCondition> {
        let mut it = self.primary()?;
        loop {
            if self.take(".") {
                let Token::Name(name) = self.advance() else { return Err(self.unfit("a name after `.`")) };
                it = if self.take("(") {
                    Syntax::Call { target: Some(Box::new(it)), name, arguments: self.list_until(")")? }
                } else {
                    Syntax::Select(Box::new(it), name)
                };
            } else if self.take("[") {
                return Err(InvalidCondition::Function { name: "[]".into() });
            } else if self.take("{") {
                return Err(InvalidCondition::Function { name: "{}".into() });
            } else {
                return Ok(it);
            }
        }
    }

    fn primary(&mut self) -> Result<Syntax, InvalidCondition> {
        match self.advance() {
            Token::Int(number) => match i64::try_from(number) {
                Ok(number) => Ok(Syntax::Int(number)),
                Err(_) => Err(self.unfit("a number of 64 bits")),
            },
            Token::Text(text) => Ok(Syntax::Text(text)),
            Token::Name(name) if name == "true" => Ok(Syntax::Bool(true)),
            Token::Name(name) if name == "false" => Ok(Syntax::Bool(false)),
            Token::Name(name) if self.take("(") => {
                Ok(Syntax::Call { target: None, name, arguments: self.list_until(")")? })
            }
            Token::Name(name) => Ok(Syntax::Name(name)),
            Token::Symbol("(") => {
                let inner = self.expression()?;
                self.require(")", "`)`")?;
                Ok(inner)
            }
            Token::Symbol("[") => Ok(Syntax::List(self.list_until("]")?)),
            Token::Symbol("{") => Err(InvalidCondition::Function { name: "{}".into() }),
            _ => Err(self.unfit("a value")),
        }
    }

    fn list_until(&mut self, end: &'static str) -> Result<Vec<Syntax>, InvalidCondition> {
        let mut list = Vec::new();
        while !self.take(end) {
            list.push(self.expression()?);
            if !self.take(",") {
                self.require(end, "`,` or the end of the list")?;
                break;
            }
        }
        Ok(list)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is_next = match self.peek() {
            Token::Symbol(next) => *next == symbol,
            Token::Name(name) => symbol == "in" && name == "in",
            _ => false,
        };
        self.next += usize::from(is_next);
        is_next
    }

    fn require(&mut self, symbol: &'static str, wanted: &'static str) -> Result<(), InvalidCondition> {
        if self.take(symbol) {
            return Ok(());
        }
        Err(self.expected(wanted))
    }

    /// An error at the token that was taken last.
    fn unfit(&mut self, expected: &'static str) -> InvalidCondition {
        self.next = self.next.saturating_sub(1);
        self.expected(expected)
    }

    /// An error at the next token.
    fn expected(&self, expected: &'static str) -> InvalidCondition {
        match self.tokens.get(self.next).or(self.tokens.last()) {
            Some((at, token)) => InvalidCondition::Syntax { at: *at, expected, found: token.to_string() },
            None => InvalidCondition::Syntax { at: 1, expected, found: Token::End.to_string() },
        }
    }
}

fn operator(name: &str, arguments: Vec<Syntax>) -> Syntax {
    Syntax::Call { target: None, name: name.to_owned(), arguments }
}
