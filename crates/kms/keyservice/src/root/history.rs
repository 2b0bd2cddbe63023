//! Which key versions were made and which destroyed: a file that only grows, by one line for each. With it the server knows
//! what an older database lacks, and which versions of a restored one must not come back.
//!
//! `made UID NUMBER SERIAL COUNTER SEQUENCE HASH NAME CHECKSUM`, and `destroyed` and `lost` alike.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use keystead_model::{CryptoKeyVersionName, KeyUid, VersionNumber};

use super::point::{Written, parse_point, print_point, with_checksum, without_checksum};
use super::{RootDirectory, RootError, directory, private_file};

/// In the root directory.
pub(super) const FILE: &str = "versions";
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// A key version for ever: a name may come back after a rollback, a uid does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VersionId {
    pub(crate) uid: KeyUid,
    pub(crate) number: VersionNumber,
}

/// Something that happened to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VersionEvent {
    pub(crate) kind: VersionEventKind,
    pub(crate) id: VersionId,
    pub(crate) name: CryptoKeyVersionName,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionEventKind {
    /// Its material was made.
    Made,
    /// Its material is gone, and stays so.
    Destroyed,
    /// A database without it was confirmed: it is not asked for again.
    Lost,
}

/// What became of every version, as far as the witness knows.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<VersionId, (VersionEventKind, CryptoKeyVersionName)>);

impl Known {
    /// Versions that should have material.
    pub(crate) fn made(&self) -> impl Iterator<Item = (VersionId, &CryptoKeyVersionName)> {
        self.of_kind(VersionEventKind::Made)
    }

    /// Versions whose material must not come back.
    pub(crate) fn destroyed(&self) -> impl Iterator<Item = (VersionId, &CryptoKeyVersionName)> {
        self.of_kind(VersionEventKind::Destroyed)
    }

    /// What became of one.
    pub(crate) fn kind(&self, id: VersionId) -> Option<VersionEventKind> {
        self.0.get(&id).map(|(kind, _)| *kind)
    }

    /// Reads the history of a root directory that is open.
    pub(crate) fn read(root: &RootDirectory) -> Result<Self, RootError> {
        Self::read_from(&root.path().join(FILE))
    }

    fn read_from(path: &Path) -> Result<Self, RootError> {
        let file = File::open(path).map_err(|error| directory::failed("open", path, error))?;
        let mut known = Self::default();
        read_lines(path, &file, |line| {
            let event = parse(line);
            event.map(|(event, _)| known.note(event)).is_some()
        })?;
        Ok(known)
    }

    fn of_kind(&self, wanted: VersionEventKind) -> impl Iterator<Item = (VersionId, &CryptoKeyVersionName)> {
        self.0.iter().filter(move |(_, (kind, _))| *kind == wanted).map(|(id, (_, name))| (*id, name))
    }

    fn note(&mut self, event: VersionEvent) {
        self.0.insert(event.id, (event.kind, event.name));
    }
}

pub(super) struct History {
    file: File,
    /// Where the next line goes; what is after it was never confirmed.
    end: u64,
}

impl History {
    /// Looks at every line and keeps none, because there are as many as there were versions; [`Known::read`] does. Cuts off a line
    /// that was never written whole. Answers what the last one says of the database.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Written>), RootError> {
        let failed = |action| move |error| directory::failed(action, path, error);
        let file = private_file::open_for_writing(path).map_err(failed("open"))?;
        let len = file.metadata().map_err(failed("read"))?.len();
        if len == 0 {
            private_file::sync_directory_of(path).map_err(failed("sync"))?;
        }
        let mut last = String::new();
        let end = read_lines(path, &file, |line| {
            last.clear();
            last.push_str(line);
            true
        })?;
        let newest = match last.as_str() {
            "" => None,
            last => Some(parse(last).ok_or_else(|| damaged(path))?.1),
        };
        if end < len {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(failed("cut"))?;
        }
        Ok((Self { file, end }, newest))
    }

    /// Appends lines, all with the point that holds once they are written.
    pub(super) fn append(&mut self, events: &[VersionEvent], written: &Written) -> io::Result<()> {
        let lines: String = events.iter().map(|event| print(event, written)).collect();
        // After a write that failed there may be half a line.
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.end += lines.len() as u64;
        Ok(())
    }
}

/// Gives every line with a right checksum to `take`, which says whether it understands it. Answers where they end; what follows is one
/// line that was not written whole.
fn read_lines(path: &Path, file: &File, mut take: impl FnMut(&str) -> bool) -> Result<u64, RootError> {
    let failed = |error| directory::failed("read", path, error);
    let mut reader = BufReader::with_capacity(READ, file);
    let (mut line, mut end) = (Vec::new(), 0);
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if len == 0 {
            return Ok(end);
        }
        let text = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        if !text.is_some_and(|text| without_checksum(text).is_some() && take(text)) {
            let is_last = reader.fill_buf().map_err(failed)?.is_empty();
            return if is_last { Ok(end) } else { Err(damaged(path)) };
        }
        end += len as u64;
    }
}

fn damaged(path: &Path) -> RootError {
    RootError::Damaged { path: path.to_owned(), problem: "a line in its middle cannot be read" }
}

fn print(event: &VersionEvent, written: &Written) -> String {
    let VersionEvent { kind, id, name } = event;
    let uid = hex::encode(id.uid.0);
    let point = print_point(written);
    with_checksum(&format!("{} {uid} {} {point} {name}", kind.word(), id.number))
}

fn parse(line: &str) -> Option<(VersionEvent, Written)> {
    let mut words = without_checksum(line)?.split(' ');
    let kind = VersionEventKind::parse(words.next()?)?;
    let mut uid = [0; 16];
    hex::decode_to_slice(words.next()?, &mut uid).ok()?;
    let id = VersionId { uid: KeyUid(uid), number: words.next()?.parse().ok()? };
    let written = parse_point(&mut words)?;
    let name = words.next()?.parse().ok()?;
    words.next().is_none().then_some((VersionEvent { kind, id, name }, written))
}

impl VersionEventKind {
    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Destroyed => "destroyed",
            Self::Lost => "lost",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Made, Self::Destroyed, Self::Lost].into_iter().find(|kind| kind.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use keystead_audit::Hash;

    use super::super::point::Point;
    use super::*;

    fn event(kind: VersionEventKind, number: u32) -> VersionEvent {
        let name = format!(
            "projects/key-project/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/{number}"
        );
        let name: CryptoKeyVersionName = name.parse().expect("a name");
        VersionEvent { kind, id: VersionId { uid: KeyUid([7; 16]), number: name.version }, name }
    }

    fn written(serial: u64) -> Written {
        Written { serial, point: Point { counter: serial, audit_sequence: 0, audit_hash: Hash::NONE } }
    }

    #[test]
    fn the_last_event_of_a_version_counts_and_half_a_line_does_not() {
        use VersionEventKind::{Destroyed, Made};
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("versions");
        let (mut history, ..) = History::open(&path).expect("opens");
        history.append(&[event(Made, 1), event(Made, 2)], &written(1)).expect("written");
        history.append(&[event(Destroyed, 1)], &written(2)).expect("written");
        let whole = std::fs::read(&path).expect("read");
        history.append(&[event(Destroyed, 2)], &written(3)).expect("written");
        drop(history);
        let longer = std::fs::read(&path).expect("read");

        for len in whole.len()..longer.len() {
            std::fs::write(&path, &longer[..len]).expect("written");
            let (_, newest) = History::open(&path).expect("opens");
            let known = Known::read_from(&path).expect("read");
            assert_eq!(known.kind(event(Made, 1).id), Some(Destroyed), "{len}");
            assert_eq!(known.kind(event(Made, 2).id), Some(Made), "{len}");
            assert_eq!(newest, Some(written(2)), "{len}");
            assert_eq!(std::fs::read(&path).expect("read"), whole, "{len}");
        }
        let mut damaged = longer;
        damaged[3] ^= 1;
        std::fs::write(&path, damaged).expect("written");
        assert!(matches!(History::open(&path), Err(RootError::Damaged { .. })));
    }
}
