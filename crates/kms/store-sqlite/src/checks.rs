//! Is the database what was once written?

use rusqlite::Connection;

use crate::fault::Fault;
use crate::record::{checksum, damaged, read, unsigned};

/// Looks at every page and every row: the structure as SQLite sees it, the checksums, and that no record is newer than the
/// commit counter.
pub(crate) fn whole(connection: &Connection) -> Result<(), Fault> {
    // In one view, or a commit in between would look like damage.
    let _view = connection.unchecked_transaction()?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        tracing::error!(verdict, "SQLite's check of the database");
        return Err(damaged());
    }
    let mut newest_change = 0;
    let mut changes = connection.prepare("SELECT revision, name, checksum FROM change")?;
    let mut rows = changes.query([])?;
    while let Some(row) = rows.next()? {
        let (revision, name): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let revision = unsigned(revision)?;
        if row.get::<_, i64>(2)? != checksum(&name, revision, &[]) {
            return Err(damaged());
        }
        newest_change = newest_change.max(revision);
    }
    let mut records = connection.prepare("SELECT name, revision, checksum, value FROM record")?;
    let mut rows = records.query([])?;
    while let Some(row) = rows.next()? {
        if read(row)?.revision.0 > newest_change {
            return Err(damaged());
        }
    }
    Ok(())
}
