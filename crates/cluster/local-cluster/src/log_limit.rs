//! Logs of programs that run for months: each has a bounded length.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest log, in bytes; with the one before it twice as much. An API server under no load writes some MiB a day.
const LONGEST: u64 = 16 << 20;
/// A program that writes 100 MiB/s, which none does, has written 1 GiB by then.
pub(crate) const LOOK: Duration = Duration::from_secs(10);

/// Cuts the logs of these directories that are too long. What cannot be cut is tried again at the next look.
pub(crate) fn cut(directories: &[PathBuf]) {
    for directory in directories {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let logs = entries.flatten().map(|entry| entry.path());
        for log in logs.filter(|path| path.extension().is_some_and(|it| it == "log")) {
            if fs::metadata(&log).is_ok_and(|it| it.len() > LONGEST) {
                drop(rotate(&log));
            }
        }
    }
}

/// Keeps a copy. The file itself stays, because its program has it open, at its end wherever that is. Lines that are written between
/// the two steps are lost.
fn rotate(log: &Path) -> io::Result<()> {
    let mut kept = log.as_os_str().to_owned();
    kept.push(".1");
    fs::copy(log, PathBuf::from(kept))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_long_log_begins_anew_for_a_program_that_has_it_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("etcd.log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path).expect("opened");
        log.write_all(b"short\n").expect("written");
        cut(&[directory.path().to_owned()]);
        assert_eq!(fs::read(&path).expect("read"), b"short\n");
        log.set_len(LONGEST + 1).expect("longer");
        cut(&[directory.path().to_owned()]);
        log.write_all(b"next\n").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"next\n");
        let kept = fs::metadata(directory.path().join("etcd.log.1")).expect("the one before");
        assert_eq!(kept.len(), LONGEST + 1);
    }
}
