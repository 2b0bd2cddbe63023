use std::fmt;

use jiff::Timestamp;

/// SHA-256 of a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first record of a log has for its previous one.
    pub const NONE: Self = Self([0; 32]);

    pub(crate) fn to_hex(self) -> [u8; 64] {
        let mut out = [0; 64];
        // The lengths fit, so this does not fail.
        hex::encode_to_slice(self.0, &mut out).unwrap_or_default();
        out
    }

    /// Lower-case digits only: one hash has one text.
    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).ok()?;
        text.iter().all(|it| !it.is_ascii_uppercase()).then_some(Self(out))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of a log: its newest durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the newest record; 0 when there is none.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
    /// When it was written; the start of 1970 when there is none.
    pub time: Timestamp,
}

impl Head {
    /// The head of a log without records.
    pub const NONE: Self = Self { sequence: 0, hash: Hash::NONE, time: Timestamp::UNIX_EPOCH };
}
