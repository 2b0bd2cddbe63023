use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::tree::{Comparison, Constant, Match, Node, Part, Sign, Template};
use crate::Query;

/// Whether the condition holds. The only thing that can fail is a time beyond the calendar; that does not hold.
pub(super) fn is_true(node: &Node, query: &Query<'_>) -> bool {
    truth(node, query) == Some(true)
}

/// What a node gives; texts are borrowed from the query and the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Time(Timestamp),
    Duration(SignedDuration),
}

/// CEL's logic: `true || error` is true, `false && error` is false, in either order.
fn truth(node: &Node, query: &Query<'_>) -> Option<bool> {
    match node {
        Node::Not(a) => Some(!truth(a, query)?),
        Node::And(both) => {
            let [a, b] = both.as_ref();
            match truth(a, query) {
                Some(false) => Some(false),
                Some(true) => truth(b, query),
                None => truth(b, query).filter(|it| !it),
            }
        }
        Node::Or(both) => {
            let [a, b] = both.as_ref();
            match truth(a, query) {
                Some(true) => Some(true),
                Some(false) => truth(b, query),
                None => truth(b, query).filter(|it| *it),
            }
        }
        Node::Compare(how, both) => {
            let [a, b] = both.as_ref();
            let order = value(a, query)?.partial_cmp(&value(b, query)?)?;
            Some(match how {
                Comparison::Equal => order == Ordering::Equal,
                Comparison::NotEqual => order != Ordering::Equal,
                Comparison::Less => order == Ordering::Less,
                Comparison::LessOrEqual => order != Ordering::Greater,
                Comparison::Greater => order == Ordering::Greater,
                Comparison::GreaterOrEqual => order != Ordering::Less,
            })
        }
        Node::In(one, many) => {
            let one = value(one, query)?;
            // As CEL has it, a list of which one item fails is no list, wherever the item stands.
            let many: Option<Vec<_>> = many.iter().map(|it| value(it, query)).collect();
            Some(many?.contains(&one))
        }
        Node::Match(how, both) => {
            let [a, b] = both.as_ref();
            let (text, part) = (text(a, query)?, text(b, query)?);
            Some(match how {
                Match::Starts => text.starts_with(part),
                Match::Ends => text.ends_with(part),
                Match::Contains => text.contains(part),
            })
        }
        _ => match value(node, query)? {
            Value::Bool(it) => Some(it),
            _ => None,
        },
    }
}

fn value<'a>(node: &'a Node, query: &Query<'a>) -> Option<Value<'a>> {
    match node {
        Node::Constant(Constant::Bool(it)) => Some(Value::Bool(*it)),
        Node::Constant(Constant::Int(it)) => Some(Value::Int(*it)),
        Node::Constant(Constant::Text(it)) => Some(Value::Text(it)),
        Node::Constant(Constant::Time(it)) => Some(Value::Time(*it)),
        Node::Constant(Constant::Duration(it)) => Some(Value::Duration(*it)),
        Node::ResourceName => Some(Value::Text(query.resource_name)),
        Node::ResourceType => Some(Value::Text(query.resource_type)),
        Node::ResourceService => Some(Value::Text(query.service)),
        Node::RequestTime => Some(Value::Time(query.time)),
        Node::Choose(three) => {
            let [question, yes, no] = three.as_ref();
            value(if truth(question, query)? { yes } else { no }, query)
        }
        Node::Extract(of, template) => Some(Value::Text(extract(text(of, query)?, template))),
        Node::Shift(both, sign) => {
            let [time, by] = both.as_ref();
            let (Value::Time(time), Value::Duration(by)) = (value(time, query)?, value(by, query)?) else {
                return None;
            };
            let shifted = match sign {
                Sign::Plus => time.checked_add(by),
                Sign::Minus => time.checked_sub(by),
            };
            shifted.ok().map(Value::Time)
        }
        Node::Part(which, of, offset) => {
            let Value::Time(time) = value(of, query)? else { return None };
            Some(Value::Int(part(*which, offset.to_datetime(time))))
        }
        Node::Not(_) | Node::And(_) | Node::Or(_) | Node::Compare(..) | Node::In(..) | Node::Match(..) => {
            truth(node, query).map(Value::Bool)
        }
    }
}

fn text<'a>(node: &'a Node, query: &Query<'a>) -> Option<&'a str> {
    match value(node, query)? {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// What is between the first `before` and the next `after`; without an `after`, all that follows; empty when there is none.
fn extract<'a>(text: &'a str, template: &Template) -> &'a str {
    let Some((_, rest)) = text.split_once(&*template.before) else { return "" };
    if template.after.is_empty() {
        return rest;
    }
    rest.split_once(&*template.after).map_or("", |(found, _)| found)
}

fn part(which: Part, at: jiff::civil::DateTime) -> i64 {
    match which {
        Part::Year => i64::from(at.year()),
        Part::Month => i64::from(at.month()) - 1,
        Part::Date => i64::from(at.day()),
        Part::DayOfMonth => i64::from(at.day()) - 1,
        Part::DayOfWeek => i64::from(at.date().weekday().to_sunday_zero_offset()),
        Part::DayOfYear => i64::from(at.day_of_year()) - 1,
        Part::Hours => i64::from(at.hour()),
        Part::Minutes => i64::from(at.minute()),
        Part::Seconds => i64::from(at.second()),
        Part::Milliseconds => i64::from(at.millisecond()),
    }
}
