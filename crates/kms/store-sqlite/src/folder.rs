//! How many records there are, without looking at them. The name of a record up to its last slash is its folder; a table says how
//! many records are in each, and changes with them in the same transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::fault::Fault;
use crate::record::{checksum, damaged, signed, unsigned};

/// The part of a record's name up to its last slash; nothing when there is none.
pub(crate) fn folder_of(name: &[u8]) -> &[u8] {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    slash.and_then(|slash| name.get(..=slash)).unwrap_or_default()
}

/// Whether the records whose names begin with this are those of whole folders.
pub(crate) fn is_counted(prefix: &str) -> bool {
    prefix.is_empty() || prefix.ends_with('/')
}

/// What one folder says. [`counted`] reads its row.
pub(crate) const FIND: &str = "SELECT records, name, checksum FROM folder WHERE name = ?1";

/// The number of a row of columns records, name, checksum.
pub(crate) fn counted(row: &rusqlite::Row<'_>) -> Result<u64, Fault> {
    let records = unsigned(row.get(0)?)?;
    let name: Vec<u8> = row.get(1)?;
    let found: i64 = row.get(2)?;
    if found == checksum(&name, records, &[]) { Ok(records) } else { Err(damaged()) }
}

/// What a transaction adds to folders and takes from them. Nothing is written before its end, so that many records of one folder
/// cost one write.
#[derive(Default)]
pub(crate) struct Balance(HashMap<Vec<u8>, i64>);

impl Balance {
    pub(crate) fn add(&mut self, name: &[u8], records: i64) {
        let folder = folder_of(name);
        match self.0.get_mut(folder) {
            Some(known) => *known += records,
            None => drop(self.0.insert(folder.to_owned(), records)),
        }
    }

    pub(crate) fn write(self, statements: &mut Statements<'_>) -> Result<(), Fault> {
        for (folder, more) in self.0 {
            if more == 0 {
                continue;
            }
            let known = statements.find.query_row([&folder], |row| Ok(counted(row))).optional()?;
            let known = known.transpose()?.unwrap_or_default();
            let records = known.checked_add_signed(more).ok_or_else(damaged)?;
            if records == 0 {
                statements.delete.execute([&folder])?;
            } else {
                statements.put.execute((&folder, signed(records), checksum(&folder, records, &[])))?;
            }
        }
        Ok(())
    }
}

pub(crate) struct Statements<'c> {
    find: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(crate) fn prepare(connection: &'c Connection) -> Result<Self, Fault> {
        Ok(Self {
            find: connection.prepare(FIND)?,
            put: connection.prepare(
                "INSERT INTO folder (name, records, checksum) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET records = excluded.records, checksum = excluded.checksum",
            )?,
            delete: connection.prepare("DELETE FROM folder WHERE name = ?1")?,
        })
    }
}

/// Counts the records of each folder anew, while they are read in the order of their names. It holds the folders around one name
/// and not all of them.
#[derive(Default)]
pub(crate) struct Recount {
    /// From the outermost to the one of the last record.
    around: Vec<(Vec<u8>, u64)>,
}

impl Recount {
    /// Takes the next record. Answers the folders that have no more records, with how many they have.
    pub(crate) fn next(&mut self, name: &[u8]) -> Vec<(Vec<u8>, u64)> {
        let folder = folder_of(name);
        let stay = self.around.iter().take_while(|(outer, _)| folder.starts_with(outer)).count();
        let mut left = self.around.split_off(stay);
        left.retain(|(_, records)| *records > 0);
        match self.around.last_mut() {
            Some((last, records)) if last == folder => *records += 1,
            _ => self.around.push((folder.to_owned(), 1)),
        }
        left
    }

    /// The folders that were left open.
    pub(crate) fn rest(self) -> Vec<(Vec<u8>, u64)> {
        self.around
    }
}
