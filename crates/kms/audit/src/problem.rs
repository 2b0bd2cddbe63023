use std::fmt;
use std::path::PathBuf;

/// Something in a log that the server that writes it never leaves there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The segment, or the directory when there is none.
    pub path: PathBuf,
    /// The line, from 1; 0 when it was not looked for.
    pub line: u64,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// Kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A line that is no record, or no longer what it was.
    Altered(String),
    /// Records that should come before this one are gone.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A record with a sequence that was already there: repeated, or moved.
    Repeated {
        /// Its sequence.
        sequence: u64,
    },
    /// The record before this one, or this one, was replaced by another with a hash that is right in itself.
    Replaced,
    /// The segment has no footer, though another one follows.
    NotSealed,
    /// A footer that does not describe its segment, or a line after it.
    Footer,
    /// Records before the oldest one are gone, and no record says that their time was over.
    Beheaded {
        /// The oldest record that is there.
        first: u64,
    },
    /// The log ends before the head that was kept.
    Truncated {
        /// The newest record that is there.
        last: u64,
        /// The head that was kept.
        kept: u64,
    },
    /// Another record stands where the head that was kept should be.
    Rewritten {
        /// The head that was kept.
        kept: u64,
    },
    /// The file system does not give it.
    Unreadable(String),
}

impl ProblemKind {
    /// A segment that begins with another record than its name says.
    pub(crate) fn misnamed(first: u64) -> Self {
        Self::Altered(format!("is record {first}, which the file's name does not say"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.path.display())?,
            line => write!(f, "{}:{line}: ", self.path.display())?,
        }
        match &self.kind {
            ProblemKind::Altered(problem) => write!(f, "{problem}"),
            ProblemKind::Missing { first, last } if first == last => {
                write!(f, "record {first} is missing before this line")
            }
            ProblemKind::Missing { first, last } => {
                write!(f, "records {first} to {last} are missing before this line")
            }
            ProblemKind::Repeated { sequence } => {
                write!(f, "record {sequence} stands here once more, or in the wrong place")
            }
            ProblemKind::Replaced => {
                write!(f, "does not follow the record before it: one of them was replaced")
            }
            ProblemKind::NotSealed => {
                write!(f, "the segment ends without a footer, though another one follows")
            }
            ProblemKind::Footer => write!(f, "the footer does not belong here"),
            ProblemKind::Beheaded { first } => {
                write!(
                    f,
                    "the log begins with record {first}, and no record says that older ones were deleted"
                )
            }
            ProblemKind::Truncated { last, kept } => {
                write!(
                    f,
                    "the log ends with record {last}, but its head was once record {kept}: it was cut off"
                )
            }
            ProblemKind::Rewritten { kept } => {
                write!(f, "record {kept} is not the one whose hash was kept: the log was rewritten")
            }
            ProblemKind::Unreadable(cause) => write!(f, "it cannot be read: {cause}"),
        }
    }
}
