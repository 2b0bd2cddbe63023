//! The directory of a log: its mode, its lock, the names of its segments.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::AuditError;

/// Only the server reads and writes here.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The lock file stays for ever: removing it would let two processes lock two different files.
const LOCK: &str = "lock";
/// A process that is being killed holds its lock a little longer, and so does a child between its fork and its exec.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentFile {
    /// The sequence of its first record.
    pub first: u64,
    pub path: PathBuf,
}

/// Makes the directory, or takes away what others may do there.
pub(crate) fn prepare(dir: &Path) -> Result<(), AuditError> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(dir).map_err(AuditError::io("examine", dir))?.permissions().mode();
            if mode & 0o777 != DIRECTORY_MODE {
                tracing::info!(path = %dir.display(), "closing the audit log's directory to others");
                let closed = Permissions::from_mode(DIRECTORY_MODE);
                fs::set_permissions(dir, closed).map_err(AuditError::io("set the mode of", dir))?;
            }
            Ok(())
        }
        made => made.map_err(AuditError::io("make", dir)),
    }
}

/// Held as long as the log is open: two writers would break the chain.
pub(crate) fn lock(dir: &Path) -> Result<File, AuditError> {
    let path = dir.join(LOCK);
    let file = create(&path, false).map_err(AuditError::io("open", &path))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_PAUSE)
            }
            Err(fs::TryLockError::WouldBlock) => return Err(AuditError::InUse { path: dir.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(AuditError::io("lock", &path)(error)),
        }
    }
}

/// When the writer that held the lock last said that it was alive, by its own clock; none: nobody did.
pub(crate) fn last_alive(dir: &Path) -> Option<Timestamp> {
    let modified = fs::metadata(dir.join(LOCK)).and_then(|it| it.modified()).ok()?;
    Timestamp::try_from(modified).ok()
}

/// Says that the writer is alive. Whoever cannot is missed by nobody.
pub(crate) fn say_alive(lock: &File, now: Timestamp) {
    if let Err(error) = lock.set_modified(now.into()) {
        tracing::debug!(%error, "cannot date the lock of the audit log");
    }
}

/// Opens a file for writing that only we may read. `new`: it must not exist.
pub(crate) fn create(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(new)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Writes a whole small file, so that readers see the old one or the new one. Unlike `whole_file` of the runtime it does not sync: a
/// cursor is stored after each batch and a head each minute, and what a power cut takes back is sent or signed again.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = create(Path::new(&new), false)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}

/// Makes a name in the directory durable, or its absence.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Twenty digits hold every sequence, so that names sort as numbers do.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("audit-{first:020}.jsonl"))
}

/// All segments, oldest first. Other files are none of ours.
pub(crate) fn segments(dir: &Path) -> Result<Vec<SegmentFile>, AuditError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(AuditError::io("list", dir))? {
        let path = entry.map_err(AuditError::io("list", dir))?.path();
        if let Some(first) = path.file_name().and_then(|name| first_sequence(name.to_str()?)) {
            found.push(SegmentFile { first, path });
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn first_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let number = digits.len() == 20 && digits.bytes().all(|it| it.is_ascii_digit());
    digits.parse().ok().filter(|_| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_segments_name_is_one() {
        assert_eq!(first_sequence("audit-00000000000000000017.jsonl"), Some(17));
        for other in
            ["audit-17.jsonl", "audit-+0000000000000000017.jsonl", "audit-00000000000000000017.json", "lock"]
        {
            assert_eq!(first_sequence(other), None, "{other}");
        }
        let path = segment_path(Path::new("d"), u64::MAX);
        assert_eq!(
            first_sequence(path.file_name().and_then(|it| it.to_str()).expect("a name")),
            Some(u64::MAX)
        );
    }
}
