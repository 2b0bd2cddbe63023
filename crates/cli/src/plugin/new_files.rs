//! Files that an installation makes, all or none.

use std::fs;
use std::path::{Path, PathBuf};

use keystead_cluster::owned_file::{self, Places};
use keystead_runtime::Failure;
use keystead_runtime::whole_file::{self, Readers};

use crate::output::say;

/// One file.
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) way: Way,
}

/// How a file gets there.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Into a directory that is watched: from outside, for root alone.
    Manifest,
    /// For root alone.
    Private,
    /// Readable, as systemd wants its own to be.
    Public,
}

/// What was made so far; taken away again unless it is kept.
#[derive(Default)]
pub(super) struct Made {
    files: Vec<PathBuf>,
    kept: bool,
}

/// As `--dry-run` prints them: each after a comment with its path.
pub(super) fn printed(files: &[NewFile]) -> String {
    let mut out = String::new();
    for file in files {
        out.push_str(&format!("# {}\n{}\n", file.path.display(), file.text));
    }
    out
}

/// Whether all are there already with the same text.
///
/// # Errors
///
/// One is there with another text: somebody else's, or ours and edited.
pub(super) fn all_there(files: &[NewFile]) -> Result<bool, Failure> {
    let mut there = 0;
    for file in files {
        match fs::read(&file.path) {
            Ok(bytes) if bytes == file.text.as_bytes() => there += 1,
            Ok(_) => {
                return Err(Failure::new(format!(
                    "{} is there already, with another content",
                    file.path.display()
                ))
                .hint(
                    "`keystead plugin upgrade` brings a new image or program; to change settings edit the file, or run `keystead plugin uninstall` first"
                        .to_owned(),
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::new(format!("cannot read {}: {error}", file.path.display())));
            }
        }
    }
    Ok(there == files.len())
}

impl Made {
    /// Writes the files that are not there.
    pub(super) fn write(&mut self, files: &[NewFile], places: &Places) -> Result<(), Failure> {
        for file in files.iter().filter(|it| !it.path.exists()) {
            let failed = |error: &dyn std::error::Error| {
                Failure::new(format!("{} was not written", file.path.display()))
                    .caused_by(error.to_string())
                    .hint("run it as root; what was written before it is taken away again".to_owned())
            };
            let bytes = file.text.as_bytes();
            match file.way {
                Way::Manifest => {
                    owned_file::create(&file.path, bytes, places, None).map_err(|error| failed(&error))?
                }
                Way::Private | Way::Public => {
                    let directory = whole_file::directory_of(&file.path);
                    make_directory(directory, file.way).map_err(|error| failed(&error))?;
                    let readers =
                        if matches!(file.way, Way::Private) { Readers::Owner } else { Readers::Everybody };
                    whole_file::create(&file.path, bytes, readers).map_err(|error| failed(&error))?;
                }
            }
            self.files.push(file.path.clone());
        }
        Ok(())
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for path in self.files.iter().rev() {
            if let Err(error) = fs::remove_file(path) {
                say(&format!("{} was left behind: {error}", path.display()));
            }
        }
    }
}

fn make_directory(path: &Path, way: Way) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mode = if matches!(way, Way::Private) { 0o700 } else { 0o755 };
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}
