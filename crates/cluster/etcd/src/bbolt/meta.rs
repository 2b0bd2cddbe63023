//! The two meta pages.

use super::error::DatabaseError;
use super::fields::{number_u32, number_u64};
use super::source::Source;

/// What the meta page of the last transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// In bytes.
    pub(super) page_size: u64,
    /// Of the tree of buckets.
    pub(super) root: u64,
    /// All pages have smaller numbers.
    pub(super) pages: u64,
    transaction: u64,
}

impl Meta {
    /// Takes the valid meta page with the higher transaction.
    pub(super) fn read(source: &dyn Source) -> Result<Self, DatabaseError> {
        let size = source.size()?;
        let first = at(source, 0)?;
        // Where the first page is damaged, only the second one knows the page size, and so its own place.
        let second = match &first {
            Ok(meta) => at(source, meta.page_size)?,
            Err(_) => PAGE_SIZES
                .map(|bits| at(source, 1 << bits))
                .find(|it| matches!(it, Ok(Ok(_)) | Err(_)))
                .unwrap_or(Ok(Err(DatabaseError::Meta)))?,
        };
        let meta = match (first, second) {
            (Ok(one), Ok(other)) => {
                if one.transaction > other.transaction {
                    one
                } else {
                    other
                }
            }
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            (Err(error), Err(_)) => return Err(error),
        };
        if size < meta.size() {
            return Err(DatabaseError::Truncated { size, needed: meta.size() });
        }
        Ok(meta)
    }

    /// Bytes of the database.
    pub(super) fn size(&self) -> u64 {
        // Checked when it was read.
        self.page_size.saturating_mul(self.pages)
    }
}

/// The meta page at this offset, or what is wrong with it.
fn at(source: &dyn Source, offset: u64) -> Result<Result<Meta, DatabaseError>, DatabaseError> {
    let mut page = [0; HEADER + LENGTH + CHECKSUM];
    match source.read_at(&mut page, offset) {
        Ok(()) => Ok(parse(page.get(HEADER..).unwrap_or_default(), offset)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Err(DatabaseError::Foreign)),
        Err(error) => Err(error.into()),
    }
}

fn parse(bytes: &[u8], offset: u64) -> Result<Meta, DatabaseError> {
    match number_u32(bytes, 0) {
        Some(MAGIC) => (),
        Some(other) if other == MAGIC.swap_bytes() => return Err(DatabaseError::BigEndian),
        _ => return Err(DatabaseError::Foreign),
    }
    let fields = || {
        let sum = fnv_1a(bytes.get(..LENGTH)?) == number_u64(bytes, LENGTH)?;
        let meta = Meta {
            page_size: number_u32(bytes, 8)?.into(),
            root: number_u64(bytes, 16)?,
            pages: number_u64(bytes, 40)?,
            transaction: number_u64(bytes, 48)?,
        };
        Some((number_u32(bytes, 4)?, sum, meta))
    };
    let (version, sum, meta) = fields().ok_or(DatabaseError::Foreign)?;
    if version != VERSION {
        return Err(DatabaseError::Version(version));
    }
    if !sum {
        return Err(DatabaseError::Meta);
    }
    let known = meta.page_size.is_power_of_two() && PAGE_SIZES.contains(&meta.page_size.trailing_zeros());
    if !known {
        return Err(DatabaseError::Senseless("its page size is not a power of two from 1 KiB to 16 MiB"));
    }
    if offset != 0 && offset != meta.page_size {
        return Err(DatabaseError::Senseless("it is not where its page size puts it"));
    }
    if meta.pages < FIRST_PAGES || meta.pages.checked_mul(meta.page_size).is_none() {
        return Err(DatabaseError::Senseless("its number of pages is impossible"));
    }
    Ok(meta)
}

/// FNV-1a with 64 bits, as in `hash/fnv`.
pub(super) fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Each page begins with: number (8), kind (2), count of entries (2), pages that follow and belong to it (4).
pub(super) const HEADER: usize = 16;

/// Magic (4), version (4), page size (4), flags (4), root page (8), sequence (8), free list (8), pages (8), transaction (8);
/// then the checksum over these.
const LENGTH: usize = 56;
const CHECKSUM: usize = 8;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Powers of two: bbolt takes the memory page of the machine and looks for damaged files' sizes in this range.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 10..=24;

/// Two meta pages and the root. A database that keeps its free list in memory alone (`NoFreelistSync`) has no page of it.
const FIRST_PAGES: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the FNV reference code.
    #[test]
    fn checksum_is_fnv_1a() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
