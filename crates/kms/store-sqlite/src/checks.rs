//! Is the database what was once written?

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::connection;
use crate::fault::Fault;
use crate::folder::{FIND, Recount, counted};
use crate::record::{checksum, damaged, read, unsigned};

/// Looks at every page and every row: the structure as SQLite sees it, the checksums, that no record is newer than the
/// commit counter, and that every folder has as many records as it says.
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
    let mut records =
        connection.prepare("SELECT name, revision, checksum, value FROM record ORDER BY name")?;
    let mut rows = records.query([])?;
    let mut folders = connection::has_folders(connection)?.then(|| Folders::new(connection)).transpose()?;
    while let Some(row) = rows.next()? {
        let record = read(row)?;
        if record.revision.0 > newest_change {
            return Err(damaged());
        }
        if let Some(folders) = &mut folders {
            folders.next(record.name.as_bytes())?;
        }
    }
    folders.map_or(Ok(()), |folders| folders.end(connection))
}

/// Compares what folders say with the records that are there.
struct Folders<'c> {
    recount: Recount,
    find: Statement<'c>,
    /// Folders that say what is true.
    right: i64,
}

impl<'c> Folders<'c> {
    fn new(connection: &'c Connection) -> Result<Self, Fault> {
        Ok(Self { recount: Recount::default(), find: connection.prepare(FIND)?, right: 0 })
    }

    fn next(&mut self, record: &[u8]) -> Result<(), Fault> {
        let complete = self.recount.next(record);
        self.compare(complete)
    }

    fn end(mut self, connection: &Connection) -> Result<(), Fault> {
        let rest = std::mem::take(&mut self.recount).rest();
        self.compare(rest)?;
        let all: i64 = connection.query_row("SELECT count(*) FROM folder", [], |row| row.get(0))?;
        if all == self.right { Ok(()) } else { Err(damaged()) }
    }

    fn compare(&mut self, complete: Vec<(Vec<u8>, u64)>) -> Result<(), Fault> {
        for (folder, records) in complete {
            let said = self.find.query_row([folder], |row| Ok(counted(row))).optional()?.transpose()?;
            if said != Some(records) {
                return Err(damaged());
            }
            self.right += 1;
        }
        Ok(())
    }
}
