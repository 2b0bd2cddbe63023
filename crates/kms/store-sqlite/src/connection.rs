//! Connections, each set up in full before anything else happens on it.

use std::path::Path;
use std::time::Duration;

use keystead_model::ErrorClass;
use keystead_store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::fault::Fault;
use crate::folder::Recount;
use crate::record::{checksum, signed};

/// The first with the fix of the race that could damage the write-ahead log: <https://sqlite.org/wal.html#walresetbug>.
const OLDEST_SQLITE: i32 = 3_051_003;

/// "KSTS", so that `file` and we know whose database it is.
const APPLICATION_ID: i32 = 0x4b53_5453;

/// Grows with every change of the tables.
const SCHEMA_VERSION: i32 = 2;
/// Without the table `folder`; it is made when such a database is opened.
const WITHOUT_FOLDERS: i32 = 1;

/// Readers and the writer of one process hardly ever wait for each other in this mode; other programs may be looking.
const BUSY: Duration = Duration::from_millis(200);

/// Names are bytes, so that their order is the order of bytes. `change` has one row for each write of the last commits;
/// its newest row is the commit counter. `erasing` has a row while erased bytes may still be in a file. For `folder`, which comes
/// with it, see `folder.rs`.
const SCHEMA: &str = "
    CREATE TABLE record (
        name BLOB NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        value BLOB NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE change (
        revision INTEGER NOT NULL,
        name BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (revision, name)
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE erasing (
        revision INTEGER NOT NULL PRIMARY KEY
    ) STRICT;
";
const FOLDERS: &str = "
    CREATE TABLE folder (
        name BLOB NOT NULL PRIMARY KEY,
        records INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) WITHOUT ROWID, STRICT;
";

/// The only connection that writes. Creates the tables in an empty file, and refuses files that are not ours.
pub(crate) fn writer(path: &Path) -> Result<Connection, Fault> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let text = format!("SQLite {} is too old: 3.51.3 or newer is needed", rusqlite::version());
        return Err(Fault::Store(StoreError::new(ErrorClass::Misconfigured, text)));
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let identity = identity(&connection)?;
    if let Identity::Other(text) = identity {
        return Err(Fault::Store(StoreError::new(ErrorClass::Misconfigured, text)));
    }
    // In this order: a full sync at each commit holds for the switch to the log, too.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let text = format!("its file system allows no write-ahead log (journal mode is {mode})");
        return Err(Fault::Store(StoreError::new(ErrorClass::Misconfigured, text)));
    }
    match identity {
        Identity::Empty => {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} {FOLDERS} PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            ))?;
            // Into the database file itself: a file without its log still says whose it is.
            checkpoint(&connection)?;
        }
        Identity::WithoutFolders => add_folders(&connection)?,
        Identity::Ours | Identity::Other(_) => {}
    }
    Ok(connection)
}

/// Whether the table `folder` is there.
pub(crate) fn has_folders(connection: &Connection) -> Result<bool, Fault> {
    Ok(matches!(identity(connection)?, Identity::Ours))
}

/// Counts the records of a database of an earlier server.
fn add_folders(connection: &Connection) -> Result<(), Fault> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(FOLDERS)?;
    {
        let mut names = transaction.prepare("SELECT name FROM record ORDER BY name")?;
        let mut insert =
            transaction.prepare("INSERT INTO folder (name, records, checksum) VALUES (?1, ?2, ?3)")?;
        let mut write = |complete: Vec<(Vec<u8>, u64)>| {
            for (folder, records) in complete {
                insert.execute((&folder, signed(records), checksum(&folder, records, &[])))?;
            }
            Ok::<_, Fault>(())
        };
        let (mut rows, mut recount) = (names.query([])?, Recount::default());
        while let Some(row) = rows.next()? {
            write(recount.next(&row.get::<_, Vec<u8>>(0)?))?;
        }
        write(recount.rest())?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {SCHEMA_VERSION}"))?;
    Ok(transaction.commit()?)
}

/// One of several connections that read. It has read something, and with that has opened the log.
pub(crate) fn reader(path: &Path) -> Result<Connection, Fault> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    identity(&connection)?;
    Ok(connection)
}

/// A file that nobody writes, such as a backup. Leaves no files beside it.
pub(crate) fn immutable(path: &Path) -> Result<Connection, Fault> {
    let path = path.to_str().ok_or_else(|| {
        Fault::Store(StoreError::new(ErrorClass::Invalid, "the name of a backup must be UTF-8"))
    })?;
    let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{escaped}?immutable=1");
    let connection = open(Path::new(&uri), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    match identity(&connection)? {
        Identity::Ours | Identity::WithoutFolders => Ok(connection),
        Identity::Empty => Err(Fault::Store(StoreError::new(ErrorClass::Misconfigured, "it is empty"))),
        Identity::Other(text) => Err(Fault::Store(StoreError::new(ErrorClass::Misconfigured, text))),
    }
}

/// Moves the log into the database file and cuts the log to nothing. False: somebody still reads what is in it.
pub(crate) fn checkpoint(connection: &Connection) -> Result<bool, Fault> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// A transaction that changes nothing, and is written and synced all the same.
pub(crate) fn write_nothing_new(connection: &Connection) -> Result<(), Fault> {
    let version = format!("BEGIN IMMEDIATE; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT");
    Ok(connection.execute_batch(&version)?)
}

enum Identity {
    Empty,
    Ours,
    /// Of an earlier server of ours.
    WithoutFolders,
    Other(String),
}

fn identity(connection: &Connection) -> Result<Identity, Fault> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if (application, version) == (APPLICATION_ID, SCHEMA_VERSION) {
        return Ok(Identity::Ours);
    }
    if (application, version) == (APPLICATION_ID, WITHOUT_FOLDERS) {
        return Ok(Identity::WithoutFolders);
    }
    if application == APPLICATION_ID {
        let text = format!(
            "its format is {version}, and this server knows {SCHEMA_VERSION}: a newer server wrote it, use that one"
        );
        return Ok(Identity::Other(text));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    // A crash while a database was made leaves a file without tables.
    if (application, version, tables) == (0, 0, 0) {
        return Ok(Identity::Empty);
    }
    Ok(Identity::Other("it belongs to another program".to_owned()))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    // Each connection stays on one thread.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")?;
    Ok(connection)
}
