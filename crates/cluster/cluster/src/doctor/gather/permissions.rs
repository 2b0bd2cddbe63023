//! Who may open what.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::doctor::facts::{Seen, SocketFacts};

/// The socket, and every directory that leads to it.
pub(super) fn of_socket(socket: &str) -> Seen<Vec<SocketFacts>> {
    if socket.starts_with('@') {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let all: Vec<&Path> = Path::new(socket).ancestors().collect();
    for path in all.into_iter().rev() {
        let metadata = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        found.push(SocketFacts {
            path: path.to_owned(),
            is_directory: metadata.is_dir(),
            mode: metadata.mode() & 0o7777,
            user: metadata.uid(),
            group: metadata.gid(),
        });
    }
    Ok(found)
}
