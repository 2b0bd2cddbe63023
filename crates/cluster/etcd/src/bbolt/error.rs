//! What can be wrong with a bbolt file.

/// Why a database file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The system's error.
    #[error("the file cannot be read")]
    Read(#[from] std::io::Error),
    /// Neither of the two places where a meta page may be has the magic number.
    #[error("the file is not a bbolt database, which an etcd snapshot is")]
    Foreign,
    /// A bbolt file of another version.
    #[error("the file is a bbolt database of version {0}, and only version 2 is known here")]
    Version(u32),
    /// Written by bbolt on a big-endian machine, such as s390x.
    #[error("the file was written on a big-endian machine (s390x), which is not supported")]
    BigEndian,
    /// Both meta pages are damaged: at most one of them is being written when a machine crashes.
    #[error("both meta pages of the file are damaged: their checksums are wrong")]
    Meta,
    /// A valid checksum, but numbers that cannot be.
    #[error("the meta page of the file makes no sense: {0}")]
    Senseless(&'static str),
    /// The end is missing.
    #[error("the file is cut off: it has {size} bytes of {needed}")]
    Truncated {
        /// What there is, in bytes.
        size: u64,
        /// What the meta page says, in bytes.
        needed: u64,
    },
    /// One page is wrong.
    #[error("page {page} of the file is damaged: {problem}")]
    Page {
        /// Its number, from 0.
        page: u64,
        /// In which way.
        problem: PageProblem,
    },
}

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageProblem {
    /// Beyond the pages that the meta page counts.
    #[error("it lies outside the {0} pages of the database")]
    Outside(u64),
    /// Two entries of the tree lead to it, or one of its own.
    #[error("it is reached twice")]
    Twice,
    /// Another number than that of its place.
    #[error("it says that it is page {0}")]
    Number(u64),
    /// Neither branch nor leaf.
    #[error("it is of the kind {0:#06x}, and a branch (0x0001) or leaf (0x0002) page is expected")]
    Kind(u16),
    /// Deeper than any real tree.
    #[error("the tree is deeper than {0} pages")]
    Deep(usize),
    /// An entry that is not wholly in its page.
    #[error("entry {0} reaches beyond its end")]
    Entry(usize),
    /// Its entries share bytes, or there are more than fit.
    #[error("its {0} entries do not fit into it")]
    Crowded(usize),
    /// A value where a bucket should be, or the other way round.
    #[error("entry {0} is not a bucket where one is expected, or is one where none is")]
    Bucket(usize),
    /// More than any writer takes.
    #[error("entry {index} has {length} bytes, more than {maximum}")]
    Large {
        /// Of the entry, from 0.
        index: usize,
        /// In bytes.
        length: u64,
        /// In bytes.
        maximum: u64,
    },
    /// No entries, where bbolt leaves at least one.
    #[error("it is a branch page without entries")]
    Empty,
}
