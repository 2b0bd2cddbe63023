//! From bytes to nodes, in bounded memory and time.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};
use zeroize::Zeroizing;

use super::error::{Position, YamlError, YamlProblem};
use super::node::{Content, Entry, Node};
use super::{MAX_LEN, scalar};

/// Deepest nesting. kube-apiserver's manifest has 12 levels.
const MAX_DEPTH: usize = 64;

/// Most values, with aliases written out. A manifest has about 300, and the work on a file grows with the square of this: 10,000 take
/// seconds at most.
pub(super) const MAX_NODES: usize = 10_000;

/// Checks bytes before anything interprets them.
pub(super) fn text(bytes: &[u8]) -> Result<Zeroizing<String>, YamlError> {
    let start = Position { line: 1, column: 1 };
    if bytes.len() > MAX_LEN {
        return Err(YamlError { position: start, problem: YamlProblem::TooLong(bytes.len()) });
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Zeroizing::new(text.to_owned()),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let position = Position::of(&String::from_utf8_lossy(good), error.valid_up_to());
            return Err(YamlError { position, problem: YamlProblem::NotUtf8 });
        }
    };
    let bad = text.char_indices().find(|(offset, character)| !is_allowed(*offset, *character));
    if let Some((offset, character)) = bad {
        return Err(at(&text, offset, YamlProblem::Character(character.into())));
    }
    let json = text.trim_start();
    if json.starts_with('{')
        && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json)
    {
        let skipped = Position::of(&text, text.len() - json.len());
        let position = match error.line() {
            0 | 1 => Position { line: skipped.line, column: skipped.column + error.column().max(1) - 1 },
            line => Position { line: skipped.line + line - 1, column: error.column().max(1) },
        };
        return Err(YamlError { position, problem: YamlProblem::Json });
    }
    Ok(text)
}

/// What Go's reader takes for a printable character, without those that it takes for the end of a line and YAML 1.2 does not.
fn is_allowed(offset: usize, character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' | ' '..='~' => true,
        // A byte order mark.
        '\u{feff}' => offset == 0,
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => false,
        other => other >= '\u{a0}',
    }
}

/// Reads the only document.
pub(super) fn read(text: &str) -> Result<Node, YamlError> {
    let mut options = Options::default();
    options.strict_indentation = true;
    options.disallow_directives = true;
    options.emit_comments = false;
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    let mut builder = Builder { text, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let offset = error.marker().byte_offset().unwrap_or(text.len());
            let problem = match text.get(..offset).and_then(|before| before.lines().last()) {
                Some(line) if line.starts_with('%') => YamlProblem::Directive,
                // The parser's words are fixed; they repeat one character of the text at most.
                _ => YamlProblem::Syntax(error.info()),
            };
            at(text, offset, problem)
        })?;
        if let Event::DocumentStart(..) = event {
            documents += 1;
        }
        let range = builder.range(&span);
        if documents > 1 {
            return Err(at(text, range.start, YamlProblem::SecondDocument));
        }
        builder.take(event, range, &span)?;
    }
    match builder.root {
        Some(Node { content: Content::Null, .. }) | None => Err(at(text, 0, YamlProblem::Empty)),
        Some(root) => Ok(root),
    }
}

fn at(text: &str, offset: usize, problem: YamlProblem) -> YamlError {
    YamlError { position: Position::of(text, offset), problem }
}

struct Builder<'t> {
    text: &'t str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or mapping whose end is not reached.
struct Open {
    start: usize,
    flow: bool,
    anchor: usize,
    /// The end of what is inside, so far.
    end: usize,
    key: Option<(Zeroizing<String>, Range<usize>)>,
    content: Content,
}

impl Builder<'_> {
    fn range(&self, span: &Span) -> Range<usize> {
        span.byte_range().unwrap_or(self.text.len()..self.text.len())
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>, span: &Span) -> Result<(), YamlError> {
        if event.tag().is_some() || span.tag_start().is_some() {
            return Err(at(self.text, range.start, YamlProblem::Tag));
        }
        match event {
            Event::Scalar(value, style, anchor, _) => {
                let content = match style {
                    // The parser's word for nothing is `~`.
                    ScalarStyle::Plain if range.is_empty() => Content::Null,
                    ScalarStyle::Plain => scalar::resolve(&value),
                    _ => Content::String(Zeroizing::new(value.into_owned())),
                };
                // Block scalars end where the next token begins.
                let len = self.text.get(range.clone()).map_or(0, |text| text.trim_end().len());
                let span = range.start..range.start + len;
                self.complete(Node { span, flow: style != ScalarStyle::Plain, content }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(at(self.text, range.start, YamlProblem::Alias));
                };
                // Before the copy: a few lines of aliases to aliases mean more than memory holds.
                self.nodes += target.count();
                self.bounded(range.start)?;
                let mut node = target.copy();
                node.span = range;
                self.complete(node, 0)
            }
            Event::SequenceStart(style, anchor, _) => {
                self.open(style, anchor, range, Content::Sequence(Vec::new()));
                Ok(())
            }
            Event::MappingStart(style, anchor, _) => {
                self.open(style, anchor, range, Content::Mapping(Vec::new()));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let end = if open.flow { range.end } else { open.end };
                let node = Node { span: open.start..end, flow: open.flow, content: open.content };
                self.complete(node, open.anchor)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, style: StructureStyle, anchor: usize, range: Range<usize>, content: Content) {
        let flow = style == StructureStyle::Flow;
        self.open.push(Open { start: range.start, flow, anchor, end: range.start, key: None, content });
    }

    fn bounded(&self, offset: usize) -> Result<(), YamlError> {
        if self.nodes > MAX_NODES {
            return Err(at(self.text, offset, YamlProblem::TooMany(MAX_NODES)));
        }
        Ok(())
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        self.nodes += 1;
        self.bounded(node.span.start)?;
        if anchor > 0 {
            // Only what an alias may want is copied.
            self.nodes += node.count();
            self.bounded(node.span.start)?;
            self.anchors.insert(anchor, node.copy());
        }
        let text = self.text;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.end = open.end.max(node.span.end);
        match &mut open.content {
            Content::Mapping(entries) => match open.key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let key = key(text, &node)?;
                    if entries.iter().any(|entry| *entry.key == *key) {
                        return Err(at(text, node.span.start, YamlProblem::DuplicateKey));
                    }
                    open.key = Some((key, node.span));
                }
            },
            Content::Sequence(items) => items.push(node),
            _ => (),
        }
        Ok(())
    }
}

/// The name that a node stands for. What is no text in YAML is a name as it is written.
fn key(text: &str, node: &Node) -> Result<Zeroizing<String>, YamlError> {
    let source = text.get(node.span.clone()).unwrap_or_default();
    match &node.content {
        _ if source.starts_with('*') => Err(at(text, node.span.start, YamlProblem::Key)),
        Content::String(name) if **name == "<<" && !node.flow => {
            Err(at(text, node.span.start, YamlProblem::MergeKey))
        }
        Content::String(name) => Ok(name.clone()),
        Content::Sequence(_) | Content::Mapping(_) => Err(at(text, node.span.start, YamlProblem::Key)),
        _ => Ok(Zeroizing::new(source.to_owned())),
    }
}
