//! Files that nobody else can read, under the rules of `whole_file`. One rule is added: a link is refused. `whole_file` follows links,
//! because mounted volumes are made of them; what is here was made by a server, in a directory of its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use keystead_runtime::whole_file::{self, Readers};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

pub(crate) use keystead_runtime::whole_file::{sync_directory_of, unfinished};

/// Reads a file of at most `longest` bytes.
pub(crate) fn read(path: &Path, longest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Whoever could put a link there after this could replace the file itself.
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is a link"));
    }
    let (bytes, _) = whole_file::read(path, Readers::Owner, longest)?;
    Ok(bytes)
}

/// Writes a file by rename, so that a crash leaves the old one or the new one, synced before and after.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    whole_file::replace(path, bytes, Readers::Owner)
}

/// Opens a file for reading and writing; makes it with mode 0600 where there is none. For what is locked, or written in place many
/// times a second, and so is no whole file.
pub(crate) fn open_for_writing(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // The open of a FIFO would wait for somebody.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    whole_file::check(path, &file.metadata()?, Readers::Owner)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_refused_and_what_is_missing_is_said_to_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        replace(&file, b"text").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        assert_eq!(*read(&file, 4).expect("read"), b"text");
        assert_eq!(read(&file, 3).expect_err("longer").kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&link, 4).expect_err("a link").kind(), io::ErrorKind::PermissionDenied);
        open_for_writing(&link).expect_err("a link");
        fs::remove_file(&file).expect("removed");
        assert_eq!(read(&file, 4).expect_err("none").kind(), io::ErrorKind::NotFound);
    }
}
