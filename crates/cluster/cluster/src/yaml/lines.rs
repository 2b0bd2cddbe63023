//! Where the lines of a list's items and of a mapping's entries begin and end.
//!
//! Comments belong to what they stand above, up to the first empty line; a comment that is indented deeper than a dash or key and
//! follows its lines belongs to that one.

use super::node::Node;

/// The whole lines of one item or entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// The first line of the comments above it.
    pub(super) lead: usize,
    /// The line of its dash or key.
    pub(super) start: usize,
    /// After its last line.
    pub(super) end: usize,
    /// Bytes before its dash or key.
    pub(super) column: usize,
}

/// Why lines are not a person's one item a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SharedLine {
    pub(super) offset: usize,
}

pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// After the line break.
pub(super) fn line_end(text: &str, offset: usize) -> usize {
    text.get(offset..).and_then(|rest| rest.find('\n')).map_or(text.len(), |newline| offset + newline + 1)
}

pub(super) fn column(text: &str, offset: usize) -> usize {
    offset - line_start(text, offset)
}

/// The lines of each item of a block list; `floor` is the end of the key before it.
pub(super) fn items(text: &str, list: &Node, floor: usize) -> Result<Vec<Lines>, SharedLine> {
    let mut all: Vec<Lines> = Vec::new();
    let mut content_end = floor;
    for item in list.items() {
        let dash = dash(text, content_end, item.span.start).ok_or(SharedLine { offset: item.span.start })?;
        content_end = item.span.end.max(dash + 1);
        let above = all.last().map_or_else(|| line_end(text, floor), |lines| lines.end);
        all.push(lines(text, above, dash, content_end)?);
    }
    Ok(all)
}

/// The lines of what begins with a dash or key at `first`. Its comments stand after `above`.
pub(super) fn lines(text: &str, above: usize, first: usize, content_end: usize) -> Result<Lines, SharedLine> {
    let start = line_start(text, first);
    let column = first - start;
    if !text.get(start..first).unwrap_or_default().bytes().all(|byte| byte == b' ') {
        return Err(SharedLine { offset: first });
    }
    let end = end(text, content_end, column).ok_or(SharedLine { offset: first })?;
    let mut lead = start;
    while lead > above {
        let previous = line_start(text, lead - 1);
        if previous < above || comment(text, previous).is_none() {
            break;
        }
        lead = previous;
    }
    Ok(Lines { lead, start, end, column })
}

/// After the last line of what is indented by `column` and ends at `content_end`; none if more stands behind it.
pub(super) fn end(text: &str, content_end: usize, column: usize) -> Option<usize> {
    let mut end = line_end(text, content_end);
    let after = text.get(content_end..end).unwrap_or_default();
    let after = after.trim().strip_prefix(':').unwrap_or(after).trim();
    if !after.is_empty() && !after.starts_with('#') {
        return None;
    }
    while comment(text, end).is_some_and(|indent| indent > column) {
        end = line_end(text, end);
    }
    Some(end)
}

/// How far the comment that is the whole line at `start` is indented; none if the line is no comment.
fn comment(text: &str, start: usize) -> Option<usize> {
    let line = text.get(start..line_end(text, start))?;
    let body = line.trim_start_matches(' ');
    body.starts_with('#').then(|| line.len() - body.len())
}

/// The dash before an item: between what ends at `from` and the item there are only white space, comments, and, before the first
/// item, the colon and an anchor of the list.
fn dash(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut offset = from;
    while offset <= to {
        let rest = text.get(offset..)?;
        let first = rest.chars().next()?;
        match first {
            '-' => return Some(offset),
            '#' => offset = line_end(text, offset),
            '&' => offset += rest.find(char::is_whitespace)?,
            ':' | ' ' | '\n' | '\t' => offset += 1,
            _ => return None,
        }
    }
    None
}
