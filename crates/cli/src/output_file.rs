//! Files that commands write: complete or not at all. What is there is neither emptied nor changed before all bytes are on the disk.

use std::fs::{OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Secrets are readable by their owner only, from the first byte on.
const OWNER_ONLY: u32 = 0o600;
/// What any program asks for; the umask takes away from it.
const AS_UMASK_SAYS: u32 = 0o666;

/// A place for a secret that can be fetched only once. It is prepared before the server is asked, so that no secret is made
/// that cannot be kept. Dropped without `finish` it leaves nothing behind.
pub(crate) enum NewSecretFile {
    Beside {
        file: NamedTempFile,
        target: PathBuf,
    },
    /// A pipe or a device, which holds nothing that could be lost.
    Stream(std::fs::File),
}

impl NewSecretFile {
    /// Fails if the file exists, even as a link that leads nowhere, or if its directory cannot be written.
    pub(crate) fn prepare(target: &Path) -> Result<Self> {
        if is_stream(target) {
            return Ok(Self::Stream(OpenOptions::new().write(true).open(target)?));
        }
        if target.symlink_metadata().is_ok() {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "it exists already; name another file or remove it",
            ));
        }
        Ok(Self::Beside { file: beside(target, OWNER_ONLY)?, target: target.to_owned() })
    }

    /// Puts the complete file in its place, and never over one that came in between.
    pub(crate) fn finish(self, data: &[u8]) -> Result<()> {
        match self {
            Self::Stream(mut stream) => stream.write_all(data),
            Self::Beside { mut file, target } => {
                file.write_all(data)?;
                file.as_file().sync_all()?;
                file.persist_noclobber(target)?;
                Ok(())
            }
        }
    }
}

/// Writes a file that only its owner can read, over one that is there.
pub(crate) fn replace_secret(target: &Path, data: &[u8]) -> Result<()> {
    replace(target, data, OWNER_ONLY, None)
}

/// Writes a file, over one that is there, whose permissions stay.
pub(crate) fn replace_public(target: &Path, data: &[u8]) -> Result<()> {
    let kept = target.metadata().ok().map(|it| it.permissions());
    replace(target, data, AS_UMASK_SAYS, kept)
}

fn replace(target: &Path, data: &[u8], mode: u32, kept: Option<Permissions>) -> Result<()> {
    if is_stream(target) {
        return OpenOptions::new().write(true).open(target)?.write_all(data);
    }
    // A link stays a link: what it leads to is replaced.
    let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    let mut file = beside(&target, mode)?;
    if let Some(kept) = kept {
        file.as_file().set_permissions(kept)?;
    }
    file.write_all(data)?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// In the same directory, because only there a rename cannot fail halfway.
fn beside(target: &Path, mode: u32) -> Result<NamedTempFile> {
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(directory)
}

fn is_stream(target: &Path) -> bool {
    target.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir())
}
