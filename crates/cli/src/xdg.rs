//! Where a user's own files are, by the XDG Base Directory Specification.

use std::path::{Path, PathBuf};

use crate::connection::env;

/// The folder of ours below the directory that `variable` names, or below `otherwise` in HOME. None: neither is set. The specification
/// has a path that is not absolute count as none.
pub(crate) fn directory(variable: &str, otherwise: &str) -> Option<PathBuf> {
    let given = env(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env("HOME").map(|home| Path::new(&home).join(otherwise));
    given.or_else(home).map(|it| it.join("keystead"))
}
