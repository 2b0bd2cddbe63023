//! YAML files that a person owns: what they mean, where each part stands, and edits that leave every other byte alone.
//!
//! A [`Document`] is text with its meaning. Each edit gives a new document and is proven: the new text is read again, and its
//! meaning must be the old one with exactly the intended change, or there is no new text. The meaning is what kube-apiserver,
//! the kubelet and kubeadm see, whose reader is YAML 1.1: `yes` is no string, and a name must not look like a number.
//!
//! Refused although those programs read it, because a person would be surprised by what it means: a second document (they read
//! only the first), merge keys, tags, directives, and one key twice. Secrets may be in the text, so it is kept in memory that
//! wipes itself, and no error shows any of it.

mod edit;
mod error;
mod lines;
mod node;
mod reader;
mod scalar;
mod value;

use zeroize::Zeroizing;

pub use edit::{EditError, Step};
pub use error::{Position, YamlError, YamlProblem};
pub use node::{Content, Entry, Node};
pub use value::Value;

/// Longest text, in bytes. Configurations and manifests are stored in etcd or in ConfigMaps too, where 1 MiB is the limit.
pub const MAX_LEN: usize = 1 << 20;

/// Text and what it means.
pub struct Document {
    text: Zeroizing<String>,
    root: Node,
    /// Where each line begins: places are asked for often, and the text may be long.
    line_starts: Vec<usize>,
}

impl Document {
    /// Reads text of at most [`MAX_LEN`] bytes.
    ///
    /// # Errors
    ///
    /// What is no YAML, and what is refused: see the module. With the place, where there is one.
    pub fn parse(bytes: &[u8]) -> Result<Self, YamlError> {
        let text = reader::text(bytes)?;
        let root = reader::read(&text)?;
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        Ok(Self { text, root, line_starts })
    }

    /// The text, byte by byte as it was read or edited.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The outermost node.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The node at the end of a path.
    pub fn at(&self, path: &[Step<'_>]) -> Option<&Node> {
        self.find(path).map(|(node, _)| node)
    }

    /// Where a node begins.
    pub fn position(&self, node: &Node) -> Position {
        self.place(node.span.start)
    }

    /// Where the key of an entry stands.
    pub fn key_position(&self, entry: &Entry) -> Position {
        self.place(entry.key_span.start)
    }

    fn place(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start =
            line.checked_sub(1).and_then(|index| self.line_starts.get(index)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Position { line, column: before.chars().count() + 1 }
    }
}
