//! Copies of records in unused parts of pages: found by reading the whole file, and overwritten in it. See `erase.rs` for when.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use rusqlite::Connection;

use crate::fault::{Fault, failed};
use crate::files::beside;
use crate::page::unused;
use crate::store::Shared;

/// Pages that are read at once.
const READ: usize = 256;
/// The first byte of a part of a long value is that of a page number of four bytes. From so many pages on (128 GiB), it could be
/// taken for a page of a B-tree.
const TOO_MANY_PAGES: u64 = 1 << 25;
/// Length of the log's header, and of what stands before each of its pages: <https://sqlite.org/fileformat2.html#walformat>.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Numbers of pages; the first one is 1.
pub(crate) type Pages = BTreeSet<u32>;

/// The length of a page, in bytes.
pub(crate) fn page_len(connection: &Connection) -> Result<usize, Fault> {
    let len: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(usize::try_from(len).unwrap_or_default())
}

/// All pages of the database file with anything but zeros in their unused parts. Nobody may write the file meanwhile.
pub(crate) fn search(shared: &Shared, page_len: usize) -> Result<Pages, StoreError> {
    let file = &shared.files.database;
    let told = |error| failed("read", &shared.path, error);
    let pages = file.metadata().map_err(told)?.len() / page_len as u64;
    if pages >= TOO_MANY_PAGES {
        let text = format!("{} is too large for erased bytes to be searched for", shared.path.display());
        return Err(StoreError::new(ErrorClass::Unimplemented, text));
    }
    let mut found = Pages::new();
    let mut buffer = vec![0; READ * page_len];
    let mut number = 1;
    while u64::from(number) <= pages {
        let read = READ.min(usize::try_from(pages - u64::from(number - 1)).unwrap_or(READ));
        let bytes = buffer.get_mut(..read * page_len).unwrap_or_default();
        file.read_exact_at(bytes, offset(number, page_len)).map_err(told)?;
        for page in bytes.chunks_exact(page_len) {
            if !dirty(page, number).ok_or_else(|| not_understood(shared, number))?.is_empty() {
                found.insert(number);
            }
            number += 1;
        }
    }
    Ok(found)
}

/// Pages that are in the log, whole or not.
pub(crate) fn in_the_log(shared: &Shared, page_len: usize) -> Result<Pages, Fault> {
    let path = beside(&shared.path, "-wal");
    let told = |error| Fault::Store(failed("read", &path, error));
    let log = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Pages::new()),
        log => log.map_err(told)?,
    };
    let frame_len = FRAME_HEADER + page_len as u64;
    let frames = log.metadata().map_err(told)?.len().saturating_sub(LOG_HEADER) / frame_len;
    let mut pages = Pages::new();
    for frame in 0..frames {
        let mut number = [0; 4];
        log.read_exact_at(&mut number, LOG_HEADER + frame * frame_len).map_err(told)?;
        pages.insert(u32::from_be_bytes(number));
    }
    Ok(pages)
}

/// Takes up to `most` pages, and fills their unused parts with zeros in the database file, durably. It holds all that is
/// committed, and nobody else writes it.
pub(crate) fn overwrite(
    shared: &Shared,
    page_len: usize,
    pages: &mut Pages,
    most: usize,
) -> Result<(), Fault> {
    let file = &shared.files.database;
    let told = |error| Fault::Store(failed("write", &shared.path, error));
    let zeros = vec![0; page_len];
    let (mut page, mut written) = (vec![0; page_len], false);
    for _ in 0..most {
        let Some(number) = pages.pop_first() else { break };
        let begin = offset(number, page_len);
        match file.read_exact_at(&mut page, begin) {
            // A page that was never committed.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            read => read.map_err(told)?,
        }
        for part in dirty(&page, number).ok_or_else(|| Fault::Store(not_understood(shared, number)))? {
            // Only what SQLite does not use: a write that is torn leaves a page that is as good as before and after it.
            let zeros = zeros.get(..part.len()).unwrap_or_default();
            file.write_all_at(zeros, begin + part.start as u64).map_err(told)?;
            written = true;
        }
    }
    if written {
        file.sync_data().map_err(told)?;
    }
    Ok(())
}

/// The unused parts of a page that are not all zeros.
fn dirty(page: &[u8], number: u32) -> Option<Vec<std::ops::Range<usize>>> {
    let mut parts = unused(page, number == 1)?;
    parts.retain(|part| page.get(part.clone()).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)));
    Some(parts)
}

fn offset(number: u32, page_len: usize) -> u64 {
    u64::from(number.saturating_sub(1)) * page_len as u64
}

fn not_understood(shared: &Shared, number: u32) -> StoreError {
    let text = format!("page {number} of {} is damaged; restore a backup", shared.path.display());
    StoreError::new(ErrorClass::Corrupt, text)
}
