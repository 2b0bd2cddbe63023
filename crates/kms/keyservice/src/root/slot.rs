//! The newest point that the witness knows, in a file of two slots that are written in turn: a write that is torn leaves
//! the other one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::point::{Written, parse_point, print_point, with_checksum, without_checksum};
use super::{RootError, directory, private_file};

/// A page each, so that no disk writes half of one slot and half of the other.
const SLOT_LEN: usize = 4096;
const FIRST_WORD: &str = "keystead-witness-1";

pub(super) struct Slots {
    file: File,
}

impl Slots {
    /// Opens the file, and reads the newer of its slots.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Written>), RootError> {
        let failed = |action| move |error| directory::failed(action, path, error);
        let file = private_file::open_for_writing(path).map_err(failed("open"))?;
        let len = file.metadata().map_err(failed("read"))?.len();
        if len == 0 {
            // Its full length now, so that a later write changes no metadata: one sync of data is enough for each.
            file.write_all_at(&[b' '; 2 * SLOT_LEN], 0)
                .and_then(|()| file.sync_all())
                .and_then(|()| private_file::sync_directory_of(path))
                .map_err(failed("write"))?;
            return Ok((Self { file }, None));
        }
        let mut bytes = [b' '; 2 * SLOT_LEN];
        let damaged = |problem| RootError::Damaged { path: path.to_owned(), problem };
        file.read_exact_at(&mut bytes, 0).map_err(|_| damaged("it is too short"))?;
        let newest = bytes.chunks(SLOT_LEN).filter_map(parse).max_by_key(|written| written.serial);
        let blank = bytes.iter().all(|byte| *byte == b' ');
        if newest.is_none() && !blank {
            return Err(damaged("neither of its two slots can be read"));
        }
        Ok((Self { file }, newest))
    }

    /// Slots on a file that cannot be written.
    #[cfg(test)]
    pub(super) fn read_only(path: &Path) -> Self {
        Self { file: File::open(path).expect("it is there") }
    }

    pub(super) fn write(&self, written: &Written) -> io::Result<()> {
        let mut slot = print(written).into_bytes();
        slot.resize(SLOT_LEN, b' ');
        let offset = if written.serial.is_multiple_of(2) { 0 } else { SLOT_LEN as u64 };
        self.file.write_all_at(&slot, offset)?;
        self.file.sync_data()
    }
}

fn print(written: &Written) -> String {
    with_checksum(&format!("{FIRST_WORD} {}", print_point(written)))
}

fn parse(slot: &[u8]) -> Option<Written> {
    let line = std::str::from_utf8(slot).ok()?.lines().next()?;
    let mut words = without_checksum(line)?.split(' ');
    if words.next()? != FIRST_WORD {
        return None;
    }
    parse_point(&mut words).filter(|_| words.next().is_none())
}

#[cfg(test)]
mod tests {
    use keystead_audit::Hash;

    use super::super::point::Point;
    use super::*;

    fn written(serial: u64) -> Written {
        let point = Point {
            counter: serial * 10,
            audit_sequence: serial * 100,
            audit_hash: Hash([serial as u8; 32]),
        };
        Written { serial, point }
    }

    #[test]
    fn the_newest_slot_is_read_and_a_torn_one_is_not() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("witness");
        let (slots, none) = Slots::open(&path).expect("opens");
        assert_eq!(none, None);
        for serial in 1..=5 {
            slots.write(&written(serial)).expect("written");
        }
        drop(slots);
        let (_, newest) = Slots::open(&path).expect("opens");
        assert_eq!(newest, Some(written(5)));

        // Serial 5 is odd, so it is in the second slot.
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[SLOT_LEN + 25] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        let (_, newest) = Slots::open(&path).expect("opens");
        assert_eq!(newest, Some(written(4)));

        bytes[25] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert!(matches!(Slots::open(&path), Err(RootError::Damaged { .. })));
    }
}
