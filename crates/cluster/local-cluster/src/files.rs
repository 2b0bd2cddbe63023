//! Files and directories of the cluster, for this user alone.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

/// Says what could not be done to a file.
pub(crate) fn failed(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {action} {}: {error}", path.display()))
}

/// Makes a directory and what is missing above it.
pub(crate) fn make_directory(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| failed("make", path, &error))
}

/// Writes a file by rename, unless it has this text already.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    whole_file::replace(path, text.as_bytes(), Readers::Owner).map_err(|error| failed("write", path, &error))
}

/// Writes a file that is not there, and leaves alone one that is.
pub(crate) fn write_once(path: &Path, text: &str) -> Result<(), Failure> {
    match whole_file::create(path, text.as_bytes(), Readers::Owner) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("write", path, &error)),
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}
