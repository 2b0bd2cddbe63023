//! Files with secrets: only their owner can read them, from the first byte on.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

const OWNER_ONLY: u32 = 0o600;

/// Writes a file that only its owner can read. A file that is there is emptied, and closed to others first.
pub(crate) fn write(file: &Path, data: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(file)?;
    // Devices and pipes are not ours to close to others.
    if file.metadata()?.is_file() {
        file.set_permissions(std::fs::Permissions::from_mode(OWNER_ONLY))?;
    }
    file.write_all(data)
}
