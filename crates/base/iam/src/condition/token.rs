use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

use super::InvalidCondition;

/// Most tokens of one expression; it bounds every tree that is made of them.
const MAX_TOKENS: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(u64),
    Text(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 24] = [
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "!", "(", ")", "[", "]", "{", "}", ".", ",", "-", "+", "?",
    ":", "*", "/", "%",
];

/// The tokens with their places, in characters from 1; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, InvalidCondition> {
    let mut lexer = Lexer { source, rest: source.char_indices().peekable() };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at();
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((at, token));
        if is_end {
            return Ok(tokens);
        }
        if tokens.len() > MAX_TOKENS {
            return Err(InvalidCondition::TooLong);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl<'a> Lexer<'a> {
    fn token(&mut self) -> Result<Token, InvalidCondition> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.take_while(|it| it.is_ascii_alphanumeric() || it == '_');
            return match (name, self.peek()) {
                ("r" | "R", Some('"' | '\'')) => self.text(true),
                ("b" | "B" | "br" | "bR" | "Br" | "BR" | "rb" | "Rb" | "rB" | "RB", Some('"' | '\'')) => {
                    Err(InvalidCondition::Function { name: "a text of bytes".into() })
                }
                ("null", _) => Err(InvalidCondition::Function { name: "null".into() }),
                _ => Ok(Token::Name(name.to_owned())),
            };
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if matches!(first, '"' | '\'') {
            return self.text(false);
        }
        match SYMBOLS.iter().find(|symbol| self.ahead().starts_with(**symbol)) {
            Some(symbol) => {
                self.skip(symbol.len());
                Ok(Token::Symbol(symbol))
            }
            None => Err(self.unexpected("a name, a value or an operator")),
        }
    }

    fn number(&mut self) -> Result<Token, InvalidCondition> {
        let at = self.at();
        let digits = self.take_while(|it| it.is_ascii_alphanumeric());
        let is_float =
            self.peek() == Some('.') && self.ahead().chars().nth(1).is_some_and(|it| it.is_ascii_digit());
        let number = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
            Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u64::from_str_radix(hex, 16).ok()
            }
            _ => digits.parse().ok(),
        };
        match number {
            Some(number) if !is_float => Ok(Token::Int(number)),
            _ => Err(InvalidCondition::Syntax {
                at,
                expected: "a whole number of 64 bits",
                found: format!("`{digits}`"),
            }),
        }
    }

    fn text(&mut self, raw: bool) -> Result<Token, InvalidCondition> {
        let quote = if self.ahead().starts_with('"') { "\"" } else { "'" };
        let tripled = quote.repeat(3);
        let end = if self.ahead().starts_with(&tripled) { tripled.as_str() } else { quote };
        self.skip(end.len());
        let mut text = String::new();
        while !self.ahead().starts_with(end) {
            match self.advance() {
                None => return Err(self.unexpected("a closing quotation mark")),
                Some('\n' | '\r') if end.len() == 1 => {
                    return Err(self.unexpected("a closing quotation mark on the same line"));
                }
                Some('\\') if !raw => text.push(self.escape()?),
                Some(it) => text.push(it),
            }
        }
        self.skip(end.len());
        Ok(Token::Text(text))
    }

    fn escape(&mut self) -> Result<char, InvalidCondition> {
        let code = match self.advance() {
            Some(it @ ('\\' | '?' | '"' | '\'' | '`')) => return Ok(it),
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\u{b}'),
            Some('x' | 'X') => self.code(2, 16),
            Some('u') => self.code(4, 16),
            Some('U') => self.code(8, 16),
            Some(first @ '0'..='3') => {
                let rest = self.code(2, 8);
                first.to_digit(8).zip(rest).map(|(first, rest)| first * 64 + rest)
            }
            _ => None,
        };
        code.and_then(char::from_u32).ok_or_else(|| self.unexpected("an escape such as \\n or \\u00e9"))
    }

    fn code(&mut self, digits: usize, radix: u32) -> Option<u32> {
        let text = self.ahead().get(..digits)?;
        let code = text
            .chars()
            .try_fold(0_u32, |code, it| code.checked_mul(radix)?.checked_add(it.to_digit(radix)?))?;
        self.skip(digits);
        Some(code)
    }

    /// Spaces, and comments: `//` to the end of the line.
    fn skip_space(&mut self) {
        loop {
            self.take_while(|it| matches!(it, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.ahead().starts_with("//") {
                return;
            }
            self.take_while(|it| it != '\n');
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let ahead = self.ahead();
        let len = ahead.find(|it| !wanted(it)).unwrap_or(ahead.len());
        self.skip(len);
        ahead.get(..len).unwrap_or_default()
    }

    /// Skips `len` bytes, which end at a character.
    fn skip(&mut self, len: usize) {
        let end = self.offset() + len;
        while self.rest.next_if(|(at, _)| *at < end).is_some() {}
    }

    fn advance(&mut self) -> Option<char> {
        self.rest.next().map(|(_, it)| it)
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, it)| *it)
    }

    fn ahead(&mut self) -> &'a str {
        let offset = self.offset();
        self.source.get(offset..).unwrap_or_default()
    }

    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn at(&mut self) -> usize {
        let offset = self.offset();
        self.source.get(..offset).map_or(0, |before| before.chars().count()) + 1
    }

    fn unexpected(&mut self, expected: &'static str) -> InvalidCondition {
        let found = self.peek().map_or_else(|| "the end".to_owned(), |it| format!("`{}`", it.escape_debug()));
        InvalidCondition::Syntax { at: self.at(), expected, found }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Int(number) => write!(f, "`{number}`"),
            Self::Text(_) => f.write_str("a text"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}
