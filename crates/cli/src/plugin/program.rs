//! The plugin's program on the host.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keystead_cluster::owned_file::Places;
use keystead_runtime::Failure;
use keystead_runtime::whole_file;

use super::on_host::PROGRAM;

/// A file that was named, from the root on: a name without a slash would be looked for on PATH.
pub(super) fn named(given: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(given)
        .map_err(|error| Failure::new(format!("there is no program {}: {error}", given.display())))
}

/// Refuses what is not the plugin, or does not run on this host; the answer is what it says of its version.
pub(super) fn version(program: &Path) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new(format!("{} does not run on this host as {PROGRAM}", program.display()))
            .caused_by(why)
            .hint("take the program for this host's architecture from the release".to_owned())
    };
    let output = Command::new(program).arg("--version").env_clear().stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && text.starts_with(PROGRAM) {
        true => Ok(text),
        false => Err(failed(format!("it says {text:?} with --version"))),
    }
}

/// Puts a program where `to` says, in one step. What was there is kept as `keystead-plugin.previous` in the directory for what was replaced.
pub(super) fn install(from: &Path, to: &Path, places: &Places) -> Result<(), Failure> {
    version(from)?;
    let written = || -> io::Result<()> {
        let bytes = fs::read(from)?;
        if fs::read(to).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        if to.exists() {
            make(&places.previous, 0o700)?;
            fs::copy(to, places.previous.join(format!("{PROGRAM}.previous")))?;
        }
        make(whole_file::directory_of(to), 0o755)?;
        let mut file = whole_file::beside(to, 0o755)?;
        file.write_all(&bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        file.as_file().sync_all()?;
        file.persist(to).map_err(|error| error.error)?;
        whole_file::sync_directory_of(to)
    };
    written().map_err(|error| {
        Failure::new(format!("{} was not copied to {}: {error}", from.display(), to.display()))
            .hint("run it as root".to_owned())
    })
}

fn make(directory: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(mode).create(directory)
}
