use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::syntax::Syntax;
use super::tree::{Comparison, Constant, Match, Node, Part, Sign, Template, Type};
use super::{InvalidCondition, MAX_DEPTH, MAX_LOGICAL_OPERATORS};

/// Checks a parsed expression and gives it as a tree whose evaluation ends.
pub(super) fn lower(expression: &Syntax) -> Result<Node, InvalidCondition> {
    let mut lowering = Lowering { depth: 0, operators: 0 };
    match lowering.lower(expression)? {
        (node, Type::Bool) => Ok(node),
        (_, other) => Err(InvalidCondition::NotBool { found: other.name() }),
    }
}

type Typed = (Node, Type);

struct Lowering {
    depth: usize,
    operators: usize,
}

impl Lowering {
    fn lower(&mut self, expression: &Syntax) -> Result<Typed, InvalidCondition> {
        if self.depth >= MAX_DEPTH {
            return Err(InvalidCondition::TooDeep);
        }
        self.depth += 1;
        let lowered = match expression {
            Syntax::Bool(it) => Ok((Node::Constant(Constant::Bool(*it)), Type::Bool)),
            Syntax::Int(it) => Ok((Node::Constant(Constant::Int(*it)), Type::Int)),
            Syntax::Text(it) => Ok((Node::Constant(Constant::Text(it.as_str().into())), Type::Text)),
            Syntax::Name(_) | Syntax::Select(..) => attribute(expression),
            Syntax::Call { target, name, arguments } => self.call(target.as_deref(), name, arguments),
            Syntax::List(_) => Err(unknown_function("a list outside `in`")),
        };
        self.depth -= 1;
        lowered
    }

    fn call(
        &mut self,
        target: Option<&Syntax>,
        name: &str,
        arguments: &[Syntax],
    ) -> Result<Typed, InvalidCondition> {
        match (name, target, arguments) {
            ("!", None, [a]) => {
                self.count_operator()?;
                Ok((Node::Not(Box::new(self.typed(name, a, Type::Bool)?)), Type::Bool))
            }
            ("&&", None, [a, b]) => {
                self.count_operator()?;
                let both = [self.typed(name, a, Type::Bool)?, self.typed(name, b, Type::Bool)?];
                Ok((Node::And(Box::new(both)), Type::Bool))
            }
            ("||", None, [a, b]) => {
                self.count_operator()?;
                let both = [self.typed(name, a, Type::Bool)?, self.typed(name, b, Type::Bool)?];
                Ok((Node::Or(Box::new(both)), Type::Bool))
            }
            ("?:", None, [a, b, c]) => {
                self.count_operator()?;
                let question = self.typed(name, a, Type::Bool)?;
                let (yes, of) = self.lower(b)?;
                let no = self.typed(name, c, of)?;
                Ok((Node::Choose(Box::new([question, yes, no])), of))
            }
            ("in", None, [a, b]) => self.member_of(a, b),
            ("+", None, [a, b]) => self.shift(a, b, Sign::Plus),
            ("-", None, [a, b]) => self.shift(a, b, Sign::Minus),
            ("timestamp", None, [a]) => time(text_literal(name, a)?),
            ("date", None, [a]) => date(text_literal(name, a)?),
            ("duration", None, [a]) => duration(text_literal(name, a)?),
            ("startsWith", Some(a), [b]) => self.matches(Match::Starts, name, a, b),
            ("endsWith", Some(a), [b]) => self.matches(Match::Ends, name, a, b),
            ("contains", Some(a), [b]) => self.matches(Match::Contains, name, a, b),
            ("extract", Some(a), [b]) => {
                let of = self.typed(name, a, Type::Text)?;
                Ok((Node::Extract(Box::new(of), template(text_literal(name, b)?)?), Type::Text))
            }
            (_, None, [a, b]) if comparison(name).is_some() => self.compare(name, a, b),
            (_, Some(a), zone) if part(name).is_some() => self.part(name, a, zone),
            _ => Err(unknown_function(name)),
        }
    }

    fn count_operator(&mut self) -> Result<(), InvalidCondition> {
        self.operators += 1;
        if self.operators > MAX_LOGICAL_OPERATORS {
            return Err(InvalidCondition::TooManyOperators);
        }
        Ok(())
    }

    fn typed(&mut self, operator: &str, a: &Syntax, wanted: Type) -> Result<Node, InvalidCondition> {
        match self.lower(a)? {
            (node, found) if found == wanted => Ok(node),
            (_, found) => Err(operands(operator, &[found])),
        }
    }

    fn compare(&mut self, name: &str, a: &Syntax, b: &Syntax) -> Result<Typed, InvalidCondition> {
        let ((left, left_type), (right, right_type)) = (self.lower(a)?, self.lower(b)?);
        match comparison(name) {
            Some(comparison) if left_type == right_type => {
                Ok((Node::Compare(comparison, Box::new([left, right])), Type::Bool))
            }
            _ => Err(operands(name, &[left_type, right_type])),
        }
    }

    fn member_of(&mut self, a: &Syntax, b: &Syntax) -> Result<Typed, InvalidCondition> {
        let (one, of) = self.lower(a)?;
        let Syntax::List(list) = b else {
            return Err(InvalidCondition::Operands {
                operator: "in".into(),
                operands: "anything but a list, such as [\"a\", \"b\"]".into(),
            });
        };
        let many = list.iter().map(|it| self.typed("in", it, of)).collect::<Result<_, _>>()?;
        Ok((Node::In(Box::new(one), many), Type::Bool))
    }

    fn matches(&mut self, how: Match, name: &str, a: &Syntax, b: &Syntax) -> Result<Typed, InvalidCondition> {
        let both = [self.typed(name, a, Type::Text)?, self.typed(name, b, Type::Text)?];
        Ok((Node::Match(how, Box::new(both)), Type::Bool))
    }

    fn shift(&mut self, a: &Syntax, b: &Syntax, sign: Sign) -> Result<Typed, InvalidCondition> {
        match (self.lower(a)?, self.lower(b)?) {
            ((time, Type::Time), (by, Type::Duration)) => {
                Ok((Node::Shift(Box::new([time, by]), sign), Type::Time))
            }
            ((_, left), (_, right)) => {
                Err(operands(if sign == Sign::Plus { "+" } else { "-" }, &[left, right]))
            }
        }
    }

    fn part(&mut self, name: &str, a: &Syntax, zone: &[Syntax]) -> Result<Typed, InvalidCondition> {
        let of = self.typed(name, a, Type::Time)?;
        let offset = match zone {
            [] => Offset::UTC,
            [zone] => offset(text_literal(name, zone)?)?,
            _ => return Err(unknown_function(name)),
        };
        match part(name) {
            Some(part) => Ok((Node::Part(part, Box::new(of), offset), Type::Int)),
            None => Err(unknown_function(name)),
        }
    }
}

fn attribute(expression: &Syntax) -> Result<Typed, InvalidCondition> {
    let path = match expression {
        Syntax::Name(name) => name.clone(),
        Syntax::Select(of, field) => match of.as_ref() {
            Syntax::Name(name) => format!("{name}.{field}"),
            // No attribute has more than two parts.
            _ => format!("(…).{field}"),
        },
        _ => return Err(unknown_function("a path")),
    };
    match path.as_str() {
        "resource.name" => Ok((Node::ResourceName, Type::Text)),
        "resource.type" => Ok((Node::ResourceType, Type::Text)),
        "resource.service" => Ok((Node::ResourceService, Type::Text)),
        "request.time" => Ok((Node::RequestTime, Type::Time)),
        _ => Err(InvalidCondition::Name { name: path.chars().take(200).collect() }),
    }
}

fn text_literal<'a>(function: &str, argument: &'a Syntax) -> Result<&'a str, InvalidCondition> {
    match argument {
        Syntax::Text(text) => Ok(text),
        _ => Err(InvalidCondition::Operands {
            operator: function.to_owned(),
            operands: "anything but a text in quotes".into(),
        }),
    }
}

fn time(text: &str) -> Result<Typed, InvalidCondition> {
    // "For ever" is often written as the last moment of the year 9999, which is a day after the last of the calendar used
    // here.
    let is_for_ever =
        || text.strip_prefix("9999-12-31").is_some_and(|rest| is_time(&format!("9999-12-30{rest}")));
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) if is_for_ever() => Timestamp::MAX,
        Err(_) => return Err(literal(text, "a time such as 2026-01-31T08:00:00Z")),
    };
    Ok((Node::Constant(Constant::Time(time)), Type::Time))
}

fn is_time(text: &str) -> bool {
    // With the offset that is furthest ahead the last day but one is in the calendar whatever its hour.
    text.strip_suffix('Z').is_some_and(|clock| format!("{clock}+14:00").parse::<Timestamp>().is_ok())
}

fn date(text: &str) -> Result<Typed, InvalidCondition> {
    let invalid = || literal(text, "a date such as 2026-01-31");
    let date = text.parse::<jiff::civil::Date>().map_err(|_| invalid())?;
    let time =
        Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).map_err(|_| invalid())?;
    Ok((Node::Constant(Constant::Time(time)), Type::Time))
}

fn duration(text: &str) -> Result<Typed, InvalidCondition> {
    // The parser behind it takes more, such as "1 hour" and "PT1H".
    let is_cel = text.bytes().all(|byte| byte.is_ascii_digit() || b".-hmsun".contains(&byte));
    let parsed = if is_cel { text.parse::<SignedDuration>().ok() } else { None };
    match parsed {
        Some(duration) => Ok((Node::Constant(Constant::Duration(duration)), Type::Duration)),
        None => Err(literal(text, "a duration such as 90s or 1h30m")),
    }
}

fn offset(text: &str) -> Result<Offset, InvalidCondition> {
    let invalid = || {
        literal(
            text,
            "UTC or an offset such as +01:00; names of time zones are not known here, because their rules change",
        )
    };
    if matches!(text, "UTC" | "Etc/UTC" | "GMT") {
        return Ok(Offset::UTC);
    }
    let (sign, clock) = match text.as_bytes().first() {
        Some(b'-') => (-1, text.get(1..)),
        Some(b'+') => (1, text.get(1..)),
        _ => (1, Some(text)),
    };
    let (hours, minutes) = clock.and_then(|it| it.split_once(':')).ok_or_else(invalid)?;
    let two_digits = |it: &str, below: i32| {
        let fits = it.len() == 2 && it.bytes().all(|byte| byte.is_ascii_digit());
        it.parse::<i32>().ok().filter(|number| fits && *number < below).ok_or_else(invalid)
    };
    let seconds = two_digits(hours, 24)? * 3600 + two_digits(minutes, 60)? * 60;
    Offset::from_seconds(sign * seconds).map_err(|_| invalid())
}

fn template(text: &str) -> Result<Template, InvalidCondition> {
    let invalid = || literal(text, "a template with one part in braces, such as keyRings/{ring}/");
    let (before, rest) = text.split_once('{').ok_or_else(invalid)?;
    let (name, after) = rest.split_once('}').ok_or_else(invalid)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || after.contains(['{', '}']) {
        return Err(invalid());
    }
    Ok(Template { before: before.into(), after: after.into() })
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn part(name: &str) -> Option<Part> {
    Some(match name {
        "getFullYear" => Part::Year,
        "getMonth" => Part::Month,
        "getDate" => Part::Date,
        "getDayOfMonth" => Part::DayOfMonth,
        "getDayOfWeek" => Part::DayOfWeek,
        "getDayOfYear" => Part::DayOfYear,
        "getHours" => Part::Hours,
        "getMinutes" => Part::Minutes,
        "getSeconds" => Part::Seconds,
        "getMilliseconds" => Part::Milliseconds,
        _ => return None,
    })
}

fn literal(text: &str, wanted: &'static str) -> InvalidCondition {
    InvalidCondition::Literal { text: text.chars().take(200).collect(), wanted }
}

fn unknown_function(name: &str) -> InvalidCondition {
    InvalidCondition::Function { name: name.chars().take(200).collect() }
}

fn operands(operator: &str, types: &[Type]) -> InvalidCondition {
    let names: Vec<_> = types.iter().map(|it| it.name()).collect();
    InvalidCondition::Operands { operator: operator.to_owned(), operands: names.join(" and ") }
}
