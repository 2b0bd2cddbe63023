//! Client streams with random header blocks, and what a server must read from them.

use std::collections::VecDeque;
use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What to send, before it is coded.
#[derive(Debug, Clone)]
pub(super) struct Plan(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Block { fields: Vec<Field>, padding: Option<u8>, priority: bool, cuts: Vec<Index> },
    Other { kind: u8, flags: u8, content: Vec<u8> },
}

#[derive(Debug, Clone)]
enum Field {
    TableSize(usize),
    /// The entry of the dynamic table, if it has one.
    Indexed(Index),
    Literal {
        kind: u8,
        name: Name,
        value: Vec<u8>,
        huffman: bool,
    },
}

#[derive(Debug, Clone)]
enum Name {
    Static(usize),
    /// As [`Field::Indexed`].
    Dynamic(Index),
    Text(Vec<u8>),
}

/// A coded plan.
pub(super) struct Stream {
    pub(super) bytes: Vec<u8>,
    pub(super) blocks: Vec<Block>,
}

pub(super) struct Block {
    /// Where the block's fragments lie in the stream.
    pub(super) fragments: Vec<Range<usize>>,
    pub(super) fields: Vec<(Vec<u8>, Expected)>,
    pub(super) indexed_authorities: usize,
}

/// A value as the server must read it.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    Same(Vec<u8>),
    /// Any legal authority of this length.
    Legal {
        length: usize,
    },
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let block = (
        prop::collection::vec(field(), 1..12),
        prop::option::of(any::<u8>()),
        any::<bool>(),
        prop::collection::vec(any::<Index>(), 0..MAX_BLOCK_FRAMES),
    );
    let block =
        block.prop_map(|(fields, padding, priority, cuts)| Step::Block { fields, padding, priority, cuts });
    // DATA, PRIORITY, RST_STREAM, SETTINGS, ..., and types that nobody knows.
    let kinds =
        any::<u8>().prop_filter("blocks are made above", |kind| ![HEADERS, CONTINUATION].contains(kind));
    let content = prop::collection::vec(any::<u8>(), 0..60);
    let other = (prop_oneof![Just(0), Just(SETTINGS), kinds], any::<u8>(), content)
        .prop_map(|(kind, flags, content)| Step::Other { kind, flags, content });
    prop::collection::vec(prop_oneof![3 => block, 1 => other], 1..8).prop_map(Plan)
}

fn field() -> impl Strategy<Value = Field> {
    let text = prop_oneof![
        "[ -~]{0,80}".prop_map(String::into_bytes),
        "(/[a-z0-9._-]{1,12}){1,5}".prop_map(String::into_bytes),
        "(%2F[a-z0-9._-]{1,12}){1,5}".prop_map(String::into_bytes),
        Just(b"localhost".to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    ];
    let name = prop_oneof![
        3 => Just(Name::Static(AUTHORITY)),
        2 => (2..=STATIC_NAMES.len()).prop_map(Name::Static),
        1 => any::<Index>().prop_map(Name::Dynamic),
        1 => "[a-z-]{1,20}".prop_map(|name| Name::Text(name.into_bytes())),
        1 => Just(Name::Text(b":authority".to_vec())),
    ];
    let kind = prop_oneof![3 => Just(0x40_u8), 1 => Just(0x00), 1 => Just(0x10)];
    let literal = (kind, name, text, any::<bool>()).prop_map(|(kind, name, value, huffman)| Field::Literal {
        kind,
        name,
        value,
        huffman,
    });
    prop_oneof![
        6 => literal,
        2 => any::<Index>().prop_map(Field::Indexed),
        1 => (0..=4096_usize).prop_map(Field::TableSize),
    ]
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

impl Stream {
    pub(super) fn encode(plan: &Plan) -> Self {
        let mut stream = Self { bytes: PREFACE.to_vec(), blocks: Vec::new() };
        let mut encoder = Encoder { table: VecDeque::new(), limit: 4096 };
        for step in &plan.0 {
            match step {
                Step::Other { kind, flags, content } => stream.bytes.extend(frame(*kind, *flags, 0, content)),
                Step::Block { fields, padding, priority, cuts } => {
                    let (coded, mut block) = encoder.encode(fields);
                    block.fragments = stream.push_block(&coded, *padding, *priority, cuts);
                    stream.blocks.push(block);
                }
            }
        }
        stream
    }

    fn push_block(
        &mut self,
        coded: &[u8],
        padding: Option<u8>,
        priority: bool,
        cuts: &[Index],
    ) -> Vec<Range<usize>> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(coded.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(coded.len());
        let mut fragments = Vec::new();
        let mut begin = 0;
        for (index, end) in cuts.iter().copied().enumerate() {
            let end_headers = if index + 1 == cuts.len() { END_HEADERS } else { 0 };
            let part = &coded[begin..end];
            let mut before = 9;
            if index == 0 {
                let mut content = Vec::new();
                let mut flags = end_headers;
                if let Some(padding) = padding {
                    flags |= PADDED;
                    content.push(padding);
                }
                if priority {
                    flags |= PRIORITY;
                    content.extend([0x80, 0, 0, 3, 200]);
                }
                before += content.len();
                content.extend(part);
                content.extend(std::iter::repeat_n(0x41, padding.map_or(0, usize::from)));
                fragments.push(self.bytes.len() + before..self.bytes.len() + before + part.len());
                self.bytes.extend(frame(HEADERS, flags, 1, &content));
            } else {
                fragments.push(self.bytes.len() + before..self.bytes.len() + before + part.len());
                self.bytes.extend(frame(CONTINUATION, end_headers, 1, part));
            }
            begin = end;
        }
        fragments
    }
}

/// HPACK, written for these tests from RFC 7541; its table holds what the server must have in its own.
struct Encoder {
    table: VecDeque<(Vec<u8>, Expected)>,
    limit: usize,
}

impl Encoder {
    fn encode(&mut self, fields: &[Field]) -> (Vec<u8>, Block) {
        let mut coded = Vec::new();
        let mut block = Block { fragments: Vec::new(), fields: Vec::new(), indexed_authorities: 0 };
        for field in fields {
            match field {
                // Only the beginning of a block may change the table's size.
                Field::TableSize(size) if block.fields.is_empty() => {
                    integer(&mut coded, 0x20, 5, *size);
                    self.limit = *size;
                    self.evict();
                }
                Field::Indexed(index) if !self.table.is_empty() => {
                    let index = index.index(self.table.len());
                    integer(&mut coded, 0x80, 7, FIRST_DYNAMIC + index);
                    let entry = self.table[index].clone();
                    block.indexed_authorities += usize::from(entry.0 == b":authority");
                    block.fields.push(entry);
                }
                Field::TableSize(_) | Field::Indexed(_) => {
                    integer(&mut coded, 0x80, 7, 2);
                    block.fields.push((b":method".to_vec(), Expected::Same(b"GET".to_vec())));
                }
                Field::Literal { kind, name, value, huffman } => {
                    let field = self.literal(&mut coded, *kind, name, value, *huffman);
                    block.fields.push(field);
                }
            }
        }
        // A block must not end with a change of the table's size.
        if block.fields.is_empty() {
            integer(&mut coded, 0x80, 7, 2);
            block.fields.push((b":method".to_vec(), Expected::Same(b"GET".to_vec())));
        }
        (coded, block)
    }

    fn literal(
        &mut self,
        coded: &mut Vec<u8>,
        kind: u8,
        name: &Name,
        value: &[u8],
        huffman: bool,
    ) -> (Vec<u8>, Expected) {
        let prefix = if kind == 0x40 { 6 } else { 4 };
        let (name, is_ours) = match name {
            Name::Static(index) => {
                integer(coded, kind, prefix, *index);
                (STATIC_NAMES[*index - 1].as_bytes().to_vec(), *index == AUTHORITY)
            }
            Name::Dynamic(index) if !self.table.is_empty() => {
                let index = index.index(self.table.len());
                integer(coded, kind, prefix, FIRST_DYNAMIC + index);
                (self.table[index].0.clone(), false)
            }
            Name::Dynamic(_) => {
                integer(coded, kind, prefix, 2);
                (b":method".to_vec(), false)
            }
            Name::Text(text) => {
                coded.push(kind);
                string(coded, text, text.len() % 2 == 0);
                (text.clone(), false)
            }
        };
        let bytes = string(coded, value, huffman);
        let stays = value.is_empty() || value == b"localhost" || bytes > value.len();
        let expected = match is_ours && !stays {
            true => Expected::Legal { length: value.len() },
            false => Expected::Same(value.to_vec()),
        };
        if kind == 0x40 {
            self.table.push_front((name.clone(), expected.clone()));
            self.evict();
        }
        (name, expected)
    }

    fn evict(&mut self) {
        let size = |(name, value): &(Vec<u8>, Expected)| {
            let value = match value {
                Expected::Same(value) => value.len(),
                Expected::Legal { length } => *length,
            };
            name.len() + value + 32
        };
        while self.table.iter().map(size).sum::<usize>() > self.limit {
            self.table.pop_back();
        }
    }
}

fn integer(coded: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        coded.push(pattern | value as u8);
        return;
    }
    coded.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        coded.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    coded.push(rest as u8);
}

/// Answers the coded length, without the length's own bytes.
fn string(coded: &mut Vec<u8>, text: &[u8], as_huffman: bool) -> usize {
    let bytes = if as_huffman { huffman(text) } else { text.to_vec() };
    integer(coded, if as_huffman { 0x80 } else { 0 }, 7, bytes.len());
    coded.extend(&bytes);
    bytes.len()
}

const AUTHORITY: usize = 1;
const FIRST_DYNAMIC: usize = 62;
/// The first entries of RFC 7541 appendix A.
const STATIC_NAMES: [&str; 17] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
];
